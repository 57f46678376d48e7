"""versions.toml and docs/versions.md list the same points, and the tests that versions.toml names exist and are collected.

A point of the page without an entry, an entry without a point, an entry without a test, and a test that is not there are
complaints.  The checks are tried on a table with each of these faults.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "versions.md"


def points_of_page(text):
    """(version, what) of each point of the page, in its order."""
    points, version = [], None
    for line in text.splitlines():
        if line.startswith("## "):
            version = line.removeprefix("## ").removeprefix("Python ")
        elif match := re.match(r"- \*\*(.+?)\*\*", line):
            points.append((version, match[1]))
    return points


def complaints(points, table, collected):
    """What is wrong with the table: `points` of the page, `table` of versions.toml, `collected` node ids."""
    listed = [(entry["version"], entry["what"]) for entry in table]
    for point in points:
        if point not in listed:
            yield f"{point} of docs/versions.md is not in tests/versions.toml"
    for point in listed:
        if point not in points:
            yield f"{point} of tests/versions.toml is not in docs/versions.md"
        if listed.count(point) > 1:
            yield f"{point} is in tests/versions.toml more than once"
    # A test with parameters may be named without them.
    known = collected | {node.partition("[")[0] for node in collected}
    for entry in table:
        if not entry["tests"]:
            yield f"{entry['what']} has no test"
        for test in entry["tests"]:
            if test not in known:
                yield f"{entry['what']}: {test} is not collected"


@pytest.fixture(scope="module")
def table():
    return tomllib.loads((ROOT / "tests" / "versions.toml").read_text(encoding="utf-8"))["point"]


def collect(names):
    """The node ids that pytest finds in files of the project."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_each_point_has_its_tests(table):
    names = sorted({test.partition("::")[0] for entry in table for test in entry["tests"]})
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing
    points = points_of_page(PAGE.read_text(encoding="utf-8"))
    assert len(points) > 80, "the page was not understood"
    assert list(complaints(points, table, collect(names))) == []


def test_each_test_of_a_version_has_its_point(table):
    """What test_versions.py and its neighbours test is a point."""
    named = {test for entry in table for test in entry["tests"]}
    names = ["test_versions.py", "test_versions_followed.py", "test_versions_network.py", "differential/test_newer.py"]
    collected = collect([f"tests/{name}" for name in names])
    others = {"test_modules_that_came_later", "test_each_record_has_its_program"}
    extra = {node for node in collected if node not in named and node.partition("[")[0].rpartition("::")[2] not in others}
    assert not extra


@pytest.mark.parametrize(
    "fault, said",
    [
        (lambda table, nodes: None, []),
        (lambda table, nodes: table.pop(), ["('3.13', 'b') of docs/versions.md is not in tests/versions.toml"]),
        (
            lambda table, nodes: table.append({"version": "3.13", "what": "c", "tests": ["t.py::test_b"]}),
            ["('3.13', 'c') of tests/versions.toml is not in docs/versions.md"],
        ),
        (lambda table, nodes: table[0].update(version="3.14"), ["('3.12', 'a') of docs", "('3.14', 'a') of tests"]),
        (lambda table, nodes: table.append(table[0]), ["more than once", "more than once"]),
        (lambda table, nodes: table[0]["tests"].clear(), ["a has no test"]),
        (lambda table, nodes: nodes.discard("t.py::test_a[1]"), ["a: t.py::test_a[1] is not collected"]),
        (lambda table, nodes: nodes.discard("t.py::test_b[x]"), ["b: t.py::test_b is not collected"]),
    ],
)
def test_faults_are_found(fault, said):
    page = "# Title\n\n## Python 3.12\n\n- **a**: text\n  more - **not** this\n\n## Python 3.13\n\n- **b**: text\n"
    table = [
        {"version": "3.12", "what": "a", "tests": ["t.py::test_a[1]"]},
        {"version": "3.13", "what": "b", "tests": ["t.py::test_b"]},
    ]
    nodes = {"t.py::test_a[1]", "t.py::test_b[x]"}
    fault(table, nodes)
    found = list(complaints(points_of_page(page), table, nodes))
    assert len(found) == len(said) and all(part in whole for part, whole in zip(said, found, strict=True)), found
