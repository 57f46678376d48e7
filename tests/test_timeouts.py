"""Timeouts, beyond what CPython's own tests say."""

import pytest
import rasyncio as asyncio


def test_the_error_has_the_cancellation_as_cause():
    async def main():
        async with asyncio.timeout(0):
            await asyncio.sleep(100)

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


def test_a_cancellation_from_elsewhere_stays_one():
    async def inner():
        async with asyncio.timeout(100):
            await asyncio.sleep(100)

    async def main():
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_rescheduling_moves_the_deadline():
    async def main():
        async with asyncio.timeout(0) as timeout:
            timeout.reschedule(None)
            await asyncio.sleep(0.001)
        return timeout.expired()

    assert asyncio.run(main()) is False


def test_thousands_of_timeouts_leave_no_timers():
    async def main():
        for _ in range(10_000):
            async with asyncio.timeout(1000):
                await asyncio.sleep(0)
        return len(asyncio.get_running_loop()._scheduled)

    assert asyncio.run(main()) < 200
