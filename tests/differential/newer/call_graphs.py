"""Call graphs (3.14): who waits for whom, under gather, groups, shield, wait, wait_for and as_completed."""

import asyncio
import io

from recorder import record

SINCE = (3, 14)


def shape(graph):
    """The graph without numbers of lines: a task's name, its frames' functions, and who waits for it."""
    if graph is None:
        return None
    name = graph.future.get_name() if isinstance(graph.future, asyncio.Task) else type(graph.future).__name__
    frames = [entry.frame.f_code.co_name for entry in graph.call_stack if entry.frame.f_code.co_filename == __file__]
    return name, frames, sorted((shape(waiter) for waiter in graph.awaited_by), key=str)


async def let_run(turns=3):
    for _ in range(turns):
        await asyncio.sleep(0)


async def inner(future):
    await future


async def outer(future):
    await inner(future)


async def under(name, waiting):
    """Records what is known of a task that `waiting(task)` waits for."""
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(outer(future), name="waited for")

    async def waits():
        await waiting(task)

    waiter = asyncio.create_task(waits(), name="waiter")
    await let_run()
    record(name, shape(asyncio.capture_call_graph(task)))
    record(name, "future", shape(asyncio.capture_call_graph(future)))
    record(name, "without frames", shape(asyncio.capture_call_graph(task, limit=0)))
    future.set_result(None)
    await waiter
    record(name, "finished", shape(asyncio.capture_call_graph(task)))


async def group(task):
    async with asyncio.TaskGroup() as members:
        members.create_task(outer(task), name="member")


async def completed(task):
    for first in asyncio.as_completed([task]):
        await first


async def completed_asynchronously(task):
    async for _ in asyncio.as_completed([task]):
        pass


async def of_itself():
    record("current", shape(asyncio.capture_call_graph()))
    record("depth", shape(asyncio.capture_call_graph(depth=2)))
    for limit in (2, 1, 0, -1):
        record("limit", limit, shape(asyncio.capture_call_graph(limit=limit)))
    target = io.StringIO()
    asyncio.print_call_graph(file=target)
    record("printed", "of_itself" in target.getvalue(), asyncio.format_call_graph().startswith("* Task(name='main'"))


async def by_hand():
    loop = asyncio.get_running_loop()
    one, other = loop.create_future(), loop.create_future()
    record("nobody", one._asyncio_awaited_by)
    asyncio.future_add_to_awaited_by(one, other)
    record("somebody", one._asyncio_awaited_by == {other}, shape(asyncio.capture_call_graph(one)))
    asyncio.future_discard_from_awaited_by(one, other)
    asyncio.future_discard_from_awaited_by(one, other)
    record("nobody", one._asyncio_awaited_by)
    for wrong in (1, "text"):
        try:
            asyncio.capture_call_graph(wrong)
        except TypeError as error:
            record("refused", str(error).partition(":")[0])


async def main():
    asyncio.current_task().set_name("main")
    ways = {
        "await": inner,
        "gather": lambda task: asyncio.gather(task),
        "nested gather": lambda task: asyncio.gather(asyncio.gather(task)),
        "shield": asyncio.shield,
        "wait": lambda task: asyncio.wait([task]),
        "wait_for": lambda task: asyncio.wait_for(task, 60),
        "group": group,
        "as_completed": completed,
        "as_completed asynchronously": completed_asynchronously,
    }
    for name, waiting in ways.items():
        await under(name, waiting)
    await of_itself()
    await by_hand()


asyncio.run(main())
try:
    asyncio.capture_call_graph()
except RuntimeError as error:
    record("without a loop", error)
