"""Futures, callbacks and timers: ends with results, errors and cancellations."""

import asyncio
import contextlib
import sys

from garbage.counting import Holding, Token, cancelled, expected, program


@program
async def future():
    loop = asyncio.get_running_loop()
    waited = loop.create_future()
    loop.call_soon(waited.set_result, Token())
    await waited
    await asyncio.wait_for(waited, 1)


@program
async def future_with_an_error():
    loop = asyncio.get_running_loop()
    waited = loop.create_future()
    loop.call_soon(waited.set_exception, ValueError(Token()))
    with expected():
        await waited


@program
async def future_with_an_error_read_often():
    waited = asyncio.get_running_loop().create_future()
    waited.set_exception(ValueError(Token()))
    for _ in range(3):
        with contextlib.suppress(ValueError):
            waited.result()
        with expected():
            await waited
    waited.exception()


@program
async def future_with_a_class_of_errors():
    waited = asyncio.get_running_loop().create_future()
    waited.set_exception(ValueError)
    with expected():
        await waited


if sys.version_info >= (3, 13):  # 3.12.1 takes none

    @program
    async def future_with_stop_iteration():
        waited = asyncio.get_running_loop().create_future()
        try:
            waited.set_exception(StopIteration(Token()))
        except TypeError:
            return
        with expected(RuntimeError):
            await waited


@program
async def future_never_retrieved():
    asyncio.get_running_loop().create_future().set_exception(ValueError(Token()))


@program
async def future_cancelled():
    waited = asyncio.get_running_loop().create_future()
    waited.cancel(Token())
    with expected():
        await waited
    with expected():
        await waited


@program
async def future_set_twice():
    waited = asyncio.get_running_loop().create_future()
    waited.set_result(Token())
    with contextlib.suppress(asyncio.InvalidStateError):
        waited.set_result(Token())
    with contextlib.suppress(asyncio.InvalidStateError):
        asyncio.get_running_loop().create_future().result()


@program
async def future_iterated():
    waited = asyncio.get_running_loop().create_future()
    steps = iter(waited)
    next(steps)
    waited.set_exception(ValueError(Token()))
    with contextlib.suppress(ValueError):
        next(steps)
    steps = iter(asyncio.get_running_loop().create_future())
    next(steps)
    with contextlib.suppress(ValueError):
        steps.throw(ValueError(Token()))
    steps.close()


@program
async def future_abandoned():
    waited = asyncio.get_running_loop().create_future()
    waited.add_done_callback(Holding(id))


@program
async def future_subclass():
    class Mine(asyncio.Future):
        pass

    waited = Mine()
    waited.set_exception(ValueError(Token()))
    with expected():
        await waited


@program
async def callbacks_that_fail():
    loop = asyncio.get_running_loop()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def fail(*_):
        raise ValueError(Token())

    loop.call_soon(fail, Token())
    loop.call_later(0, fail, Token())
    loop.call_soon_threadsafe(fail, Token())
    waited = loop.create_future()
    waited.add_done_callback(fail)
    waited.set_result(Token())
    while len(contexts) < 4:
        await asyncio.sleep(0)
    loop.set_exception_handler(None)


@program
async def callbacks_that_fail_by_default():
    loop = asyncio.get_running_loop()

    def fail():
        raise ValueError(Token())

    loop.call_soon(fail)
    await asyncio.sleep(0)
    loop.call_soon_threadsafe(fail)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@program
async def exception_handler_that_fails():
    loop = asyncio.get_running_loop()

    def handle(loop, context):
        raise LookupError(Token())

    def fail():
        raise ValueError(Token())

    loop.set_exception_handler(handle)
    loop.call_soon(fail)
    await asyncio.sleep(0)
    loop.set_exception_handler(None)


@program
async def callbacks_cancelled():
    loop = asyncio.get_running_loop()
    loop.call_later(1000, print, Token()).cancel()
    loop.call_at(loop.time() + 1000, print, Token()).cancel()
    handle = loop.call_soon(print, Token())
    handle.cancel()
    repr(handle)
    loop.call_soon_threadsafe(print, Token()).cancel()
    await asyncio.sleep(0)


@program
async def callbacks_that_hold_their_handles():
    loop, handles = asyncio.get_running_loop(), []
    handles.append(loop.call_later(1000, handles.append, handles))
    handles[0].cancel()
    handles = []
    handles.append(loop.call_soon(len, handles))
    await asyncio.sleep(0)


@program
async def sleeps():
    await asyncio.sleep(0, Token())
    await asyncio.sleep(1e-6, Token())
    await cancelled(asyncio.sleep(1000, Token()))
