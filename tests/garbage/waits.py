"""What waits for several things or for some time: gather, wait, shield, wait_for, timeouts, groups."""

import asyncio
import contextlib
import sys

from garbage.counting import Token, begin, cancelled, expected, forever, program, stubborn, value, wrong


@program
async def gather():
    await asyncio.gather(value(), value(), begin(value()))
    await asyncio.gather()


@program
async def gather_that_fails():
    with expected():
        await asyncio.gather(value(), wrong(), value(3), wrong(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@program
async def gather_that_returns_errors():
    await asyncio.gather(value(), wrong(), wrong(2), return_exceptions=True)


@program
async def gather_cancelled():
    await cancelled(asyncio.gather(forever(), forever()))
    await cancelled(asyncio.gather(forever(), value(), return_exceptions=True))


@program
async def gather_whose_child_is_cancelled():
    child = begin(forever())
    asyncio.get_running_loop().call_soon(child.cancel)
    with expected():
        await asyncio.gather(child, value())
    child = begin(forever())
    asyncio.get_running_loop().call_soon(child.cancel)
    await asyncio.gather(child, value(), return_exceptions=True)


@program
async def gather_never_awaited():
    asyncio.gather(value(), wrong())
    for _ in range(5):
        await asyncio.sleep(0)


@program
async def gather_of_the_same():
    child = begin(wrong())
    with expected():
        await asyncio.gather(child, child)


@program
async def wait():
    await asyncio.wait([begin(value()), begin(wrong())])
    await asyncio.wait([begin(value(1)), begin(value(2))], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([begin(wrong(1)), begin(value(2))], return_when=asyncio.FIRST_EXCEPTION)


@program
async def wait_with_a_timeout():
    pending = begin(forever())
    await asyncio.wait([pending], timeout=0)
    await asyncio.wait([pending], timeout=1e-6)
    pending.cancel()
    await asyncio.wait([pending], timeout=100)


@program
async def wait_cancelled():
    pending = begin(forever())
    await cancelled(asyncio.wait([pending]))
    pending.cancel()
    with expected():
        await pending


@program
async def as_completed():
    for awaitable in asyncio.as_completed([value(), wrong(), value(2)]):
        with expected():
            await awaitable


@program
async def as_completed_with_a_timeout():
    pending = begin(forever())
    for awaitable in asyncio.as_completed([pending, value()], timeout=1e-6):
        with expected():
            await awaitable
    pending.cancel()
    with expected():
        await pending


@program
async def as_completed_left_early():
    for awaitable in asyncio.as_completed([value(), value(2)]):
        await awaitable
        break
    await asyncio.sleep(0)
    await asyncio.sleep(0)


if sys.version_info >= (3, 13):

    @program
    async def as_completed_by_async_for():
        async for child in asyncio.as_completed([begin(value()), begin(wrong())]):
            with expected():
                await child


@program
async def shield():
    await asyncio.shield(value())
    with expected():
        await asyncio.shield(wrong())


@program
async def shield_cancelled():
    inner = begin(value(4))
    await cancelled(asyncio.shield(inner))
    await inner
    inner = begin(wrong(4))
    await cancelled(asyncio.shield(inner))
    with expected():
        await inner
    inner = begin(forever())
    outer = asyncio.shield(inner)
    await asyncio.sleep(0)
    inner.cancel()
    with expected():
        await outer


@program
async def wait_for():
    await asyncio.wait_for(value(), 100)
    await asyncio.wait_for(value(), None)
    with expected():
        await asyncio.wait_for(wrong(), 100)


@program
async def wait_for_too_long():
    with expected():
        await asyncio.wait_for(forever(), 1e-6)
    with expected():
        await asyncio.wait_for(forever(), 0)
    with expected():
        await asyncio.wait_for(begin(forever()), 1e-6)
    with expected():
        await asyncio.wait_for(asyncio.get_running_loop().create_future(), 1e-6)


@program
async def wait_for_that_fails_when_cancelled():
    with expected():
        await asyncio.wait_for(stubborn(), 1e-6)


@program
async def wait_for_cancelled():
    await cancelled(asyncio.wait_for(forever(), 100))
    await cancelled(asyncio.wait_for(stubborn(), 100))


@program
async def timeout():
    async with asyncio.timeout(100):
        await value()
    async with asyncio.timeout(None) as limit:
        limit.reschedule(asyncio.get_running_loop().time() + 100)
        await value()
    repr(limit)


@program
async def timeout_expired():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1e-6):
            await forever()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await forever()


@program
async def timeout_expired_in_tasks():
    async def inner():
        async with asyncio.timeout(1e-6):
            await forever()

    with expected():
        await begin(inner())
    with expected():
        await inner()


@program
async def timeout_with_an_error():
    with contextlib.suppress(ValueError):
        async with asyncio.timeout(100):
            await wrong()
    with contextlib.suppress(ValueError):
        async with asyncio.timeout(1e-6):
            await stubborn()


@program
async def timeout_cancelled():
    async def inner():
        async with asyncio.timeout(100):
            await forever()

    await cancelled(inner())


@program
async def timeouts_nested():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1e-6):
            async with asyncio.timeout(100):
                await forever()


@program
async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(value())
        tasks.create_task(value(2), name="named")
    repr(tasks)


@program
async def group_that_fails():
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wrong())
            tasks.create_task(forever())
    except* ValueError:
        pass


@program
async def group_that_fails_twice():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            tasks.create_task(wrong())

    with expected(ExceptionGroup):
        await inner()
    with expected(ExceptionGroup):
        await begin(inner())


@program
async def group_whose_body_fails():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())
            await wrong()

    with expected(ExceptionGroup):
        await inner()
    with expected(ExceptionGroup):
        await begin(inner())


@program
async def group_whose_body_fails_at_once():
    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup():
            raise ValueError(Token())


@program
async def group_that_exits_by_a_base_exception():
    class Leave(BaseException):
        pass

    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())
            await asyncio.sleep(0)
            raise Leave(Token())

    try:
        await inner()
    except BaseException as error:
        assert isinstance(error, Leave | BaseExceptionGroup)


@program
async def group_cancelled():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())

    await cancelled(inner(), 3)


@program
async def group_cancelled_in_its_body():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            await forever()

    with contextlib.suppress(ExceptionGroup):
        await cancelled(inner(), 3)


@program
async def group_misused():
    tasks = asyncio.TaskGroup()
    late = value()
    with contextlib.suppress(RuntimeError):
        tasks.create_task(late)
    async with tasks:
        pass
    with contextlib.suppress(RuntimeError):
        tasks.create_task(late)
    late.close()
    with contextlib.suppress(RuntimeError):
        async with tasks:
            pass


@program
async def groups_nested():
    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(forever())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(wrong())
                inner.create_task(forever())
    except* ValueError:
        pass


@program
async def staggered():
    from asyncio.staggered import staggered_race

    async def failing():
        raise ValueError(Token())

    await staggered_race([failing, failing], None)
    await staggered_race([failing, value], None)
    await staggered_race([forever, value], 1e-6)
    await cancelled(staggered_race([forever], None), 4)
