"""The native objects that stand in for the coroutines of asyncio's own coroutine functions."""

import gc
import inspect
import sys
import types
import warnings
import weakref

import pytest
import rasyncio as asyncio


def calls():
    """A call of each function that may be answered by a stand-in, made where a loop runs, with the function's name."""
    queue, lock = asyncio.Queue(), asyncio.Lock()
    return {
        "sleep": lambda: asyncio.sleep(0),
        "Queue.get": queue.get,
        "Queue.put": lambda: queue.put(1),
        "Lock.acquire": lock.acquire,
        "Lock.__aenter__": lock.__aenter__,
        "Lock.__aexit__": lambda: lock.__aexit__(None, None, None),
        "Timeout.__aenter__": lambda: asyncio.timeout(1).__aenter__(),
        "StreamReader.read": lambda: asyncio.StreamReader().read(1),
        "StreamReader.readexactly": lambda: asyncio.StreamReader().readexactly(1),
        "StreamReader.readline": lambda: asyncio.StreamReader().readline(),
        "wait_for": lambda: asyncio.wait_for(asyncio.get_running_loop().create_future(), 1),
    }


FUNCTIONS = [
    "sleep",
    "Queue.get",
    "Queue.put",
    "Lock.acquire",
    "Lock.__aenter__",
    "Lock.__aexit__",
    "Timeout.__aenter__",
    "StreamReader.read",
    "StreamReader.readexactly",
    "StreamReader.readline",
    "wait_for",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_says_what_a_coroutine_says(name):
    async def main():
        coroutine = calls()[name]()
        assert inspect.iscoroutine(coroutine) and asyncio.iscoroutine(coroutine) and inspect.isawaitable(coroutine)
        assert isinstance(coroutine, types.CoroutineType)
        assert coroutine.__qualname__ == name and coroutine.__name__ == name.rpartition(".")[2]
        assert repr(coroutine).startswith(f"<coroutine object {name} at 0x")
        assert coroutine.cr_running is False and coroutine.cr_suspended is False
        coroutine.close()
        coroutine.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            coroutine.send(None)

    asyncio.run(main())


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.usefixtures("without_debug")
def test_one_that_is_never_awaited_warns_and_does_nothing(name):
    async def main():
        queue = asyncio.Queue()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            calls()[name]()
            queue.put(1)
            gc.collect()
        texts = [str(warning.message) for warning in caught]
        assert texts.count(f"coroutine '{name}' was never awaited") == 1 + (name == "Queue.put"), texts
        assert queue.empty()

    asyncio.run(main())


def test_nothing_is_done_before_it_is_awaited():
    async def main():
        queue = asyncio.Queue()
        coroutine = queue.put(1)
        assert queue.empty()
        assert await coroutine is None
        assert queue.qsize() == 1
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await coroutine
        with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
            queue.get().send(1)
        with pytest.raises(ZeroDivisionError):
            queue.get().throw(ZeroDivisionError())
        assert queue.qsize() == 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(main())


def test_a_task_of_one_is_written_with_its_place():
    async def main():
        task = asyncio.create_task(asyncio.Queue().get())
        code = asyncio.Queue.get.__code__
        assert f"coro=<Queue.get() running at {code.co_filename}:" in repr(task)
        await asyncio.sleep(0)
        assert f"coro=<Queue.get() running at {code.co_filename}:" in repr(task)
        task.cancel()
        await asyncio.wait([task])
        assert "coro=<Queue.get() done, defined at" in repr(task)

    asyncio.run(main())


def test_in_debug_mode_there_are_frames():
    async def main():
        coroutine = asyncio.Queue().get()
        assert coroutine.cr_frame is not None
        coroutine.close()

    asyncio.run(main(), debug=True)


def test_results_of_every_kind_arrive_and_are_let_go():
    class Item:
        pass

    async def main():
        queue = asyncio.Queue()
        for item in [None, (), (1, 2), ValueError("an item"), StopIteration(3), Item(), [1]]:
            await queue.put(item)
            assert await queue.get() is item
            getting = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            await queue.put(item)
            assert await getting is item
        item = Item()
        await queue.put(item)
        await queue.get()
        gone = weakref.ref(item)
        del item
        gc.collect()
        assert gone() is None

    asyncio.run(main())


def test_the_exception_at_the_end_is_as_python_makes_it():
    async def main():
        queue = asyncio.Queue()
        seen = []
        for item in ["one", ("two",), ["three"]]:
            await queue.put(item)
            iterator = queue.get().__await__()
            try:
                next(iterator)
            except StopIteration as stop:
                seen.append(stop)
        assert [stop.value for stop in seen] == ["one", ("two",), ["three"]]
        assert [stop.args for stop in seen] == [("one",), (("two",),), (["three"],)]
        assert all(stop.__traceback__ is not None and stop.__context__ is None for stop in seen)

    asyncio.run(main())


def test_wait_for_from_outside_and_from_inside():
    async def forever(ended):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    async def main():
        ended = []
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(forever(ended), 0.001)
        assert ended == [True] and isinstance(caught.value.__cause__, asyncio.CancelledError)
        task = asyncio.create_task(asyncio.wait_for(forever(ended), 1000))
        await asyncio.sleep(0)
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError, match="from outside"):
            await task
        assert ended == [True, True]
        with pytest.raises(TypeError):
            await asyncio.wait_for(1, 1000)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(asyncio.to_thread(lambda: 1 / 0), 1000)
        if sys.version_info >= (3, 12):  # before, it is a task that waits
            dropped = asyncio.wait_for(forever(ended), 1000)
            dropped.send(None)
            del dropped
            gc.collect()
            assert ended == [True, True, True]
        await asyncio.sleep(0)
        assert not [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="nothing stands in for a coroutine there")
def test_a_dying_call_is_out_of_sight_while_it_lets_go_of_its_result():
    """The exception that brought the result keeps it until the call dies; what it lets go of then may run anything."""
    seen = []

    class Curious:
        def __del__(self):
            gc.collect()
            seen.append([one for one in gc.get_objects() if type(one).__name__ == "_Wait"])

    async def main():
        queue = asyncio.Queue()
        for _ in range(50):
            queue.put_nowait(Curious())
            # The loop's reference is the only one, and its end lets go of the call after the exception.
            for _ in queue.get():
                pass
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len(seen) == 50 and not any(seen)
