"""What the synchronisation primitives share: they belong to one loop, and `_waiters` is live."""

import collections

import pytest
import rasyncio as asyncio


async def use(lock):
    async with lock:
        waiter = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        assert isinstance(lock._waiters, collections.deque) and len(lock._waiters) == 1
    await waiter
    assert not lock._waiters
    lock.release()


def test_a_primitive_is_bound_to_the_loop_on_which_it_waited():
    lock = asyncio.Lock()
    asyncio.run(use(lock))

    async def elsewhere():
        await lock.acquire()
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            await lock.acquire()

    asyncio.run(elsewhere())


def test_waiters_taken_away_in_python_are_gone():
    async def main():
        event = asyncio.Event()
        task = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        waiter = event._waiters.popleft()
        event.set()
        await asyncio.sleep(0)
        assert not task.done()
        event._waiters.append(waiter)
        waiter.set_result(True)
        assert await task is True

    asyncio.run(main())
