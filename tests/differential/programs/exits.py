"""What leaves the loop, and what goes on after it: each kind of exception from each callback of each kind of protocol.

SystemExit and KeyboardInterrupt leave run_forever(), everything else is reported or ends the connection.  What was scheduled
before stays scheduled; a loop that runs again goes on.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
import warnings

from recorder import record

warnings.simplefilter("ignore")
logging.getLogger("asyncio").addHandler(logging.NullHandler())
logging.getLogger("asyncio").propagate = False


class OwnBase(BaseException):
    pass


RAISED = [
    SystemExit(3),
    KeyboardInterrupt("now"),
    ValueError("wrong"),
    OSError(5, "broken"),
    OwnBase("own"),
    asyncio.CancelledError("no"),
]


class Case:
    """One callback that raises one exception, once."""

    def __init__(self, method, error):
        self.method, self.error, self.transport, self.raised = method, error, None, False

    def happened(self, name, *details):
        record(name, *details)
        if name == self.method and not self.raised:
            self.raised = True
            asyncio.get_running_loop().call_soon(record, "what was scheduled before")
            raise self.error


class Base:
    def __init__(self, case):
        self.case = case

    def connection_made(self, transport):
        self.transport = self.case.transport = transport
        self.case.happened("connection_made")

    def eof_received(self):
        self.case.happened("eof_received")

    def pause_writing(self):
        self.case.happened("pause_writing")

    def resume_writing(self):
        self.case.happened("resume_writing")

    def connection_lost(self, error):
        self.case.happened("connection_lost", error)


class Plain(Base, asyncio.Protocol):
    def data_received(self, data):
        self.case.happened("data_received", len(data))


class Buffered(Base, asyncio.BufferedProtocol):
    def get_buffer(self, hint):
        self.case.happened("get_buffer")
        return bytearray(100)

    def buffer_updated(self, count):
        self.case.happened("buffer_updated", count)


class Datagrams(Base, asyncio.DatagramProtocol):
    def datagram_received(self, data, address):
        self.case.happened("datagram_received", data.decode())

    def error_received(self, error):
        self.case.happened("error_received", error)


async def settle():
    for _ in range(12):
        await asyncio.sleep(0)


def drain(sock):
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        pass


def write_until_it_waits(transport):
    transport.set_write_buffer_limits(0)
    while not (transport.is_closing() or transport.get_write_buffer_size()):
        transport.write(b"x" * 100_000)


async def stream(case, factory):
    near, far = socket.socketpair()
    far.setblocking(False)
    try:
        await asyncio.get_running_loop().create_connection(lambda: factory(case), sock=near)
        await settle()
        far.send(b"data")
        await settle()
        write_until_it_waits(case.transport)
        await settle()
        for _ in range(50):
            drain(far)
            await asyncio.sleep(0)
        await settle()
        far.shutdown(socket.SHUT_WR)
        await settle()
    finally:
        case.transport.close()
        await settle()
        record("the socket is closed", near.fileno() == -1)
        far.close()


async def plain(case):
    await stream(case, Plain)


async def buffered(case):
    await stream(case, Buffered)


async def datagrams(case):
    near, far = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (near, far):
        sock.setblocking(False)
        sock.bind("")  # a name of the kernel's choice
    near.connect(far.getsockname())
    far.connect(near.getsockname())
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: Datagrams(case), sock=near)
    await settle()
    far.send(b"one")
    await settle()
    case.transport.set_write_buffer_limits(0)
    while not (case.transport.is_closing() or case.transport.get_write_buffer_size()):
        case.transport.sendto(b"x" * 1000)
    await settle()
    for _ in range(50):
        drain(far)
        await asyncio.sleep(0)
    await settle()
    far.close()
    try:
        case.transport.sendto(b"nobody")
    except BaseException as error:
        record("sendto", error)
    await settle()
    case.transport.close()
    await settle()
    record("the socket is closed", near.fileno() == -1)


async def reading_pipe(case):
    out, into = os.pipe()
    pipe = open(out, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: Plain(case), pipe)
    await settle()
    os.write(into, b"data")
    await settle()
    os.close(into)
    await settle()
    case.transport.close()
    await settle()
    record("the pipe is closed", pipe.closed)


async def writing_pipe(case):
    out, into = os.pipe()
    os.set_blocking(out, False)
    pipe = open(into, "wb", 0)
    await asyncio.get_running_loop().connect_write_pipe(lambda: Plain(case), pipe)
    await settle()
    write_until_it_waits(case.transport)
    await settle()
    for _ in range(50):
        try:
            os.read(out, 1 << 20)
        except BlockingIOError:
            pass
        await asyncio.sleep(0)
    await settle()
    os.close(out)
    await settle()
    case.transport.close()
    await settle()
    record("the pipe is closed", pipe.closed)


async def watched(case):
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()

    def readable():
        loop.remove_reader(near)
        case.happened("readable")

    def writable():
        loop.remove_writer(near)
        case.happened("writable")

    loop.add_reader(near, readable)
    loop.add_writer(near, writable)
    far.send(b"x")
    await settle()
    near.close()
    far.close()


async def served(case):
    loop = asyncio.get_running_loop()

    def factory():
        case.happened("factory")
        return Plain(case)

    server = await loop.create_server(factory, "127.0.0.1", 0)
    near = socket.create_connection(server.sockets[0].getsockname())
    await settle()
    near.close()
    await settle()
    server.close()


async def streams(case):
    def called(reader, writer):
        case.transport = writer.transport
        case.happened("function")
        writer.close()

    async def awaited(reader, writer):
        case.transport = writer.transport
        case.happened("coroutine")
        await reader.read(1)
        case.happened("coroutine's second part")
        writer.close()

    for callback in (called, awaited):
        server = await asyncio.start_server(callback, "127.0.0.1", 0)
        near = socket.create_connection(server.sockets[0].getsockname())
        await settle()
        near.send(b"x")
        await settle()
        record("closing", case.transport.is_closing())
        case.transport.close()
        near.close()
        await settle()
        server.close()


CASES = {
    plain: ["connection_made", "data_received", "pause_writing", "resume_writing", "eof_received", "connection_lost"],
    buffered: ["connection_made", "get_buffer", "buffer_updated", "eof_received", "connection_lost"],
    datagrams: [
        "connection_made",
        "datagram_received",
        "pause_writing",
        "resume_writing",
        "error_received",
        "connection_lost",
    ],
    reading_pipe: ["connection_made", "data_received", "eof_received", "connection_lost"],
    writing_pipe: ["connection_made", "pause_writing", "resume_writing", "connection_lost"],
    watched: ["readable", "writable"],
    served: ["factory", "connection_made", "connection_lost"],
    streams: ["function", "coroutine", "coroutine's second part"],
}


def run(setting, method, error):
    case, loop = Case(method, error), asyncio.new_event_loop()

    def report(loop, context):
        # After an exit in resume_writing() asyncio goes on trying to write nothing.
        # How soon a task is forgotten depends on cycles; asyncio keeps the socket of a factory that raised as long.
        if "Transport._write" in context["message"] or "never retrieved" in context["message"]:
            return
        # The repr of a handle, and of what it calls, is another matter.
        record(
            "reported", context["message"].partition("(")[0].partition(" <")[0].partition("'")[0], context.get("exception")
        )

    loop.set_exception_handler(report)
    task = loop.create_task(setting(case))
    for _ in range(10):
        try:
            loop.run_until_complete(task)
        except BaseException as left:
            record("left the loop", left, task.done())
        if task.done():
            break
    if case.transport is not None and not case.transport.is_closing():
        record("not closed")
        case.transport.abort()
    loop.run_until_complete(settle())
    assert case.raised, (setting, method)
    del task
    gc.collect()
    loop.close()
    error.__traceback__ = None


for setting, methods in CASES.items():
    for method in methods:
        for error in RAISED:
            if "coroutine" in method and isinstance(error, asyncio.CancelledError) and sys.version_info < (3, 12, 3):
                continue  # 3.11.9 and 3.12.3 close the connection, earlier patch releases do not
            record(setting.__name__, method, error)
            run(setting, method, error)
