"""What is a coroutine."""

import inspect

import rasyncio as asyncio


async def function():
    pass


def test_iscoroutine():
    coroutine = function()
    assert asyncio.iscoroutine(coroutine)
    coroutine.close()
    assert not asyncio.iscoroutine(function)
    assert not asyncio.iscoroutine(asyncio.sleep)


def test_native_waits_are_coroutines_of_their_own_kind():
    coroutine = asyncio.sleep(0)
    assert inspect.iscoroutine(coroutine)
    coroutine.close()


def test_every_coroutine_function_of_asyncio_is_one_here():
    import asyncio as stdlib

    for name in stdlib.__all__:
        if hasattr(asyncio, name):
            theirs, ours = getattr(stdlib, name), getattr(asyncio, name)
            assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs), name
            if inspect.isclass(theirs):
                for method, value in vars(theirs).items():
                    if inspect.iscoroutinefunction(value) and hasattr(ours, method) and not name.startswith("Abstract"):
                        assert inspect.iscoroutinefunction(getattr(ours, method)), f"{name}.{method}"
