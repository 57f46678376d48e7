"""Futures, beyond what CPython's own tests say."""

import gc
import weakref

import pytest
import rasyncio as asyncio


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_a_future_of_a_subclass_is_awaited(loop):
    class Own(asyncio.Future):
        def result(self):
            return super().result() + 1

    async def main():
        future = Own(loop=loop)
        loop.call_soon(future.set_result, 1)
        return await future

    assert loop.run_until_complete(main()) in (1, 2)


def test_a_duck_is_awaited(loop):
    class Duck:
        _asyncio_future_blocking = False
        callback = None

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context=None):
            loop.call_soon(callback, self)

        def cancel(self, msg=None):
            return False

        def result(self):
            return "quack"

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def main():
        return await Duck()

    assert loop.run_until_complete(main()) == "quack"


def test_an_exception_that_nobody_asked_for_is_reported(loop):
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))
    future = loop.create_future()
    future.set_exception(ValueError())
    del future
    assert reported == ["Future exception was never retrieved"]


def test_a_cycle_through_a_future_is_collected(loop):
    class Owner:
        pass

    owner = Owner()
    owner.future = loop.create_future()
    owner.future.add_done_callback(lambda done, owner=owner: owner)
    owner.future.attribute = owner
    seen = weakref.ref(owner)
    del owner
    gc.collect()
    assert seen() is None


def test_callbacks_may_remove_each_other(loop):
    class Mean:
        def __init__(self, future):
            self.future = future

        def __eq__(self, other):
            self.future.add_done_callback(print)
            return True

        def __call__(self, future):
            raise AssertionError

    future = loop.create_future()
    future.add_done_callback(Mean(future))
    assert future.remove_done_callback(None) == 1
    assert future.remove_done_callback(print) == 1
    future.cancel()


def test_a_comparison_that_finishes_the_future_loses_no_callback():
    async def main():
        future = asyncio.get_running_loop().create_future()
        seen = []

        class Finishing:
            def __eq__(self, other):
                if not future.done():
                    future.set_result(1)
                return False

            __hash__ = None

            def __call__(self, done):
                seen.append(done)

        future.add_done_callback(Finishing())
        future.add_done_callback(Finishing())
        assert future.remove_done_callback(print) == 0
        await asyncio.sleep(0)
        assert seen == [future, future]

    asyncio.run(main())


def test_an_exception_class_that_finishes_the_future():
    async def main():
        future = asyncio.get_running_loop().create_future()

        class Finishing(Exception):
            def __init__(self):
                future.set_result(5)

        with pytest.raises(asyncio.InvalidStateError):
            future.set_exception(Finishing)
        assert await future == 5

    asyncio.run(main())


def test_an_exception_that_finishes_its_future_itself(loop):
    future, calls = asyncio.Future(loop=loop), []
    future.add_done_callback(calls.append)

    class Meddling(Exception):
        @property
        def __traceback__(self):
            if not future.done():
                future.set_result("first")
            return None

    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(Meddling())
    assert future.result() == "first" and future.exception() is None
    loop.run_until_complete(asyncio.sleep(0, loop))
    assert calls == [future]
