"""The debug-mode guide, docs/debugging.md: what it shows of its programs' output is what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "debugging"


def told(program, *options):
    """What a program says on its standard error, without what depends on the machine or the version of Python."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, *options, str(FOLDER / program)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60).stderr


def plain(text):
    lines = text.replace(f"{FOLDER}/", "").splitlines()
    return [re.sub(r"took \d\.\d+ seconds", "took a while", line) for line in lines if not re.fullmatch(r"[ ^~]+", line)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.name)
def test_says_what_the_guide_shows(path):
    program, *options = path.name.removesuffix(".txt").split(".")
    said, shown = plain(told(f"{program}.py", *(["-X", "dev"] if options else []))), plain(path.read_text(encoding="utf-8"))
    if program != "slow":  # on a busy machine debug mode finds more to say
        said = [line for line in said if not line.startswith("Executing <")]
    if program == "wrong_thread":
        said = said[-1:]  # the rest is threading's
    assert said == shown
