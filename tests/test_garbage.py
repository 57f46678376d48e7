"""Nothing is left to the collector, and nothing is kept, that asyncio would have freed.

A cycle of references keeps a result, a buffer or an error until the collector happens to run; asyncio breaks the cycles that it
makes.  The programs in the folder `garbage` use each function of asyncio in all the ways in which it ends: a result, an error, a
cancellation, a timeout.  They run in two processes, on asyncio and on rasyncio, with the collector off (`garbage/counting.py`);
then one collection may find no more objects than on asyncio, and no more tokens, objects that a program passes through
asyncio, may be alive before it, nor after it: what a wait refers to must be in the collector's sight, for a loop may be closed
and dropped while tasks wait.  The programs of `differential` run so too.

Natively some things are made of other objects than in Python: a coroutine of asyncio is one object without a frame, a cell or a
traceback, a callback is no closure.  Those kinds are not compared one by one, only in the total.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FILES = sorted((HERE / "differential" / "programs").glob("*.py"))
LOOP_ONLY = """
import runpy, sys, warnings
warnings.simplefilter("ignore")
import asyncio, rasyncio
asyncio.set_event_loop_policy(rasyncio.EventLoopPolicy())
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LAUNCHERS = {"all": ["-m", "rasyncio"], "loop": ["-c", LOOP_ONLY]}
# What rasyncio has in the place of frames, closures and coroutines.
NATIVE = re.compile(
    r"_Wait |asyncio (_Wait|_Pause|_AsCompletedIterator|_ChainEnd|_NativeCallback|NativeCoroutine|FutureIter)$"
    r"|builtins\.(dict|list|tuple|builtin_function_or_method)$|weakref\.|traceback\.FrameSummary$"
)
# Less than a round's one object comes to.
SLACK = 15
TABLES = ["tasks", "futures", "waits", "locks", "connections", "tls", "system", "kept", "abandoned"]


def start(launcher, arguments):
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RASYNCIO"))}
    variables |= {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "differential")]), "PYTHONHASHSEED": "0"}
    command = [sys.executable, *launcher, str(HERE / "garbage" / "counting.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counts(process):
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return json.loads(out)


def both(launcher, arguments):
    """What is counted on asyncio, and what on rasyncio."""
    with start([], arguments) as expected, start(LAUNCHERS[launcher], arguments) as seen:
        try:
            return counts(expected), counts(seen)
        finally:
            expected.kill()
            seen.kill()


def more(expected, seen, garbage, detailed):
    """What a program leaves on rasyncio and not on asyncio: (what, text).

    What is left is left by each round; less is by chance, as whether a child's pipe had broken when a loop ended.
    """
    least = seen["rounds"] / 2
    kinds = {
        kind: f"{expected['garbage'].get(kind, 0)} -> {count}"
        for kind, count in seen["garbage"].items()
        if count >= expected["garbage"].get(kind, 0) + least
    }
    total, allowed = sum(seen["garbage"].values()), sum(expected["garbage"].values())
    if garbage and total >= allowed + least:
        yield "garbage", f"{allowed} -> {total}, {kinds}"
    if garbage and detailed and (kinds := {kind: text for kind, text in kinds.items() if not NATIVE.match(kind)}):
        yield "garbage of these kinds", kinds
    if seen["alive"] > expected["alive"]:
        yield "tokens alive", f"{expected['alive']} -> {seen['alive']}"
    if seen["leaked"] > expected["leaked"]:
        yield "tokens that the collector does not find", f"{expected['leaked']} -> {seen['leaked']}"
    if detailed and seen["kept"] > max(expected["kept"], 0) + SLACK:
        yield "objects kept", f"{expected['kept']} -> {seen['kept']}"


def problems(launcher, arguments, garbage=True, detailed=True):
    """What is left more than on asyncio, by the program and what it is."""
    expected, seen = both(launcher, arguments)
    assert expected.keys() == seen.keys() and len(seen) > 10
    return {
        (name, what): text for name, count in seen.items() for what, text in more(expected[name], count, garbage, detailed)
    }


def compare(launcher, arguments, **how):
    found = problems(launcher, arguments, **how)
    if found:
        # What is really more is more again; threads and children may have been late.
        again = problems(launcher, arguments, **how)
        found = {key: text for key, text in found.items() if key in again}
    lines = [f"{name}: {what}: {text}" for (name, what), text in found.items()]
    assert not lines, "more is left than on asyncio:\n  " + "\n  ".join(lines)


JOBS = """
import asyncio, concurrent.futures

class Block:
    alive = most = 0
    def __init__(self):
        self.data = bytearray(4 << 20)
        Block.alive += 1
        Block.most = max(Block.most, Block.alive)
    def __del__(self):
        Block.alive -= 1

async def block():
    return Block()

async def main():
    loop = asyncio.get_running_loop()

    def wrapped():
        future = concurrent.futures.Future()
        loop.call_soon(lambda: future.set_result(Block()))
        return asyncio.wrap_future(future)

    ask = lambda: asyncio.run_coroutine_threadsafe(block(), loop).result()
    in_thread, in_executor = lambda: asyncio.to_thread(Block), lambda: loop.run_in_executor(None, Block)
    for make in (in_thread, in_executor, wrapped, lambda: asyncio.to_thread(ask)):
        Block.most = Block.alive
        for _ in range(40):
            await make()
        print(Block.most)

asyncio.run(main())
"""


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_job_of_an_executor_does_not_keep_its_result(launcher, tmp_path):
    program = tmp_path / "jobs.py"
    program.write_text(JOBS)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RASYNCIO"))}
    command = [sys.executable, *LAUNCHERS[launcher], str(program)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    # One is made while the last one's thread still has that; a busy machine's threads may be late.
    assert len(done.stdout.split()) == 4 and max(map(int, done.stdout.split())) < 10, done.stdout


@pytest.mark.parametrize("table", TABLES)
def test_no_more_is_left_to_the_collector(table):
    # What is abandoned is garbage in both; the question is whether it is found.
    compare("all", [table], garbage=table != "abandoned")


@pytest.mark.parametrize("table", ["connections", "system"])
def test_no_more_is_left_to_the_collector_by_the_loop_alone(table):
    compare("loop", [table])


def test_no_more_is_left_to_the_collector_by_the_differential_programs():
    # Only in total: they use what is not asyncio's too, such as re's cache, and what ends a child's pipe is a matter of time.
    compare("all", ["--programs", *FILES], detailed=False)
