"""wait in its three manners, as_completed, and what they leave pending."""

import asyncio

from recorder import record, record_outcome


async def value(name, turns, error=None):
    for _ in range(turns):
        await asyncio.sleep(0)
    record("finished", name)
    if error:
        raise error
    return name


def names(tasks):
    return sorted(task.get_name() for task in tasks)


def start(*specifications):
    tasks = []
    for name, turns, *error in specifications:
        tasks.append(asyncio.create_task(value(name, turns, *error), name=name))
    return tasks


async def main():
    tasks = start(("a", 3), ("b", 1), ("c", 1))
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    record("first completed", names(done), names(pending))
    done, pending = await asyncio.wait(tasks)
    record("all", names(done), names(pending))
    tasks = start(("d", 1), ("e", 2, KeyError("e")), ("f", 5))
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    record("first exception", names(done), names(pending))
    done, pending = await asyncio.wait(tasks, timeout=0)
    record("timeout 0", names(done), names(pending))
    await asyncio.wait(tasks)
    record([type(task.exception()).__name__ for task in tasks])

    tasks = start(("g", 3), ("h", 1, OSError("h")), ("i", 2))
    for waiter in asyncio.as_completed(tasks):
        await record_outcome("as completed", waiter)
    tasks = start(("j", 2), ("k", 1))
    try:
        for waiter in asyncio.as_completed(tasks, timeout=0):
            await waiter
    except TimeoutError as error:
        record("as completed, too late", error)
    await asyncio.gather(*tasks)

    tasks = start(("l", 5), ("m", 5))
    waiting = asyncio.create_task(asyncio.wait(tasks))
    await asyncio.sleep(0)
    waiting.cancel("the wait only")
    await record_outcome("cancelled wait", waiting)
    record("the tasks go on", [task.cancelled() for task in tasks])
    await asyncio.gather(*tasks)
    await record_outcome("nothing to wait for", asyncio.wait([]))
    coroutine = value("n", 0)
    await record_outcome("a coroutine", asyncio.wait([coroutine]))
    coroutine.close()


asyncio.run(main())
