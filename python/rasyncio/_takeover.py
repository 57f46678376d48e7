"""What `install()` does about an asyncio of the standard library's that this process has imported already, and its report.

Importers of that asyncio hold its package, or its modules, or names out of them.  What can be reached is changed:

- the old package's namespace: each public name, and each module, is ours, so `asyncio.Queue` is rasyncio's whoever holds
  the package.  The old modules do not use this namespace, and so go on working for what was made of them;
- the entrances of the old modules (`ENTRANCES`): which loop runs, which one a thread has, who runs a program.  The policy
  that the old native half asks is one that hands on to ours;
- the names of all other loaded modules that stand for the old package, its modules, classes or functions.

What cannot be reached is told, in words, by the `Installation` that `install()` gives back, and in a warning: names in
functions, closures and classes; classes derived from the old ones; loops and tasks that are alive.  They remain whole, and
share the running loop and the current task with rasyncio.  Every change is recorded, and undone by `uninstall()` unless
somebody has changed the place since.
"""

import sys
from _frozen_importlib_external import PathFinder

Module = type(sys)
Function, Builtin = type(lambda: None), type(len)
ABSENT = object()
ENTRANCES = {
    "events": """get_running_loop _get_running_loop _set_running_loop get_event_loop set_event_loop new_event_loop
        get_event_loop_policy set_event_loop_policy _get_event_loop_policy _set_event_loop_policy get_child_watcher
        set_child_watcher""",
    "runners": "run Runner",
}
MENTIONED = 8


class Installation:
    """What `install()` did: `complete`, the names `replaced`, and in plain words what was `kept`; as text, all of it."""

    def __init__(self):
        self.complete = True
        self.replaced = ()
        self.kept = ()
        self.changes = []

    def __str__(self):
        if self.complete:
            return "asyncio is rasyncio in this process."
        text = "asyncio had been imported before rasyncio.install() was called. It is replaced, and so are"
        text += f" {len(self.replaced)} names in other modules{listed(self.replaced)}. Not replaced:"
        return "\n- ".join([text, *self.kept])

    __repr__ = __str__

    def put(self, namespace, name, value):
        self.changes.append((namespace, name, namespace.get(name, ABSENT), value))
        namespace[name] = value

    def undo(self):
        while self.changes:
            namespace, name, before, after = self.changes.pop()
            now = namespace.get(name, ABSENT)
            if now is not after and not (type(now) is str and now == after):
                continue  # somebody else's by now
            if before is ABSENT:
                del namespace[name]
            else:
                namespace[name] = before


class OurPolicy:
    """Stands where the old asyncio looks for its event loop policy, and is whatever policy rasyncio has at the time."""

    def __getattr__(self, name):
        return getattr(ours("events")._get_event_loop_policy(), name)


def listed(names):
    names = sorted(names)
    return f" ({', '.join(names[:MENTIONED])}{', ...' if len(names) > MENTIONED else ''})" if names else ""


def ours(room):
    return sys.modules.get(f"{__package__}.{room}" if room else __package__)


def twins(old):
    """(old, ours) of each object of the old asyncio's that other modules may hold: modules, classes and functions."""
    for full_name, module in old.items():
        replacement = ours(full_name.partition(".")[2])
        if replacement is None:
            continue
        yield module, replacement
        for name, value in vars(module).items():
            if isinstance(value, (type, Function, Builtin)) and (
                name[0] != "_" or name.endswith(("running_loop", "Policy"))
            ):
                twin = vars(replacement).get(name)
                if isinstance(twin, (type, Function, Builtin)) and twin is not value and at_home(value):
                    yield value, twin


def at_home(value):
    return str(getattr(value, "__module__", None)).partition(".")[0] in ("asyncio", "_asyncio")


def replace_package(installation, package):
    package_of_ours, new = ours(""), vars(ours(""))
    for name in new["__all__"]:
        getattr(package_of_ours, name)  # some are had when they are asked for
    rooms = {name for name, value in new.items() if isinstance(value, Module) and value is ours(name)}
    for name in {*new["__all__"], *rooms, "__all__", "__getattr__"} & new.keys():
        if new[name] is not vars(package).get(name):
            installation.put(vars(package), name, new[name])


def replace_entrances(installation, old):
    for room, names in ENTRANCES.items():
        module = old.get(f"asyncio.{room}")
        for name in names.split():
            if module is not None and name in vars(module) and name in vars(ours(room)):
                installation.put(vars(module), name, vars(ours(room))[name])
    installation.put(vars(old["asyncio.events"]), "_event_loop_policy", OurPolicy())


def replace_elsewhere(installation, old):
    """Names of other modules; those of a module that is loaded lazily are looked at without having it loaded."""
    by_identity = {id(before): (before, after) for before, after in twins(old)}
    found = []
    for module_name, module in list(sys.modules.items()):
        if not isinstance(module, Module) or module_name.partition(".")[0] in ("asyncio", "_asyncio", __package__):
            continue
        namespace = Module.__getattribute__(module, "__dict__")
        for name, value in list(namespace.items()):
            if id(value) in by_identity:
                installation.put(namespace, name, by_identity[id(value)][1])
                found.append(f"{module_name}.{name}")
    return found


def derived(classes):
    """The names of the classes that others have derived from `classes`."""
    found, seen, todo = set(), set(), list(classes)
    while todo:
        for child in type.__subclasses__(todo.pop()):
            if child not in seen:
                seen.add(child)
                todo.append(child)
                if not at_home(child) and child.__module__.partition(".")[0] != __package__:
                    found.add(f"{child.__module__}.{child.__qualname__}")
    return found


def alive(old):
    """How many loops and tasks of the old asyncio's are not closed and not done."""
    import gc

    loop_class, task_class = old["asyncio.base_events"].BaseEventLoop, old["asyncio.tasks"].Task
    everything = gc.get_objects()
    loops = [item for item in everything if issubclass(type(item), loop_class) and not item.is_closed()]
    tasks = [item for item in everything if issubclass(type(item), task_class) and not item.done()]
    return len(loops), len(tasks)


def describe_kept(old, policy):
    yield "names that functions, closures and classes have taken out of asyncio, and default values"
    classes = [before for before, _ in twins(old) if isinstance(before, type)]
    if children := derived(classes):
        yield f"classes that derive from asyncio's own{listed(children)}"
    loops, tasks = alive(old)
    if loops or tasks:
        yield f"what is alive already: {loops} event loops and {tasks} tasks are asyncio's own until they end"
    if policy is not None and not at_home(type(policy)):
        kind = type(policy)
        yield f"loops made by the policy {kind.__module__}.{kind.__qualname__} so far; rasyncio's policy is in use now"
    yield "the time it takes to tell the old asyncio too which task runs: call install() before asyncio is imported"


def take_over(installation, old):
    """Replaces what can be reached of the asyncio whose modules are `old`, by name."""
    for name in old:
        room = name.partition(".")[2]
        if room and room[0] != "_" and PathFinder.find_spec(f"{__package__}.{room}", ours("").__path__):
            __import__(f"{__package__}.{room}")
    policy = vars(old["asyncio.events"]).get("_event_loop_policy")
    installation.complete = False
    installation.kept = tuple(describe_kept(old, policy))
    installation.replaced = tuple(replace_elsewhere(installation, old))
    replace_entrances(installation, old)
    replace_package(installation, old["asyncio"])
