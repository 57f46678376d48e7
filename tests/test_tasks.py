"""Tasks, beyond what CPython's own tests say."""

import gc
import subprocess
import sys
import weakref

import pytest
import rasyncio as asyncio


def test_a_subclass_of_task_runs():
    class Own(asyncio.Task):
        pass

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **keywords: Own(coro, loop=loop, **keywords))
        task = asyncio.create_task(asyncio.sleep(0, "result"))
        return type(task), await task

    made, result = asyncio.run(main())
    assert made is Own and result == "result"


def test_a_pending_task_that_nobody_holds_is_reported_and_collected():
    loop = asyncio.new_event_loop()
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context["message"]))

    async def wait_for_ever():
        await loop.create_future()

    task = loop.create_task(wait_for_ever())
    seen = weakref.ref(task)
    loop.call_soon(loop.stop)
    loop.run_forever()
    del task
    gc.collect()
    assert seen() is None and reported == ["Task was destroyed but it is pending!"]
    loop.close()


def test_sleep_zero_is_a_coroutine():
    import inspect
    import warnings

    coroutine = asyncio.sleep(0)
    assert inspect.iscoroutine(coroutine) and asyncio.iscoroutine(coroutine)
    assert repr(coroutine).startswith("<coroutine object sleep at 0x")
    with pytest.raises(StopIteration):
        coroutine.send(None)
        coroutine.send(None)
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        asyncio.sleep(0)
        gc.collect()
    warnings.resetwarnings()


def test_a_task_of_a_native_coroutine():
    assert asyncio.run(asyncio.sleep(0)) is None
    assert asyncio.run(asyncio.wait_for(asyncio.sleep(0, 3), None)) == 3


def test_system_exit_in_a_task_leaves_the_loop():
    async def leave():
        raise SystemExit(5)

    async def main():
        await asyncio.create_task(leave())

    with pytest.raises(SystemExit):
        asyncio.run(main())


def test_as_completed_yields_in_the_order_of_completion():
    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(3)]
        for at in (2, 0, 1):
            loop.call_soon(futures[at].set_result, at)
        return [await one async for one in asyncio.as_completed(futures)]

    assert asyncio.run(main()) == [2, 0, 1]


def test_frameworks_recognise_eager_factories_and_find_the_constructor():
    factory = asyncio.create_eager_task_factory(constructor := lambda *args, **kwargs: (args, kwargs))
    assert factory.__code__ is asyncio.eager_task_factory.__code__
    assert factory.__closure__[0].cell_contents is constructor
    assert asyncio.eager_task_factory.__closure__[0].cell_contents is asyncio.Task
    assert factory("loop", "coro") == (("coro",), factory("loop", "coro")[1])
    assert factory("loop", "coro")[1]["loop"] == "loop" and factory("loop", "coro")[1]["eager_start"] is True


@pytest.mark.parametrize("beside", ["", "import asyncio"], ids=["alone", "beside asyncio"])
def test_current_tasks_as_a_mapping(beside):
    """What nest_asyncio does with asyncio's dict."""
    program = f"""
import rasyncio
{beside}
current = rasyncio.tasks._current_tasks
async def main():
    loop, task = rasyncio.get_running_loop(), rasyncio.current_task()
    assert current[loop] is current.get(loop) is task and dict(current) == {{loop: task}} and len(current) == 1
    assert repr(current) == repr({{loop: task}})
    assert current.pop(loop) is task
    assert rasyncio.current_task() is None and loop not in current and not dict(current) and current.pop(loop, 1) == 1
    try:
        del current[loop]
    except KeyError as error:
        assert error.args == (loop,)
    current[loop] = task
    assert rasyncio.current_task() is task and current.setdefault(loop, None) is task
rasyncio.run(main())
assert not list(current) and rasyncio.new_event_loop() not in current
"""
    subprocess.run([sys.executable, "-c", program], check=True)
