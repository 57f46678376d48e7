"""An allocation that fails is a MemoryError: no crash, no SystemError, no text of Rust's on stderr, and the next loop runs.

memory_scenarios.py runs each program once for every n (here for some), its n-th allocation failing; once one fails, and once
thirty in a row.  What may come of it besides MemoryError is listed below with its reason.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("_testcapi")

# A function that cannot be made frees its code, see memory_scenarios.py.
FREES_CODE = (3, 12) <= sys.version_info < (3, 14)

PROGRAM = Path(__file__).with_name("memory_scenarios.py")

# Every n-th allocation of the longer ones, so that all of it takes less than a minute.
STRIDES = {
    "tasks": 1,
    "timers": 1,
    "gathering": 2,
    "timeouts": 1,
    "groups": 2,
    "queues": 1,
    "locks": 3,
    "streams": 7,
    "serving": 7,
    "pipes": 3,
    "subprocesses": 13,
    "executors": 3,
    "threads": 1,
    "generators": 3,
    "futures": 2,
    "callbacks": 1,
    "datagrams": 3,
    "tls": 17,
    "loops": 2,
    "runners": 3,
}

# Exceptions of the operating system and of asyncio that follow from a MemoryError that was raised or reported before.
CONSEQUENCES = (
    "success",
    "MemoryError",
    # A wake-up was lost with an allocation, as asyncio loses more of them: the guard of the scenario cancelled it.
    "stalled",
    "Task was destroyed but it is pending!",
    # The same where a socket waits to be ready: nobody has stopped watching it, and it tells so again.
    "InvalidStateError: invalid state (Exception in callback _set_result_unless_cancelled(",
    # connection_made() of a process's protocol failed, which was reported, so the process has no streams; so it is with asyncio.
    "AttributeError: 'NoneType' object has no attribute 'write'",
    # The scenario has closed its sockets and pipes while the other half of it was still at work.
    "Bad file descriptor",
    "Broken pipe",
    "ConnectionResetError",
    "ConnectionAbortedError",
    "IncompleteReadError",
    "SSLError",
    "Event loop is closed",
    # Condition.wait() could not take its lock again, and `async with` gives it back: so on asyncio.
    "Lock is not acquired.",
    # The library of the process, not asyncio: a lock, and a future whose callback failed.
    "can't allocate lock",
    "InvalidStateError: FINISHED",
    # A task or coroutine that a cancelled one was waiting for.
    "CancelledError",
    "GeneratorExit",
    "TimeoutError",
    "was never awaited",
)

# CPython's own: its evaluation loop, its ssl module and `f_back` on 3.12 lose or keep an exception.
# The first is seen on asyncio, too.
CPYTHON = re.compile(
    r"<function .*> returned NULL without setting an exception"
    r"|error return without exception set"
    r"|<class 'ssl.SSLError'> returned a result with an exception set"
    r"|_task_get_stack> returned a result with an exception set"
)

RUST = ("panicked at", "internal error, please report it", "RUST_BACKTRACE", "PyO3")


@pytest.mark.parametrize("width", [1, 30])
@pytest.mark.parametrize("scenario", STRIDES)
def test_an_allocation_that_fails_is_a_memory_error(scenario, width):
    if scenario == "subprocesses" and FREES_CODE:
        pytest.skip("Popen makes functions, whose failure frees their code on CPython 3.12 and 3.13")
    stride = STRIDES[scenario] if width == 1 else 3 * STRIDES[scenario]
    # Not in debug mode: a stack is made for each handle there, which takes memory too, and most wake-ups are lost.
    environment = {**os.environ, "MODULE": "rasyncio", "PYTHONDEVMODE": "", "PYTHONASYNCIODEBUG": ""}
    command = [sys.executable, PROGRAM, scenario, f"--stride={stride}", f"--width={width}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert not any(word in done.stderr for word in RUST), done.stderr
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["runs"] > 4
    strange = {
        outcome: found["details"].get(outcome)
        for outcome in found["outcomes"]
        if not (any(words in outcome for words in CONSEQUENCES) or CPYTHON.search(outcome))
    }
    assert not strange, json.dumps(strange, indent=1)
