"""How tasks interleave, and when their done callbacks run."""

import asyncio

from recorder import record, record_outcome


async def steps(name, number):
    for step in range(number):
        record(name, step)
        await asyncio.sleep(0)
    return name


async def nested(depth):
    record("enter", depth)
    if depth:
        await nested(depth - 1)
    else:
        await asyncio.sleep(0)
    record("leave", depth)


async def wrong():
    record("about to fail")
    raise ValueError("wrong")


async def yields_nonsense():
    class Nonsense:
        def __await__(self):
            yield 42

    await Nonsense()


async def awaits_itself():
    await asyncio.current_task()


async def main():
    tasks = [asyncio.create_task(steps(name, number), name=name) for name, number in (("a", 3), ("b", 2), ("c", 4))]
    for task in tasks:
        task.add_done_callback(lambda done: record("done", done.get_name(), done.result()))
    record("created", [task.get_name() for task in tasks])
    await asyncio.sleep(0)
    record("after one turn")
    for task in reversed(tasks):
        record("awaited", await task)

    await asyncio.gather(nested(3), nested(1))
    await record_outcome("failed", asyncio.create_task(wrong()))
    await record_outcome("nonsense", asyncio.create_task(yields_nonsense()))
    task = asyncio.create_task(awaits_itself(), name="narcissus")
    try:
        await task
    except RuntimeError as error:
        record("itself", str(error).partition("<")[0], "cannot await on itself" in str(error))

    waiting = asyncio.get_running_loop().create_future()
    both = [asyncio.create_task(record_outcome(name, waiting)) for name in ("one", "two")]
    await asyncio.sleep(0)
    waiting.set_result("shared")
    record("woken")
    await asyncio.wait(both)
    record("current", asyncio.current_task().get_name(), len(asyncio.all_tasks()))
    inner = asyncio.ensure_future(steps("ensured", 1))
    record("same", asyncio.ensure_future(inner) is inner, await inner)
    record("threadsafe", await asyncio.to_thread(lambda: "in a thread"))


asyncio.run(main())
