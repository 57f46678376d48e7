"""The stubs: each face has one, which knows its public names, explains them, and has the parameters that it really has.

A stub is read as text, for the running version of Python.  `python -m mypy.stubtest rasyncio` sees more, types too.
"""

import ast
import importlib
import inspect
import sys
from pathlib import Path

import pytest
import rasyncio

PACKAGE = Path(rasyncio.__file__).parent
STUBS = sorted(PACKAGE.glob("*.pyi"))
# Those of Windows cannot be imported elsewhere.
FACES = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith(("_", "windows_")))
# What the standard library's class lacks, or has as an attribute of the instance.
ELSEWHERE = {
    "AbstractEventLoop.create_unix_server",
    "AbstractEventLoop.subprocess_exec",
    "AbstractEventLoop.subprocess_shell",
    "Condition.acquire",
    "Condition.locked",
    "Condition.release",
}


def statements(body):
    """The statements of a stub or of a class in it; of an `if`, those for the running Python."""
    for statement in body:
        if isinstance(statement, ast.If):
            holds = eval(compile(ast.Expression(statement.test), "stub", "eval"), {"sys": sys})
            yield from statements(statement.body if holds else statement.orelse)
        else:
            yield statement


def names_bound(statement):
    match statement:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [statement.name]
        case ast.ImportFrom():
            return [alias.asname for alias in statement.names if alias.asname == alias.name]
        case ast.Assign():
            return [target.id for target in statement.targets]
        case ast.AnnAssign():
            return [statement.target.id]
    return []


def read(name):
    return list(statements(ast.parse((PACKAGE / f"{name}.pyi").read_text()).body))


def functions(owner, body):
    """(name, first definition, whether it is overloaded) of each function of a body."""
    seen = set()
    for function in body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name not in seen:
            seen.add(function.name)
            marks = {ast.unparse(mark) for mark in function.decorator_list}
            if not any(mark == "property" or mark.endswith(".setter") for mark in marks):
                yield f"{owner}{function.name}", function, "overload" in marks


def every_function(name):
    body = read(name)
    yield from functions("", body)
    for statement in body:
        if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
            yield from functions(f"{statement.name}.", statements(statement.body))


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.stem)
def test_is_a_stub_of_a_module(path):
    ast.parse(path.read_text())
    assert path.with_suffix(".py").exists()


@pytest.mark.parametrize("name", FACES)
def test_has_the_public_names(name):
    face = importlib.import_module(f"rasyncio.{name}")
    body = read(name)
    bound = {name for statement in body for name in names_bound(statement)}
    public = [ast.literal_eval(statement.value) for statement in body if "__all__" in names_bound(statement)]
    assert set(public[0] if public else ()) == set(getattr(face, "__all__", ()))
    assert bound >= set(getattr(face, "__all__", ()))


@pytest.mark.parametrize("name", FACES)
def test_explains_what_is_public(name):
    body = read(name)
    classes = [s for s in body if isinstance(s, ast.ClassDef) and not s.name.startswith("_")]
    silent = [s.name for s in classes if ast.get_docstring(s) is None and s.name != "QueueShutDown"]
    silent += [
        path
        for path, function, _ in every_function(name)
        if not function.name.startswith("_") and function.name != "on_fork" and ast.get_docstring(function) is None
    ]
    assert silent == []


def parameters(signature):
    kinds = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [kinds.get(p.kind, "") + p.name for p in signature.parameters.values() if p.name != "self"]


def stub_parameters(arguments):
    names = [a.arg for a in arguments.posonlyargs + arguments.args if a.arg not in ("self", "cls")]
    names += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    names += [a.arg for a in arguments.kwonlyargs]
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


@pytest.mark.parametrize("name", FACES)
def test_has_the_parameters(name):
    face = importlib.import_module(f"rasyncio.{name}")
    differing = {}
    for path, function, overloaded in every_function(name):
        if function.name.startswith("__") or overloaded or path in ELSEWHERE:
            continue
        found = face
        for part in path.split("."):
            found = getattr(found, part)
        try:
            real = parameters(inspect.signature(found))
        except ValueError:  # a native function that does not tell
            continue
        written = stub_parameters(function.args)
        # A native function takes some of its keywords as `**kwargs`.
        general = [name for name in real if not name.startswith("*")]
        if real != written and not (len(general) < len(real) and [name for name in written if name in general] == general):
            differing[path] = real, written
    assert differing == {}
