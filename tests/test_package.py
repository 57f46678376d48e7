"""The package: what it shares with the standard library's asyncio, what its import costs, which names it has.

Most of it is asked of a fresh interpreter, for the order of imports is the question.
"""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = {
    "asyncio.exceptions": """BrokenBarrierError CancelledError IncompleteReadError InvalidStateError LimitOverrunError
        SendfileNotAvailableError TimeoutError""",
    "asyncio.transports": "BaseTransport ReadTransport WriteTransport Transport DatagramTransport SubprocessTransport",
    "asyncio.protocols": "BaseProtocol Protocol BufferedProtocol DatagramProtocol SubprocessProtocol",
    "asyncio.events": "AbstractEventLoop AbstractServer",
    "asyncio.queues": "QueueEmpty QueueFull" + (" QueueShutDown" if sys.version_info >= (3, 13) else ""),
}
ORDERS = {
    "rasyncio first": "import rasyncio, asyncio",
    "asyncio first": "import asyncio, rasyncio",
    "a submodule first": "import asyncio.queues, rasyncio, asyncio",
    "asyncio's native half next": "import rasyncio, _asyncio, asyncio",
    "asyncio anew": """import asyncio, rasyncio, sys
for name in [name for name in sys.modules if name.partition(".")[0] == "asyncio"]: del sys.modules[name]
import asyncio""",
}
CALL_GRAPHS = """capture_call_graph format_call_graph print_call_graph FrameCallGraphEntry FutureCallGraph
    future_add_to_awaited_by future_discard_from_awaited_by""".split()
HEAVY = """asyncio ssl socket selectors subprocess logging concurrent.futures inspect typing enum re functools collections
    signal threading traceback multiprocessing importlib.metadata weakref contextlib dataclasses""".split()


def child(code, *options):
    """What a fresh interpreter prints when it runs `code`; it must succeed, and say nothing else."""
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "change", ["sys.version_info = (3, 10, 4)", "sys.version_info = (3, 16, 0)", "sys.implementation.name = 'pypy'"]
)
def test_other_pythons_are_told(change):
    done = subprocess.run([sys.executable, "-c", f"import sys; {change}; import rasyncio"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: rasyncio needs CPython 3.11 to 3.15, and this is " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_classes_are_those_of_asyncio(order):
    child(f"""{order}
import importlib
for module_name, names in {SHARED!r}.items():
    theirs = importlib.import_module(module_name)
    try:
        ours = importlib.import_module("r" + module_name)
    except ModuleNotFoundError:
        ours = rasyncio
    for name in names.split():
        if hasattr(ours, name):
            assert getattr(ours, name) is getattr(theirs, name), name
        if name in rasyncio.__all__ and name in asyncio.__all__:
            assert getattr(rasyncio, name) is getattr(asyncio, name), name
from rasyncio import _stdlib
assert _stdlib.AbstractEventLoop is asyncio.AbstractEventLoop
assert _stdlib.AbstractServer is asyncio.events.AbstractServer
for name, ours in _stdlib.queue_exceptions.items():
    assert ours is getattr(asyncio, name)
    assert ours is getattr(rasyncio.exceptions, name)
""")


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_what_asyncio_derives_from_them_still_derives_from_them(order):
    child(f"""{order}
assert issubclass(asyncio.BaseEventLoop, rasyncio._stdlib.AbstractEventLoop)
assert issubclass(asyncio.Server, rasyncio._stdlib.AbstractServer)
assert issubclass(asyncio.StreamReaderProtocol, rasyncio.Protocol)
assert issubclass(asyncio.selector_events._SelectorTransport, rasyncio.transports.Transport)
""")


def test_asyncio_works_beside_rasyncio_and_raises_the_shared_exceptions():
    assert "caught 1" in child("""import rasyncio, asyncio
async def main():
    try:
        async with asyncio.timeout(0):
            await asyncio.sleep(3600)
    except rasyncio.TimeoutError:
        pass
    task = asyncio.create_task(asyncio.sleep(3600))
    task.cancel()
    try:
        await task
    except rasyncio.CancelledError:
        print("caught", 1)
asyncio.run(main())""")


def test_shared_classes_look_like_asyncio_made_them():
    plain = child(f"""import asyncio, importlib, inspect
for module_name, names in {SHARED!r}.items():
    for name in names.split():
        made = getattr(importlib.import_module(module_name), name)
        print(made.__module__, made.__qualname__, made.__doc__, made.__mro__, sorted(vars(made)))
        for key, value in vars(made).items():
            if inspect.isfunction(value):
                print(key, value.__qualname__, value.__module__, value.__doc__, inspect.signature(value))
""")
    beside = child(f"""import rasyncio
import asyncio, importlib, inspect
for module_name, names in {SHARED!r}.items():
    for name in names.split():
        made = getattr(importlib.import_module(module_name), name)
        print(made.__module__, made.__qualname__, made.__doc__, made.__mro__, sorted(vars(made)))
        for key, value in vars(made).items():
            if inspect.isfunction(value):
                print(key, value.__qualname__, value.__module__, value.__doc__, inspect.signature(value))
""")
    assert plain == beside


def test_asyncio_modules_keep_no_trace_of_the_finder():
    code = """import asyncio, importlib
for name in "", ".exceptions", ".events", ".queues", ".transports":
    module = importlib.import_module("asyncio" + name)
    print(module.__name__, type(module.__loader__), type(module.__spec__.loader), module.__spec__.name, module.__file__)
"""
    assert child(code) == child(f"import rasyncio\n{code}")


def test_asyncio_is_found_as_ever_before_it_is_imported():
    code = """import importlib.util
for name in "asyncio", "asyncio.exceptions", "asyncio.events":
    spec = importlib.util.find_spec(name)
    print(spec.name, spec.origin, spec.submodule_search_locations, len(spec.loader.get_source(name)))
"""
    assert child(code) == child(f"import rasyncio\n{code}")


def test_shared_classes_and_their_instances_are_pickled():
    assert (
        child("""import pickle, rasyncio, sys
for made in rasyncio.CancelledError, rasyncio.Protocol, rasyncio.Transport, rasyncio._stdlib.AbstractEventLoop:
    assert pickle.loads(pickle.dumps(made)) is made
error = pickle.loads(pickle.dumps(rasyncio.IncompleteReadError(b"ab", 3)))
print(type(error) is rasyncio.IncompleteReadError, error.partial, error.expected)
""")
        == "True b'ab' 3\n"
    )


def test_nothing_in_asyncio_derives_from_a_shared_class_before_it_is_handed_over():
    folder = Path(importlib.util.find_spec("asyncio").submodule_search_locations[0])
    for room in ("events", "queues"):
        wanted = set(SHARED[f"asyncio.{room}"].split())
        for item in ast.parse((folder / f"{room}.py").read_text(encoding="utf-8")).body:
            if isinstance(item, ast.ClassDef):
                bases = {base.id for base in item.bases if isinstance(base, ast.Name)}
                assert not bases & wanted, item.name


def test_the_import_of_asyncio_is_told_of_once_it_is_complete():
    assert (
        child("""import rasyncio, sys
from rasyncio._stdlib import on_stdlib_import
seen = []
on_stdlib_import(lambda asyncio: seen.append((asyncio.__name__, hasattr(asyncio, "run"), asyncio is sys.modules["asyncio"])))
assert not seen
import asyncio.queues
assert len(seen) == 1
on_stdlib_import(lambda asyncio: seen.append("at once"))
print(seen)""")
        == "[('asyncio', True, True), 'at once']\n"
    )


def test_a_module_of_the_same_name_is_not_taken_for_asyncio(tmp_path):
    (tmp_path / "asyncio.py").write_text("mine = True\n")
    assert (
        child(f"""import sys
import rasyncio
seen = []
rasyncio._stdlib.on_stdlib_import(seen.append)
sys.path.insert(0, {str(tmp_path)!r})
import asyncio
print(asyncio.mine, seen)""")
        == "True []\n"
    )


def test_a_package_of_the_same_name_is_not_taken_for_asyncio(tmp_path):
    (tmp_path / "asyncio").mkdir()
    (tmp_path / "asyncio" / "__init__.py").write_text("mine = True\n")
    (tmp_path / "asyncio" / "exceptions.py").write_text("mine = True\n")
    assert (
        child(f"""import sys
import rasyncio
sys.path.insert(0, {str(tmp_path)!r})
import asyncio.exceptions
print(asyncio.mine, asyncio.exceptions.mine, rasyncio._stdlib.shared.asyncio)""")
        == "True True None\n"
    )


def test_import_loads_nothing_heavy():
    before, after = child("import sys; print(*sys.modules)"), child("import rasyncio, sys; print(*sys.modules)")
    loaded = set(after.split()) - set(before.split())
    assert not loaded & set(HEAVY), sorted(loaded & set(HEAVY))
    assert not [name for name in loaded if name.startswith("asyncio")]


def test_public_names_are_those_of_asyncio():
    names = eval(child("import rasyncio; print(rasyncio.__all__)"))
    theirs = eval(child("import asyncio; print(asyncio.__all__)"))
    assert len(names) == len(set(names)), "a name is there twice"
    missing = set(theirs) - set(names)
    assert not missing, sorted(missing)
    newer = set(names) - set(theirs)
    known = {"QueueShutDown", "TaskGroup", "EventLoop", "eager_task_factory", "create_eager_task_factory"}
    known |= set(CALL_GRAPHS)
    assert newer <= known, sorted(newer - known)


def test_public_names_are_there():
    child("""import rasyncio
for name in rasyncio.__all__:
    getattr(rasyncio, name)
names = {}
exec("from rasyncio import *", names)
assert set(rasyncio.__all__) <= set(names)
assert "install" not in names""")


def test_submodules_are_attributes():
    child("""import rasyncio
assert rasyncio.log.logger.name == "asyncio"
assert rasyncio.constants.DEBUG_STACK_DEPTH == 10
assert rasyncio.exceptions.CancelledError is rasyncio.CancelledError
assert not hasattr(rasyncio, "no_such_name")
try:
    rasyncio.no_such_name
except AttributeError as error:
    assert str(error) == "module 'rasyncio' has no attribute 'no_such_name'"
    assert error.name == "no_such_name" """)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the policy system is deprecated from 3.14 on")
def test_policy_classes_warn():
    text = child(
        """import warnings, rasyncio
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rasyncio.AbstractEventLoopPolicy
    rasyncio.DefaultEventLoopPolicy
    rasyncio.DefaultEventLoopPolicy
for item in caught: print(item.category.__name__, item.message, item.filename)
assert rasyncio.DefaultEventLoopPolicy is rasyncio.unix_events._DefaultEventLoopPolicy""",
        "-W",
        "ignore",
    )
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        "DeprecationWarning 'asyncio.AbstractEventLoopPolicy' is deprecated and slated for removal in Python 3.16 <string>"
    )


def test_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    assert child("import rasyncio; print(rasyncio.__version__)").strip() == version("rasyncio")


def test_constants_are_those_of_asyncio():
    child("""import asyncio.constants, rasyncio.constants
for name, value in vars(asyncio.constants).items():
    if name.isupper():
        assert getattr(rasyncio.constants, name) == value, name
theirs, ours = asyncio.constants._SendfileMode, rasyncio.constants._SendfileMode
assert [(mode.name, mode.value) for mode in ours] == [(mode.name, mode.value) for mode in theirs]
assert ours is rasyncio.constants._SendfileMode and ours.__module__ == "rasyncio.constants"
import pickle
assert pickle.loads(pickle.dumps(ours.FALLBACK)) is ours.FALLBACK""")


def test_lazy_names_can_be_patched():
    child("""import rasyncio.log, rasyncio.constants
from unittest import mock
assert "logging" not in vars(rasyncio.log)
import logging
with mock.patch("rasyncio.log.logging") as fake:
    assert rasyncio.log.logging is fake
assert rasyncio.log.logging is logging
with mock.patch("rasyncio.log.logger") as fake:
    assert rasyncio.log.logger is fake
assert rasyncio.log.logger is logging.getLogger("asyncio")""")


def test_lazily_imports_as_a_statement_would():
    from rasyncio._lazy import lazily

    get = lazily(__name__, xml="xml.dom", document="xml.dom", node="xml.dom:Node")
    import xml.dom

    try:
        assert get("xml") is xml
        assert get("document") is xml.dom
        assert get("node") is xml.dom.Node
        assert globals()["node"] is xml.dom.Node
        with pytest.raises(AttributeError, match="module 'test_package' has no attribute 'absent'"):
            get("absent")
    finally:
        for name in ("xml", "document", "node"):
            globals().pop(name, None)


def test_asking_for_a_name_that_is_not_there_leaves_no_cycle_behind():
    import gc
    import weakref

    from rasyncio import events

    class Mark:
        pass

    def ask():
        mark = Mark()
        assert getattr(events, "no_such_name", None) is None
        return weakref.ref(mark)

    gc.disable()
    try:
        assert ask()() is None
    finally:
        gc.enable()


def test_a_shell_is_a_method_of_its_class():
    from rasyncio._shell import shell

    class Owner:
        pass

    @shell(Owner)
    async def wait(self, number=1):
        """Gives the number."""
        return self, number

    owner = Owner()
    assert inspect.iscoroutinefunction(Owner.wait)
    assert Owner.wait.__qualname__ == f"{Owner.__qualname__}.wait" == Owner.wait.__code__.co_qualname
    coroutine = owner.wait(2)
    assert coroutine.__qualname__ == Owner.wait.__qualname__
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == (owner, 2)


def test_queue_shut_down_is_there_on_every_version():
    from rasyncio.exceptions import QueueShutDown

    assert issubclass(QueueShutDown, Exception) and QueueShutDown.__name__ == "QueueShutDown"
    assert QueueShutDown.__module__ == ("asyncio.queues" if sys.version_info >= (3, 13) else "rasyncio.exceptions")


@pytest.mark.parametrize("name", "Queue Lock Event Condition Semaphore BoundedSemaphore Barrier Future Task".split())
def test_what_is_not_thread_safe_says_so(name):
    import rasyncio

    assert "thread-safe" in getattr(rasyncio, name).__doc__
