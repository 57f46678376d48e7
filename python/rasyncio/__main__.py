"""`python -m rasyncio`: runs a program as Python itself would, with rasyncio in asyncio's place; alone it is a prompt.

The program gets what `python` would have given it: `sys.argv`, `sys.path[0]`, a `__main__` module of its own, the exit
status, and tracebacks without a frame of this file.  To that end an exception is not printed here: it goes on to the
interpreter, which does what it always does (SystemExit, `sys.excepthook`, death by SIGINT), and finds a hook in its way
that takes this file's frames off first.  What looks down the stack while the program runs does see the launcher's frames,
as it would under pdb or coverage.

Child processes in the same environment are on rasyncio too: multiprocessing starts its children as fresh interpreters, and
a program may start itself again.  Removing RASYNCIO_INSTALL from a child's environment gives it the standard library's
asyncio.
"""

import os
import sys

from rasyncio import _install, _ps

USAGE = """\
usage: python -m rasyncio [-c CODE | -m MODULE | FILE | -] [ARG]...
       python -m rasyncio {ps | pstree} PID

Runs a Python program, unmodified, with rasyncio in asyncio's place, and so all that it imports.

  FILE           a script, or a folder or zip file with a __main__.py
  -m MODULE      a module, as of `python -m`
  -c CODE        a program passed in as a string
  -              a program read from standard input
  ps PID         a table of the tasks of another process that is on rasyncio: their stacks, and who waits for them
  pstree PID     the same as a tree; a script of that name is ./ps or ./pstree
  -h, --help     this text
  -V, --version  the versions of rasyncio and of Python

Without arguments it is a prompt that knows `await`, at a terminal or not.  Options of Python's own go before `-m rasyncio`.
"""


def complain(text):
    sys.stderr.write(f"{text}\n{USAGE}")
    sys.exit(2)


def new_main(loader=None, file=None):
    """Puts a new module in this one's place as `__main__`; its dict has the names that the interpreter gives it."""
    module = type(sys)("__main__")
    module.__loader__ = loader or sys.__loader__
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    module.__builtins__ = sys.modules["builtins"]
    if file is not None:
        module.__file__ = file
        if sys.version_info < (3, 15):
            module.__cached__ = None
    sys.modules["__main__"] = module
    return vars(module)


def set_first_path(folder):
    """Puts `folder` where `python -m` has put the current directory, which `python -P` does not."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def importer_of(path):
    for hook in sys.path_hooks:
        try:
            return hook(path)
        except ImportError:
            pass
    return None


def run_module(name, arguments):
    sys.argv[:] = ["-m", *arguments]
    new_main()
    import runpy

    runpy._run_module_as_main(name)


def run_container(path):
    """Runs the `__main__.py` of a folder or of a zip file."""
    sys.path[0 : not sys.flags.safe_path] = [path]
    new_main()
    import runpy

    runpy._run_module_as_main("__main__", alter_argv=False)


def run_file(given, arguments):
    from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader, SourcelessFileLoader

    sys.argv[:] = [given, *arguments]
    path = os.path.join(os.getcwd(), given)
    if importer_of(path):
        return run_container(path)
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n")
        sys.exit(2)
    set_first_path(os.path.dirname(os.path.realpath(path)))
    compiled = source.startswith(MAGIC_NUMBER)
    loader = (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", path)
    names = new_main(loader, path)
    code = loader.get_code("__main__") if compiled else compile(source, path, "exec", dont_inherit=True)
    exec(code, names)


def run_command(source, arguments):
    sys.argv[:] = ["-c", *arguments]
    set_first_path("")
    names = new_main()
    if sys.version_info >= (3, 14) and source.lstrip("\n")[:1].isspace():
        source = __import__("textwrap").dedent(source)
    code = compile(source, "<string>", "exec", dont_inherit=True)
    if sys.version_info >= (3, 13):  # tracebacks show the lines of such a program
        linecache = __import__("linecache")
        linecache._register_code(code if hasattr(linecache, "_interactive_cache") else "<string>", source, "<string>")
    exec(code, names)


def run_input(first_argument, arguments):
    sys.argv[:] = [first_argument, *arguments]
    set_first_path("")
    names = new_main(file="<stdin>")
    exec(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True), names)


def run(arguments):
    """Runs what the command line asks for."""
    first, rest = arguments[0] if arguments else "", arguments[1:]
    if first[:2] in ("-c", "-m"):
        option, value = first[:2], first[2:]
        if not value and not rest:
            complain(f"Argument expected for the {option} option")
        value, rest = (value, rest) if value else (rest[0], rest[1:])
        return run_module(value, rest) if option == "-m" else run_command(value, rest)
    if first in ("-h", "--help"):
        return sys.stdout.write(USAGE)
    if first in ("-V", "--version"):
        from rasyncio import __version__

        return print(f"rasyncio {__version__} on Python {sys.version.split()[0]}")
    if first in ("ps", "pstree"):
        if len(rest) != 1 or not rest[0].isdecimal():
            complain(f"{first} takes the number of a process")
        return _ps.show(first, int(rest[0]))
    if first != "-" and arguments:
        return complain(f"Unknown option: {first}") if first.startswith("-") else run_file(first, rest)
    if arguments and not (sys.stdin is not None and sys.stdin.isatty()):
        return run_input(first, rest)
    from rasyncio._console import interact

    sys.argv[:] = [first, *rest]
    return interact(new_main())


def without_launcher(traceback):
    while traceback is not None and traceback.tb_frame.f_code.co_filename == run.__code__.co_filename:
        traceback = traceback.tb_next
    return traceback


def main():
    _install.install(children=True)
    try:
        run(sys.argv[1:])
    except SystemExit:
        raise
    except BaseException as error:
        uncaught, program, theirs = error, without_launcher(error.__traceback__), getattr(sys, "excepthook", None)

        def print_without_launcher(kind, value, traceback):
            sys.excepthook = theirs
            if value is uncaught:
                traceback = sys.last_traceback = program
                value.__traceback__ = program
            theirs(kind, value, traceback)

        if theirs is not None:
            sys.excepthook = print_without_launcher
        raise


if __name__ == "__main__":
    main()
