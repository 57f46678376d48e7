"""Counts what programs leave to the collector, and what they keep; a child of test_garbage.py.

    python [LAUNCHER] counting.py TABLE... [--programs FILE...]

A program of a table (`tasks`, `locks`, ...) is an `async def` without arguments.  It runs ROUNDS times on one loop with the collector
off, and RUNS times on a loop of its own; then gc.DEBUG_SAVEALL names what one collection finds.  A file runs FILE_RUNS times from its
first line to its last.  What is counted goes to standard output as JSON: for each program the types of the garbage, how many
tokens were alive before the collection, and how many objects were there after it that were not there before the rounds.
"""

import asyncio
import collections
import contextlib
import gc
import importlib
import json
import logging
import os
import sys
import types
import warnings

WARM, ROUNDS, RUNS, FILE_RUNS = 3, 20, 5, 2
QUIET_TURNS = 10
PROGRAMS = {}


def program(function):
    """Adds an `async def` to the table."""
    PROGRAMS[function.__name__] = function
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


def collected(objects_before):
    """What one collection finds."""
    alive = Token.alive
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    garbage = collections.Counter(map(kind, gc.garbage))
    gc.garbage.clear()
    gc.collect()
    return {"garbage": garbage, "alive": alive, "kept": len(gc.get_objects()) - objects_before}


@contextlib.contextmanager
def collector_off():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def on_one_loop(function):
    loop = asyncio.get_running_loop()
    for _ in range(WARM):
        await function()
    await turns(QUIET_TURNS)
    with collector_off():
        before = len(gc.get_objects())
        for _ in range(ROUNDS):
            await function()
        await turns(QUIET_TURNS)
        await loop.shutdown_default_executor()
        return collected(before)


async def nothing():
    pass


def on_loops(call, runs):
    call()
    with collector_off():
        before = len(gc.get_objects())
        for _ in range(runs):
            call()
        return collected(before)


def measured():
    for name, function in PROGRAMS.items():
        if getattr(function, "whole", False):
            yield name, on_loops(function, RUNS)
        else:
            yield name, asyncio.run(on_one_loop(function))
            yield f"{name}, run", on_loops(lambda function=function: asyncio.run(function()), RUNS)


def measured_files(names):
    for name in names:
        with open(name) as file:
            code = compile(file.read(), name, "exec")
        yield os.path.basename(name), on_loops(lambda code=code: exec(code, {"__name__": "__main__"}), FILE_RUNS)


def main(tables, files):
    results, out = {}, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = open(os.devnull, "w")
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")
    asyncio.run(on_one_loop(nothing))  # for what the first one loads
    for table in tables:
        PROGRAMS.clear()
        importlib.import_module(f"garbage.{table}")
        results |= {f"{table}: {name}": result for name, result in measured()}
    results |= measured_files(files)
    json.dump(results, out)
    out.close()


if __name__ == "__main__":
    sys.modules["garbage.counting"] = sys.modules["__main__"]
    arguments = sys.argv[1:]
    split = arguments.index("--programs") if "--programs" in arguments else len(arguments)
    main(arguments[:split], arguments[split + 1 :])
