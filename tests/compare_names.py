"""Prints, as JSON, how the names of rasyncio's modules differ from those of the running Python's asyncio; see test_names.py.

A difference is [what, name, detail].  `what` is one of

    module      it cannot be imported, or can though asyncio's cannot
    missing     a name that asyncio's module or class has
    kind        a class, function, coroutine function, class method, static method, attribute of instances, module, or value
    signature   of a function, method or class: the parameters, their kinds and defaults
    bases       a class that asyncio's derives from has no namesake among those of ours
    value       of a constant
    all         a name in asyncio's `__all__` that is not in ours

What a module imports from elsewhere has only to be there.  Not looked at: names that ours has beyond asyncio's; the twins
in pure Python of what asyncio has in C (`_PyTask`, `_py_enter_task`), for there the native one is compared; whether `self`
may be given by name, which is so for no native method anywhere; annotations, which the stubs have.
"""

import importlib
import inspect
import json
import pkgutil
import sys
import types
import warnings

SKIPPED_IN_MODULES = set(vars(types.ModuleType("m"))) | {"__builtins__", "__cached__", "__file__", "__all__"}
SKIPPED_IN_MODULES |= {"__annotations__", "__conditional_annotations__", "__path__"}
SKIPPED_IN_CLASSES = set(
    """__dict__ __weakref__ __doc__ __module__ __qualname__ __slots__ __new__ __init__ __getattribute__ __annotations__
    __firstlineno__ __static_attributes__ __annotate_func__ __annotations_cache__ __annotate__ __abstractmethods__ _abc_impl
    __orig_bases__ __parameters__""".split()
)
ATTRIBUTES = property, types.GetSetDescriptorType, types.MemberDescriptorType
CONSTANTS = int, str, float, bool, tuple, frozenset, bytes, type(None)

found = []
compared = set()


def kind_of(value):
    if inspect.isclass(value):
        return "class"
    if inspect.ismodule(value):
        return "module"
    if isinstance(value, (classmethod, types.ClassMethodDescriptorType)):
        return "class method"
    if isinstance(value, staticmethod):
        return "static method"
    if inspect.iscoroutinefunction(value):
        return "coroutine function"
    if inspect.isroutine(value):
        # A native class method or static method that was taken from a class looks like a function.
        return "class method" if inspect.isclass(getattr(value, "__self__", None)) else "function"
    return "attribute" if isinstance(value, ATTRIBUTES) else "value"


def signature_of(function):
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def parameters(signature):
    """What matters of a signature: names, kinds, and whether there is a default."""
    for place, parameter in enumerate(signature.parameters.values()):
        by_place = place == 0 and parameter.name in ("self", "cls")
        yield parameter.name, "self" if by_place else parameter.kind.name, parameter.default is not parameter.empty


def differs(one, other):
    """Whether two defaults differ; marks like `_marker = object()` are all the same."""
    if type(one) is object or type(other) is object or one is other:
        return False
    return one != other and repr(one) != repr(other)


def compare_signatures(name, theirs, ours):
    theirs, ours = signature_of(theirs), signature_of(ours)
    if theirs is None:
        return
    if ours is None:
        found.append(["signature", name, f"{theirs} -> none"])
        return
    pairs = zip(theirs.parameters.values(), ours.parameters.values(), strict=False)
    if list(parameters(theirs)) != list(parameters(ours)) or any(differs(a.default, b.default) for a, b in pairs):
        found.append(["signature", name, f"{theirs} -> {ours}"])


def compare_classes(name, theirs, ours):
    if (theirs, ours) in compared:
        return
    compared.add((theirs, ours))
    compare_signatures(name, theirs, ours)
    names = {base.__name__ for base in ours.__mro__}
    if lacking := [base.__name__ for base in theirs.__mro__ if base.__name__ not in names]:
        found.append(["bases", name, " ".join(lacking)])
    for attribute, value in sorted(vars(theirs).items()):
        if attribute in SKIPPED_IN_CLASSES:
            continue
        path = f"{name}.{attribute}"
        nothing = object()
        if (mine := inspect.getattr_static(ours, attribute, nothing)) is nothing:
            found.append(["missing", path, kind_of(value)])
        else:
            compare(path, value, mine, True)


def compare(name, theirs, ours, is_own):
    if theirs is ours:
        return
    if (kind := kind_of(theirs)) != kind_of(ours):
        found.append(["kind", name, f"{kind} -> {kind_of(ours)}"])
    elif kind == "class":
        if is_own:
            compare_classes(name, theirs, ours)
    elif kind.endswith(("function", "method")):
        compare_signatures(name, getattr(theirs, "__func__", theirs), getattr(ours, "__func__", ours))
    elif kind == "value" and isinstance(theirs, CONSTANTS) and theirs != ours:
        found.append(["value", name, f"{theirs!r} -> {ours!r}"])


def compare_modules(name):
    modules = {}
    for package in ("asyncio", "rasyncio"):
        try:
            modules[package] = importlib.import_module(f"{package}.{name}" if name else package)
        except ImportError as error:
            modules[package] = f"{type(error).__name__}: {error}"
    theirs, ours = modules.values()
    if isinstance(theirs, str) or isinstance(ours, str):
        if theirs != ours:
            found.append(["module", name, f"{theirs} -> {ours}"])
        return
    for public in sorted(set(getattr(theirs, "__all__", ())) - set(getattr(ours, "__all__", ()))):
        found.append(["all", f"{name}.{public}", ""])
    for attribute, value in sorted(vars(theirs).items()):
        if attribute in SKIPPED_IN_MODULES or attribute.startswith(("_Py", "_py_")):
            continue
        try:
            mine = getattr(ours, attribute)
        except AttributeError:
            found.append(["missing", f"{name}.{attribute}", kind_of(value)])
            continue
        compare(f"{name}.{attribute}", value, mine, getattr(value, "__module__", "") in (theirs.__name__, "_asyncio"))


def main():
    warnings.simplefilter("ignore")
    import asyncio

    names = sorted(module.name for module in pkgutil.iter_modules(asyncio.__path__) if module.name != "__main__")
    # The package last: what it has is the modules'.
    for name in [*names, ""]:
        compare_modules(name)
    json.dump({"modules": names, "differences": found}, sys.stdout, indent=0)


if __name__ == "__main__":
    main()
