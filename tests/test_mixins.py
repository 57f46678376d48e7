"""What the synchronisation primitives share: they belong to one loop, and `_waiters` is live."""

import collections
import re

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


def test_a_class_of_ones_own_is_bound_to_a_loop():
    class Own(asyncio.mixins._LoopBoundMixin):
        def __init__(self, value):
            self.value = value

    own = Own(1)
    assert own._loop is None and own.value == 1

    async def use():
        assert own._get_loop() is asyncio.get_running_loop() is own._loop

    with asyncio.Runner() as runner:
        runner.run(use())
        with pytest.raises(RuntimeError, match=f"^{re.escape(repr(own))} is bound to a different event loop$"):
            asyncio.run(use())


@pytest.mark.parametrize("name", ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "Queue"])
def test_all_that_waits_is_bound_to_a_loop(name):
    derived = getattr(asyncio, name)
    assert issubclass(derived, asyncio.mixins._LoopBoundMixin)
    made = derived(1) if name == "Barrier" else derived()
    loop = made._loop = object()
    assert made._loop is loop
    del made._loop
    assert made._loop is None
    usable = issubclass(derived, asyncio.locks._ContextManagerMixin)
    assert usable == (name in ("Lock", "Condition", "Semaphore", "BoundedSemaphore"))


def test_a_lock_of_ones_own_is_a_context_manager():
    class Own(asyncio.locks._ContextManagerMixin, asyncio.mixins._LoopBoundMixin):
        calls = []

        async def acquire(self):
            self.calls.append("acquire")

        def release(self):
            self.calls.append("release")

    async def main():
        async with Own() as entered:
            assert entered is None
            Own.calls.append("body")

    asyncio.run(main())
    assert Own.calls == ["acquire", "body", "release"]
