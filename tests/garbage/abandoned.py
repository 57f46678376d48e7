"""Tasks that wait when their loop is closed and dropped; each is part of a cycle through itself, which only the collector frees."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

from garbage.connections import Plain, pair, stream_pair
from garbage.counting import Token, begin, turns, whole
from garbage.tls import CLIENT, SERVER

TURNS = 8


def abandoned(function):
    """A program that waits until its loop is dropped.  It yields the awaitable; one named `..._cancelled` is cancelled once."""

    def run():
        loop, started = asyncio.new_event_loop(), asyncio.Event()

        async def wait():
            token = Token()
            token.task = asyncio.current_task()
            async with contextlib.aclosing(function()) as steps:
                awaitable = await anext(steps)
                started.set()
                await awaitable

        async def main():
            task = begin(wait())
            await started.wait()
            await turns(TURNS)
            if function.__name__.endswith("cancelled"):
                message = Token()
                message.task = task
                task.cancel(message)
                await turns(TURNS)
            assert not task.done(), function.__name__

        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.close()
        asyncio.set_event_loop(None)

    run.__name__, run.__module__ = function.__name__, function.__module__
    return whole(run)


def one(name, make):
    """A program that awaits what make() returns."""

    async def steps():
        yield make()

    steps.__name__ = name
    abandoned(steps)


async def forever():
    await asyncio.Event().wait()


def full(kind):
    items = kind(1)
    items.put_nowait(1)
    return items


def pending():
    return asyncio.get_running_loop().create_future()


one("sleep", lambda: asyncio.sleep(1000, Token()))
one("future", pending)
one("event", lambda: asyncio.Event().wait())
one("semaphore", lambda: asyncio.Semaphore(0).acquire())
one("barrier", lambda: asyncio.Barrier(2).wait())
for kind in (asyncio.Queue, asyncio.PriorityQueue):
    one(f"{kind.__name__}_get", lambda kind=kind: kind().get())
    one(f"{kind.__name__}_put", lambda kind=kind: full(kind).put(1))
    one(f"{kind.__name__}_join", lambda kind=kind: full(kind).join())
one("gather", lambda: asyncio.gather(forever(), forever()))
one("shield", lambda: asyncio.shield(forever()))
one("wait", lambda: asyncio.wait([begin(forever())], timeout=1000))
one("wait_for", lambda: asyncio.wait_for(forever(), 1000))
one("wait_for_a_future", lambda: asyncio.wait_for(pending(), 1000))
one("as_completed", lambda: next(iter(asyncio.as_completed([forever(), forever()], timeout=1000))))


@abandoned
async def lock():
    held = asyncio.Lock()
    await held.acquire()
    yield held.acquire()


async def notified(condition):
    async with condition:
        await condition.wait()


async def held(condition):
    async with condition:
        await forever()


@abandoned
async def condition():
    yield notified(asyncio.Condition())


@abandoned
async def condition_cancelled():
    changed = asyncio.Condition()
    asyncio.get_running_loop().call_soon(begin, held(changed))
    yield notified(changed)


@abandoned
async def timeout():
    async def wait():
        async with asyncio.timeout(1000):
            await forever()

    yield wait()


@abandoned
async def group():
    async def wait():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())

    yield wait()


async def stubborn():
    with contextlib.suppress(asyncio.CancelledError):
        await forever()
    await forever()


@abandoned
async def group_cancelled():
    async def wait():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())

    yield wait()


@abandoned
async def group_failed():
    async def wait():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            await asyncio.sleep(0)
            raise ValueError(Token())

    yield wait()


@abandoned
async def wait_for_cancelled():
    yield asyncio.wait_for(stubborn(), 1000)


@abandoned
async def gather_cancelled():
    yield asyncio.gather(stubborn(), stubborn())


@abandoned
async def race():
    from asyncio.staggered import staggered_race

    async def fail():
        raise ValueError(Token())

    yield staggered_race([fail, forever, forever], None)


READS = {
    "read": lambda reader: reader.read(),
    "readline": lambda reader: reader.readline(),
    "readexactly": lambda reader: reader.readexactly(100),
    "readuntil": lambda reader: reader.readuntil(b"x"),
}
for name, read in READS.items():

    async def steps(read=read):
        reader, writer, far = await stream_pair()
        yield read(reader)

    steps.__name__ = name
    abandoned(steps)


@abandoned
async def drain():
    reader, writer, far = await stream_pair()
    writer.write(b"x" * 3_000_000)
    yield writer.drain()


@abandoned
async def wait_closed():
    reader, writer, far = await stream_pair()
    writer.write(b"x" * 3_000_000)
    writer.close()
    yield writer.wait_closed()


async def serving():
    return await asyncio.get_running_loop().create_server(Plain, "127.0.0.1", 0)


@abandoned
async def serve_forever():
    yield (await serving()).serve_forever()


if sys.version_info >= (3, 12, 1):

    @abandoned
    async def serve_forever_cancelled():
        made = asyncio.Event()

        class Full(Plain):
            def connection_made(self, transport):
                transport.write(b"x" * 10_000_000)
                made.set()

        server = await asyncio.get_running_loop().create_server(Full, "127.0.0.1", 0)
        far = socket.create_connection(server.sockets[0].getsockname())
        await made.wait()
        yield server.serve_forever()
        far.close()


SOCKET_CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(1)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 1),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x" * 3_000_000),
}
for name, call in SOCKET_CALLS.items():

    async def steps(call=call):
        near, far = socket.socketpair()
        near.setblocking(False)
        yield call(asyncio.get_running_loop(), near)
        far.close()

    steps.__name__ = name
    abandoned(steps)


@abandoned
async def sock_accept():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    yield asyncio.get_running_loop().sock_accept(listener)


@abandoned
async def handshake():
    listener = socket.create_server(("127.0.0.1", 0))
    name = "localhost"
    yield asyncio.get_running_loop().create_connection(Plain, *listener.getsockname(), ssl=CLIENT, server_hostname=name)


@abandoned
async def start_tls():
    transport, protocol, far = await pair()
    yield asyncio.get_running_loop().start_tls(transport, protocol, SERVER, server_side=True)
    far.close()


@abandoned
async def process():
    started = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield started.wait()


@abandoned
async def communicate():
    started = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with contextlib.suppress(ProcessLookupError):
        yield asyncio.gather(started.communicate(), forever())


@abandoned
async def pipe():
    read, write = os.pipe()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, open(read, "rb", 0))
    yield reader.read()
    os.close(write)
