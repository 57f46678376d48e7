"""Every native class made, used, cancelled, dropped and collected, a few hundred times: what `make valgrind` watches.

Not a test of behaviour: it ends with status 0 unless something crashes, and the checks are valgrind's.
"""

import contextlib
import gc
import os
import socket
import sys
import tempfile
import warnings

import certificates
import rasyncio as asyncio

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30


class Holder:
    """Something for cycles to go through."""


class OwnTask(asyncio.Task):
    pass


async def nothing():
    await asyncio.sleep(0)


async def failing():
    raise ValueError


async def futures(loop):
    for _ in range(20):
        future = loop.create_future()
        future.add_done_callback(lambda f: f)
        future.holder = Holder() if hasattr(future, "__dict__") else None
        loop.call_soon(future.set_result, [future])
        await future
        loop.call_later(100, print, future).cancel()
        waiting = asyncio.ensure_future(loop.create_future())
        waiting.add_done_callback(print)
        waiting.remove_done_callback(print)


async def tasks(loop):
    made = [asyncio.create_task(nothing()) for _ in range(20)] + [OwnTask(nothing(), loop=loop)]
    made[3].cancel()
    await asyncio.gather(*made, failing(), return_exceptions=True)
    await asyncio.wait([asyncio.create_task(nothing()) for _ in range(5)], timeout=1)
    for done in asyncio.as_completed([nothing(), nothing()]):
        await done
    try:
        async with asyncio.timeout(0), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(100))
            await asyncio.shield(group.create_task(asyncio.sleep(100)))
    except TimeoutError:
        pass
    try:
        await asyncio.wait_for(asyncio.sleep(100), 0.0001)
    except TimeoutError:
        pass
    task = asyncio.create_task(asyncio.sleep(100))
    task.holder = task
    await asyncio.sleep(0)
    task.cancel()
    asyncio.Queue().get().close()


async def primitives():
    lock, event, condition, semaphore = asyncio.Lock(), asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(2)
    queue, barrier = asyncio.Queue(2), asyncio.Barrier(2)

    async def use(number):
        async with lock, semaphore:
            await asyncio.sleep(0)
        async with condition:
            condition.notify_all()
        await queue.put(number)
        await barrier.wait()
        event.set()
        return await queue.get()

    users = [asyncio.create_task(use(number)) for number in range(6)]
    await event.wait()
    await asyncio.gather(*users)
    cancelled = [asyncio.create_task(queue.get()), asyncio.create_task(asyncio.Event().wait())]
    await asyncio.sleep(0)
    for task in cancelled:
        task.cancel()


async def connections(loop):
    left, right = socket.socketpair()
    near_reader, near_writer = await asyncio.open_connection(sock=left)
    far_reader, far_writer = await asyncio.open_connection(sock=right)
    near_writer.writelines([b"line\n", b"x" * 100_000, b"\n"])
    assert await far_reader.readline() == b"line\n"
    assert len(await far_reader.readexactly(100_001)) == 100_001
    far_writer.transport.abort()
    await near_reader.read()
    near_writer.close()
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()


class Everything(asyncio.Protocol, asyncio.DatagramProtocol):
    """Notes the end, and is itself in a cycle with its transport."""

    def connection_made(self, transport):
        self.transport, self.lost, self.data = transport, asyncio.get_running_loop().create_future(), b""

    def data_received(self, data):
        self.data += data

    def datagram_received(self, data, address):
        self.data += data

    def connection_lost(self, error):
        self.lost.set_result(error)


class Buffers(asyncio.BufferedProtocol, Everything):
    def get_buffer(self, hint):
        self.buffer = bytearray(1000)
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]
        self.buffer.clear()


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


async def transports(loop):
    for factory in (Everything, Buffers):
        near, far = socket.socketpair()
        far.setblocking(False)
        transport, protocol = await loop.create_connection(factory, sock=near)
        far.send(b"x" * 20_000)
        await until(lambda p=protocol: len(p.data) == 20_000)
        transport.pause_reading()
        transport.set_protocol(Everything())
        transport.set_protocol(protocol)
        transport.resume_reading()
        transport.set_write_buffer_limits(100, 10)
        transport.write(b"x" * 300_000)
        transport.writelines([bytearray(b"y" * 1000), memoryview(b"z" * 70_000), b""])
        transport.write_eof()
        assert len(await received(loop, far)) == 371_000
        far.close()
        await protocol.lost
        transport, protocol = await loop.create_connection(factory, sock=socket.socketpair()[0])
        transport.abort()
        transport.own = protocol
        await protocol.lost


async def received(loop, sock):
    pieces = []
    while piece := await loop.sock_recv(sock, 50_000):
        pieces.append(piece)
    return b"".join(pieces)


async def datagrams(loop):
    one, protocol = await loop.create_datagram_endpoint(Everything, local_addr=("127.0.0.1", 0))
    other, _ = await loop.create_datagram_endpoint(Everything, remote_addr=one.get_extra_info("sockname"))
    for data in (b"x", bytearray(b"y" * 1000), memoryview(b"z" * 60_000)):
        other.sendto(data)
    one.sendto(b"x", other.get_extra_info("sockname"))
    await until(lambda: len(protocol.data) == 61_001)
    one.close()
    await protocol.lost
    other.sendto(b"nobody")
    other.sendto(b"nobody")
    other.abort()


async def pipes(loop):
    out, into = os.pipe()
    reading, protocol = await loop.connect_read_pipe(Everything, open(out, "rb", 0))
    writing, other = await loop.connect_write_pipe(Everything, open(into, "wb", 0))
    writing.writelines([b"x" * 200_000, b"y"])
    writing.write(b"z")
    await until(lambda: len(protocol.data) > 10_000)
    reading.pause_reading()
    reading.resume_reading()
    writing.close()
    await protocol.lost
    assert len(protocol.data) == 200_002 and await other.lost is None


async def unix_sockets(loop):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0rasyncio-stress-{os.getpid()}-{id(listener)}")
    made = []

    async def echo(reader, writer):
        made.append(writer)
        writer.write(await reader.readuntil((b"\n", b"!") if sys.version_info >= (3, 13) else b"!"))
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(echo, sock=listener, limit=100)
    reader, writer = await asyncio.open_unix_connection(listener.getsockname())
    writer.write(b"hello!" + b"x" * 10_000)
    assert await reader.readexactly(6) == b"hello!"
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()


async def sock_calls(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        waiting = [loop.create_task(loop.sock_recv(near, 10)), loop.create_task(loop.sock_recv_into(far, bytearray(10)))]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        loop.sock_recv(near, 5).close()
        sending = loop.create_task(loop.sock_sendall(far, b"x" * 1_000_000))
        buffer, count = bytearray(100_000), 0
        while count < 1_000_000:
            count += await loop.sock_recv_into(near, buffer) if count % 3 else len(await loop.sock_recv(near, 70_000))
        await sending
        loop.add_reader(near, print)
        loop.add_writer(near, loop.remove_writer, near)
        await asyncio.sleep(0)
        loop.remove_reader(near)
        file = tempfile.TemporaryFile()
        file.write(b"x" * 100_000)
        file.flush()
        sending = loop.create_task(loop.sock_sendfile(far, file))
        while count < 1_100_000:
            count += len(await loop.sock_recv(near, 1 << 20))
        await sending
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, protocol = await loop.create_connection(Everything, sock=near)
    sending = loop.create_task(loop.sendfile(transport, file))
    while count < 1_200_000:
        count += len(await loop.sock_recv(far, 1 << 20))
    await sending
    file.close()
    far.close()
    await protocol.lost
    # Closed behind its transport, whose number another gets.
    near, far = socket.socketpair()
    transport, protocol = await loop.create_connection(Everything, sock=near)
    transport.write(b"x" * 1_000_000)
    near.close()
    again = socket.socketpair()
    transport.close()
    far.close()
    for _ in range(3):
        await asyncio.sleep(0)
    transport.abort()
    for sock in again:
        sock.close()


class Answering(Everything):
    def connection_made(self, transport):
        super().connection_made(transport)
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data[:100])


async def under_tls(loop):
    """Large and small, plain, buffered and streams, closed and aborted, one inside another, garbage."""
    server, client = certificates.server(), certificates.client()
    for size in (10, 300_000):
        near, far = socket.socketpair()
        accepting = loop.connect_accepted_socket(Answering, far, ssl=server)
        connecting = asyncio.open_connection(sock=near, ssl=client, server_hostname="localhost")
        (transport, protocol), (reader, writer) = await asyncio.gather(accepting, connecting)
        writer.writelines([b"x" * size, bytearray(b"y"), memoryview(b"z")])
        await reader.readexactly(12)
        if size == 10:
            inner = loop.start_tls(transport, protocol, server, server_side=True)
            protocol.transport, _ = await asyncio.gather(inner, writer.start_tls(client, server_hostname="localhost"))
            writer.write(b"inside")
            await reader.readuntil(b"inside")
        else:
            transport.abort()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await protocol.lost
    near, far = socket.socketpair()
    accepting = asyncio.ensure_future(loop.connect_accepted_socket(Answering, far, ssl=server))
    near.send(b"GET / HTTP/1.0\r\n\r\n")
    with contextlib.suppress(OSError):
        await accepting
    near.close()


async def main():
    loop = asyncio.get_running_loop()
    for _ in range(ROUNDS):
        await futures(loop)
        await tasks(loop)
        await primitives()
        await connections(loop)
        for use in (transports, datagrams, pipes, unix_sockets, sock_calls, under_tls):
            await use(loop)
        assert await asyncio.to_thread(len, "four") == 4
        gc.collect()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for debug in (False, True):
        asyncio.run(main(), debug=debug)
        gc.collect()
