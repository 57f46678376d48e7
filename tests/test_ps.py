"""`python -m rasyncio ps` and `pstree`: the tasks of another process, whatever that is doing."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import rasyncio
from rasyncio import _ps

INSTALLED = "import rasyncio; rasyncio.install()"
PROGRAM = f"""{INSTALLED}
import asyncio, sys, threading, time

async def leaf():
    await asyncio.sleep(3600)

async def branch():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="first leaf")
        group.create_task(leaf(), name="second leaf")

def block():
    what = sys.argv[1]
    print("ready", flush=True)
    if what == "sleeping":
        time.sleep(3600)
    elif what == "locked":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    elif what == "reading":
        sys.stdin.read()
    else:
        while True:
            pass

async def work():
    for _ in range(3):
        await asyncio.sleep(0)
    if sys.argv[1] == "idle":
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()
    block()

async def main():
    asyncio.current_task().set_name("root")
    await asyncio.gather(asyncio.create_task(branch(), name="branch"), asyncio.create_task(work(), name="work"))

def in_thread():
    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()

in_thread() if sys.argv[2:] == ["thread"] else asyncio.run(main())
"""
STATES = ["idle", "busy", "sleeping", "locked", "reading"]


class Target:
    def __init__(self, *arguments, program=PROGRAM):
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.number = self.process.pid

    def __enter__(self):
        assert self.process.stdout.readline() == "ready\n"
        return self.number

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("state", STATES)
def test_what_a_process_says_of_its_tasks(state):
    with Target(state) as number:
        (thread,) = _ps.get_all_awaited_by(number)
    assert thread.thread_id == number
    tasks = {task.task_name: task for task in thread.awaited_by}
    assert set(tasks) == {"root", "branch", "work", "first leaf", "second leaf"}
    stacks = {name: [frame.funcname for frame in task.coroutine_stack[0].call_stack] for name, task in tasks.items()}
    assert stacks["root"] == ["main"]
    assert stacks["first leaf"] == ["sleep", "leaf"]
    assert stacks["branch"] == ["TaskGroup.__aexit__", "branch"]
    assert stacks["work"] == (["work"] if state == "idle" else ["block", "work"])
    innermost = tasks["work"].coroutine_stack[0].call_stack[0]
    assert innermost.filename == "<string>" and innermost.lineno in range(14, 37)
    for name, waiter in ("branch", "root"), ("work", "root"), ("first leaf", "branch"), ("second leaf", "branch"):
        (stack,) = tasks[name].awaited_by
        assert stack.task_name == tasks[waiter].task_id
        assert [frame.funcname for frame in stack.call_stack] == stacks[waiter]
    assert tasks["root"].awaited_by == []


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_loop_in_another_thread(state):
    with Target(state, "thread") as number:
        (thread,) = _ps.get_all_awaited_by(number)
        assert thread.thread_id != number and Path(f"/proc/{number}/task/{thread.thread_id}").exists()
    (work,) = [task for task in thread.awaited_by if task.task_name == "work"]
    assert [frame.funcname for frame in work.coroutine_stack[0].call_stack] == ["block", "work"][state == "idle" :]


def test_tasks_of_the_standard_library_s_asyncio():
    program = PROGRAM.replace(INSTALLED, "import rasyncio._ps; rasyncio._ps.listen()")
    with Target("idle", program=program) as number:
        (thread,) = _ps.get_all_awaited_by(number)
    assert {task.task_name for task in thread.awaited_by} == {"root", "branch", "work", "first leaf", "second leaf"}


def launch(*arguments):
    done = subprocess.run([sys.executable, "-m", "rasyncio", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_ps():
    with Target("sleeping") as number:
        status, table, errors = launch("ps", str(number))
    assert (status, errors) == (0, "")
    heads, line, *rows = table.splitlines()
    assert heads.split() == "tid task id task name coroutine stack awaiter chain awaiter name awaiter id".split()
    assert set(line) == {"-"} and len(rows) == 5
    (row,) = [row for row in rows if "first leaf" in row]
    assert row.startswith(f"{number} ") and "sleep -> leaf " in row and "TaskGroup.__aexit__ -> branch " in row


def test_pstree():
    with Target("sleeping") as number:
        status, tree, errors = launch("pstree", str(number))
    assert (status, errors) == (0, "")
    lines = [line.rstrip() for line in tree.splitlines()]
    assert lines[0] == "└── (T) root"
    assert lines[1].startswith("    └──  main <string>:")
    assert any(line.endswith("(T) work") for line in lines)
    assert any("block <string>:" in line for line in lines)


def test_the_program_goes_on_undisturbed():
    program = f"""{INSTALLED}
import asyncio, signal, sys
async def main():
    reading = asyncio.to_thread(sys.stdin.read)
    asyncio.get_running_loop().call_later(0, lambda: print("ready", flush=True))
    await reading
    return signal.getsignal(signal.SIGURG) is rasyncio._ps.answer
import rasyncio._ps
raise SystemExit(0 if asyncio.run(main()) else 1)"""
    target = Target(program=program)
    with target as number:
        assert len(_ps.ask(number)) == 1
        before = sorted(os.listdir(f"/proc/{number}/fd"))
        for _ in range(3):
            assert len(_ps.ask(number)) == 1
        assert sorted(os.listdir(f"/proc/{number}/fd")) == before
        os.kill(number, signal.SIGURG)  # nobody listens
        assert len(_ps.ask(number)) == 1
        target.process.stdin.close()
        assert target.process.wait() == 0
        target.process.stdin = None


def test_processes_that_cannot_be_asked():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(ProcessLookupError):
        _ps.ask(ended.pid)
    with Target(program="print('ready', flush=True); input()") as number:
        with pytest.raises(RuntimeError, match="is not on rasyncio"):
            _ps.ask(number)
    in_thread = """
import threading
def first():
    import rasyncio
    rasyncio.install()
threading.Thread(target=first).start()
threading.enumerate()[-1].join() if threading.active_count() > 1 else None
print('ready', flush=True); input()"""
    with Target(program=in_thread) as number:
        with pytest.raises(RuntimeError, match="install\\(\\) in the main thread, makes it"):
            _ps.ask(number)
    with Target("idle") as number:
        os.kill(number, signal.SIGSTOP)
        with pytest.raises(RuntimeError, match="did not answer within 0.2 seconds: it is stopped"):
            _ps.ask(number, wait=0.2)


def test_only_the_same_user_is_told(monkeypatch):
    """The one who listens is us: when told that we are somebody else, the handler says nothing."""
    monkeypatch.setattr(_ps.os, "geteuid", lambda: os.getuid() + 1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(_ps.address_of(os.getpid()))
        listening.listen()
        told = []
        _ps.answer(signal.SIGURG, None)
        with listening.accept()[0] as connection:
            told.append(connection.recv(1))
    assert told == ([b"."] if os.getuid() == 0 else [b""])


def test_a_handler_of_others_is_left_alone():
    code = """import signal
signal.signal(signal.SIGURG, print)
import rasyncio
rasyncio.install()
assert signal.getsignal(signal.SIGURG) is print"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_a_program_that_is_put_on_rasyncio_has_the_handler():
    code = """import signal
def handler(): return signal.getsignal(signal.SIGURG)
import rasyncio
assert handler() is signal.SIG_DFL
rasyncio.install()
import rasyncio._ps
assert handler() is rasyncio._ps.answer
rasyncio.uninstall()
assert handler() is signal.SIG_DFL"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["ps"], ["pstree", "x"], ["ps", "1", "2"]], ids=" ".join)
def test_wrong_command_lines(arguments):
    status, output, errors = launch(*arguments)
    assert (status, output) == (2, "") and errors.startswith(f"{arguments[0]} takes the number of a process\nusage: ")


def test_errors_are_plain_words():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert launch("ps", str(ended.pid)) == (1, "", f"Error: process {ended.pid} not found.\n")
    with Target(program="print('ready', flush=True); input()") as number:
        status, output, errors = launch("pstree", str(number))
        stock = subprocess.run([sys.executable, "-m", "asyncio", "pstree", str(number)], capture_output=True, text=True)
    if sys.version_info >= (3, 14):  # Python's own way is tried for such a process; for that of 3.15 it just has no tasks
        assert status == stock.returncode and output + errors == stock.stdout + stock.stderr
        return
    assert (status, output) == (1, "")
    assert (
        errors
        == f"Error retrieving tasks: process {number} is not on rasyncio: neither `python -m rasyncio` nor install()\n"
    )


def test_a_signal_s_handler_raises_nothing(complaints):
    memfd = os.memfd_create
    try:
        os.memfd_create = lambda name: 1 / 0
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(_ps.address_of(os.getpid()))
            listening.listen()
            _ps.answer(signal.SIGURG, None)
    finally:
        os.memfd_create = memfd
    assert "ZeroDivisionError" in complaints.take()[0]
    assert rasyncio._ps is _ps
