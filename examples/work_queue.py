"""Queues: producers and workers of one loop.  asyncio's queues are not thread-safe; for threads there is the module queue."""

import asyncio


async def worker(queue, results):
    while True:
        number = await queue.get()
        try:
            await asyncio.sleep(0)
            results.append(number * number)
        finally:
            queue.task_done()


async def main():
    # A queue with a size holds its producers back.
    queue, results = asyncio.Queue(maxsize=5), []
    workers = [asyncio.create_task(worker(queue, results)) for _ in range(3)]
    for number in range(20):
        await queue.put(number)
    await queue.join()  # until task_done() was called for each
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert sorted(results) == [number * number for number in range(20)]

    # The smallest first, and the newest first.
    urgent = asyncio.PriorityQueue()
    for item in ((3, "sweep"), (1, "put out the fire"), (2, "cook")):
        urgent.put_nowait(item)
    assert [urgent.get_nowait()[1] for _ in range(3)] == ["put out the fire", "cook", "sweep"]
    stack = asyncio.LifoQueue()
    for item in "abc":
        stack.put_nowait(item)
    assert await stack.get() == "c"

    # Without waiting: an exception says that there is nothing, or no room.
    try:
        asyncio.Queue().get_nowait()
    except asyncio.QueueEmpty:
        print("nothing there")

    # Python 3.13, and rasyncio everywhere: a queue can be shut down, which ends those who wait for it.
    if hasattr(asyncio.Queue, "shutdown"):
        queue = asyncio.Queue()
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.shutdown()
        (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
        assert type(outcome).__name__ == "QueueShutDown"


asyncio.run(main())
