"""`rasyncio.install()` in a process that has imported the standard library's asyncio already.

Each test is a program of its own, in a process of its own.
"""

import subprocess
import sys

import pytest

# What a program and its libraries may hold of the old asyncio before they call install().
BEFORE = """
import asyncio, sys, types
import asyncio.queues
from asyncio import Queue, Task, events, get_running_loop
from asyncio import run as start

class Derived(asyncio.Future):
    pass

def held(package=asyncio, queue=Queue, events=events, runners=asyncio.runners, tasks=asyncio.tasks):
    return package, queue, events, runners, tasks

library = types.ModuleType("library")
library.asyncio, library.aio_queues, library.Queue = asyncio, asyncio.queues, Queue
sys.modules["library"] = library
"""
INSTALL = """
import warnings
import rasyncio
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    report = rasyncio.install()
package, queue, old_events, old_runners, old_tasks = held()
"""


def run(*parts):
    done = subprocess.run([sys.executable, "-c", "\n".join(parts)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_says_what_is_replaced_and_what_is_not():
    text = run(
        BEFORE,
        INSTALL,
        """
assert [(item.category, str(item.message), item.filename) for item in warned] == [(RuntimeWarning, str(report), "<string>")]
assert not report.complete
assert {"__main__.asyncio", "__main__.Queue", "__main__.start", "library.aio_queues"} <= set(report.replaced)
assert "__main__.Derived" not in report.replaced
print(report)""",
    )
    assert text.startswith("asyncio had been imported before rasyncio.install() was called.")
    assert "- classes that derive from asyncio's own (__main__.Derived)" in text
    assert "- what is alive already" not in text


def test_modules_that_hold_asyncio_or_names_of_it_get_ours():
    run(
        BEFORE,
        INSTALL,
        """
assert asyncio is rasyncio is library.asyncio is sys.modules["asyncio"]
assert library.aio_queues is rasyncio.queues and library.Queue is Queue is rasyncio.Queue
assert Task is rasyncio.Task and start is rasyncio.run and events is rasyncio.events
assert get_running_loop is rasyncio.get_running_loop""",
    )


def test_the_old_package_answers_with_ours_whoever_holds_it():
    run(
        BEFORE,
        INSTALL,
        """
assert package is not rasyncio
for name in rasyncio.__all__:
    assert getattr(package, name) is getattr(rasyncio, name), name
assert package.queues is rasyncio.queues and package.__all__ is rasyncio.__all__
from asyncio import log
assert log is rasyncio.log
if sys.version_info >= (3, 14):
    warnings.simplefilter("ignore")
    assert package.DefaultEventLoopPolicy is rasyncio.DefaultEventLoopPolicy""",
    )


def test_the_entrances_of_the_old_modules_agree_with_ours():
    run(
        BEFORE,
        INSTALL,
        """
warnings.simplefilter("ignore")
loop = old_events.new_event_loop()
assert isinstance(loop, rasyncio.EventLoop)
old_events.set_event_loop(loop)
assert rasyncio.get_event_loop() is loop is old_events.get_event_loop()
assert old_events.get_event_loop_policy() is rasyncio.get_event_loop_policy()
assert old_runners.run is rasyncio.run and old_runners.Runner is rasyncio.Runner
class Policy(rasyncio.DefaultEventLoopPolicy):
    pass
policy = Policy()
old_events.set_event_loop_policy(policy)
assert rasyncio.get_event_loop_policy() is policy
assert old_events._event_loop_policy.new_event_loop.__self__ is policy
rasyncio.set_event_loop_policy(None)
loop.close()

async def main():
    loop, task = rasyncio.get_running_loop(), rasyncio.current_task()
    assert loop is old_events.get_running_loop() is old_events._get_running_loop()
    assert task is old_tasks.current_task() and old_tasks.all_tasks() == {task}
    return 5
assert package.run(main()) == old_runners.run(main()) == 5""",
    )


def test_objects_of_the_old_asyncio_work_on_our_loop():
    assert (
        run(
            BEFORE,
            "before = Queue(), asyncio.Lock(), asyncio.Event()",
            INSTALL,
            """
async def main():
    queue, lock, event = before
    async def fill():
        async with lock:
            await asyncio.sleep(0)
            await queue.put(1)
        event.set()
    task = asyncio.create_task(fill())
    got = await queue.get()
    await event.wait()
    loop = asyncio.get_running_loop()
    derived = Derived(loop=loop)
    loop.call_soon(derived.set_result, 3)
    return got, await derived, type(task) is rasyncio.Task
print(asyncio.run(main()))""",
        )
        == "(1, 3, True)\n"
    )


@pytest.mark.parametrize("task", ["asyncio.create_task", "rasyncio.Task"])
def test_called_while_a_loop_of_the_old_asyncio_runs(task):
    assert (
        run(
            BEFORE,
            f"""
async def five(): return 5

async def main():
    import warnings
    loop, before = asyncio.get_running_loop(), asyncio.current_task()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rasyncio
        report = rasyncio.install()
    assert "- what is alive already: 1 event loops and 1 tasks are asyncio's own until they end" in str(report), str(report)
    assert asyncio is rasyncio and asyncio.get_running_loop() is loop
    assert asyncio.current_task() is before and asyncio.all_tasks() == {{before}}
    child = {task}(five())
    assert asyncio.all_tasks() == {{before, child}}
    queue, lock = asyncio.Queue(), asyncio.Lock()
    asyncio.get_running_loop().call_later(0, queue.put_nowait, 7)
    async with lock, asyncio.timeout(10):
        numbers = await asyncio.gather(child, queue.get(), asyncio.sleep(0, 6))
    late = five()
    try:
        rasyncio.run(late)
    except RuntimeError as error:
        print(error)
    late.close()
    return await asyncio.wait_for(asyncio.to_thread(sum, numbers), 10)

print(asyncio.run(main()))
import rasyncio
try:
    rasyncio.get_running_loop()
except RuntimeError as error:
    print(error)
""",
        )
        == "asyncio.run() cannot be called from a running event loop\n18\nno running event loop\n"
    )


def test_a_loop_of_the_old_asyncio_that_runs_in_another_thread():
    run(
        BEFORE,
        """
import threading
loop = asyncio.new_event_loop()
thread = threading.Thread(target=loop.run_forever)
thread.start()
asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()""",
        INSTALL,
        """
async def look():
    before = asyncio.current_task()
    await asyncio.sleep(0)
    return asyncio.get_running_loop() is loop and asyncio.all_tasks() == {before} == {asyncio.current_task()}
assert asyncio.run_coroutine_threadsafe(look(), loop).result() is True
async def ours():
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(look(), loop)), asyncio.get_running_loop() is not loop
assert asyncio.run(ours()) == (True, True)
loop.call_soon_threadsafe(loop.stop)
thread.join()
loop.close()""",
    )


def test_uninstalling_restores_every_name():
    run(
        BEFORE,
        """
def snapshot():
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("asyncio", "_asyncio")}
    spaces = {name: dict(vars(module)) for name, module in modules.items()}
    return modules, spaces, dict(vars(library))
import rasyncio
before = snapshot()
names = {name: value for name, value in globals().items() if getattr(value, "__module__", None) or name == "asyncio"}""",
        INSTALL,
        """
library.Queue = "somebody else's by now"
rasyncio.uninstall()
after = snapshot()
assert after[0] == before[0]
for name in before[1]:
    assert after[1][name] == before[1][name], name
assert after[2] == before[2] | {"Queue": "somebody else's by now"}
assert {name: globals()[name] for name in names} == names
async def main():
    return type(asyncio.current_task())
assert asyncio.run(main()) is asyncio.Task is not rasyncio.Task
assert rasyncio.run(main()) is rasyncio.Task""",
    )


def test_uninstalling_while_a_loop_of_the_old_asyncio_runs():
    run(
        BEFORE,
        "loop = asyncio.SelectorEventLoop()",
        INSTALL,
        """
async def main():
    assert rasyncio.get_running_loop() is loop
    rasyncio.uninstall()
    assert rasyncio.get_running_loop() is asyncio.get_running_loop() is loop
loop.run_until_complete(main())
loop.close()
assert rasyncio._get_running_loop() is asyncio._get_running_loop() is None
async def again():
    return rasyncio.get_running_loop() is asyncio.get_running_loop()
assert rasyncio.run(again()) and asyncio.run(again())""",
    )


def test_a_policy_of_others_is_told_of():
    assert "- loops made by the policy __main__.Policy so far" in run(
        BEFORE,
        """
import warnings
warnings.simplefilter("ignore")
class Policy(asyncio.DefaultEventLoopPolicy):
    pass
asyncio.set_event_loop_policy(Policy())""",
        INSTALL,
        "print(report)",
    )


def test_a_module_that_is_loaded_lazily_stays_unloaded(tmp_path):
    (tmp_path / "slow_one.py").write_text("print('loaded')")
    assert (
        run(
            f"import sys; sys.path.insert(0, {str(tmp_path)!r})",
            """
import importlib.util
spec = importlib.util.find_spec("slow_one")
spec.loader = importlib.util.LazyLoader(spec.loader)
module = sys.modules["slow_one"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)""",
            BEFORE,
            INSTALL,
            "print('installed'); module.__file__",
        )
        == "installed\nloaded\n"
    )
