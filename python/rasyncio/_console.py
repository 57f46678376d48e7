"""The prompt of `python -m rasyncio`: that of `python -m asyncio`, where `await` may stand at the top level.

The loop runs in the main thread, where signals arrive, and the console in another: the editor of Python 3.13 and newer
where the terminal can have it, readline or plain lines elsewhere.  Each statement is sent to the loop and waited for;
background tasks go on while a person types.  Ctrl-C cancels the statement that is running, or gives up the line; Ctrl-D and
`exit()` leave.

Unlike asyncio's on Python 3.11 and 3.12, it has history and completion, runs PYTHONSTARTUP, and keeps context variables
from one statement to the next, as the newer ones do.  Unlike all of them it shows tracebacks without its own frames, answers
Ctrl-C at once in the editor too, cancels what still runs when it is left, and closes the loop.
"""

import ast
import concurrent.futures
import contextvars
import os
import sys
import threading
import tokenize
import traceback
import warnings
from inspect import iscoroutine
from types import FunctionType

import rasyncio

NEW = sys.version_info >= (3, 13)


def has_editor():
    """Whether this terminal, and this Python, can have the editor of Python's own newer prompt."""
    if not sys.flags.ignore_environment and os.environ.get("PYTHON_BASIC_REPL"):
        return False
    try:
        from _pyrepl.main import CAN_USE_PYREPL
    except ImportError:
        return False
    return CAN_USE_PYREPL


def colours():
    """What goes before the prompt, before a keyword, and after either, where Python's own prompt is in colours."""
    try:
        from _colorize import get_theme
    except ImportError:
        from _colorize import ANSIColors, can_colorize  # 3.13

        return (ANSIColors.BOLD_MAGENTA, "", ANSIColors.RESET) if can_colorize() else ("", "", "")
    theme = get_theme().syntax
    return theme.prompt, theme.keyword if sys.version_info >= (3, 15) else "", theme.reset


EDITOR = has_editor()
try:
    from _pyrepl.console import InteractiveColoredConsole as InteractiveConsole
except ImportError:
    from code import InteractiveConsole


class Console(InteractiveConsole):
    """Reads statements in its thread and has them run by the loop in the main one."""

    def __init__(self, names, loop):
        super().__init__(names, filename="<stdin>" if NEW else "<console>")
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.loop = loop
        self.context = contextvars.copy_context()
        self.task = None
        self.is_running = False
        self.was_interrupted = False
        self.status = None

    def session(self):
        """What the console's thread does; the loop stops after it."""
        try:
            if not sys.flags.quiet:
                self.write(
                    f"rasyncio {rasyncio.__version__} REPL, Python {sys.version} on {sys.platform}\n"
                    'Use "await" directly instead of "asyncio.run()".\n'
                    'Type "help", "copyright", "credits" or "license" for more information.\n'
                )
            self.run_startup_file()
            self.talk()
        except SystemExit as leaving:
            self.status = leaving.code
        except BaseException:
            self.write(f"Internal error of the prompt:\n{traceback.format_exc()}")
            self.status = 1
        finally:
            warnings.filterwarnings("ignore", message=r"^coroutine .* was never awaited$", category=RuntimeWarning)
            self.loop.call_soon_threadsafe(self.loop.stop)

    def talk(self):
        prompt, keyword, plain = colours() if EDITOR else ("", "", "")
        first = f"{prompt}{getattr(sys, 'ps1', '>>> ')}{plain}"
        self.write(f"{first}{keyword}import{plain if keyword else ''} asyncio\n")
        if not EDITOR:
            self.interact(banner="", exitmsg="")
            return
        from _pyrepl.simple_interact import run_multiline_interactive_console

        if sys.version_info >= (3, 15):
            sys.ps1 = first
        run_multiline_interactive_console(self)

    def run_startup_file(self):
        path = os.environ.get("PYTHONSTARTUP")
        if not path or sys.flags.ignore_environment:
            return
        sys.audit("cpython.run_startup", path)
        try:
            with tokenize.open(path) as file:
                code = compile(file.read(), path, "exec")
            exec(code, self.locals)
        except SystemExit:
            raise
        except BaseException:
            self.showtraceback()

    def runsource(self, source, filename="<input>", symbol="single"):
        self.was_interrupted = False
        if not EDITOR:
            # The newer consoles take each line for a whole statement: asyncio's prompt knows no others there.
            try:
                if self.compile(source, filename, symbol) is None:
                    return True
            except (OverflowError, SyntaxError, ValueError):
                pass  # shown by the call that follows
        return super().runsource(source, filename, symbol)

    def runcode(self, code):
        outcome = concurrent.futures.Future()
        self.is_running = True
        self.loop.call_soon_threadsafe(self.start, code, outcome, context=self.context)
        error = outcome.exception()
        self.is_running = False
        if error is None:
            return outcome.result()
        if isinstance(error, SystemExit):
            raise error
        if self.was_interrupted:
            self.write("\nKeyboardInterrupt\n")
        else:
            program = error.__traceback__
            while program is not None and program.tb_frame.f_code.co_filename == __file__:
                program = program.tb_next
            try:
                raise error.with_traceback(program)
            except BaseException:
                self.showtraceback()  # which leaves out this frame
        return getattr(self, "STATEMENT_FAILED", None)

    def start(self, code, outcome):
        """Begins one statement in the loop's thread, and sees that `outcome` is set when it is over."""
        try:
            if self.was_interrupted:
                raise KeyboardInterrupt  # after the statement before this one on its line
            value = FunctionType(code, self.locals)()
            if iscoroutine(value):
                self.task = self.loop.create_task(value, context=self.context)
                self.task.add_done_callback(lambda task: self.finish(task, outcome))
                return
        except BaseException as error:
            self.was_interrupted |= isinstance(error, KeyboardInterrupt)
            outcome.set_exception(error)
            return
        outcome.set_result(value)

    def finish(self, task, outcome):
        self.task = None
        if task.cancelled():
            outcome.set_exception(rasyncio.CancelledError())
        elif task.exception() is not None:
            outcome.set_exception(task.exception())
        else:
            outcome.set_result(task.result())

    def interrupt(self):
        """Ctrl-C was pressed while the loop was waiting or a task of ours was running; in the loop's thread, as `start`."""
        self.was_interrupted = True
        if self.task is not None:
            self.task.cancel()
        if EDITOR and not self.is_running:
            from _pyrepl.simple_interact import _get_reader

            reader = _get_reader()
            if reader.threading_hook is not None:
                reader.threading_hook.add("")  # it waits for a key


def cancel_all(loop):
    tasks = rasyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(rasyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def prepare_lines(names):
    """History and completion, as `sys.__interactivehook__` gives them to Python's own prompt."""
    hook = getattr(sys, "__interactivehook__", None)
    if hook is None:
        return
    sys.audit("cpython.run_interactivehook", hook)
    hook()
    if (hook.__module__, hook.__name__) == ("site", "register_readline"):
        try:
            import readline
            import rlcompleter
        except ImportError:
            return
        readline.set_completer(rlcompleter.Completer(names).complete)


def interact(names):
    """Runs the prompt with the dict `names` as its `__main__`, until it is left; raises SystemExit as `exit()` does."""
    sys.audit("cpython.run_stdin")
    names["asyncio"] = rasyncio
    loop = rasyncio.new_event_loop()
    rasyncio.set_event_loop(loop)
    console = Console(names, loop)
    prepare_lines(names)
    threading.Thread(target=console.session, name="Interactive thread", daemon=True).start()
    while True:
        try:
            loop.run_forever()
            break
        except KeyboardInterrupt:
            console.interrupt()
    cancel_all(loop)
    console.write("exiting rasyncio REPL...\n")
    loop.close()
    sys.exit(console.status)
