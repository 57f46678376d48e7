"""`install()`: from then on `import asyncio` gives rasyncio, everywhere in this process.

The package and its faces stand in `sys.modules` under asyncio's names, and a meta-path finder does the same for faces that
are imported later.  It answers for each name under `asyncio`, so that no part of the standard library's asyncio can be
loaded beside ours: what rasyncio lacks is a ModuleNotFoundError.  `_asyncio`, the standard library's native half, answers
with our objects.  For an asyncio that was imported before, see `_takeover`.

Child processes are carried along by an environment variable, which a line of rasyncio_install.pth looks for whenever a
Python of the same environment starts: it is there with -E and -I too, but not with -S, and not for a child that is given
an environment without the variable.
"""

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder

from ._lazy import lazily
from ._stdlib import at_home
from ._takeover import ABSENT, Installation, take_over

PACKAGE = __package__
CARRIED = "RASYNCIO_INSTALL"
ACCELERATED = {
    "futures": ["Future", "future_add_to_awaited_by", "future_discard_from_awaited_by"],
    "events": ["_get_running_loop", "_set_running_loop", "get_running_loop", "get_event_loop"],
    "tasks": """Task all_tasks current_task _register_task _register_eager_task _unregister_task _unregister_eager_task
        _enter_task _leave_task _swap_current_task""".split(),
}


class Accelerator(type(sys)):
    """Stands for asyncio's native half, `_asyncio`, and answers with rasyncio's objects."""

    def __init__(self):
        super().__init__("_asyncio", self.__doc__)
        sources = {name: f"{PACKAGE}.{room}:{name}" for room, names in ACCELERATED.items() for name in names}
        self.__getattr__ = lazily("_asyncio", **sources)


def ours(name):
    """The name under which rasyncio has what is `name` under asyncio."""
    return PACKAGE + name.removeprefix("asyncio")


class Replacement:
    """A finder and loader that puts rasyncio's modules where asyncio's are asked for."""

    def find_spec(self, name, path=None, target=None):
        package, _, room = name.partition(".")
        if name == "_asyncio" or name == "asyncio":
            return ModuleSpec(name, self, is_package=name == "asyncio")
        if package != "asyncio":
            return None
        if room == "__main__":  # for `python -m asyncio`
            return PathFinder.find_spec(name, sys.modules[PACKAGE].__path__)
        if not room.startswith("_") and PathFinder.find_spec(ours(name), sys.modules[PACKAGE].__path__):
            return ModuleSpec(name, self)
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        """The entry that this leaves in `sys.modules` is what the importer gets, and not `module`."""
        name = module.__name__
        if name == "_asyncio":
            sys.modules[name] = Accelerator()
        else:
            __import__(ours(name))
            sys.modules[name] = sys.modules[ours(name)]


# The installation that is in force.
current = None


def install(*, children=False, stock_ps=False):
    """Makes every later `import asyncio`, and of its submodules, give rasyncio in this process; a report of what was done.

    If nobody has imported the standard library's asyncio before, that is complete.  Otherwise the names that other modules
    have of it are replaced as well, its package's and its entry points too; a RuntimeWarning says in words what was replaced and
    what could not be, and so does the report, as text.

    With `children` the Python processes that this one starts in the same environment are on rasyncio, too, and so on:
    multiprocessing's, process pools', `sys.executable`'s.

    With `stock_ps` the standard library's own `python -m asyncio ps PID` and `pstree`, which are there from 3.14 on, see the
    tasks of this process, too.  A RuntimeWarning says why if that cannot be; before 3.14 it means nothing.  It is not
    carried to children.  A second call changes nothing but these two.
    """
    global current
    if current is None:
        current = replace_asyncio()
        if not current.complete:
            __import__("warnings").warn(str(current), RuntimeWarning, stacklevel=2)
        __import__(f"{PACKAGE}._ps", fromlist=["listen"]).listen()
    if children and os.environ.get(CARRIED) != "1":
        current.changes.append((os.environ, CARRIED, os.environ.get(CARRIED, ABSENT), "1"))
        os.environ[CARRIED] = "1"
    if stock_ps and sys.version_info >= (3, 14):
        try:
            __import__(f"{PACKAGE}._stock", fromlist=["show"]).show()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            text = f"`python -m asyncio ps` will not see the tasks of this process: {error}"
            __import__("warnings").warn(text, RuntimeWarning, stacklevel=2)
    return current


def replace_asyncio():
    installation = Installation()
    old = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in ("asyncio", "_asyncio")}
    if at_home(getattr(old.get("asyncio"), "__path__", None)):
        take_over(installation, {name: module for name, module in old.items() if name != "_asyncio"})
    sys.meta_path.insert(0, Replacement())
    for name in old:
        installation.changes.append((sys.modules, name, sys.modules.pop(name), ABSENT))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        room = name.removeprefix(PACKAGE)
        if not room.startswith("._"):
            sys.modules[f"asyncio{room}"] = sys.modules[name]
    sys.modules["_asyncio"] = Accelerator()
    return installation


def uninstall():
    """Undoes `install()`: a later `import asyncio` gives the standard library's, and what was replaced is as it was before.

    Modules that have imported rasyncio under asyncio's name in between keep it; so do loops that run.
    """
    global current
    if current is None:
        return
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Replacement)]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("asyncio", "_asyncio")]:
        if isinstance(sys.modules[name], Accelerator) or sys.modules[name] is sys.modules.get(ours(name)):
            del sys.modules[name]
    current.undo()
    if f"{PACKAGE}._stock" in sys.modules:
        sys.modules[f"{PACKAGE}._stock"].hide()
    __import__(f"{PACKAGE}._ps", fromlist=["ignore"]).ignore()
    current = None
