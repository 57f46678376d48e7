"""Loops over a selectors object of the caller's, with every kind of transport and socket call on them."""

import asyncio
import os
import selectors
import socket
import tempfile

from recorder import record


class Counting(selectors.SelectSelector):
    """A selector whose methods are Python: notes which events it was asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def register(self, fileobj, events, data=None):
        self.asked.append(("register", events))
        return super().register(fileobj, events, data)

    def modify(self, fileobj, events, data=None):
        self.asked.append(("modify", events))
        return super().modify(fileobj, events, data)

    def unregister(self, fileobj):
        self.asked.append(("unregister",))
        return super().unregister(fileobj)


class Noting(asyncio.Protocol):
    def __init__(self, name):
        self.name, self.lost = name, asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        record(self.name, "made", type(transport).__name__)

    def data_received(self, data):
        record(self.name, "data", data.decode())
        if data.startswith(b"ask"):
            self.transport.writelines([b"answer to ", data])

    def eof_received(self):
        record(self.name, "eof")

    def connection_lost(self, error):
        record(self.name, "lost", error)
        self.lost.set_result(None)


class Buffered(asyncio.BufferedProtocol, Noting):
    def get_buffer(self, sizehint):
        self.buffer = bytearray(16)
        return self.buffer

    def buffer_updated(self, nbytes):
        record(self.name, "updated", self.buffer[:nbytes].decode())


class Packets(asyncio.DatagramProtocol):
    def __init__(self, name):
        self.name, self.lost = name, asyncio.get_running_loop().create_future()
        self.received = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        record(self.name, "datagram", data.decode())
        self.received.set_result(address)

    def connection_lost(self, error):
        record(self.name, "lost", error)
        self.lost.set_result(None)


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(b"echo " + line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def streams():
    async with await asyncio.start_server(echo, "127.0.0.1", 0, limit=1 << 20) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1 << 20)
        for size in (10, 100_000):
            writer.write(b"x" * size + b"\n")
            record("line", len(await reader.readline()))
        writer.close()
        await writer.wait_closed()


async def protocols():
    loop = asyncio.get_running_loop()
    for kind in (Noting, Buffered):
        near, far = socket.socketpair()
        far.setblocking(False)
        transport, protocol = await loop.create_connection(lambda kind=kind: kind(kind.__name__), sock=near)
        for refused in (loop.add_reader, loop.add_writer):
            try:
                refused(transport.get_extra_info("socket").fileno(), print)
            except RuntimeError as error:
                record("refused", str(error).partition(" is used by transport ")[2].partition(" fd=")[0])
        await loop.sock_sendall(far, b"ask")
        if kind is Noting:
            record("far", await loop.sock_recv(far, 100))
        transport.pause_reading()
        await loop.sock_sendall(far, b"while paused")
        await asyncio.sleep(0)
        record("reading", transport.is_reading())
        transport.resume_reading()
        transport.write(b"z" * 3_000_000)
        record("has to wait", transport.get_write_buffer_size() > 0)
        transport.write_eof()
        got = 0
        while data := await loop.sock_recv(far, 1 << 20):
            got += len(data)
        record("all arrived", got)
        far.close()
        await protocol.lost


async def datagrams():
    loop = asyncio.get_running_loop()
    one, first = await loop.create_datagram_endpoint(lambda: Packets("first"), local_addr=("127.0.0.1", 0))
    to_one = one.get_extra_info("sockname")
    two, second = await loop.create_datagram_endpoint(lambda: Packets("second"), remote_addr=to_one)
    two.sendto(b"hello")
    one.sendto(b"hello yourself", await first.received)
    await second.received
    for transport, protocol in ((one, first), (two, second)):
        transport.close()
        await protocol.lost


async def unix_sockets():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        server = await loop.create_unix_server(lambda: Noting("server"), path)
        transport, protocol = await loop.create_unix_connection(lambda: Noting("client"), path)
        transport.write(b"ask")
        transport.write_eof()
        await protocol.lost
        server.close()
        await server.wait_closed()


async def pipes():
    loop = asyncio.get_running_loop()
    out, into = os.pipe()
    reading, reader = await loop.connect_read_pipe(lambda: Noting("reader"), open(out, "rb", 0))
    writing, writer = await loop.connect_write_pipe(lambda: Noting("writer"), open(into, "wb", 0))
    writing.write(b"through the pipe")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writing.close()
    await writer.lost
    await reader.lost


async def readers():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    for sock in near, far:
        sock.setblocking(False)
    heard = loop.create_future()
    loop.add_reader(near, lambda: heard.done() or heard.set_result(near.recv(10)))
    loop.add_writer(far.fileno(), far.send, b"hello")
    record(await heard)
    record(loop.remove_writer(far), loop.remove_writer(far), loop.remove_reader(near), loop.remove_reader(near))
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    with socket.socket() as client:
        client.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await loop.sock_connect(client, listener.getsockname())
        accepted, _ = await accepting
        receiving = asyncio.create_task(loop.sock_recv(client, 10))
        await asyncio.sleep(0)
        receiving.cancel()
        try:
            await receiving
        except asyncio.CancelledError as error:
            record(error)
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"from a file")
            record(await loop.sock_sendfile(accepted, file, 5))
        buffer = bytearray(10)
        record(await loop.sock_recv_into(client, buffer), bytes(buffer))
        accepted.close()
    listener.close()
    near.close()
    far.close()


async def main():
    loop = asyncio.get_running_loop()
    soon = loop.create_future()
    loop.call_soon_threadsafe(soon.set_result, "from anywhere")
    record(await soon)
    record(await loop.run_in_executor(None, lambda: "from a thread"))
    for part in (streams, protocols, datagrams, unix_sockets, pipes, readers):
        record(part.__name__)
        await part()


for kind in (Counting, selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector, selectors.DefaultSelector):
    record(kind.__name__)
    selector = kind()
    with asyncio.Runner(loop_factory=lambda selector=selector: asyncio.SelectorEventLoop(selector)) as runner:
        record(runner.get_loop()._selector is selector)
        runner.run(main())
        record("still registered", len(selector.get_map()))
    record("closed", selector.get_map())
    if kind is Counting:
        record("was asked", sorted({event[0] for event in selector.asked}))
