"""Sub-interpreters: only the main interpreter may import rasyncio; any other is told so, is left as it was, and has asyncio.

mod_wsgi and uWSGI make interpreters that share the GIL (Py_NewInterpreter), InterpreterPoolExecutor makes isolated ones.
Each test runs in a fresh process, because the order of imports matters and the fault was a crash.
"""

import os
import subprocess
import sys

import pytest

# make(kind) makes an interpreter, run(interpreter, code) runs code there, end(interpreter) ends it; "capi" does all in one.
MAKERS = """import sys
try:
    import _interpreters
    make, run, end = _interpreters.create, _interpreters.exec, _interpreters.destroy
except ImportError:
    import _xxsubinterpreters as _interpreters
    make = lambda kind: _interpreters.create(isolated=kind == "isolated")
    run, end = _interpreters.run_string, _interpreters.destroy
if sys.argv[1] == "capi":
    from _testcapi import run_in_subinterp
    make, end = (lambda kind: None), (lambda interpreter: None)
    run = lambda interpreter, code: run_in_subinterp(code)
def once(code):
    interpreter = make(sys.argv[1])
    if error := run(interpreter, code):
        raise SystemExit(str(error))
    end(interpreter)
"""
KINDS = ["legacy", "isolated", "capi"]
# CPython 3.12.1 aborts when an isolated interpreter that has imported asyncio ends.
ABORTS = {"isolated"} if sys.version_info[:2] == (3, 12) else set()
REFUSED = """import sys
def state():
    modules = {name: module for name, module in sys.modules.items() if "asyncio" in name}
    return modules, list(sys.meta_path), list(sys.path_hooks), sys.getswitchinterval()
before = state()
for name in "rasyncio", "rasyncio.tasks", "rasyncio._rasyncio":
    try:
        __import__(name)
    except ImportError as error:
        assert error.name == "rasyncio", error.name
        for text in "main interpreter only", "WSGIApplicationGroup %{GLOBAL}", "single-interpreter = true":
            assert text in str(error), error
    else:
        raise AssertionError("it was imported")
    assert state() == before, state()
print("refused", flush=True)
"""
ASYNCIO = """
import asyncio
assert asyncio.__name__ == "asyncio" and asyncio.tasks.__file__.startswith(sys.base_prefix)
assert "rasyncio" not in asyncio.Future.__module__, asyncio.Future
async def five():
    await asyncio.sleep(0)
    return 5
assert asyncio.run(five()) == 5
"""
AFTERWARDS = """
import asyncio, rasyncio
async def six(): await rasyncio.sleep(0); return 6
assert rasyncio.run(six()) == asyncio.run(six()) == 6
"""


def refused(kind):
    return REFUSED + (ASYNCIO if kind not in ABORTS else "")


def child(kind, code, *options, **environment):
    """What a fresh interpreter prints when it runs `code` after MAKERS: output and errors."""
    if kind == "capi":
        pytest.importorskip("_testcapi")
    command = [sys.executable, *options, "-c", MAKERS + code, kind]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["", "import rasyncio", "import rasyncio; rasyncio.install()", "import asyncio"])
def test_another_interpreter_is_refused_and_left_as_it_was(kind, first):
    out, err = child(kind, f"{first}\nfor _ in range(3):\n    once({refused(kind)!r})\n{AFTERWARDS}")
    assert out == "refused\n" * 3 and not err, err


@pytest.mark.parametrize("kind", KINDS)
def test_another_interpreter_inside_a_callback_of_a_running_loop(kind):
    out, err = child(
        kind,
        f"""import rasyncio
async def main():
    loop = rasyncio.get_running_loop()
    tick = loop.create_task(rasyncio.sleep(0, "tick"))
    once({refused(kind)!r})
    loop.call_soon(once, {refused(kind)!r})
    await rasyncio.sleep(0)
    if sys.argv[1] != "capi":
        await rasyncio.to_thread(once, {refused(kind)!r})
    assert await tick == "tick" and rasyncio.get_running_loop() is loop
rasyncio.run(main())
{AFTERWARDS}""",
    )
    assert set(out.splitlines()) == {"refused"} and not err, err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [[], ["-m", "rasyncio"]])
def test_the_line_of_the_environment_is_silent_there(kind, options):
    name = "'asyncio'" if kind in ABORTS else "__import__('asyncio').__name__"
    code = f"import os; print(os.environ['RASYNCIO_INSTALL'], {name}, flush=True)"
    out, err = child(
        kind, f"import asyncio\nprint(asyncio.__name__, flush=True)\nonce({code!r})", *options, RASYNCIO_INSTALL="1"
    )
    assert out == "rasyncio\n1 asyncio\n" and not err, err


@pytest.mark.parametrize("error", ["ImportError('other')", "ModuleNotFoundError('lost')", "ValueError('wrong')"])
def test_the_line_shows_any_other_error(tmp_path, error):
    tmp_path.joinpath("rasyncio.py").write_text(f"raise {error}")
    environment = {**os.environ, "RASYNCIO_INSTALL": "1", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", "pass"], capture_output=True, text=True, env=environment)
    assert "rasyncio_install.pth" in done.stderr and error.partition("(")[0] in done.stderr


def test_another_error_of_the_native_module_is_not_taken_for_the_refusal():
    code = """import sys
sys.modules["rasyncio._rasyncio"] = None
try:
    import rasyncio
except ImportError as error:
    assert not hasattr(error, "only_in_main_interpreter") and "main interpreter" not in str(error), error
else:
    raise AssertionError("it was imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="there are no pools of interpreters")
@pytest.mark.parametrize("debug", ["", "1"])
def test_a_pool_of_interpreters_is_as_quiet_as_under_asyncio(tmp_path, debug):
    program = tmp_path / "program.py"
    program.write_text("""import asyncio
from concurrent.futures import InterpreterPoolExecutor
async def main():
    loop = asyncio.get_running_loop()
    with InterpreterPoolExecutor(2) as pool:
        print(await asyncio.gather(*[loop.run_in_executor(pool, abs, -n) for n in (1, 2)]))
        print(await loop.run_in_executor(pool, eval, "__import__('asyncio').__name__"))
if __name__ == "__main__":
    asyncio.run(main())
""")
    environment = {**os.environ, "PYTHONASYNCIODEBUG": debug}
    installed = "import rasyncio, runpy, sys; rasyncio.install(); runpy.run_path(sys.argv[1], run_name='__main__')"
    for options in [], ["-m", "rasyncio"], ["-c", installed]:
        command = [sys.executable, *options, program]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\nasyncio\n", ""), options
