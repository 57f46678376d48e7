"""`python -m rasyncio`: a program runs as under Python itself, to the exit status and every line that it prints.

Most tests run the same program both ways and compare.  What the programs must show is Python's business, so they expect
nothing of their own.
"""

import os
import re
import signal
import subprocess
import sys
import zipfile

import pytest
import rasyncio

LAUNCHER = ["-m", "rasyncio"]
PROGRAMS = {
    "names": """import sys
print(sorted(globals()), sys.argv, sys.path[0], __name__, __doc__, __package__, __spec__, __builtins__)
print(type(__loader__), __loader__.get_filename("__main__") if hasattr(__loader__, "get_filename") else "")
print(globals().get("__file__"), sys.modules["__main__"].sys is sys, vars(sys.modules["__main__"]) is globals())""",
    "docstring": '"A program."\nprint(__doc__)',
    "pickling": """import pickle
class Thing: pass
thing = pickle.loads(pickle.dumps(Thing()))
print(type(thing) is Thing, Thing.__module__)""",
    "source": """import inspect
def function():
    return 1  # to be found
print(inspect.getsource(function) if "__file__" in globals() and __file__ != "<stdin>" else "")""",
    "future import": "from __future__ import annotations\ndef f(x: not_there): pass\nprint(f.__annotations__)",
    "no future import": "import sys\ndef f(x: int): pass\nprint(f.__annotations__)",
    "error": "def f():\n    1/0\nf()",
    "chained errors": """try:
    try:
        1/0
    except Exception as error:
        raise KeyError(1) from error
except Exception:
    raise ValueError("last")""",
    "group": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "syntax error": "x = 1\ndef f(:\n    pass\n",
    "indentation": "if True:\npass",
    "error in a thread": """import threading
thread = threading.Thread(target=lambda: 1/0, name="other")
thread.start()
thread.join()
print("after")""",
    "error in an import": "import json.no_such_module",
    "exit 0": "raise SystemExit",
    "exit 7": "import sys; sys.exit(7)",
    "exit text": "import sys; print('out'); sys.exit('a reason')",
    "exit None": "import sys; sys.exit(None)",
    "exit object": "raise SystemExit([1, 2])",
    "os._exit": "import os; os._exit(9)",
    "no newline": "print('no newline', end='')",
    "atexit": """import atexit, sys
@atexit.register
def last():
    trace = getattr(sys, "last_traceback", None)
    print("bye", trace and trace.tb_frame.f_code.co_name, sys.excepthook is sys.__excepthook__, sys.exc_info())
1/0""",
    "excepthook": """import sys, traceback
sys.excepthook = lambda kind, value, trace: print(kind, value, [frame.name for frame in traceback.extract_tb(trace)])
def f(): 1/0
f()""",
    "excepthook exits": "import sys\nsys.excepthook = lambda *_: sys.exit(4)\n1/0",
    "no excepthook": "import sys\ndel sys.excepthook\nraise SystemExit(3)",
    "warning": "import warnings\nwarnings.warn('careful')",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "other encoding": "# coding: latin-1\nprint(ascii('\xe9'))",
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError as error:\n    print(error)",
    "closed output": "import sys\nprint('x')\nsys.stdout.flush()\nsys.stdout.close()",
    "del main names": "print(__name__)\ndel __name__",
}


def run(arguments, folder, launcher=(), text="", options=()):
    done = subprocess.run(
        [sys.executable, *options, *launcher, *arguments], cwd=folder, input=text.encode("latin-1"), capture_output=True
    )
    addresses = re.compile(r"0x[0-9a-f]+")
    return done.returncode, *(addresses.sub("0x...", printed.decode()) for printed in (done.stdout, done.stderr))


def compare(arguments, folder, **more):
    expected = run(arguments, folder, **more)
    assert run(arguments, folder, LAUNCHER, **more) == expected
    return expected


@pytest.fixture(params=PROGRAMS.values(), ids=PROGRAMS.keys())
def program(request):
    return request.param + "\n"


def test_file(tmp_path, program):
    (tmp_path / "program.py").write_bytes(program.encode("latin-1"))
    compare(["program.py", "-x", "--", "a b"], tmp_path)


def test_module(tmp_path, program):
    (tmp_path / "program.py").write_bytes(program.encode("latin-1"))
    compare(["-m", "program", "-x", "--", "a b"], tmp_path)


def test_command(tmp_path, program):
    compare(["-c", program, "-x", "--", "a b"], tmp_path)


def test_standard_input(tmp_path, program):
    if "coding:" in program:
        pytest.skip("Python itself cannot read such a program from its standard input")
    compare(["-", "-x", "a b"], tmp_path, text=program)


@pytest.mark.parametrize("last", ["", "exit(3)\n"], ids=["end", "exit"])
def test_a_pipe_without_arguments_is_typed_at_the_prompt(tmp_path, last):
    """As it is for `python -m asyncio`."""
    text = "x = await asyncio.sleep(0, 20)\nx + 1\nprint(2); __name__\n" + last
    expected, got = run(["-m", "asyncio"], tmp_path, text=text), run([], tmp_path, LAUNCHER, text=text)
    first_line = re.compile(r"(asyncio REPL|rasyncio \S+ REPL, Python) ")
    texts = [[first_line.sub("", text).replace("rasyncio", "asyncio") for text in texts] for _, *texts in (expected, got)]
    if sys.version_info >= (3, 13) or not last:  # before, exit() says no farewell there
        assert texts[1] == texts[0]
    assert "21\n" in texts[1][0] and got[0] == expected[0]


@pytest.mark.parametrize("options", [["-P"], ["-I"], ["-X", "dev"], ["-O"], ["-u"]], ids=" ".join)
def test_options_of_python(tmp_path, options):
    (tmp_path / "program.py").write_text(PROGRAMS["names"] + "\nprint(sys.flags)")
    compare(["program.py", "a"], tmp_path, options=options)


def test_standard_input_is_left_to_the_program(tmp_path):
    (tmp_path / "program.py").write_text("import sys; print(sys.stdin.readline(), input(), sys.stdin.read())")
    assert compare(["program.py"], tmp_path, text="a\nb\nc\nd\n")[0] == 0


@pytest.mark.parametrize("given", ["program.py", "./program.py", "folder/../program.py", "link.py", "folder/link.py"])
def test_ways_to_name_a_file(tmp_path, given):
    (tmp_path / "folder").mkdir()
    (tmp_path / "program.py").write_text(PROGRAMS["names"])
    (tmp_path / "link.py").symlink_to("program.py")
    (tmp_path / "folder" / "link.py").symlink_to("../program.py")
    compare([given], tmp_path)
    compare([str(tmp_path / given)], tmp_path)


def test_compiled_file(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAMS["names"] + "\n1/0")
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-b", "program.py"], cwd=tmp_path, check=True)
    compare(["program.pyc", "a"], tmp_path)
    (tmp_path / "program.pyc").rename(tmp_path / "no-suffix")
    compare(["no-suffix"], tmp_path)


@pytest.mark.parametrize("name", ["names", "error", "exit 7", "syntax error", "keyboard interrupt"])
def test_folder_and_zip_file(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(PROGRAMS[name])
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAMS[name])
    for given in ("folder", "program.zip"):
        compare([given, "a"], tmp_path)
        compare([given], tmp_path, options=["-P"])


def test_package(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("import sys; print('init', sys.argv)")
    (tmp_path / "package" / "__main__.py").write_text(PROGRAMS["names"])
    (tmp_path / "package" / "part.py").write_text("from . import __name__ as package; print(package)")
    compare(["-m", "package", "a"], tmp_path)
    compare(["-mpackage.part"], tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [["none.py"], ["-m", "none"], ["-m", "json.none"], ["empty"], ["unreadable.py"], ["-m", "empty"]],
    ids=" ".join,
)
def test_what_is_not_there(tmp_path, arguments):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unreadable.py").write_text("")
    (tmp_path / "unreadable.py").chmod(0)
    assert compare(arguments, tmp_path)[0] in ((0, 1, 2) if os.geteuid() == 0 else (1, 2))


@pytest.mark.parametrize("arguments", [["-c"], ["-m"], ["--no-such-option"], ["-x"]], ids=" ".join)
def test_wrong_command_line(tmp_path, arguments):
    status, output, errors = run(arguments, tmp_path, LAUNCHER)
    assert (status, output) == (2, "")
    assert "usage: python -m rasyncio" in errors and arguments[0] in errors


def test_a_file_that_is_no_text_is_a_syntax_error(tmp_path):
    """The words are those of `compile()`, not those of the interpreter's own reading of files."""
    for data in (b"x = '\xe9'\n", b"x = 1\0\n"):
        (tmp_path / "program.py").write_bytes(data)
        status, output, errors = run(["program.py"], tmp_path, LAUNCHER)
        assert status == 1 and "SyntaxError: " in errors and "rasyncio" not in errors


def test_an_excepthook_that_fails_is_reported_with_the_exception(tmp_path):
    (tmp_path / "program.py").write_text("import sys\ndef hook(*_): raise ValueError('in hook')\nsys.excepthook = hook\n1/0")
    status, output, errors = run(["program.py"], tmp_path, LAUNCHER)
    assert status == 1
    assert errors.index("Error in sys.excepthook:") < errors.index("in hook") < errors.index("Original exception was:")
    assert "__main__" not in errors.partition("Original exception was:")[2]


def test_keyboard_interrupt_kills_as_the_signal_would(tmp_path):
    (tmp_path / "program.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    done = subprocess.run(
        [sys.executable, *LAUNCHER, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith(b"KeyboardInterrupt\n")


def test_asyncio_is_rasyncio(tmp_path):
    code = "import asyncio, sys; print(asyncio.__name__, 'rasyncio' in sys.modules)"
    (tmp_path / "program.py").write_text(code)
    for arguments in (["-c", code], ["program.py"], ["-m", "program"], ["-"]):
        assert run(arguments, tmp_path, LAUNCHER, text=code)[1] == "rasyncio True\n"


def test_help_and_version(tmp_path):
    for option in ("-h", "--help"):
        status, output, errors = run([option], tmp_path, LAUNCHER)
        assert (status, errors) == (0, "") and output.startswith("usage: python -m rasyncio")
    for option in ("-V", "--version"):
        assert run([option], tmp_path, LAUNCHER) == (
            0,
            f"rasyncio {rasyncio.__version__} on Python {sys.version.split()[0]}\n",
            "",
        )
