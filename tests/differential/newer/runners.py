"""run() and Runner.run() take a loop factory (3.12) and any awaitable (3.14)."""

import asyncio

from recorder import record

SINCE = (3, 14)


class Awaitable:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        record("task", asyncio.current_task().get_name().partition("-")[0])
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def attempt(name, function, *args, **keywords):
    try:
        record(name, function(*args, **keywords))
    except BaseException as error:
        record(name, error)


async def value():
    return 1


async def running():
    awaitable = Awaitable(1)
    attempt("within a loop", asyncio.run, awaitable)


attempt("awaitable", asyncio.run, Awaitable(1))
attempt("fails", asyncio.run, Awaitable(ValueError("fails")))
attempt("coroutine", asyncio.run, value())
with asyncio.Runner() as runner:
    attempt("runner", runner.run, Awaitable(2))
    attempt("runner", runner.run, Awaitable(asyncio.CancelledError("cancelled")))
    attempt("runner", runner.run, value())
asyncio.run(running())
made = []


def factory():
    made.append(asyncio.EventLoop())
    return made[-1]


async def loop_is_ours():
    return asyncio.get_running_loop() is made[-1]


attempt("loop_factory", asyncio.run, loop_is_ours(), loop_factory=factory)
attempt("loop_factory", asyncio.run, loop_is_ours(), loop_factory=factory, debug=True)
record("closed", [loop.is_closed() for loop in made], [loop.get_debug() for loop in made])
