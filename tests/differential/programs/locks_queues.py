"""Who gets a lock, a semaphore, a condition or a queue's item, and in which order, cancellation included."""

import asyncio

from recorder import record, record_outcome


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


async def hold(lock, name, number):
    async with lock:
        record(name, "holds")
        await turns(number)
    record(name, "released")


async def locks(lock):
    tasks = [asyncio.create_task(hold(lock, name, 2)) for name in "abcd"]
    await turns(2)
    tasks[1].cancel()
    record("locked", lock.locked())
    await asyncio.wait(tasks)
    record("locked", lock.locked(), [task.cancelled() for task in tasks])


async def conditions():
    condition = asyncio.Condition()
    ready = []

    async def wait(name):
        async with condition:
            await condition.wait_for(lambda: name in ready)
            record(name, "notified")

    tasks = [asyncio.create_task(wait(name)) for name in "efg"]
    await turns(3)
    for name in "gef":
        async with condition:
            ready.append(name)
            condition.notify_all()
        await turns(4)
    await asyncio.gather(*tasks)
    try:
        condition.notify()
    except RuntimeError as error:
        record(error)


async def events():
    event = asyncio.Event()
    tasks = [asyncio.create_task(record_outcome(name, event.wait())) for name in "hij"]
    await turns(2)
    tasks[0].cancel()
    event.set()
    event.clear()
    await asyncio.gather(*tasks)
    record("set", event.is_set())


async def barriers():
    barrier = asyncio.Barrier(3)
    tasks = [asyncio.create_task(record_outcome(name, barrier.wait())) for name in "klm"]
    await asyncio.gather(*tasks)
    task = asyncio.create_task(record_outcome("aborted", barrier.wait()))
    await turns(2)
    await barrier.abort()
    await task


async def queues(queue):
    async def produce(name, items):
        for item in items:
            await queue.put(item)
            record(name, "put", item)

    async def consume(name, number):
        for _ in range(number):
            record(name, "got", await queue.get())
            queue.task_done()

    tasks = [asyncio.create_task(consume("first", 3)), asyncio.create_task(consume("second", 3))]
    tasks += [asyncio.create_task(produce("x", [5, 1, 4])), asyncio.create_task(produce("y", [2, 6, 3]))]
    await asyncio.gather(*tasks)
    await queue.join()
    record("joined", queue.empty(), queue.qsize())
    waiting = [asyncio.create_task(record_outcome(name, queue.get())) for name in ("cancelled getter", "getter")]
    await turns(1)
    queue.put_nowait(7)
    waiting[0].cancel()
    await asyncio.gather(*waiting)
    for wrong in (queue.get_nowait, lambda: [queue.put_nowait(number) for number in range(9)]):
        try:
            wrong()
        except Exception as error:
            record(error)


async def main():
    await locks(asyncio.Lock())
    await locks(asyncio.Semaphore(2))
    await conditions()
    await events()
    await barriers()
    for kind in (asyncio.Queue, asyncio.PriorityQueue, asyncio.LifoQueue):
        record(kind.__name__)
        await queues(kind(2))
    try:
        asyncio.BoundedSemaphore(1).release()
    except ValueError as error:
        record(error)


asyncio.run(main())
