"""Task.cancel: before the start, while waiting, twice, swallowed, in a finally; cancelling, uncancel and the messages."""

import asyncio

from recorder import record, record_outcome


async def waits(name):
    record("started", name)
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError as error:
        record("cancelled", name, error, asyncio.current_task().cancelling())
        raise
    finally:
        await asyncio.sleep(0)
        record("cleaned up", name)


async def swallows(times):
    for number in range(times):
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as error:
            record("swallowed", number, error, asyncio.current_task().cancelling())
    record("uncancel", asyncio.current_task().uncancel(), asyncio.current_task().uncancel())
    return "survived"


async def cancels_itself():
    record("cancel", asyncio.current_task().cancel("myself"))
    record("not yet")
    await asyncio.sleep(0)
    record("not reached")


async def cancels_and_returns():
    asyncio.current_task().cancel("too late")
    return "returned all the same"


async def raises_it():
    raise asyncio.CancelledError("raised by hand")


async def chain(depth, future):
    if depth:
        await asyncio.create_task(chain(depth - 1, future))
    else:
        await future


def states(task):
    return task.done(), task.cancelled(), task.cancelling()


async def main():
    task = asyncio.create_task(waits("never started"))
    record("cancel", task.cancel(), states(task))
    await record_outcome("before the start", task)
    task = asyncio.create_task(waits("once"))
    await asyncio.sleep(0)
    record("cancel", task.cancel("message"), states(task))
    await record_outcome("while waiting", task)
    record("afterwards", states(task), task.cancel())
    task = asyncio.create_task(waits("twice"))
    await asyncio.sleep(0)
    task.cancel("first")
    task.cancel("second")
    record(states(task))
    await record_outcome("twice at once", task)
    task = asyncio.create_task(waits("again in the finally"))
    await asyncio.sleep(0)
    task.cancel("first")
    await asyncio.sleep(0)
    task.cancel("second")
    await record_outcome("again in the finally", task)

    task = asyncio.create_task(swallows(2))
    for number in range(2):
        await asyncio.sleep(0)
        record("cancel", task.cancel(number))
    await record_outcome("swallowed", task)
    record(states(task))
    await record_outcome("cancels itself", asyncio.create_task(cancels_itself()))
    await record_outcome("cancels and returns", asyncio.create_task(cancels_and_returns()))
    await record_outcome("raises it", asyncio.create_task(raises_it()))

    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(chain(5, future))
    for _ in range(8):
        await asyncio.sleep(0)
    task.cancel("through the chain")
    record("the future at once", future.cancelled())
    await record_outcome("chain", task)

    future = asyncio.get_running_loop().create_future()
    tasks = [asyncio.create_task(record_outcome(name, future)) for name in ("one", "two")]
    await asyncio.sleep(0)
    record("cancel a future", future.cancel("shared"))
    await asyncio.gather(*tasks)
    try:
        future.result()
    except asyncio.CancelledError as error:
        record(error)


asyncio.run(main())
