"""What is being handled where a loop calls callbacks, and where it reports what was forgotten, or left at its end."""

import asyncio
import gc
import os
import signal
import threading
import weakref

from handling import Watching, each_part, fail, handled, links, turns
from recorder import record


async def callbacks(loop):
    loop.call_soon(fail, "soon")
    loop.call_later(0, fail, "later")
    loop.call_soon_threadsafe(fail, "threadsafe")
    future = loop.create_future()
    future.add_done_callback(lambda _: fail("future's callback"))
    future.set_result(None)
    task = loop.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: fail("task's callback"))
    await turns()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(fail, "another thread"))
    thread.start()
    thread.join()
    await turns()
    loop.add_signal_handler(signal.SIGUSR1, fail, "signal")
    signal.raise_signal(signal.SIGUSR1)
    await asyncio.sleep(0.01)
    loop.remove_signal_handler(signal.SIGUSR1)
    reader, writer = os.pipe()
    loop.add_reader(reader, lambda: (loop.remove_reader(reader), fail("reader")))
    loop.add_writer(writer, lambda: (loop.remove_writer(writer), fail("writer")))
    os.write(writer, b"x")
    await turns()
    os.close(reader)
    os.close(writer)


async def forgotten(loop):
    for handling in False, True:
        future = loop.create_future()
        future.set_exception(ValueError("not retrieved"))

        async def wrong():
            raise LookupError("task")

        task = loop.create_task(wrong())
        await turns()
        pending = loop.create_future()

        async def waits(pending):
            await pending

        waiting = loop.create_task(waits(pending))
        await turns()
        generator = unfinished()
        await anext(generator)
        try:
            if handling:
                raise KeyError("outer")
        except KeyError:
            del future, task, waiting
            pending = generator = None
            gc.collect()
        else:
            del future, task, waiting
            pending = generator = None
            gc.collect()
        await turns()


async def unfinished():
    try:
        yield 1
    finally:
        await asyncio.sleep(0)
        fail("asynchronous generator")


async def leaving(loop):
    """__aexit__ is called while the body's error is handled."""

    class Children:
        async def wait(self):
            try:
                await asyncio.sleep(100)
            finally:
                record("child", handled())

    for error in KeyError("body"), asyncio.CancelledError("body"):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(Children().wait())
                await asyncio.sleep(0)
                raise error
        except BaseException as raised:
            record("group", links(raised))
        for manager in asyncio.Lock(), asyncio.Semaphore(), asyncio.Condition(), asyncio.timeout(None), asyncio.timeout(100):
            try:
                async with manager:
                    raise error
            except BaseException as raised:
                record(type(manager).__name__, links(raised))
    try:
        async with asyncio.timeout(0):
            async with asyncio.TaskGroup() as group:
                group.create_task(Children().wait())
                await asyncio.sleep(100)
    except BaseException as raised:
        record("timeout", links(raised))


def ended(name, raises, debug):
    """run() cancels what is left while the error of main() is handled."""

    async def stubborn():
        try:
            await asyncio.sleep(100)
        finally:
            record(name, "cancelled", handled())
            raise LookupError("while cancelled")

    async def main():
        loop = asyncio.get_running_loop()
        Watching(loop, name, raises)
        tasks.add(loop.create_task(stubborn()))
        generator = unfinished()
        weakref.finalize(generator, int)
        await anext(generator)
        tasks.add(generator)
        await asyncio.sleep(0)
        raise ValueError("main")

    tasks = set()
    try:
        raise KeyError("outer")
    except KeyError:
        try:
            asyncio.run(main(), debug=debug)
        except BaseException as error:
            record(name, links(error))


each_part(callbacks, forgotten, leaving, twice=[callbacks])
for debug in False, True:
    for raises in None, "handler", "both":
        ended("ended", raises, debug)
