"""Runs each program on asyncio and on rasyncio, in two processes, and compares the events that they record.

The stdlib is the specification here: the order of callbacks, the messages of exceptions, the counts of cancellations.  A
program says `import asyncio`, calls `record`, and must not depend on time or on chance.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
PROGRAMS = sorted((FOLDER / "programs").glob("*.py"))


def events(launcher, program):
    """(exit status, events) of the program; its standard error goes to pytest's capture."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"PYTHONPATH": str(FOLDER), "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, *launcher, str(program)], env=variables, capture_output=True, text=True, timeout=60
    )
    sys.stderr.write(done.stderr)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_same_events(program, request):
    launcher = request.config.getoption("--launcher").split()
    expected_status, expected = events([], program)
    assert len(expected) > 5, "a program that records nothing compares nothing"
    assert expected_status == 0
    status, seen = events(launcher, program)
    assert seen == expected
    assert status == expected_status
