"""timeout, timeout_at and wait_for: expiry, nesting, rescheduling, and cancellation that arrives together with it."""

import asyncio

from recorder import record, record_outcome


async def forever(name):
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError as error:
        record("cancelled", name, error)
        raise


async def expired():
    async with asyncio.timeout(0) as scope:
        record("inside", scope.expired())
        try:
            await forever("expired")
        finally:
            record("leaving", scope.expired())


async def nested(outer, inner):
    try:
        async with asyncio.timeout(outer) as first:
            try:
                async with asyncio.timeout(inner) as second:
                    await forever("nested")
            finally:
                record("inner is", second.expired())
    finally:
        record("outer is", first.expired(), asyncio.current_task().cancelling())


async def rescheduled():
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        record("when", scope.when())
        scope.reschedule(loop.time() - 1)
        await forever("rescheduled")


async def swallowed():
    async with asyncio.timeout(0):
        try:
            await forever("swallowed")
        except asyncio.CancelledError:
            record("swallowed")
    record("after the timeout")


async def replaced():
    async with asyncio.timeout(0):
        try:
            await forever("replaced")
        except asyncio.CancelledError:
            raise RuntimeError("another error") from None


async def never_expires():
    async with asyncio.timeout(1000) as scope:
        await asyncio.sleep(0)
    record("in time", scope.expired())
    return "value"


async def after_its_end():
    async with asyncio.timeout(1000) as scope:
        pass
    scope.reschedule(None)


async def entered_twice():
    scope = asyncio.timeout(1000)
    async with scope:
        async with scope:
            pass


async def main():
    for function in (expired, rescheduled, swallowed, replaced, never_expires, after_its_end, entered_twice):
        await record_outcome(function.__name__, function())
        record("cancelling", asyncio.current_task().cancelling())
    await record_outcome("the outer one", nested(0, 1000))
    await record_outcome("the inner one", nested(1000, 0))
    await record_outcome("both", nested(0, 0))
    await record_outcome("wait_for", asyncio.wait_for(forever("wait_for"), 0))
    await record_outcome("wait_for, in time", asyncio.wait_for(never_expires(), 1000))
    await record_outcome("wait_for, no limit", asyncio.wait_for(never_expires(), None))
    future = asyncio.get_running_loop().create_future()
    await record_outcome("wait_for a future", asyncio.wait_for(future, 0))
    record("the future", future.cancelled())

    task = asyncio.create_task(nested(1000, 1000))
    await asyncio.sleep(0)
    task.cancel("from outside")
    await record_outcome("cancelled from outside", task)
    task = asyncio.create_task(asyncio.wait_for(forever("both"), 1000))
    await asyncio.sleep(0)
    task.cancel()
    await record_outcome("wait_for, cancelled", task)


asyncio.run(main())
