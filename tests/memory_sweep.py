"""Runs a program once for each of its allocations, with that allocation failing; called by memory_scenarios.py.

After each run the process runs another loop, in which nothing fails.  Every run has a loop of its own, an exception handler, and a
guard: a task that has waited too long for a wake-up that was lost with an allocation is cancelled and counted as "stalled".
asyncio loses many more, so that is no fault.
"""

import _testcapi
import argparse
import collections
import contextlib
import faulthandler
import gc
import importlib
import inspect
import json
import os
import re
import sys
import traceback
import warnings

asyncio = importlib.import_module(os.environ.get("MODULE", "rasyncio"))

GUARD = 0.2


class Window:
    """When allocations fail."""

    first = None
    width = 1
    armed = False
    reached = False

    def arm(self):
        self.armed = True
        if self.first is not None:
            _testcapi.set_nomemory(self.first, self.first + self.width)

    def disarm(self):
        """Ends the window; notes whether the failure was reached: if it was not, one of the next allocations fails."""
        if not self.armed:
            return
        made = 0
        try:
            while self.first is not None and made < self.first + 2:
                bytearray(64)
                made += 1
            self.reached = self.reached or self.first is not None
        except MemoryError:
            # In the middle of a longer failure the very next allocation fails too.
            self.reached = self.reached or (self.width > 1 and made == 0)
        finally:
            _testcapi.remove_mem_hooks()
            self.armed = False


window = Window()
arm = window.arm
disarm = window.disarm


outcomes = collections.Counter()
details = {}


def note(where, error, text=""):
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            note(where, part, text)
        return
    if isinstance(error, MemoryError):
        outcomes[f"{where}: MemoryError"] += 1
        return
    shown = type(error).__name__ if error is not None else "no exception"
    key = f"{where}: {shown}" + (f": {error}" if error is not None else "") + (f" ({text})" if text else "")
    key = re.sub(r"0x[0-9a-f]+|\d+", "N", key)
    outcomes[key] += 1
    details.setdefault(key, [window.first, traceback.format_exception(error) if error is not None else []])


def handler(loop, context):
    disarm()
    error = context.get("exception")
    if isinstance(error, ZeroDivisionError) or context["message"] == "reported on purpose":
        return
    note("handler", error, context["message"])


def unraisable(info):
    disarm()
    note("unraisable", info.exc_value or info.exc_type(), info.err_msg or "")


async def guarded(function, loop):
    try:
        await function(loop)
    finally:
        disarm()


def run(function):
    """One run. The task goes on if MemoryError left the loop, as a program's would."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(handler)
    window.reached = False
    stalled = []
    try:
        if not inspect.iscoroutinefunction(function):
            try:
                function(loop)
            except BaseException as error:
                disarm()
                note("raised", error)
            return
        task = loop.create_task(guarded(function, loop))

        def give_up(more):
            disarm()
            stalled.append(1)
            task.cancel()
            guards.append(loop.call_later(GUARD, give_up, False) if more else loop.call_soon(loop.stop))

        guards = [loop.call_later(GUARD, give_up, True)]
        for _ in range(4):
            if task.done() or len(stalled) == 2:
                break
            try:
                loop.run_until_complete(task)
            except BaseException as error:
                disarm()
                if not stalled:
                    note("raised", error)
        if stalled:
            outcomes["stalled"] += 1
        for guard in guards:
            guard.cancel()
    finally:
        disarm()
        left = asyncio.all_tasks(loop)
        with contextlib.suppress(RuntimeError):
            # The guard's stop() may still be on its way.
            loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(clear_up(loop, left))
        loop.close()


async def clear_up(loop, left):
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=GUARD)
    await loop.shutdown_asyncgens()


async def sound():
    queue = asyncio.Queue()
    task = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    await queue.put(3)
    async with asyncio.timeout(10):
        assert await task == 3


def same(thing):
    return thing


def main(scenarios):
    """Sweeps the scenario that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=scenarios)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--width", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    function = scenarios[options.scenario]
    warnings.simplefilter("ignore")
    sys.unraisablehook = unraisable
    if sys.version_info[:2] == (3, 12):
        # It makes a function at each call, see memory_scenarios.py; no callback here is wrapped.
        inspect.unwrap = same
    # So that its imports are made.
    traceback.format_exception(MemoryError())
    importlib.import_module("ast")
    # What is made once for the process, names and caches, is made before.
    for _ in range(3):
        run(function)
        asyncio.run(sound())
    unfailing = dict(outcomes)
    outcomes.clear()
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    window.first, window.width = options.start, options.width
    runs = beyond = 0
    while beyond < 3:
        faulthandler.dump_traceback_later(60, exit=True)
        before = outcomes.total()
        run(function)
        asyncio.run(sound())
        runs += 1
        if window.reached:
            beyond = 0
            outcomes["success"] += outcomes.total() == before
        else:
            beyond += 1
        window.first += options.stride
    faulthandler.cancel_dump_traceback_later()
    # A finalizer keeps what it finalizes until the next collection.
    for _ in range(3):
        gc.collect()
    found = {"unfailing": unfailing, "outcomes": dict(outcomes), "details": details, "runs": runs}
    found["descriptors"] = len(os.listdir("/proc/self/fd")) - descriptors
    print(json.dumps(found))
