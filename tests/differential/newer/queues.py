"""Queue.shutdown() (3.13): who waits is woken in its order, what is left can be had, task_done() and join() count on."""

import asyncio

from recorder import record, record_outcome

SINCE = (3, 13)


def filled(kind, items=(), size=0):
    queue = kind(size)
    for item in items:
        queue.put_nowait(item)
    return queue


async def waiter(name, awaitable):
    await record_outcome(name, awaitable)


async def let_run(turns=4):
    for _ in range(turns):
        await asyncio.sleep(0)


async def getters(kind, immediate):
    queue = filled(kind)
    waiting = [asyncio.create_task(waiter(f"getter {n}", queue.get())) for n in range(3)]
    await let_run()
    queue.shutdown(immediate)
    record("shut down", repr(queue).partition(" at ")[2].partition(" ")[2])
    await let_run()
    record("done", [task.done() for task in waiting], queue.qsize())


async def putters(kind, immediate):
    queue = filled(kind, [1, 2], 2)
    waiting = [asyncio.create_task(waiter(f"putter {n}", queue.put(n))) for n in range(3)]
    joining = asyncio.create_task(waiter("join", queue.join()))
    await let_run()
    queue.shutdown(immediate)
    await let_run()
    record("done", [task.done() for task in waiting], joining.done(), queue.qsize(), queue.full(), queue.empty())
    for _ in range(3):
        try:
            record("get_nowait", queue.get_nowait())
        except (asyncio.QueueEmpty, asyncio.QueueShutDown) as error:
            record("get_nowait", error)
    for _ in range(3):
        try:
            record("task_done", queue.task_done())
        except ValueError as error:
            record("task_done", error)
    await let_run()
    record("joined", joining.done())
    joining.cancel()


async def refused(kind, immediate):
    queue = filled(kind, [3])
    queue.shutdown(immediate=immediate)
    queue.shutdown(immediate=immediate)
    await record_outcome("put", queue.put(4))
    try:
        queue.put_nowait(4)
    except asyncio.QueueShutDown as error:
        record("put_nowait", error)
    await record_outcome("get", queue.get())
    await record_outcome("get", queue.get())
    queue.shutdown(True)
    record("left", queue.qsize())


async def half_taken(kind):
    queue = filled(kind, [5, 6, 7])
    record("taken", await queue.get())
    joining = asyncio.create_task(waiter("join", queue.join()))
    await let_run()
    queue.shutdown(immediate=True)
    await let_run()
    record("after", queue._unfinished_tasks, joining.done())
    try:
        queue.task_done()
        record("task_done")
    except ValueError as error:
        record("task_done", error)
    await let_run()
    record("joined", joining.done())
    joining.cancel()


async def cancelled(kind):
    queue = filled(kind, [], 1)
    first, second = (asyncio.create_task(waiter(f"getter {n}", queue.get())) for n in range(2))
    await let_run()
    queue.put_nowait(8)
    first.cancel()
    queue.shutdown()
    await let_run()
    record("done", first.done(), second.done(), queue.qsize())


async def main():
    for kind in (asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue):
        record(kind.__name__)
        for immediate in (False, True):
            for program in (getters, putters, refused):
                record(program.__name__, immediate)
                await program(kind, immediate)
        await half_taken(kind)
        await cancelled(kind)
    record("bases", asyncio.QueueShutDown.__mro__[1].__name__)


asyncio.run(main())
