"""Puts the package under test in asyncio's place, in every Python process that the conformance run starts.

Called from a `.pth` line of the run's own temporary environment (supervise.py writes it), which works with `-E` and `-I`
too: the suite starts child interpreters of its own, and those must not test the stock asyncio.  This file is copied into
that environment, so it imports nothing of its folder.

The package does the substitution itself, by its public `install()`, `_asyncio` included.  Added here is only what the
suite's harness asks for and no user does: CPython has two implementations of futures and tasks and the suite runs its classes
once on each, by the names `_PyTask`/`_CTask`, `_py_*`/`_c_*`.  A package with one implementation answers both with it.

Names are written into the modules' `__dict__`, not by setattr: to the package an assignment on one of its modules means
that somebody patches it, and the suite would then never test the unpatched path.
"""

import importlib

# module of asyncio -> names of which the stock module keeps a `_py_` and a `_c_` twin.  The twin of `_enter_task` is
# `_py_enter_task` in tasks, but that of `_get_running_loop` is `_py__get_running_loop` in events.
CLASSES = {"futures": "Future", "tasks": "Task"}
TASK_FUNCTIONS = """current_task all_tasks _register_task _register_eager_task _unregister_task _unregister_eager_task
    _enter_task _leave_task _swap_current_task""".split()
EVENT_FUNCTIONS = "_get_running_loop _set_running_loop get_running_loop get_event_loop _get_event_loop".split()
FUTURE_FUNCTIONS = "future_add_to_awaited_by future_discard_from_awaited_by".split()
TWINS = (
    [("tasks", name, name.removeprefix("_")) for name in TASK_FUNCTIONS]
    + [("events", name, name) for name in EVENT_FUNCTIONS]
    + [("futures", name, name) for name in FUTURE_FUNCTIONS]
)


def add_twins(modules):
    for module, name in CLASSES.items():
        names = vars(modules[module])
        for twin in (f"_Py{name}", f"_C{name}"):
            names.setdefault(twin, names[name])
    for module, name, stem in TWINS:
        names = vars(modules[module])
        if name in names:
            names.setdefault(f"_py_{stem}", names[name])
            names.setdefault(f"_c_{stem}", names[name])


def put(package):
    """Makes `import asyncio` give `package` from here on, in this process."""
    if package == "asyncio":
        return
    importlib.import_module(package).install()
    add_twins({name: importlib.import_module(f"asyncio.{name}") for name in ("events", "futures", "tasks")})


def check(package):
    """Raises RuntimeError unless `import asyncio` gives `package`; a `.pth` line that fails does not stop Python."""
    asyncio = importlib.import_module("asyncio")
    if asyncio is not importlib.import_module(package):
        raise RuntimeError(f"`import asyncio` gives {asyncio!r} and not the package {package!r}")
    for name in ("events", "futures", "tasks"):
        module = importlib.import_module(f"asyncio.{name}")
        if module is not importlib.import_module(f"{package}.{name}"):
            raise RuntimeError(f"`import asyncio.{name}` gives {module!r} and not that of the package {package!r}")
