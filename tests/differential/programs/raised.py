"""What asyncio raises where something else was raised before: the context that a traceback shows."""

import asyncio
import signal
import threading

from recorder import record


def chain(error):
    links = []
    while error is not None and len(links) < 10:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def run(name, main):
    try:
        record(name, asyncio.run(main()))
    except BaseException as error:
        record(name, chain(error))


async def leave(error):
    raise error


async def a_child_leaves():
    async with asyncio.TaskGroup() as group:
        group.create_task(leave(SystemExit(3)))


async def a_child_interrupts():
    async with asyncio.TaskGroup() as group:
        group.create_task(leave(KeyboardInterrupt("child")))


async def interrupted():
    signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(10)


async def timed_out():
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(10)
    except TimeoutError as error:
        record("timeout", chain(error))
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.001)
    except TimeoutError as error:
        record("wait_for", chain(error))


async def awaited_twice():
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    async def inner():
        return await future

    coroutine = inner()

    async def outer():
        return await coroutine

    task = asyncio.create_task(outer())
    await asyncio.sleep(0)
    for how in (lambda: asyncio.wait_for(coroutine, 1), outer):
        try:
            record("second await", await how())
        except RuntimeError as error:
            record("second await", error)
    future.set_result("value")
    record("first await", await task)
    get = asyncio.Queue().get()

    async def waits():
        return await get

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    try:
        await get
    except RuntimeError as error:
        record("second await of a call", error)
    task.cancel()
    await asyncio.wait([task])
    for thrown in (KeyError("key"), asyncio.CancelledError()):
        try:
            get.throw(thrown)
        except BaseException as error:
            record("thrown into what is over", error)
    record("closed", get.close())


async def notified():
    condition = asyncio.Condition()
    for count in (1, 1.5, -1, "x"):
        try:
            condition.notify(count)
        except Exception as error:
            record("notify", count, error)
        async with condition:
            try:
                record("notify", count, condition.notify(count))
            except Exception as error:
                record("notify", count, error)


assert threading.current_thread() is threading.main_thread()
for part in (a_child_leaves, a_child_interrupts, interrupted, timed_out, awaited_twice, notified):
    run(part.__name__, part)
