"""Eager tasks (3.12): a task's first step is made within create_task(); what gather, TaskGroup, wait and shield make of that."""

import asyncio
import contextvars

from recorder import record, record_outcome

SINCE = (3, 12)

variable = contextvars.ContextVar("variable", default="none")


async def step(name, turns=0, error=None):
    record(name, "begins", asyncio.current_task().get_name().startswith("Task-"), variable.get())
    for turn in range(turns):
        await asyncio.sleep(0)
        record(name, turn)
    if error:
        raise error
    return name


async def sets():
    variable.set("within")
    await asyncio.sleep(0)
    return variable.get()


async def plain():
    outer = asyncio.current_task()
    task = asyncio.create_task(step("a"))
    record("done", task.done(), task.get_coro() is None, asyncio.current_task() is outer, task in asyncio.all_tasks())
    record("result", task.result(), task.cancel(), task.cancelling())
    task = asyncio.create_task(step("b", 2), name="named")
    record("pending", task.done(), task.get_name(), task in asyncio.all_tasks(), task.get_coro() is None)
    await record_outcome("b", task)
    record("after", task.get_coro() is None)
    for error in (ValueError("c"), asyncio.CancelledError("d")):
        task = asyncio.create_task(step("raises", 0, error))
        record("raised", task.done(), task.cancelled())
        await record_outcome("outcome", task)
    task = asyncio.create_task(step("e"))
    task.add_done_callback(lambda done: record("callback", done.result()))
    record("callback comes later")
    await asyncio.sleep(0)


async def contexts():
    variable.set("outside")
    context = contextvars.copy_context()
    record("copied", await asyncio.create_task(sets()), variable.get())
    record("given", await asyncio.create_task(sets(), context=context), variable.get(), context[variable])
    record("context", asyncio.create_task(step("f", 1), context=context).get_context() is context)
    await asyncio.sleep(0)


async def nested():
    async def inner():
        record("inner", asyncio.current_task().get_name())
        task = asyncio.create_task(step("g", 1), name="innermost")
        record("back", asyncio.current_task().get_name())
        return await task

    record("name", await asyncio.create_task(inner(), name="middle"))


async def together():
    record("gather", await asyncio.gather(step("h"), step("i", 1), step("j")))
    await record_outcome("gather fails", asyncio.gather(step("k", 1), step("l", 0, ValueError("l"))))
    await record_outcome("gather keeps", asyncio.gather(step("m", 0, ValueError("m")), step("n"), return_exceptions=True))
    record("shield", await asyncio.shield(step("o")))
    done, pending = await asyncio.wait(
        [asyncio.create_task(step("r")), asyncio.create_task(step("s", 3))], return_when="FIRST_COMPLETED"
    )
    record("wait", len(done), len(pending))
    await asyncio.wait(pending)
    for first in asyncio.as_completed([step("t", 2)]):
        record("as_completed", await first)


async def groups():
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step("v")), group.create_task(step("w", 1))]
        record("in the group", [task.done() for task in tasks])
    record("results", [task.result() for task in tasks])

    async def fails():
        async with asyncio.TaskGroup() as group:
            group.create_task(step("x", 2))
            group.create_task(step("y", 0, ValueError("y")))
            record("still in the body")
            await asyncio.sleep(0)
            record("never reached")

    await record_outcome("group fails", asyncio.create_task(fails()))
    record("cancelling", asyncio.current_task().cancelling())


async def by_hand():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(None)
    task = asyncio.Task(step("by hand"), loop=loop, eager_start=True, name="own")
    record("eager", task.done(), task.get_name())
    await record_outcome("by hand", task)
    task = asyncio.Task(step("lazy"), loop=loop, eager_start=False)
    record("lazy", task.done())
    await task

    class Own(asyncio.Task):
        def __init__(self, *args, **keywords):
            record("own", keywords["eager_start"])
            super().__init__(*args, **keywords)

    loop.set_task_factory(asyncio.create_eager_task_factory(Own))
    record("factory", await asyncio.create_task(step("z")), await asyncio.create_task(step("z", 1), name="z"))


async def swaps():
    """A task that starts another eagerly is the current one again afterwards, also where that raises at once."""

    async def fails():
        raise KeyError("at once")

    me = asyncio.current_task()
    task = asyncio.create_task(fails())
    record("current", asyncio.current_task() is me)
    await record_outcome("fails", task)


async def main():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    for program in (plain, contexts, nested, together, groups, swaps, by_hand):
        record(program.__name__)
        await program()


asyncio.run(main())


async def without_a_running_loop():
    record("started later")


loop = asyncio.new_event_loop()
loop.set_task_factory(asyncio.eager_task_factory)
task = loop.create_task(without_a_running_loop())
record("before", task.done())
loop.run_until_complete(task)
loop.close()
