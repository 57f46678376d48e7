"""Runs whole programs on asyncio and on rasyncio, each in a process of its own, and compares all that a person sees of them:
what they print, what they write to standard error, and how they end.

These are programs whose end, or whose death, is the point: what happens while the interpreter ends, in finalizers, and when the
system has nothing left to give.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).resolve().parent / "processes").glob("*.py"))
# In debug mode these write stacks, which begin with the launcher's frames.
STACKS = {"pending_at_exit", "reports_at_exit"}


def outcome(launcher, program, debug):
    """The lines of standard output, those of standard error, and the exit status."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    if debug:
        variables["PYTHONASYNCIODEBUG"] = "1"
    done = subprocess.run(
        [sys.executable, *launcher, program.name],
        env=variables,
        cwd=program.parent,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return plain(done.stdout), plain(done.stderr), done.returncode


def plain(text):
    """Without what may differ: addresses, the package's name, the frames of the package's own files, and the lines of source in
    tracebacks, which can be read at the end of an interpreter by those only who have loaded `traceback` before.
    """
    text = re.sub(r"0x[0-9a-f]{6,}", "0xX", text).replace(str(Path.cwd()), "").replace("rasyncio", "asyncio")
    text = re.sub(r"at [^ ]*/asyncio/[^ >]*", "at asyncio", text)
    text = re.sub(r'  File "[^"]*/asyncio/[^"]*", line .*\n(?:    .*\n)*', "", text)
    text = re.sub(r"(?m)^ +[~^]+ *\n", "", text)
    return re.sub(r'(?m)^(  File ".*)\n    .*$', r"\1", text).splitlines()


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_same_outcome(program, debug, request):
    if debug and program.stem in STACKS:
        pytest.skip("what is written is the launcher's stack as well")
    expected = outcome([], program, debug)
    assert expected[0] and expected[2] == 0, expected
    assert outcome(request.config.getoption("--launcher").split(), program, debug) == expected
