"""as_completed() as an asynchronous iterator (3.13): it gives the tasks themselves; as a plain one, coroutines."""

import asyncio

from recorder import record, record_outcome

SINCE = (3, 13)


async def after(name, turns, error=None):
    for _ in range(turns):
        await asyncio.sleep(0)
    if error:
        raise error
    return name


async def tasks_come_back():
    tasks = [asyncio.create_task(after(name, turns), name=name) for name, turns in (("a", 3), ("b", 1), ("c", 2))]
    async for task in asyncio.as_completed(tasks):
        record(task.get_name(), task in tasks, task.done(), await task)


async def coroutines_become_tasks():
    async for task in asyncio.as_completed([after("d", 2), after("e", 1)]):
        record(type(task).__name__, await task)


async def errors_stay_in_the_tasks():
    async for task in asyncio.as_completed([after("f", 1, ValueError("f")), after("g", 2)]):
        await record_outcome("task", task)


async def both_ways():
    """The two ways share what has come already."""
    iterator = asyncio.as_completed([after(name, turns) for turns, name in enumerate("hijk")])
    record("same", iter(iterator) is iterator, aiter(iterator) is iterator)
    record("plain", await next(iterator))
    record("asynchronous", (await anext(iterator)).result())
    record("plain", await next(iterator))
    record("asynchronous", (await anext(iterator)).result())
    try:
        next(iterator)
    except StopIteration:
        record("over")
    try:
        await anext(iterator)
    except StopAsyncIteration:
        record("over")


async def too_late(asynchronously):
    tasks = [asyncio.create_task(after("quick", 1)), asyncio.create_task(after("slow", 1 << 20))]
    seen = []
    try:
        if asynchronously:
            async for task in asyncio.as_completed(tasks, timeout=0.05):
                seen.append(task.result())
        else:
            for coroutine in asyncio.as_completed(tasks, timeout=0.05):
                seen.append(await coroutine)
    except TimeoutError as error:
        record("too late", seen, error)
    tasks[1].cancel()
    await asyncio.wait(tasks)


async def ends():
    async for _ in asyncio.as_completed([]):
        record("never")
    task = asyncio.create_task(after("same", 1))
    record("twice the same", [done.result() async for done in asyncio.as_completed([task, task])])


async def cancelled():
    async def collects():
        async for task in asyncio.as_completed(tasks):
            record("never", task)

    tasks = [asyncio.create_task(asyncio.sleep(1000)) for _ in range(2)]
    collecting = asyncio.create_task(collects())
    await asyncio.sleep(0)
    collecting.cancel("enough")
    await record_outcome("collecting", collecting)
    record("tasks live on", [task.done() for task in tasks])
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def main():
    for program in (tasks_come_back, coroutines_become_tasks, errors_stay_in_the_tasks, both_ways, ends, cancelled):
        record(program.__name__)
        await program()
    for asynchronously in (True, False):
        await too_late(asynchronously)


asyncio.run(main())
