"""What newer Pythons brought to asyncio behaves on older ones as on the newest: as recorded there, to the order of events.

A program under newer/ uses what came with the version that it states as SINCE.  Where the running Python has that itself, the
program is compared with its asyncio, as those under programs/ are; on older ones with NAME.events beside it, which is what the
asyncio of Python 3.15.0 printed.  On 3.15 the record is compared with asyncio too.  A new record is made by

    cd tests/differential && PYTHONPATH=. python3.15 newer/NAME.py > newer/NAME.events
"""

import ast
import sys
from pathlib import Path

import pytest
from test_differential import FOLDER, events

RECORDED_ON = (3, 15)
PROGRAMS = sorted((FOLDER / "newer").glob("*.py"))


def since(program: Path):
    """The version in the program's statement `SINCE = (3, x)`."""
    for statement in ast.parse(program.read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "SINCE":
            return ast.literal_eval(statement.value)
    raise AssertionError(f"{program.name} does not state SINCE")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_as_on_the_newest(program, request):
    recorded = program.with_suffix(".events").read_text().splitlines()
    assert len(recorded) > 5, "a program that records nothing compares nothing"
    expected = recorded
    if sys.version_info >= since(program):
        status, expected = events([], program)
        if status < 0:  # 3.12.1 dies of get_coro() of a task that finished eagerly
            expected = None
        else:
            assert status == 0
        if sys.version_info[:2] == RECORDED_ON:
            assert recorded == expected, "the record is not what asyncio does"
    status, seen = events(request.config.getoption("--launcher").split(), program)
    assert status == 0
    assert expected is None or seen == expected


def test_each_record_has_its_program():
    assert [path.stem for path in sorted((FOLDER / "newer").glob("*.events"))] == [path.stem for path in PROGRAMS]
