"""The standard library's own classes that rasyncio shares with it, had without importing asyncio.

Exceptions and the purely abstract classes are the very objects of the running Python's asyncio, so that code that names
either package understands the other: `rasyncio.CancelledError is asyncio.CancelledError`, in both orders of import.
Importing asyncio to get at them would cost more than all of rasyncio; so:

- `exceptions`, `transports` and `protocols` import nothing, and are executed from the standard library's files as the
  modules `asyncio.exceptions` and so on, which stay out of `sys.modules`;
- `events` and `queues` import half of asyncio, so of these the bodies of the classes in `CLASSES` alone are executed,
  each from the code object that the compiler made of it;
- `Handover`, a meta-path finder, gives all of them to a later import of the standard library's asyncio: the modules in
  place of its own, the classes right after the module that defines them was executed and before another can use them.
  No class of these modules derives from one of `CLASSES`; a test looks.

If asyncio has been imported already, its objects are taken, and nothing is executed.  The faces call this module, and so
does whoever must know that both packages are at work: `on_stdlib_import`.  It imports nothing that every Python process
has not loaded before it.
"""

import os
import sys
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder

Function = type(lambda: None)
Namespace = type(sys.implementation)

MODULES = ("asyncio.exceptions", "asyncio.transports", "asyncio.protocols")
# Module -> class -> its bases.
CLASSES = {
    "asyncio.events": {"AbstractServer": (), "AbstractEventLoop": ()},
    "asyncio.queues": {"QueueEmpty": (Exception,), "QueueFull": (Exception,), "QueueShutDown": (Exception,)},
}
# What the bodies of these classes name while they are executed.  Default values of the standard library's own, which are
# members of enums, come in as soon as it has been imported.
STANDING_IN = {"socket": Namespace(AF_UNSPEC=0, AI_PASSIVE=1), "subprocess": Namespace(PIPE=-1)}
HOME = os.path.join(os.path.dirname(os.__file__), "asyncio")


def at_home(folders):
    """Whether the standard library's asyncio is meant, and not something else that bears its name."""
    return any(folder == HOME or os.path.realpath(folder) == os.path.realpath(HOME) for folder in folders or ())


def import_module(name):
    __import__(name)
    return sys.modules[name]


def build_classes(module_name, code):
    """Executes the bodies of a module's shared classes; a dict, without those that this Python does not know."""
    names = {"__name__": module_name, "__builtins__": __builtins__, **STANDING_IN}
    bodies = {constant.co_name: constant for constant in code.co_consts if hasattr(constant, "co_code")}
    return {
        name: __build_class__(Function(bodies[name], names), name, *bases)
        for name, bases in CLASSES[module_name].items()
        if name in bodies
    }


class Shared:
    """What is shared with the standard library's asyncio, and who wants to know when the whole of that is there."""

    def __init__(self):
        self.modules = {}
        self.classes = {}
        self.asyncio = None
        self.callbacks = []

    def take(self, asyncio):
        """Takes the objects of an asyncio that somebody has imported."""
        self.modules = {name: import_module(name) for name in MODULES}
        for module_name, wanted in CLASSES.items():
            names = vars(import_module(module_name))
            self.classes[module_name] = {name: names[name] for name in wanted if name in names}
        self.asyncio = asyncio

    def load(self):
        """Executes as much of asyncio as is shared; False if its files cannot be had one by one."""
        for name in (*MODULES, *CLASSES):
            spec = PathFinder.find_spec(name, [HOME])
            if spec is None or not hasattr(spec.loader, "get_code"):
                return False
            if name in CLASSES:
                self.classes[name] = build_classes(name, spec.loader.get_code(name))
            else:
                self.modules[name] = module_from_spec(spec)
                spec.loader.exec_module(self.modules[name])
        return True

    def executed(self, module):
        """Called right after a module of the standard library's asyncio was executed."""
        for name, ours in self.classes.get(module.__name__, {}).items():
            for key, value in vars(getattr(module, name)).items():
                if getattr(value, "__kwdefaults__", None):
                    vars(ours)[key].__kwdefaults__ = value.__kwdefaults__
            setattr(module, name, ours)
        if module.__name__ == "asyncio":
            self.asyncio = module
            for callback in self.callbacks:
                callback(module)


class Handover:
    """Stands first on `sys.meta_path`, and answers for modules of the standard library's asyncio only."""

    def __init__(self, shared):
        self.shared = shared

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("asyncio") or target is not None:
            return None
        if name in self.shared.modules and at_home(path):
            spec = self.ask_others(name, path)
            if spec is not None:
                spec.loader = Kept(spec.loader, self.shared.modules[name])
            return spec
        if name == "asyncio" or (name in self.shared.classes and at_home(path)):
            spec = self.ask_others(name, path)
            if spec is not None and at_home(spec.submodule_search_locations if path is None else path):
                spec.loader = AfterExecution(spec.loader, self.shared.executed)
            return spec
        return None

    def ask_others(self, name, path):
        for finder in sys.meta_path:
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            if find_spec is not None and (spec := find_spec(name, path)) is not None:
                return spec
        return None


class Wrapping:
    """A loader that does everything as another one, but for the execution."""

    def __init__(self, loader, own):
        self.loader, self.own = loader, own

    def __getattr__(self, name):
        return getattr(self.loader, name)


class AfterExecution(Wrapping):
    """Has a module executed, then calls `own` with it; the module keeps no trace of that."""

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.own(module)


class Kept(Wrapping):
    """Gives the module `own`, executed earlier: what execution leaves in `sys.modules` is what the importer gets."""

    def exec_module(self, module):
        sys.modules[module.__name__] = self.own


shared = Shared()
if at_home(getattr(sys.modules.get("asyncio"), "__path__", None)) or not shared.load():
    shared.take(import_module("asyncio"))
sys.meta_path.insert(0, Handover(shared))

exceptions, transports, protocols = (shared.modules[name] for name in MODULES)
AbstractServer = shared.classes["asyncio.events"]["AbstractServer"]
AbstractEventLoop = shared.classes["asyncio.events"]["AbstractEventLoop"]
# By name: Python 3.11 and 3.12 have no QueueShutDown.
queue_exceptions = shared.classes["asyncio.queues"]


def on_stdlib_import(callback):
    """Calls `callback(asyncio)` right after the standard library's asyncio was executed, or now if it has been.

    Once `rasyncio.install()` was called nobody can import it any more.  One that had been imported before is told of all
    the same, for its importers go on using it.
    """
    shared.callbacks.append(callback)
    if shared.asyncio is not None:
        callback(shared.asyncio)
