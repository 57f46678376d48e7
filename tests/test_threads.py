"""Functions called in other threads."""

import contextvars
import inspect
import threading

import pytest
import rasyncio

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")


def test_arguments_result_and_context():
    def called(*args, **kwargs):
        seen = VARIABLE.get()
        VARIABLE.set("thread")
        return args, kwargs, seen, threading.get_ident()

    async def main():
        VARIABLE.set("task")
        answer = await rasyncio.to_thread(called, 1, func=2)
        return *answer, VARIABLE.get()

    args, kwargs, seen, thread, after = rasyncio.run(main())
    assert (args, kwargs, seen, after) == ((1,), {"func": 2}, "task", "task")
    assert thread != threading.get_ident()


def test_errors_come_back():
    async def main():
        with pytest.raises(ZeroDivisionError):
            await rasyncio.to_thread(lambda: 1 / 0)

    rasyncio.run(main())
    assert inspect.iscoroutinefunction(rasyncio.to_thread)


def test_the_loop_goes_on_meanwhile():
    begun, go = threading.Event(), threading.Event()

    def called():
        begun.set()
        go.wait()
        return "called"

    async def main():
        waiting = rasyncio.create_task(rasyncio.to_thread(called))
        while not begun.is_set():
            await rasyncio.sleep(0)
        assert not waiting.done()
        go.set()
        return await waiting

    assert rasyncio.run(main()) == "called"
