"""Smaller things that newer Pythons brought: keywords of create_task() (3.14), get_context() and all_errors (3.12), ..."""

import asyncio
import contextvars
import socket
import threading
import warnings

from recorder import record, record_outcome

SINCE = (3, 14)

variable = contextvars.ContextVar("variable", default="none")


async def step():
    return asyncio.current_task().get_name()


async def keywords():
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        for create in (asyncio.create_task, loop.create_task, group.create_task):
            task = create(step(), name="named", eager_start=True)
            record("eager", task.done(), task.get_name(), await task)
            task = create(step(), eager_start=False, context=contextvars.copy_context())
            record("lazy", task.done(), type(await task).__name__)
            coroutine = step()
            try:
                create(coroutine, eager_start=True, unknown=1)
            except TypeError:
                record("unknown keyword", coroutine.cr_frame is not None)
            coroutine.close()


async def lazily():
    """`eager_start` with an eager factory, and without one."""
    loop = asyncio.get_running_loop()
    for factory in (asyncio.eager_task_factory, asyncio.create_eager_task_factory(asyncio.Task), None):
        loop.set_task_factory(factory)
        for given in ({}, {"eager_start": True}, {"eager_start": False}, {"eager_start": None}):
            task = asyncio.create_task(step(), **given)
            record("eager_start", given, task.done(), type(await task).__name__)


async def contexts():
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    task = loop.create_task(step(), context=context)
    record("task", task.get_context() is context)
    await task
    record("done task", task.get_context() is context)
    for handle in (loop.call_soon(int, context=context), loop.call_later(60, int, context=context)):
        record("handle", handle.get_context() is context)
        handle.cancel()
        record("cancelled handle", handle.get_context() is context)


async def all_errors():
    loop = asyncio.get_running_loop()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listening
        for given in (True, False):
            try:
                await loop.create_connection(asyncio.Protocol, *bound.getsockname(), all_errors=given)
            except ExceptionGroup as error:
                record("all_errors", given, error.message, [type(inner).__name__ for inner in error.exceptions])
            except OSError as error:
                record("all_errors", given, type(error).__name__)


async def executors():
    loop = asyncio.get_running_loop()
    await record_outcome("unused", loop.shutdown_default_executor(timeout=10))
    loop = asyncio.get_running_loop()
    try:
        await loop.run_in_executor(None, int)
    except RuntimeError as error:
        record("after the shutdown", error)


def slow_executor():
    async def main():
        release = threading.Event()
        loop = asyncio.get_running_loop()
        waiting = loop.run_in_executor(None, release.wait)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await record_outcome("too slow", loop.shutdown_default_executor(timeout=0.01))
        record("warned", [(item.category.__name__, str(item.message)) for item in caught])
        release.set()
        record("ended", await waiting)

    asyncio.run(main())


async def iterators():
    def tasks():
        record("asked for")
        yield from [asyncio.create_task(step(), name=name) for name in "ab"]

    done, pending = await asyncio.wait(tasks())
    record("wait", sorted(task.result() for task in done), len(pending))
    record("as_completed", sorted([await first for first in asyncio.as_completed(tasks())]))
    for empty in ([], iter([])):
        await record_outcome("wait for nothing", asyncio.wait(empty))


async def main():
    for program in (keywords, lazily, contexts, all_errors, iterators, executors):
        record(program.__name__)
        await program()


asyncio.run(main())
slow_executor()
