"""What reaches the exception handler, with which message and which keys; and how a run ends."""

import asyncio
import gc

from recorder import record, record_outcome


def handler(loop, context):
    record("handler", context["message"].partition(" <")[0], sorted(context), context.get("exception"))


async def wrong(error):
    raise error


async def generator(name):
    try:
        for number in range(9):
            yield number
            await asyncio.sleep(0)
    finally:
        record("closing", name)
        await asyncio.sleep(0)
        record("closed", name)


async def forever():
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        record("cancelled at the end of the run")


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    future = loop.create_future()
    future.add_done_callback(lambda _: [][0])
    future.set_exception(ValueError("never retrieved"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del future
    gc.collect()
    task = asyncio.create_task(wrong(KeyError("a task's")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()

    numbers = generator("left early")
    async for number in numbers:
        if number == 1:
            break
    record("left")
    del number, numbers
    gc.collect()
    for _ in range(4):
        await asyncio.sleep(0)
    unfinished = generator("unfinished")
    record(await anext(unfinished))
    background = asyncio.create_task(forever())
    await asyncio.sleep(0)
    record("the end", background.done())
    return unfinished


async def exits():
    raise SystemExit(3)


kept = asyncio.run(main())
for run in (main, exits):
    try:
        asyncio.run(run)
    except BaseException as error:
        record(type(error).__name__)
try:
    asyncio.run(exits())
except SystemExit as error:
    record(error)
with asyncio.Runner() as runner:
    record(runner.run(record_outcome("first", asyncio.sleep(0, "slept"))))
    record(runner.run(record_outcome("second", wrong(OSError(5, "text")))))
coroutine = main()
try:
    runner.run(coroutine)
except RuntimeError as error:
    record(error)
coroutine.close()
