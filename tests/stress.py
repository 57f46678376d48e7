"""Every native class made, used, cancelled, dropped and collected, a few hundred times: what `make valgrind` watches.

Not a test of behaviour: it ends with status 0 unless something crashes, and the checks are valgrind's.
"""

import gc
import socket
import sys
import warnings

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


async def main():
    loop = asyncio.get_running_loop()
    for _ in range(ROUNDS):
        await futures(loop)
        await tasks(loop)
        await primitives()
        await connections(loop)
        assert await asyncio.to_thread(len, "four") == 4
        gc.collect()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for debug in (False, True):
        asyncio.run(main(), debug=debug)
        gc.collect()
