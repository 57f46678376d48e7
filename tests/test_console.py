"""The prompt of `python -m rasyncio`, at a terminal, beside that of the running Python's `python -m asyncio`.

Plain lines are compared with asyncio's, to the character; what is different on purpose is said in `_console`.  The editor of
Python 3.13 and newer draws, so there it is looked for what must appear.
"""

import os
import pty
import re
import select
import signal
import sys
import termios

import pytest
import rasyncio

NEW = sys.version_info >= (3, 13)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z@]|\x1b[=>]|\r")


class Terminal:
    """A prompt at a terminal of 24 lines."""

    def __init__(self, home, *options, package="rasyncio", **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("PYTHONSTARTUP", "PYTHON_BASIC_REPL", "PYTHON_HISTORY", "NO_COLOR", "FORCE_COLOR", "INPUTRC"):
                os.environ.pop(name, None)
            os.environ.update(HOME=str(home), PYTHON_COLORS="0", **environment)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            termios.tcsetwinsize(0, (24, 200))
            os.execv(sys.executable, [sys.executable, *options, "-m", package])
        self.unread = ""

    def until(self, text):
        """Reads as far as `text`; what came before it, without what moves the cursor."""
        while text not in self.unread:
            ready, _, _ = select.select([self.fd], [], [], 30)
            assert ready, f"no {text!r} after {self.unread!r}"
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                data = b""
            assert data, f"the end and no {text!r} after {self.unread!r}"
            self.unread = ESCAPES.sub("", self.unread + data.decode())
        before, _, self.unread = self.unread.partition(text)
        return before

    def type(self, text):
        os.write(self.fd, text.encode())

    def send(self, line):
        self.type(line + "\n")
        self.until("\n")  # the echo

    def answer(self, line):
        self.send(line)
        return self.until(">>> ")

    def close(self):
        """Reads to the end; what came, and the exit status."""
        data = b""
        try:
            while part := os.read(self.fd, 4096):
                data += part
        except OSError:
            pass  # Linux's word for the end of a terminal
        os.close(self.fd)
        text = ESCAPES.sub("", self.unread + data.decode())
        return text, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(tmp_path):
    """Opens prompts, which begin in an empty home; each is a plain one unless told otherwise."""
    opened = []

    def open_one(*options, TERM="dumb", **more):
        one = Terminal(tmp_path, *options, TERM=TERM, **more)
        opened.append(one)
        one.until("import asyncio")
        one.until(">>> ")
        return one

    yield open_one
    for one in opened:
        try:
            os.kill(one.pid, signal.SIGKILL)
            one.close()
        except (ProcessLookupError, OSError):
            pass  # closed by the test


SESSION = """\
1 + 1
_ * 2
None
await asyncio.sleep(0, 'slept')
_
x = await asyncio.sleep(0, 5)
x; await asyncio.sleep(0, x)
print(__name__, asyncio.get_running_loop().is_running())
(lambda: print('in a lambda'))()
x +
await = 1
    x
import math, threading
math.pi
threading.current_thread() is threading.main_thread()
[await asyncio.sleep(0, n) for n in range(3)]
task = asyncio.create_task(asyncio.sleep(0, 9)); await task
await asyncio.gather(task, asyncio.sleep(0, 1))
asyncio.current_task() is None
""".splitlines()


def test_answers_as_the_prompt_of_asyncio_does(terminal):
    ours, theirs = terminal(), terminal(package="asyncio")
    assert [(line, ours.answer(line)) for line in SESSION] == [(line, theirs.answer(line)) for line in SESSION]
    for opened in ours, theirs:
        opened.type("exit(5)\n")
    assert ours.close()[1] == theirs.close()[1] == 5


def test_statements_of_several_lines(terminal):
    opened = terminal()
    for line in "async def f(n):", "    return n", "", "for i in range(2):", "    print(i, await f(i))", "":
        opened.type(line + "\n")
        if line:
            opened.until("... ")
        else:
            shown = opened.until(">>> ")
    assert shown.split("\n")[1:] == ["0 0", "1 1", ""]


def last_lines(text):
    """An exception as it is printed, from the frame of the statement on: asyncio shows its own frames before it."""
    return re.sub(r'(?s)^.*?(  File "<)', r"\1", text)


@pytest.mark.parametrize(
    "line", ["1/0", "await asyncio.create_task(asyncio.sleep('1'))", "raise ExceptionGroup('a', [ValueError(1)])", "no_name"]
)
def test_exceptions_are_shown_from_the_statement_on(terminal, line):
    ours, theirs = (terminal(package=package).answer(line) for package in ("rasyncio", "asyncio"))
    assert ours.startswith(('Traceback (most recent call last):\n  File "<', "  + Exception Group Traceback"))
    assert "_console" not in ours and "concurrent" not in ours
    if "asyncio" not in line and "Group" not in line:
        assert last_lines(ours) == last_lines(theirs)
    assert ours.splitlines()[-1] == theirs.splitlines()[-1]


def test_the_last_exception_is_kept(terminal):
    opened = terminal()
    opened.answer("1/0")
    assert "ZeroDivisionError" in opened.answer("import sys; sys.last_value")
    if NEW:
        assert opened.answer("sys.last_traceback.tb_frame.f_code.co_filename").startswith("'<")


def test_context_variables_last(terminal):
    opened = terminal()
    opened.answer("import contextvars; variable = contextvars.ContextVar('variable'); _ = variable.set(5)")
    assert opened.answer("variable.get()") == "5\n"
    assert opened.answer("await asyncio.sleep(0, variable.get())") == "5\n"


@pytest.mark.parametrize(
    "statement",
    ["await asyncio.get_running_loop().create_future()", "[n for n in iter(int, 1) if n]"],
    ids=["await", "loop"],
)
def test_control_c_ends_a_statement(terminal, statement):
    opened = terminal()
    opened.type(f"print('wait' + 'ing'); {statement}\n")
    opened.until("waiting")
    opened.type("\x03")
    assert opened.until(">>> ").replace("^C", "").strip() == "KeyboardInterrupt"
    assert opened.answer("1 + 1") == "2\n"


@pytest.mark.parametrize("package", ["rasyncio", "asyncio"])
def test_control_d_leaves(terminal, package):
    opened = terminal(package=package)
    opened.answer("task = asyncio.create_task(asyncio.sleep(0))")
    opened.type("\x04")
    text, status = opened.close()
    assert status == 0 and text.split()[-3:] == ["exiting", package, "REPL..."]


@pytest.mark.parametrize("line, status", [("exit()", 0), ("raise SystemExit(7)", 7), ("await asyncio.sleep(0); exit(3)", 3)])
def test_exit_statuses(terminal, line, status):
    ours = terminal()
    ours.answer("waiting = asyncio.create_task(asyncio.sleep(3600))")
    ours.type(line + "\n")
    text, found = ours.close()
    assert found == status and "Traceback" not in text and "pending" not in text


def test_the_banner(tmp_path):
    opened = Terminal(tmp_path, TERM="dumb")
    banner = opened.until(">>> import asyncio\n")
    assert banner.startswith(f"rasyncio {rasyncio.__version__} REPL, Python {sys.version} on {sys.platform}\n")
    opened.type("exit()\n")
    opened.close()
    quiet = Terminal(tmp_path, "-q", TERM="dumb")
    assert quiet.until(">>> import asyncio") == ""
    quiet.type("exit()\n")
    quiet.close()


def test_startup_file(terminal, tmp_path):
    startup = tmp_path / "startup.py"
    startup.write_text("# coding: latin-1\nfrom_startup = __name__\n")
    assert terminal(PYTHONSTARTUP=str(startup)).answer("from_startup") == "'__main__'\n"
    assert "NameError" in terminal("-E", PYTHONSTARTUP=str(startup)).answer("from_startup")


def test_startup_file_that_fails(tmp_path):
    startup = tmp_path / "startup.py"
    startup.write_text("before = 1\n1/0\n")
    for path, error in (startup, "ZeroDivisionError"), (tmp_path / "none.py", "FileNotFoundError"):
        opened = Terminal(tmp_path, TERM="dumb", PYTHONSTARTUP=str(path))
        shown = opened.until(">>> import asyncio")
        assert "Traceback" in shown and error in shown and "_console" not in shown.partition("tokenize")[0]
        opened.until(">>> ")
        assert opened.answer("1 + 1") == "2\n"
        opened.type("exit()\n")
        opened.close()


def test_history_and_completion(terminal, tmp_path):
    pytest.importorskip("readline")
    opened = terminal(TERM="xterm")
    opened.answer("some_long_name = 'found it'")
    opened.type("some_lo\t")
    opened.until("some_long_name")
    opened.type("\n")
    opened.until("'found it'")
    opened.until(">>> ")
    opened.type("await asyncio.get_running_l\t")
    opened.until("get_running_loop(")
    opened.type("\x15" if not NEW else "\x01\x0b")  # the line is cleared
    opened.type("exit()\n")
    assert opened.close()[1] == 0
    assert "some_long_name\n" in (tmp_path / ".python_history").read_text()


needs_editor = pytest.mark.skipif(not NEW, reason="Python has this editor from 3.13 on")


@needs_editor
def test_the_editor(terminal):
    opened = terminal(TERM="xterm")
    opened.type("1 + 41\n")
    opened.until("42")
    opened.until(">>> ")
    opened.type("await asyncio.sleep(0, 'sl' + 'ept')\n")
    opened.until("'slept'")
    opened.until(">>> ")
    opened.type("1/0\n")
    opened.until("ZeroDivisionError: division by zero")
    opened.until(">>> ")
    opened.type("exit\n")
    text, status = opened.close()
    assert status == 0 and "exiting rasyncio REPL..." in text


@needs_editor
def test_control_c_in_the_editor(terminal):
    opened = terminal(TERM="xterm")
    opened.type("half a line")
    opened.until("half a line")
    opened.type("\x03")
    opened.until("KeyboardInterrupt")
    opened.until(">>> ")
    opened.type("print('wait' + 'ing'); await asyncio.get_running_loop().create_future()\n")
    opened.until("waiting")
    os.kill(opened.pid, signal.SIGINT)
    opened.until("KeyboardInterrupt")
    opened.until(">>> ")
    opened.type("exit(4)\n")
    assert opened.close()[1] == 4


@needs_editor
def test_python_s_variable_for_plain_lines(terminal):
    opened = terminal(TERM="xterm", PYTHON_BASIC_REPL="1")
    assert opened.answer("1 + 1").endswith("2\n")
    assert opened.answer("import sys; '_pyrepl.simple_interact' in sys.modules").endswith("False\n")
