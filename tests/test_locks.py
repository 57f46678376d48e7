"""Locks and their kin, beyond what CPython's own tests say: the native short cuts respect subclasses."""

import math

import pytest
import rasyncio as asyncio


@pytest.mark.parametrize("make", [asyncio.Lock, asyncio.Semaphore, asyncio.BoundedSemaphore, asyncio.Condition])
def test_a_subclass_that_overrides_acquire_is_asked_by_async_with(make):
    class Own(make):
        asked = 0

        async def acquire(self):
            self.asked += 1
            return await make.acquire(self) if make is not asyncio.Condition else True

        def release(self):
            if make is not asyncio.Condition:
                make.release(self)

    async def main():
        own = Own()
        if make is asyncio.Condition:
            own.acquire, own.release = (lambda: Own.acquire(own)), (lambda: Own.release(own))
        async with own:
            pass
        return own.asked

    assert asyncio.run(main()) == 1


def test_a_cancelled_waiter_hands_its_turn_on():
    async def main():
        lock = asyncio.Lock()
        await lock.acquire()
        first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        lock.release()
        first.cancel()
        assert await second is True
        assert first.cancelled() and lock.locked()

    asyncio.run(main())


def test_waiters_are_served_in_their_order():
    async def main():
        lock, order = asyncio.Lock(), []

        async def worker(number):
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(worker(number) for number in range(100)))
        return order

    assert asyncio.run(main()) == list(range(100))


def test_a_dropped_wait_leaves_the_queue():
    async def main():
        event = asyncio.Event()
        waiting = event.wait()
        waiting.send(None)
        assert len(event._waiters) == 1
        waiting.close()
        assert not event._waiters

    asyncio.run(main())


@pytest.mark.parametrize("make", [asyncio.Semaphore, asyncio.BoundedSemaphore])
def test_a_semaphore_may_count_in_floats(make):
    async def main():
        for_all = make(math.inf)
        for _ in range(1000):
            await asyncio.wait_for(for_all.acquire(), 10)
        assert not for_all.locked() and for_all._value == math.inf and "value:inf" in repr(for_all)
        for_two = make(2.0)
        async with for_two, for_two:
            assert for_two.locked()
            waiting = asyncio.create_task(for_two.acquire())
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting and for_two._value == 1.0

    asyncio.run(main())
    with pytest.raises(ValueError):
        make(-0.5)
