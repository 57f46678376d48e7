"""Trees and tables of what is known of a process's tasks; CPython's own tests of them run from 3.14 on, these everywhere."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from rasyncio import tools


def frame(name, line=1, file="app.py"):
    return SimpleNamespace(funcname=name, filename=file, lineno=line)


def stack(names, of=None):
    return SimpleNamespace(call_stack=[frame(name) for name in names], task_name=of)


def task(number, name, own=(), waiting=()):
    """A task, the functions that it is in, and (functions, number) of those who wait for it."""
    waiting = [stack(names, other) for names, other in waiting]
    return SimpleNamespace(task_id=number, task_name=name, coroutine_stack=[stack(own)] if own else [], awaited_by=waiting)


def thread(*tasks, number=7):
    return SimpleNamespace(thread_id=number, awaited_by=list(tasks))


FAMILY = [
    thread(
        task(1, "main", own=["gather", "run"]),
        task(2, "left", own=["deep", "work"], waiting=[(["inner", "run"], 1)]),
        task(3, "right", waiting=[(["inner", "run"], 1)]),
        task(4, "alone"),
    )
]


def test_a_tree():
    assert tools.build_async_tree(FAMILY) == [
        [
            "└── (T) main",
            "    └──  run app.py:1",
            "        └──  inner app.py:1",
            "            ├── (T) left",
            "            │   └──  work app.py:1",
            "            │       └──  deep app.py:1",
            "            └── (T) right",
        ],
        ["└── (T) alone"],
    ]
    assert tools.build_async_tree(FAMILY, task_emoji="T", cor_emoji="c")[0][:2] == ["└── T main", "    └── c run app.py:1"]
    assert tools.build_async_tree([]) == []


def test_frames_of_both_kinds_and_strings():
    frames = [frame("old", 3), SimpleNamespace(funcname="new", filename="x.py", location=SimpleNamespace(lineno=4))]
    frames += ["text", frame("native", 0, "")]
    lone = task(1, "t")
    lone.coroutine_stack = [SimpleNamespace(call_stack=frames, task_name=None)]
    [[_, *lines]] = tools.build_async_tree([thread(lone)])
    assert [line.strip(" └─") for line in lines] == ["native", "text", "new x.py:4", "old app.py:3"]


def test_a_table():
    assert tools.build_task_table(FAMILY) == [
        [7, "0x1", "main", "gather -> run", "", "", "0x0"],
        [7, "0x2", "left", "deep -> work", "inner -> run", "main", "0x1"],
        [7, "0x3", "right", "", "inner -> run", "main", "0x1"],
        [7, "0x4", "alone", "", "", "", "0x0"],
    ]
    orphan = [thread(task(2, "child", waiting=[(["f"], 99)]), task(3, "odd", waiting=[(["f"], "name")]))]
    assert [row[4:] for row in tools.build_task_table(orphan)] == [["f", "Unknown", "0x63"], ["f", "Unknown", "name"]]


def test_a_ring_has_no_tree():
    ring = [thread(task(1, "a", waiting=[(["f"], 2)]), task(2, "b", waiting=[(["g"], 1)]))]
    with pytest.raises(tools.CycleFoundException) as caught:
        tools.build_async_tree(ring)
    assert caught.value.id2name == {1: "a", 2: "b"}
    assert caught.value.cycles in ([[1, 2, 1]], [[2, 1, 2]])
    assert tools.build_task_table(ring)


def test_a_long_chain():
    length = sys.getrecursionlimit() * 5
    chain = [thread(*(task(n, f"t{n}", waiting=[(["f"], n + 1)]) for n in range(length)), task(length, "last"))]
    [lines] = tools.build_async_tree(chain)
    assert len(lines) == 2 * length + 1 and lines[-1].endswith("(T) t0")


def test_display(capsys, monkeypatch):
    monkeypatch.setattr(tools, "get_all_awaited_by", lambda pid: FAMILY)
    tools.display_awaited_by_tasks_tree(1)
    assert capsys.readouterr().out.splitlines()[0] == "└── (T) main"
    tools.display_awaited_by_tasks_table(1)
    head, line, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["tid", "task", "id"] and line == "-" * 180
    assert first.split() == ["7", "0x1", "main", "gather", "->", "run", "0x0"]


@pytest.mark.parametrize(
    ("error", "attempts", "text"),
    [
        (RuntimeError("busy"), 4, "Error retrieving tasks: busy"),
        (OSError("gone"), 4, "Error retrieving tasks: gone"),
        (ProcessLookupError(), 1, "Error: process 1 not found."),
        (PermissionError(), 1, "insufficient permissions"),
    ],
)
def test_what_cannot_be_read_ends_the_program(error, attempts, text, capsys, monkeypatch):
    calls = []

    def refuse(pid):
        calls.append(pid)
        raise error

    monkeypatch.setattr(tools, "get_all_awaited_by", refuse)
    with pytest.raises(SystemExit) as caught:
        tools.display_awaited_by_tasks_tree(1)
    assert caught.value.code == 1 and len(calls) == attempts and text in capsys.readouterr().err


def test_a_ring_is_told_and_ends_the_program(capsys, monkeypatch):
    ring = [thread(task(1, "a", waiting=[(["f"], 2)]), task(2, "b", waiting=[(["g"], 1)]))]
    monkeypatch.setattr(tools, "get_all_awaited_by", lambda pid: ring)
    with pytest.raises(SystemExit):
        tools.display_awaited_by_tasks_tree(1)
    errors = capsys.readouterr().err
    assert "contains cycles" in errors and ("cycle: a → b → a" in errors or "cycle: b → a → b" in errors)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="these Pythons can look into any process")
def test_before_3_14_only_a_process_that_runs_rasyncio_can_be_asked():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        with pytest.raises(RuntimeError, match=f"process {other.pid} is not on rasyncio"):
            tools.get_all_awaited_by(other.pid)
        other.communicate(b"\n")


def test_the_tasks_of_another_process():
    code = """import rasyncio; rasyncio.install(); import asyncio
async def inner(): await asyncio.get_running_loop().create_future()
async def main():
    task = asyncio.create_task(inner(), name="inner")
    asyncio.get_running_loop().call_soon(print, "ready")
    await task
asyncio.run(main())"""
    with subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            [lines] = tools.build_async_tree(tools.get_all_awaited_by(other.pid))
        finally:
            other.kill()
    words = [line.split()[1:3] for line in lines]
    assert words == [["(T)", "Task-1"], ["main", "<string>:6"], ["(T)", "inner"], ["inner", "<string>:2"]]


def test_kinds_of_nodes():
    assert [kind.name for kind in tools.NodeType] == ["COROUTINE", "TASK"]
