"""The order of what the poller brings among callbacks that were scheduled before and after."""

import asyncio
import os
import signal
import socket

from recorder import record


def pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


async def readers_among_callbacks():
    """What a reader's callback makes readable is seen at the next turn, before what that turn goes on to schedule."""
    loop = asyncio.get_running_loop()
    (first, first_far), (second, second_far) = pair(), pair()
    done = loop.create_future()

    def spin(count):
        record("spin", count)
        if count < 4:
            loop.call_soon(spin, count + 1)
        elif not done.done():
            done.set_result(None)

    def on_first():
        record("first", first.recv(10))
        second_far.send(b"x")
        loop.call_soon(spin, 0)

    def on_second():
        record("second", second.recv(10))

    loop.add_reader(first, on_first)
    loop.add_reader(second, on_second)
    first_far.send(b"x")
    await done
    for sock in (first, second):
        loop.remove_reader(sock)
    for sock in (first, first_far, second, second_far):
        sock.close()


async def signals_among_callbacks():
    loop = asyncio.get_running_loop()
    done, turns = loop.create_future(), 0

    def spin():
        nonlocal turns
        turns += 1
        if turns < 20 and not done.done():
            loop.call_soon(spin)

    loop.add_signal_handler(signal.SIGUSR1, lambda: done.set_result(turns))
    loop.call_soon(spin)
    os.kill(os.getpid(), signal.SIGUSR1)
    record("turns before the handler", await done)
    loop.remove_signal_handler(signal.SIGUSR1)


async def streams_and_callbacks():
    loop = asyncio.get_running_loop()
    near, far = pair()
    reader, writer = await asyncio.open_connection(sock=near)

    def spin(count):
        record("spin", count)
        if count < 4:
            loop.call_soon(spin, count + 1)

    async def read():
        for _ in range(2):
            record("read", await reader.readexactly(1))
            far.send(b"y")
            loop.call_soon(spin, 0)

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    far.send(b"x")
    await task
    for _ in range(5):
        await asyncio.sleep(0)
    writer.close()
    await writer.wait_closed()
    far.close()


async def main():
    for part in (readers_among_callbacks, signals_among_callbacks, streams_and_callbacks):
        record(part.__name__)
        await part()


asyncio.run(main())
