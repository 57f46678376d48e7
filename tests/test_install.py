"""`rasyncio.install()` in a process that has not imported asyncio: its names give rasyncio; `uninstall()` undoes it.

For a process that has, see test_takeover.py, for child processes test_children.py.
"""

import os
import subprocess
import sys

import pytest


def child(code, *arguments, **environment):
    command = [sys.executable, *arguments, *(["-c", code] if code else [])]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_import_asyncio_gives_rasyncio():
    child("""import rasyncio, sys
rasyncio.install()
import asyncio
assert asyncio is rasyncio is sys.modules["asyncio"]
import asyncio.exceptions, asyncio.log, asyncio.constants
from asyncio.transports import Transport
from asyncio import CancelledError, protocols
assert asyncio.exceptions is rasyncio.exceptions is sys.modules["asyncio.exceptions"]
assert asyncio.log is rasyncio.log and asyncio.constants is rasyncio.constants
assert Transport is rasyncio.Transport and protocols is rasyncio.protocols
assert not [name for name in sys.modules if name.startswith("asyncio.") and "rasyncio" not in sys.modules[name].__name__]""")


def test_each_face_is_the_same_module_under_both_names():
    child("""import rasyncio, importlib, pathlib, sys
rasyncio.install()
for file in pathlib.Path(rasyncio.__file__).parent.glob("[a-z]*.py"):
    if file.stem.startswith("windows_"): continue
    theirs = importlib.import_module(f"asyncio.{file.stem}")
    assert theirs is importlib.import_module(f"rasyncio.{file.stem}"), file
    assert theirs.__spec__.name == f"rasyncio.{file.stem}", theirs.__spec__
assert rasyncio.__spec__.name == "rasyncio" """)


def test_a_face_imported_after_installing_is_not_loaded_twice():
    child("""import rasyncio, sys
rasyncio.install()
import asyncio.constants
assert asyncio.constants is sys.modules["rasyncio.constants"] is rasyncio.constants""")


@pytest.mark.skipif(sys.platform == "win32", reason="there they are")
@pytest.mark.parametrize("name", ["windows_events", "windows_utils"])
def test_modules_of_windows_are_refused_as_asyncio_refuses_them(name):
    code = f"""
try:
    import asyncio.{name}
except ImportError as error:
    print(type(error).__name__, error, "asyncio.{name}" in sys.modules)"""
    theirs = child("import sys" + code)
    assert child("import rasyncio, sys; rasyncio.install()" + code) == theirs == "ImportError win32 only False\n"


@pytest.mark.parametrize("name", ["no_such_module", "_install", "_stdlib"])
def test_other_names_do_not_exist(name):
    assert (
        child(f"""import rasyncio
rasyncio.install()
try:
    import asyncio.{name}
except ModuleNotFoundError as error:
    print(error)""")
        == f"No module named 'asyncio.{name}'\n"
    )


def test_installing_twice_changes_nothing():
    child("""import rasyncio, sys
rasyncio.install()
before = dict(sys.modules), list(sys.meta_path)
rasyncio.install()
assert before == (dict(sys.modules), list(sys.meta_path))""")


def test_asyncio_forgotten_and_imported_again_is_rasyncio():
    child("""import rasyncio, sys
rasyncio.install()
for name in [name for name in sys.modules if name.partition(".")[0] in ("asyncio", "_asyncio")]:
    del sys.modules[name]
import asyncio, asyncio.exceptions, _asyncio
assert asyncio is rasyncio and asyncio.exceptions is rasyncio.exceptions
assert type(_asyncio).__module__ == "rasyncio._install" """)


def test_the_native_half_answers_with_our_objects():
    child("""import rasyncio
rasyncio.install()
import _asyncio, rasyncio.futures, rasyncio.tasks, rasyncio.events
assert _asyncio.Future is rasyncio.Future and _asyncio.Task is rasyncio.Task
from _asyncio import get_running_loop, _enter_task, current_task
assert get_running_loop is rasyncio.get_running_loop
assert _enter_task is rasyncio.tasks._enter_task
assert not hasattr(_asyncio, "no_such_name")""")


def test_exceptions_are_pickled_by_the_name_of_asyncio():
    child("""import rasyncio, pickle, sys
rasyncio.install()
data = pickle.dumps(rasyncio.CancelledError("why"))
assert b"asyncio.exceptions" in data
assert pickle.loads(data).args == ("why",)""")


def test_unittest_runs_async_cases_on_rasyncio():
    assert (
        child(
            """import rasyncio
rasyncio.install()
import unittest
class Case(unittest.IsolatedAsyncioTestCase):
    async def test(self):
        import asyncio
        self.assertIs(asyncio, rasyncio)
        self.assertIsInstance(asyncio.current_task(), rasyncio.Task)
result = unittest.TextTestRunner(stream=open("/dev/null", "w")).run(unittest.defaultTestLoader.loadTestsFromTestCase(Case))
print(result.testsRun, result.wasSuccessful())""",
            "-W",
            "ignore::ResourceWarning",
        )
        == "1 True\n"
    )


def test_what_was_not_imported_before_is_replaced_completely_and_silently():
    assert (
        child("""import rasyncio
report = rasyncio.install()
print(report.complete, report.replaced, report.kept)
print(report)
assert rasyncio.install() is report""")
        == "True () ()\nasyncio is rasyncio in this process.\n"
    )


def test_uninstalling_gives_the_standard_library_back():
    child("""import sys
before = dict(sys.modules), list(sys.meta_path)
import rasyncio
beside = list(sys.meta_path)
rasyncio.install()
import asyncio, asyncio.queues, _asyncio
assert asyncio is rasyncio
rasyncio.uninstall()
assert sys.meta_path == beside
assert not [name for name in sys.modules if name.partition(".")[0] in ("asyncio", "_asyncio")]
import asyncio, _asyncio
assert asyncio is not rasyncio and asyncio.Task is _asyncio.Task is not rasyncio.Task
assert asyncio.CancelledError is rasyncio.CancelledError
async def five(): return 5
assert asyncio.run(five()) == 5 == rasyncio.run(five())
rasyncio.uninstall()
assert sys.modules["asyncio"] is asyncio""")


def test_installing_again_after_uninstalling():
    child("""import rasyncio
rasyncio.install()
rasyncio.uninstall()
rasyncio.install()
import asyncio
assert asyncio is rasyncio""")
