"""TaskGroup: order of starting and of clean-up, the group of exceptions, cancellation from outside, misuse."""

import asyncio

from recorder import record, record_outcome


async def value(name, turns, error=None):
    try:
        for turn in range(turns):
            record(name, turn)
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        record("cancelled", name)
        raise
    if error:
        raise error
    return name


async def all_well():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(value(name, turns), name=name) for name, turns in (("a", 2), ("b", 1), ("c", 3))]
        record("body")
    return [task.result() for task in tasks]


async def one_fails():
    async with asyncio.TaskGroup() as group:
        group.create_task(value("d", 9))
        group.create_task(value("e", 1, ValueError("e")))
        record("body")
        await asyncio.get_running_loop().create_future()


async def several_fail():
    async with asyncio.TaskGroup() as group:
        group.create_task(value("f", 1, ValueError("f")))
        group.create_task(value("g", 1, KeyError("g")))
        group.create_task(value("h", 5))


async def body_fails():
    async with asyncio.TaskGroup() as group:
        group.create_task(value("i", 5))
        await asyncio.sleep(0)
        raise LookupError("body")


async def nested():
    async with asyncio.TaskGroup() as outer:
        outer.create_task(value("j", 9))
        async with asyncio.TaskGroup() as inner:
            inner.create_task(value("k", 1, ValueError("k")))
            inner.create_task(value("l", 9))


async def late():
    async with asyncio.TaskGroup() as group:
        pass
    coroutine = value("never", 1)
    try:
        group.create_task(coroutine)
    except RuntimeError as error:
        record("late", str(error).partition("<")[0], str(error).endswith("is finished"))
    coroutine.close()


async def from_outside():
    async with asyncio.TaskGroup() as group:
        group.create_task(value("m", 9))
        group.create_task(value("n", 9))


async def main():
    for function in (all_well, one_fails, several_fail, body_fails, nested, late):
        await record_outcome(function.__name__, asyncio.create_task(function()))
    task = asyncio.create_task(from_outside())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel("from outside")
    await record_outcome("from outside", task)


asyncio.run(main())
