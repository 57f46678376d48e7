"""Streams, transports, servers and datagrams: connections that end well, by an error, by a cancellation."""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile

from garbage.counting import Token, begin, cancelled, expected, program, turns

ERRORS = (OSError, EOFError, asyncio.LimitOverrunError)


class Plain(asyncio.Protocol):
    """Knows when its connection is made, has an end, and is lost; holds a token."""

    def __init__(self, fails=()):
        self.token, self.fails = Token(), fails
        self.transport, self.data, self.lost = None, bytearray(), asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()

    def maybe_fail(self, event):
        if event in self.fails:
            raise ValueError(Token())

    def connection_made(self, transport):
        self.transport = transport
        self.maybe_fail("made")

    def data_received(self, data):
        self.data += data
        self.arrived.set()
        self.maybe_fail("data")

    def eof_received(self):
        self.maybe_fail("eof")

    def pause_writing(self):
        self.maybe_fail("pause")

    def resume_writing(self):
        self.maybe_fail("resume")

    def connection_lost(self, error):
        self.transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        self.maybe_fail("lost")


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, fails=()):
        Plain.__init__(self, fails)
        self.buffer = bytearray(100)

    def get_buffer(self, hint):
        self.maybe_fail("get_buffer")
        return self.buffer

    def buffer_updated(self, count):
        Plain.data_received(self, self.buffer[:count])

    maybe_fail, connection_made, eof_received = Plain.maybe_fail, Plain.connection_made, Plain.eof_received
    pause_writing, resume_writing, connection_lost = Plain.pause_writing, Plain.resume_writing, Plain.connection_lost


async def pair(factory=Plain):
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=near)
    return transport, protocol, far


async def stream_pair(**options):
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near, **options)
    far.setblocking(False)
    return reader, writer, far


async def echo(reader, writer):
    token = Token()
    with contextlib.suppress(OSError):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
    writer.close()
    del token


async def talk(reader, writer):
    writer.write(b"a line\nand more")
    await writer.drain()
    await reader.readline()
    await reader.readexactly(8)
    writer.get_extra_info("socket"), writer.get_extra_info("peername"), repr(writer), repr(reader)
    if writer.can_write_eof():
        writer.write_eof()
        await reader.read()
    writer.close()
    await writer.wait_closed()


async def gone(server):
    server.close()
    await server.wait_closed()


@program
async def streams_echo():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await talk(reader, writer)
    await gone(server)


@program
async def streams_echo_over_unix():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await asyncio.start_unix_server(echo, path)
        await talk(*await asyncio.open_unix_connection(path))
        await gone(server)


@program
async def streams_reading():
    reader, writer, far = await stream_pair(limit=50)
    far.send(b"one\ntwo\nthree;four" * 3)
    await reader.readline()
    await reader.readuntil(b"t")
    await reader.readexactly(3)
    await reader.read(1)
    far.send(b"x" * 400)
    far.close()
    await reader.read()
    async for _ in reader:
        pass
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


@program
async def streams_incomplete():
    for read in (
        lambda reader: reader.readexactly(100),
        lambda reader: reader.readuntil(b"x"),
        lambda reader: reader.readline(),
    ):
        reader, writer, far = await stream_pair()
        far.send(b"some")
        asyncio.get_running_loop().call_soon(far.close)
        with contextlib.suppress(*ERRORS):
            await read(reader)
        with contextlib.suppress(*ERRORS):
            await read(reader)
        writer.close()


@program
async def streams_over_the_limit():
    reader, writer, far = await stream_pair(limit=10)
    for part in (b"x" * 100, b"x" * 100 + b"\n"):
        far.send(part)
        with expected(*ERRORS):
            await reader.readline()
        far.send(part)
        with expected(*ERRORS):
            await reader.readuntil(b"\n")
    far.close()
    writer.close()


@program
async def streams_with_an_exception():
    reader, writer, far = await stream_pair()
    reader.set_exception(ValueError(Token()))
    for read in (reader.read, reader.readline, lambda: reader.readuntil(b"x"), lambda: reader.readexactly(1)):
        with expected():
            await read()
    reader.exception()
    with expected():
        await writer.drain()
    far.close()
    writer.close()


@program
async def streams_with_an_exception_while_they_wait():
    for read in (lambda r: r.read(), lambda r: r.readline(), lambda r: r.readuntil(b"x"), lambda r: r.readexactly(1)):
        reader, writer, far = await stream_pair()
        asyncio.get_running_loop().call_soon(reader.set_exception, ValueError(Token()))
        with expected():
            await read(reader)
        far.close()
        writer.close()


@program
async def streams_read_twice():
    reader, writer, far = await stream_pair()
    first = begin(reader.read(1))
    await turns(2)
    with contextlib.suppress(RuntimeError):
        await reader.readline()
    far.send(b"x")
    await first
    far.close()
    writer.close()


@program
async def streams_cancelled():
    for read in (lambda r: r.read(), lambda r: r.readline(), lambda r: r.readuntil(b"x"), lambda r: r.readexactly(1)):
        reader, writer, far = await stream_pair()
        await cancelled(read(reader))
        with expected():
            await asyncio.wait_for(read(reader), 1e-6)
        far.close()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@program
async def streams_draining():
    reader, writer, far = await stream_pair()
    writer.write(b"x" * 3_000_000)
    await cancelled(writer.drain())
    draining = begin(writer.drain())
    await turns(2)
    while not draining.done():
        await asyncio.get_running_loop().sock_recv(far, 1_000_000)
    await draining
    writer.write(b"x" * 3_000_000)
    far.close()
    with contextlib.suppress(OSError):
        await writer.drain()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    writer.close()


@program
async def streams_reset():
    listener = socket.create_server(("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    far, _ = listener.accept()
    writer.write(b"unread")
    await writer.drain()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    far.close()
    listener.close()
    for _ in range(2):
        with contextlib.suppress(OSError):
            await reader.read()
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@program
async def streams_forgotten():
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    writer.transport.abort()
    far.close()
    await turns(3)


@program
async def streams_whose_callback_fails():
    done = asyncio.Event()

    async def fail(reader, writer):
        done.set()
        raise ValueError(Token())

    def fail_at_once(reader, writer):
        done.set()
        raise ValueError(Token())

    for callback in (fail, fail_at_once):
        server = await asyncio.start_server(callback, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await done.wait()
        done.clear()
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        server.close()
        await turns(5)


@program
async def streams_fed_by_hand():
    reader = asyncio.StreamReader(limit=10)
    reader.feed_data(b"some\nlines")
    await reader.readline()
    await cancelled(reader.readline())
    reader.feed_eof()
    await reader.read()
    with contextlib.suppress(EOFError):
        await reader.readexactly(1)


@program
async def connection():
    for kind in (Plain, Buffered):
        transport, protocol, far = await pair(kind)
        transport.write(b"some"), transport.writelines([b"parts", b"and more"])
        await asyncio.get_running_loop().sock_recv(far, 100)
        far.send(b"x" * 500)
        await protocol.arrived.wait()
        transport.get_extra_info("peername"), transport.get_write_buffer_limits(), repr(transport)
        transport.pause_reading(), transport.resume_reading()
        far.close()
        await protocol.lost


@program
async def connection_closed():
    for end in ("close", "abort", "write_eof"):
        transport, protocol, far = await pair()
        transport.write(b"x" * 3_000_000)
        getattr(transport, end)()
        far.close()
        await protocol.lost


@program
async def connection_whose_protocol_fails():
    for kind in (Plain, Buffered):
        for event in ("made", "data", "eof", "pause", "resume", "lost", "get_buffer"):
            transport, protocol, far = await pair(lambda kind=kind, event=event: kind([event]))
            far.send(b"some")
            await turns(3)
            if not transport.is_closing():
                transport.write(b"x" * 3_000_000)
                with contextlib.suppress(OSError):
                    while transport.get_write_buffer_size():
                        await asyncio.get_running_loop().sock_recv(far, 1_000_000)
            far.close()
            await protocol.lost


@program
async def connection_whose_factory_fails():
    def fail():
        raise ValueError(Token())

    near, far = socket.socketpair()
    with expected():
        await asyncio.get_running_loop().create_connection(fail, sock=near)
    near.close(), far.close()


@program
async def connection_to_another_protocol():
    transport, protocol, far = await pair()
    other = Buffered()
    transport.set_protocol(other)
    protocol.transport = None
    transport.get_protocol()
    far.send(b"some")
    await other.arrived.wait()
    far.close()
    await other.lost


@program
async def connection_misused():
    transport, protocol, far = await pair()
    with contextlib.suppress(TypeError):
        transport.write("text")
    transport.write_eof()
    with contextlib.suppress(RuntimeError):
        transport.write(b"late")
    with expected():
        transport.set_write_buffer_limits(1, 2)
    transport.abort()
    await protocol.lost
    far.close()


def refusing():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()


@program
async def connection_refused():
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        await loop.create_connection(Plain, *refusing())
    with contextlib.suppress(OSError):
        await asyncio.open_connection(*refusing())
    with contextlib.suppress(OSError):
        await asyncio.open_unix_connection("/nowhere/at/all")


@program
async def connection_refused_in_a_task():
    with contextlib.suppress(OSError):
        await begin(asyncio.get_running_loop().create_connection(Plain, *refusing()))
    with contextlib.suppress(OSError):
        await begin(asyncio.open_connection(*refusing()))


@program
async def connection_refused_by_several():
    loop = asyncio.get_running_loop()
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", refusing()) for _ in range(3)]

    async def resolve(*_, **__):
        return answers

    loop.getaddrinfo = resolve
    try:
        with contextlib.suppress(OSError):
            await loop.create_connection(Plain, "several", 1)
        with contextlib.suppress(OSError):
            await loop.create_connection(Plain, "several", 1, happy_eyeballs_delay=0.001)
        if sys.version_info >= (3, 12):
            with contextlib.suppress(OSError, ExceptionGroup):
                await loop.create_connection(Plain, "several", 1, all_errors=True)
        with contextlib.suppress(OSError):
            await loop.create_connection(Plain, "several", 1, local_addr=("127.0.0.1", 1))
    finally:
        del loop.getaddrinfo


@program
async def connection_by_happy_eyeballs():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Plain, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, protocol = await loop.create_connection(Plain, *address, happy_eyeballs_delay=0.25)
    transport.close()
    await protocol.lost
    await gone(server)


@program
async def connection_cancelled():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Plain, "127.0.0.1", 0)
    for count in (1, 2):
        await cancelled(loop.create_connection(Plain, *server.sockets[0].getsockname()), count)
    await turns(5)
    server.close()


@program
async def connection_of_wrong_arguments():
    loop = asyncio.get_running_loop()
    for given in ({}, {"host": "127.0.0.1", "port": 1, "sock": 1}, {"server_hostname": "x"}, {"ssl": True}):
        with expected(TypeError, OSError):
            await loop.create_connection(Plain, **given)
    with socket.socket(type=socket.SOCK_DGRAM) as wrong, expected():
        await loop.create_connection(Plain, sock=wrong)


@program
async def names_resolved():
    loop = asyncio.get_running_loop()
    await loop.getaddrinfo("127.0.0.1", 80)
    await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    with contextlib.suppress(OSError):
        await loop.getaddrinfo("127.0.0.1", "no such service")
    await cancelled(loop.getaddrinfo("127.0.0.1", "http"))


@program
async def servers():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Plain, "127.0.0.1", 0, start_serving=False)
    repr(server), server.sockets, server.is_serving(), server.get_loop()
    async with server:
        await server.start_serving()
        await cancelled(server.serve_forever())
    server = await loop.create_server(Plain, "127.0.0.1", 0)
    serving = begin(server.serve_forever())
    await turns(2)
    with contextlib.suppress(RuntimeError):
        await server.serve_forever()
    server.close()
    with expected():
        await serving


@program
async def servers_with_connections():
    loop = asyncio.get_running_loop()
    accepted = []
    for end in ("close", "close_clients", "abort_clients"):
        server = await loop.create_server(lambda: accepted.append(Plain()) or accepted[-1], "127.0.0.1", 0)
        transport, protocol = await loop.create_connection(Plain, *server.sockets[0].getsockname())
        while not (accepted and accepted[-1].transport):
            await asyncio.sleep(0)
        server.close()
        waiting = begin(server.wait_closed())
        await turns(2)
        if end != "close" and sys.version_info >= (3, 13):
            getattr(server, end)()
        else:
            transport.close()
        await protocol.lost
        await accepted.pop().lost
        await waiting


@program
async def servers_whose_factory_fails():
    def fail():
        raise ValueError(Token())

    loop = asyncio.get_running_loop()
    server = await loop.create_server(fail, "127.0.0.1", 0)
    transport, protocol = await loop.create_connection(Plain, *server.sockets[0].getsockname())
    await protocol.lost
    await gone(server)


@program
async def servers_that_cannot_listen():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with contextlib.suppress(OSError):
            await loop.create_server(Plain, *taken.getsockname())
        with contextlib.suppress(OSError):
            await begin(loop.create_server(Plain, *taken.getsockname()))
    with contextlib.suppress(OSError):
        await loop.create_unix_server(Plain, "/nowhere/at/all")
    with expected():
        await loop.create_server(Plain)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, fails=()):
        Plain.__init__(self, fails)

    maybe_fail, connection_made, connection_lost = Plain.maybe_fail, Plain.connection_made, Plain.connection_lost

    def datagram_received(self, data, address):
        self.arrived.set()
        self.maybe_fail("datagram")

    def error_received(self, error):
        self.arrived.set()
        self.maybe_fail("error")


@program
async def datagrams():
    loop = asyncio.get_running_loop()
    server, receiver = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    client, sender = await loop.create_datagram_endpoint(Datagrams, remote_addr=server.get_extra_info("sockname"))
    client.sendto(b"some")
    await receiver.arrived.wait()
    server.sendto(b"back", client.get_extra_info("sockname"))
    await sender.arrived.wait()
    repr(client)
    client.close(), server.abort()
    await sender.lost
    await receiver.lost


@program
async def datagrams_that_fail():
    loop = asyncio.get_running_loop()
    for fails in ((), ("error", "datagram")):
        client, protocol = await loop.create_datagram_endpoint(lambda fails=fails: Datagrams(fails), remote_addr=refusing())
        client.sendto(b"to nobody")
        await protocol.arrived.wait()
        with expected():
            client.sendto(b"some", ("127.0.0.2", 1))
        client.close()
        await protocol.lost
    with contextlib.suppress(OSError):
        await loop.create_datagram_endpoint(Datagrams, ("192.0.2.1", 1))
    with expected():
        await loop.create_datagram_endpoint(Datagrams)
