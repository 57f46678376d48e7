"""`install()`: from then on `import asyncio` gives rasyncio, everywhere in this process.

The package and its faces stand in `sys.modules` under asyncio's names, and a meta-path finder does the same for faces that
are imported later.  It answers for each name under `asyncio`, so that no part of the standard library's asyncio can be
loaded beside ours: what rasyncio lacks is a ModuleNotFoundError.  `_asyncio`, the standard library's native half, answers
with our objects.  Whoever imported the standard library's asyncio before keeps it.
"""

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder

from ._lazy import lazily

PACKAGE = __package__
# Set by `python -m rasyncio`: a child process that runs in the same environment looks for it when it starts, in a line of
# rasyncio_install.pth.  What multiprocessing spawns would otherwise find the standard library's asyncio.
CARRIED = "RASYNCIO_INSTALL"
NOT_BUILT = "graph sslproto tools windows_events windows_utils".split()
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
        if not room.startswith("_") and PathFinder.find_spec(ours(name), sys.modules[PACKAGE].__path__):
            return ModuleSpec(name, self)
        text = f"rasyncio has no {name} yet" if room in NOT_BUILT else f"No module named {name!r}"
        raise ModuleNotFoundError(text, name=name)

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


def install():
    """Makes every later `import asyncio`, and of its submodules, give rasyncio in this process.

    A second call changes nothing.  If the standard library's asyncio has been imported before, its importers keep it, and
    share the running loop and the current task with rasyncio; imports after the call give rasyncio, those inside of
    asyncio's functions too, so that a policy it makes from then on is rasyncio's.
    """
    if not any(isinstance(finder, Replacement) for finder in sys.meta_path):
        sys.meta_path.insert(0, Replacement())
    for name in [name for name in sys.modules if name.partition(".")[0] == "asyncio"]:
        if sys.modules[name] is not sys.modules.get(ours(name)):
            del sys.modules[name]
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        room = name.removeprefix(PACKAGE)
        if not room.startswith("._"):
            sys.modules[f"asyncio{room}"] = sys.modules[name]
    if not isinstance(sys.modules.get("_asyncio"), Accelerator):
        sys.modules["_asyncio"] = Accelerator()


def install_for_children():
    """Like `install()`, and for the Python processes too that this one will start in the same environment."""
    os.environ[CARRIED] = "1"
    install()
