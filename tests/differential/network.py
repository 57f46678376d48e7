"""Runs programs of connections and writes what happened on each; a child of test_network.py.

It reads one program a line, as JSON, and answers one trace a line.  A program is made of connections, each of two ends in
this process, and of steps, each an operation on one end.  After a step the loop runs until nothing happens any more, so that
what a step leads to does not depend on time.  A trace has for each step and each end the events in their order, what was
read, what was written and what tasks ended with apart from each other, and adjacent data as one piece.
"""

import asyncio
import gc
import json
import logging
import os
import selectors
import socket
import sys
import warnings
import zlib

QUIET_TURNS = 8
MOST_TURNS = 4000
LINE = 97
PATTERN = bytes(10 if index % LINE == LINE - 1 else index % 251 or 1 for index in range(LINE * 251)) * 50
# gh-156512 (3.14.8): after close() had to send what was buffered, asyncio forgets that the connection is lost.
FORGETFUL = sys.version_info < (3, 14)
AFTER_THE_END = ("write", "writelines", "abort", "close", "set_protocol", "limits")
# asyncio's transport of a connected socket has no loop by then to tell of what it raises.
DATAGRAMS_AFTER_THE_END = ("sendto", "sendto_often")
ERRORS = {"ValueError": ValueError, "OSError": OSError, "ConnectionResetError": ConnectionResetError}


def told(error):
    return None if error is None else [type(error).__name__, str(error)]


class Trace:
    def __init__(self):
        self.happened, self.steps, self.ends = 0, [{}], []

    def note(self, lane, *event):
        self.happened += 1
        events = self.steps[-1].setdefault(lane, [])
        if event[0] == "data" and events and events[-1][0] == "data":
            events[-1] = ["data", events[-1][1] + event[1], event[2]]
        else:
            events.append(list(event))

    def unsent(self):
        return [end.transport.get_write_buffer_size() for end in self.ends if end.transport is not None]

    async def settle(self):
        """Turns of the loop until nothing has happened for some of them."""
        quiet = turns = 0
        while quiet < QUIET_TURNS and turns < MOST_TURNS:
            before = self.happened, self.unsent()
            await asyncio.sleep(0)
            quiet, turns = quiet + 1 if (self.happened, self.unsent()) == before else 0, turns + 1
        if turns == MOST_TURNS:
            self.note("loop", "does not come to rest")


class End:
    """One end of a connection, and what it has sent and received so far."""

    def __init__(self, trace, name, keep_open, limit):
        self.trace, self.name, self.keep_open, self.limit = trace, name, keep_open, limit
        self.transport = self.sock = self.reader = self.writer = self.server = None
        self.sent = self.received = self.checksum = 0
        self.plans, self.tasks, self.lost = {}, [], False

    def note(self, lane, *event):
        self.trace.note(f"{self.name} {lane}", *event)

    def take(self, data):
        expected = bytes(PATTERN[(self.received + i) % len(PATTERN)] for i in (0, len(data) - 1)) if data else b""
        if data and bytes((data[0], data[-1])) != expected:
            self.note("read", "wrong bytes")
        self.received += len(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.note("read", "data", len(data), self.checksum)

    def bytes_to_send(self, count):
        start = self.sent % len(PATTERN)
        self.sent += count
        whole = PATTERN[start:]
        while len(whole) < count:
            whole += PATTERN
        return whole[:count]

    def react(self, event):
        if self.plans.get(event):
            self.perform(*self.plans[event].pop(0))

    def perform(self, operation, argument):
        if operation == "raise":
            self.note("operations", "raise")
            raise ERRORS[argument]("as planned")
        if self.lost and (operation in DATAGRAMS_AFTER_THE_END or FORGETFUL and operation in AFTER_THE_END):
            return
        try:
            result = OPERATIONS[operation](self, argument)
        except Exception as error:
            self.note("operations", operation, told(error))
        else:
            self.note("operations", operation, result)

    def begin(self, name, coroutine):
        async def watched():
            try:
                result = await coroutine
            except asyncio.CancelledError:
                self.note("tasks", name, "cancelled")
                raise
            except Exception as error:
                self.note("tasks", name, told(error))
            else:
                if isinstance(result, bytes):
                    self.note("tasks", name, len(result))
                    self.take(result)
                else:
                    self.note("tasks", name, result)

        self.tasks.append(asyncio.create_task(watched()))

    def state(self):
        if self.transport is not None and not (FORGETFUL and self.lost):
            closing, size = self.transport.is_closing(), self.transport.get_write_buffer_size()
            self.note("state", closing, self.transport.is_reading(), size > 0)


class Plain(asyncio.Protocol):
    def __init__(self, end):
        self.end = end

    def connection_made(self, transport):
        self.end.transport = transport
        self.end.note("read", "made")
        self.end.react("made")

    def data_received(self, data):
        self.end.take(data)
        self.end.react("data")

    def eof_received(self):
        self.end.note("read", "eof")
        self.end.react("eof")
        return self.end.keep_open

    def pause_writing(self):
        self.end.note("write", "pause")
        self.end.react("pause")

    def resume_writing(self):
        self.end.note("write", "resume")
        self.end.react("resume")

    def connection_lost(self, error):
        self.end.lost = True
        self.end.note("read", "lost", told(error))
        self.end.note("write", "lost")
        self.end.react("lost")


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, end):
        self.end = end
        self.buffer = bytearray(5000)

    def get_buffer(self, hint):
        self.end.react("get_buffer")
        return self.buffer

    def buffer_updated(self, count):
        self.end.take(bytes(self.buffer[:count]))
        self.end.react("data")

    connection_made, eof_received, connection_lost = Plain.connection_made, Plain.eof_received, Plain.connection_lost
    pause_writing, resume_writing = Plain.pause_writing, Plain.resume_writing


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, end):
        self.end = end

    def datagram_received(self, data, address):
        self.end.note("read", "datagram", len(data), zlib.crc32(data), isinstance(address, str))
        self.end.react("data")

    def error_received(self, error):
        self.end.note("write", "error", told(error))
        self.end.react("error")

    connection_made, connection_lost = Plain.connection_made, Plain.connection_lost
    pause_writing, resume_writing = Plain.pause_writing, Plain.resume_writing


PROTOCOLS = {"plain": Plain, "buffered": Buffered}


class WatchedStreams(asyncio.StreamReaderProtocol):
    def connection_lost(self, error):
        self.end.lost = True
        self.end.note("write", "lost", told(error))
        super().connection_lost(error)


def streams(end):
    """The protocol of a reader and a writer; transports as `open_connection` makes them."""
    end.reader = asyncio.StreamReader(limit=end.limit)
    protocol = WatchedStreams(end.reader)
    protocol.end = end

    def made(transport):
        end.transport = transport
        end.writer = asyncio.StreamWriter(transport, protocol, end.reader, asyncio.get_running_loop())

    end.made = made
    return protocol


def cancel(end, _):
    return [task.cancel() for task in end.tasks]


def shutdown(end, _):
    end.sock.shutdown(socket.SHUT_WR)


def close_socket(end, _):
    """Closed by its owner; not while the loop waits for it, for the selectors of asyncio do not hear of that."""
    if not all(task.done() for task in end.tasks):
        return "is waited for"
    end.sock.close()


async def received_into(end, count):
    buffer = bytearray(count)
    received = await asyncio.get_running_loop().sock_recv_into(end.sock, buffer)
    return bytes(buffer[:received])


def read_until(end, separators):
    """One separator, or several where the running version takes them."""
    wanted = [separator.encode() for separator in separators]
    several = len(wanted) > 1 and sys.version_info >= (3, 13)
    end.begin("readuntil", end.reader.readuntil(tuple(wanted) if several else wanted[0]))


def serving(name):
    def call(end, _):
        if end.server is None or not hasattr(end.server, name) or (name.endswith("clients") and sys.version_info < (3, 13)):
            return "no server"
        result = getattr(end.server, name)()
        if name == "wait_closed":
            end.begin(name, result)
        return None

    return call


def reading(name):
    return lambda end, count: end.begin(name, getattr(end.reader, name)(*([] if count is None else [count])))


OPERATIONS = {
    "write": lambda end, count: end.transport.write(end.bytes_to_send(count)),
    "writelines": lambda end, counts: end.transport.writelines([end.bytes_to_send(count) for count in counts]),
    "write_eof": lambda end, _: end.transport.write_eof(),
    "pause_reading": lambda end, _: end.transport.pause_reading(),
    "resume_reading": lambda end, _: end.transport.resume_reading(),
    "close": lambda end, _: end.transport.close(),
    "abort": lambda end, _: end.transport.abort(),
    "set_protocol": lambda end, kind: end.transport.set_protocol(PROTOCOLS[kind](end)),
    "limits": lambda end, high: end.transport.set_write_buffer_limits(high),
    "plan": lambda end, plan: end.plans.setdefault(plan[0], []).append(plan[1:]),
    "read": reading("read"),
    "readexactly": reading("readexactly"),
    "readline": lambda end, _: end.begin("readline", end.reader.readline()),
    "readuntil": read_until,
    "sendto": lambda end, count: end.transport.sendto(end.bytes_to_send(count)),
    "sendto_often": lambda end, count: [end.transport.sendto(end.bytes_to_send(100)) for _ in range(count)] and None,
    "close_server": serving("close"),
    "close_clients": serving("close_clients"),
    "abort_clients": serving("abort_clients"),
    "server_closed": serving("wait_closed"),
    "recv_into": lambda end, count: end.begin("recv_into", received_into(end, count)),
    "drain": lambda end, _: end.begin("drain", end.writer.drain()),
    "wait_closed": lambda end, _: end.begin("wait_closed", end.writer.wait_closed()),
    "at_eof": lambda end, _: end.reader.at_eof(),
    "cancel": cancel,
    "recv": lambda end, n: end.begin("recv", asyncio.get_running_loop().sock_recv(end.sock, n)),
    "sendall": lambda end, n: end.begin("sendall", asyncio.get_running_loop().sock_sendall(end.sock, end.bytes_to_send(n))),
    "shutdown": shutdown,
    "close_socket": close_socket,
}


async def put_on(end, sock, kind):
    """An end of a connected socket."""
    if kind == "raw":
        sock.setblocking(False)
        end.sock = sock
        return
    loop = asyncio.get_running_loop()
    factory = (lambda: streams(end)) if kind == "streams" else (lambda: PROTOCOLS[kind](end))
    transport, _ = await loop.create_connection(factory, sock=sock)
    end.transport = transport
    if kind == "streams":
        end.made(transport)


async def put_datagrams_on(ends, over):
    """Two sockets of datagrams, each connected to the other."""
    family, name = (socket.AF_INET, ("127.0.0.1", 0)) if over == "udp" else (socket.AF_UNIX, "")
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in ends]
    for sock in sockets:
        sock.bind(name)
    for sock, other in (sockets, sockets[::-1]):
        sock.connect(other.getsockname())
    for end, sock in zip(ends, sockets, strict=True):
        sock.setblocking(False)
        end.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda end=end: Datagrams(end), sock=sock
        )


async def connect_by_server(ends, kinds, over, keeps_serving):
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def factory():
        end, kind = ends[1], kinds[1]
        loop.call_soon(accepted.set_result, None)
        return streams(end) if kind == "streams" else PROTOCOLS[kind](end)

    if over == "tcp":
        server = await loop.create_server(factory, "127.0.0.1", 0)
        near = socket.create_connection(server.sockets[0].getsockname())
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")  # a name of the kernel's choice
        server = await loop.create_unix_server(factory, sock=listener)
        near = socket.socket(socket.AF_UNIX)
        near.connect(listener.getsockname())
    await put_on(ends[0], near, kinds[0])
    await accepted
    await asyncio.sleep(0)
    if kinds[1] == "streams":
        while (transport := getattr(ends[1].reader, "_transport", None)) is None:
            await asyncio.sleep(0)
        ends[1].made(transport)
    if keeps_serving:
        ends[1].server = server
    else:
        server.close()


async def connect_and_cancel(trace, turns):
    """A connection that is given up after some turns: no socket may be left, whatever the server saw."""
    loop = asyncio.get_running_loop()
    lost = []

    class Short(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def connection_lost(self, error):
            lost.append(self)

    server = await loop.create_server(Short, "127.0.0.1", 0)
    task = asyncio.create_task(loop.create_connection(Short, *server.sockets[0].getsockname()))
    for _ in range(turns):
        await asyncio.sleep(0)
    cancelled = task.cancel()
    try:
        transport, _ = await task
        trace.note("connecting", "connected", cancelled)
        transport.close()
    except asyncio.CancelledError:
        trace.note("connecting", "cancelled", cancelled)
    await trace.settle()
    server.close()
    await server.wait_closed()


async def run(program, trace):
    loop = asyncio.get_running_loop()

    def handler(_, context):
        owner = next((end.name for end in everyone if end.transport is context.get("transport", 0)), "loop")
        trace.note(f"{owner} handler", context["message"].split(" at 0x")[0].split("<")[0], told(context.get("exception")))

    everyone = trace.ends
    loop.set_exception_handler(handler)
    ends = []
    for number, connection in enumerate(program["connections"]):
        both = zip("ab", connection["keep_open"], strict=True)
        pair = [End(trace, f"{number}{side}", keep, connection["limit"]) for side, keep in both]
        everyone += pair
        if connection["kinds"][0] == "datagrams":
            await put_datagrams_on(pair, connection["over"])
        elif connection["over"] != "pair":
            await connect_by_server(pair, connection["kinds"], connection["over"], connection["serves"])
        else:
            near, far = socket.socketpair()
            await put_on(pair[0], near, connection["kinds"][0])
            await put_on(pair[1], far, connection["kinds"][1])
        ends.append(pair)
    await trace.settle()
    for step in program["steps"]:
        trace.steps.append({})
        if step[0] == "connect":
            await connect_and_cancel(trace, step[1])
            continue
        connection, side, operation, argument = step
        end = ends[connection % len(ends)][side]
        end.perform(operation, argument)
        await trace.settle()
        for end in everyone:
            end.state()
    trace.steps.append({})
    for end in everyone:
        end.plans.clear()
        cancel(end, None)
        if end.sock is not None:
            end.sock.close()
        if end.server is not None:
            end.server.close()
        if end.transport is not None and not end.lost:
            end.transport.abort()
    await trace.settle()
    await asyncio.gather(*(task for end in everyone for task in end.tasks), return_exceptions=True)
    for end in everyone:
        end.transport = end.reader = end.writer = end.server = None


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def main():
    warnings.simplefilter("ignore")
    logging.getLogger("asyncio").disabled = True
    for line in sys.stdin:
        trace, before = Trace(), descriptors()
        sys.unraisablehook = lambda info, trace=trace: trace.note("unraisable", told(info.exc_value))
        try:
            program = json.loads(line)
            factory = (lambda: asyncio.SelectorEventLoop(selectors.EpollSelector())) if program["selector"] else None
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(run(program, trace))
        except Exception as error:
            trace.note("program", told(error))
        gc.collect()
        if descriptors() != before:
            trace.note("program", "descriptors left open", descriptors() - before)
        print(json.dumps(trace.steps), flush=True)


main()
