"""Counts what programs leave to the collector, and what they keep; a child of test_garbage.py.

    python [LAUNCHER] counting.py TABLE... [--programs FILE...]

A program of a table (`tasks`, `locks`, ...) is an `async def` without arguments.  It runs ROUNDS times on one loop with the
collector off, and RUNS times on a loop of its own; then gc.DEBUG_SAVEALL names what one collection finds.  A file runs
FILE_RUNS times from its first line to its last.  What is counted goes to standard output as JSON: for each program the
types of the garbage, how many tokens were alive before the collection and after it, and how many more objects there were
after it than before the program.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import sys
import types
import warnings

WARM, ROUNDS, RUNS, FILE_RUNS = 3, 20, 5, 2
QUIET_TURNS = 10
PROGRAMS = {}


def program(function):
    """Adds an `async def` to the table."""
    PROGRAMS[function.__module__, function.__name__] = function
    return function


def whole(function):
    """Adds a function that makes its own loop to the table."""
    function.whole = True
    return program(function)


class Token:
    """An object that a program passes through asyncio and drops; the living ones are counted."""

    alive = 0

    def __init__(self):
        Token.alive += 1

    def __del__(self):
        Token.alive -= 1


class Holding(Token):
    """A token that can be called."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


def expected(*kinds):
    """Lets an error pass that no frame but the failing ones holds: where asyncio makes no cycle of its own, nothing is left."""
    return contextlib.suppress(ValueError, TimeoutError, asyncio.CancelledError, *kinds)


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def begin(coroutine):
    return asyncio.get_running_loop().create_task(coroutine)


async def cancelled(awaitable, count=2):
    """Awaited by a task that is cancelled after some turns."""

    async def wait():
        return await awaitable

    task = asyncio.ensure_future(wait())
    await turns(count)
    task.cancel(Token())
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


async def value(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return Token()


async def wrong(turns=1):
    token = Token()
    for _ in range(turns):
        await asyncio.sleep(0)
    raise ValueError(token)


async def forever():
    token = Token()
    await asyncio.Event().wait()
    del token


async def stubborn():
    """Turns its cancellation into an error."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise ValueError(Token()) from None


def kind(thing):
    """The name of a type, the same for both implementations; of code, where it is."""
    if isinstance(thing, types.FunctionType | types.CoroutineType | types.GeneratorType | types.AsyncGeneratorType):
        return f"{type(thing).__name__} {thing.__qualname__}"
    if isinstance(thing, types.FrameType):
        return f"frame {thing.f_code.co_qualname}"
    if isinstance(thing, types.TracebackType):
        return f"traceback {thing.tb_frame.f_code.co_qualname}"
    if isinstance(thing, types.CellType):
        return "cell"
    module = type(thing).__module__.split(".")[0]
    name = type(thing).__qualname__
    return f"asyncio {name}" if module in ("asyncio", "_asyncio", "rasyncio", "_rasyncio") else f"{module}.{name}"


def collected(objects_before, kept):
    """What one collection finds, once nothing is kept any more, and how many tokens were alive before."""
    alive, rounds = Token.alive, len(kept)
    kept.clear()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    garbage = collections.Counter(map(kind, gc.garbage))
    gc.garbage.clear()
    gc.collect()
    more = len(gc.get_objects()) - objects_before
    return {"rounds": rounds, "garbage": garbage, "alive": alive, "leaked": Token.alive, "kept": more}


@contextlib.contextmanager
def collector_off():
    gc.collect()
    gc.disable()
    Token.alive = 0
    try:
        yield
    finally:
        gc.enable()


async def rounds(function):
    gc.collect()
    before = len(gc.get_objects())
    # What a program returns is kept, to see what that keeps.
    kept = [await function() for _ in range(ROUNDS)]
    await turns(QUIET_TURNS)
    loop = asyncio.get_running_loop()
    await loop.shutdown_default_executor()
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))  # in the place of one with threads
    return collected(before, kept)


async def warm_up(function):
    for _ in range(WARM):
        await function()


def on_one_loop(function):
    # On another loop, at whose end the threads of its executor are over, and have let go of their last jobs.
    asyncio.run(warm_up(function))
    with collector_off():
        return asyncio.run(rounds(function))


async def nothing():
    pass


def on_loops(call, runs):
    call()
    with collector_off():
        before = len(gc.get_objects())
        kept = [call() for _ in range(runs)]
        return collected(before, kept)


def measured(table):
    for (module, name), function in list(PROGRAMS.items()):
        if module != table.__name__:
            continue
        if getattr(function, "whole", False):
            yield name, on_loops(function, RUNS)
        else:
            yield name, on_one_loop(function)
            yield f"{name}, run", on_loops(lambda function=function: asyncio.run(function()), RUNS)


def measured_files(names):
    for name in names:
        with open(name) as file:
            code = compile(file.read(), name, "exec")

        def run(code=code, name=name):
            exec(code, {"__name__": "__main__", "__file__": name})
            logging.getLogger("asyncio").handlers = [logging.NullHandler()]

        yield os.path.basename(name), on_loops(run, FILE_RUNS)


def main(tables, files):
    results, out = {}, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = open(os.devnull, "w")
    logging.getLogger("asyncio").addHandler(logging.NullHandler())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")
    on_one_loop(nothing)  # for what the first one loads
    for table in tables:
        module = importlib.import_module(f"garbage.{table}")
        results |= {f"{table}: {name}": result for name, result in measured(module)}
    results |= measured_files(files)
    json.dump(results, out)
    out.close()


if __name__ == "__main__":
    sys.modules["garbage.counting"] = sys.modules["__main__"]
    arguments = sys.argv[1:]
    split = arguments.index("--programs") if "--programs" in arguments else len(arguments)
    main(arguments[:split], arguments[split + 1 :])
