"""`install(stock_ps=True)`: the standard library's own `python -m asyncio ps` and `pstree` see rasyncio's tasks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_ps import PROGRAM, STATES, Target

SHOWN = "import rasyncio; rasyncio.install(stock_ps=True)"
PROGRAM = PROGRAM.replace("import rasyncio; rasyncio.install()", SHOWN)
# The tool as a process of its own, of which nothing is on rasyncio.
READ = """
import json, sys
from _remote_debugging import RemoteUnwinder
def frames(stack):
    return [(frame.funcname, getattr(frame, "lineno", None) or frame.location.lineno) for frame in stack.call_stack]
tasks = [task for thread in RemoteUnwinder(int(sys.argv[1])).get_all_awaited_by() for task in thread.awaited_by]
names = {task.task_id: task.task_name for task in tasks}
seen = {}
for task in tasks:
    seen[task.task_name] = [frames(task.coroutine_stack[0]), [names[waiter.task_name] for waiter in task.awaited_by]]
print(json.dumps(seen))
"""


def run(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "RASYNCIO_INSTALL"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=60)


def why_not():
    """Why the tool cannot look into a child of this process, whatever that runs; None if it can."""
    if sys.version_info < (3, 14):
        return "the tool is there from Python 3.14 on"
    idle = "import asyncio; asyncio.Runner().run(asyncio.sleep(0)); print('ready', flush=True); input()"
    with Target(program=idle) as number:
        done = run("-c", READ, str(number))
    return f"this machine does not let it read a process: {done.stderr.splitlines()[-1]}" if done.returncode else None


@pytest.fixture(scope="module")
def tool():
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


def tasks_of(number):
    done = run("-c", READ, str(number))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("state", STATES)
def test_what_the_tool_sees(tool, state):
    with Target(state, program=PROGRAM) as number:
        tasks = tasks_of(number)
    stacks = {name: [function for function, _ in frames] for name, (frames, _) in tasks.items()}
    assert stacks == {
        "root": ["main"],
        "branch": ["TaskGroup.__aexit__", "branch"],
        "work": ["work"] if state == "idle" else ["block", "work"],
        "first leaf": ["sleep", "leaf"],
        "second leaf": ["sleep", "leaf"],
    }
    waiters = {name: by for name, (_, by) in tasks.items()}
    assert waiters == {
        "root": [],
        "branch": ["root"],
        "work": ["root"],
        "first leaf": ["branch"],
        "second leaf": ["branch"],
    }
    leaf = next(number for number, line in enumerate(PROGRAM.splitlines(), 1) if "sleep(3600)" in line)
    assert tasks["first leaf"][0][1] == ["leaf", leaf]


def test_a_loop_in_another_thread(tool):
    with Target("idle", "thread", program=PROGRAM) as number:
        assert len(tasks_of(number)) == 5


@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_the_commands(tool, command):
    with Target("sleeping", program=PROGRAM) as number:
        done = run("-m", "asyncio", command, str(number))
    assert (done.returncode, done.stderr) == (0, "")
    assert "second leaf" in done.stdout and "TaskGroup.__aexit__" in done.stdout


def test_it_sees_what_is_there_now_and_leaves_nothing(tool):
    """The second look, when the process waits for one again, is at other tasks; then everything is as it was."""
    program = f"""{SHOWN}
import asyncio, os, sys, threading
from rasyncio import _stock
window = _stock.current
folder, sequence = window.folder, 0
async def nap(): await asyncio.get_running_loop().create_future()
async def main():
    descriptors, threads = os.listdir("/proc/self/fd"), threading.active_count()
    for name in "first", "second":
        task = asyncio.create_task(nap(), name=name)
        asyncio.get_running_loop().call_soon(lambda: print("ready", flush=True))
        await asyncio.to_thread(sys.stdin.readline)
        while window.stand_ins is not None:
            await asyncio.sleep(0.01)
        task.cancel()
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)
asyncio.run(main())
assert os.path.exists(folder) and folder in open("/proc/self/maps").read()
rasyncio.uninstall()
assert not os.path.exists(folder) and folder not in open("/proc/self/maps").read() and _stock.current is None"""
    target = Target(program=program)
    with target as number:
        assert set(tasks_of(number)) == {"Task-1", "first"}
        target.process.stdin.write("\n")
        target.process.stdin.flush()
        assert target.process.stdout.readline() == "ready\n"
        assert set(tasks_of(number)) == {"Task-1", "second"}
        target.process.stdin.close()
        target.process.stdin = None
        assert target.process.wait() == 0


def test_names_and_stacks_that_are_too_long(tool):
    program = f"""{SHOWN}
import asyncio
async def deep(left):
    if left:
        await deep(left - 1)
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()
async def main():
    asyncio.current_task().set_name("n\\u00e4me " * 1000)
    await deep(300)
asyncio.run(main())"""
    with Target(program=program) as number:
        ((name, (frames, _)),) = tasks_of(number).items()
    assert name.endswith(("n\u00e4me ", "n\\xe4me ")) and frames == [["deep", frames[0][1]]] + [["deep", 5]] * (
        len(frames) - 1
    )


def test_a_forked_child_leaves_the_parent_s_alone(tool):
    program = f"""{SHOWN}
import asyncio, os, warnings
from rasyncio import _stock
warnings.simplefilter("ignore")
async def main():
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print("ready", flush=True)
        await asyncio.get_running_loop().create_future()
    else:
        assert _stock.current is None and "rasyncio.so" not in open("/proc/self/maps").read()
        import atexit
        atexit._run_exitfuncs()
        os._exit(0)
asyncio.run(main())"""
    with Target(program=program) as number:
        assert set(tasks_of(number)) == {"Task-1"}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 there is no such tool")
def test_what_a_killed_process_leaves_the_next_one_clears_away():
    program = f"""{SHOWN}
from rasyncio import _stock
print(_stock.current.folder, flush=True)
input()"""

    def start():
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return process, Path(process.stdout.readline().strip())

    (first, left), (second, kept) = start(), start()
    first.kill()
    first.communicate()
    assert left.is_dir()
    third, _ = start()
    assert not left.exists() and kept.is_dir()
    for process in second, third:
        process.communicate("\n")
        assert process.returncode == 0
    assert not kept.exists()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 there is no such tool")
def test_a_warning_says_why_it_cannot_be():
    done = run("-W", "error", "-c", f"import signal; signal.signal(signal.SIGURG, print); {SHOWN}")
    assert "RuntimeWarning: `python -m asyncio ps` will not see the tasks of this process: SIGURG has another" in done.stderr
    in_thread = "lambda: rasyncio.install(stock_ps=True)"
    code = f"import rasyncio, threading; rasyncio.install(); thread = threading.Thread(target={in_thread}); thread.start()"
    done = run("-c", code)
    assert "see the tasks of this process: signal only works in main thread" in done.stderr


def test_nothing_happens_where_it_is_not_asked_for():
    without = SHOWN if sys.version_info < (3, 14) else "import rasyncio; rasyncio.install()"
    assert run("-c", f"{without}; import sys; assert 'rasyncio._stock' not in sys.modules").returncode == 0
