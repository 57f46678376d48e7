"""The prompt of `python -m rasyncio`: Python's own, where `await` may stand at the top level.

The loop runs in the main thread, where signals arrive, and the console in another.  Each statement is sent to the loop and
waited for; background tasks go on while a person types.  Ctrl-C cancels the statement that is running.
"""

import ast
import code
import concurrent.futures
import contextvars
import os
import sys
import threading
import traceback
from inspect import iscoroutine
from types import FunctionType

import rasyncio


class Console(code.InteractiveConsole):
    def __init__(self, names, loop):
        super().__init__(names)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.loop = loop
        self.context = contextvars.copy_context()
        self.task = None
        self.status = None

    def session(self):
        """What the console's thread does; the loop stops after it."""
        try:
            self.run_startup_file()
            self.interact(
                f"rasyncio {rasyncio.__version__} on Python {sys.version.split()[0]}; `await` works at this prompt.\n"
                f"{getattr(sys, 'ps1', '>>> ')}import asyncio",
                exitmsg="",
            )
        except SystemExit as leaving:
            self.status = leaving.code
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)

    def run_startup_file(self):
        path = os.environ.get("PYTHONSTARTUP")
        if path and not sys.flags.ignore_environment:
            with open(path, "rb") as file:
                self.runcode(compile(file.read(), path, "exec"))

    def runcode(self, code):
        outcome = concurrent.futures.Future()
        self.loop.call_soon_threadsafe(self.start, code, outcome, context=self.context)
        error = outcome.exception()
        if isinstance(error, SystemExit):
            raise error
        if isinstance(error, (KeyboardInterrupt, rasyncio.CancelledError)) and self.was_interrupted:
            self.write("\nKeyboardInterrupt\n")
        elif error is not None:
            ours = error.__traceback__
            while ours is not None and ours.tb_frame.f_code.co_filename == __file__:
                ours = ours.tb_next
            self.write("".join(traceback.format_exception(type(error), error, ours)))

    def start(self, code, outcome):
        """Begins one statement in the loop's thread, and sees that `outcome` is set when it is over."""
        self.was_interrupted = False
        try:
            value = FunctionType(code, self.locals)()
        except BaseException as error:
            self.was_interrupted = isinstance(error, KeyboardInterrupt)
            outcome.set_exception(error)
            return
        if not iscoroutine(value):
            outcome.set_result(value)
            return
        self.task = self.loop.create_task(value, context=self.context)
        self.task.add_done_callback(lambda task: self.finish(task, outcome))

    def finish(self, task, outcome):
        self.task = None
        if task.cancelled():
            outcome.set_exception(rasyncio.CancelledError())
        elif task.exception() is not None:
            outcome.set_exception(task.exception())
        else:
            outcome.set_result(task.result())

    def interrupt(self):
        """Ctrl-C was pressed while the loop was waiting or a task of ours was running."""
        self.was_interrupted = True
        if self.task is not None:
            self.task.cancel()


def cancel_all(loop):
    tasks = rasyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(rasyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def interact(names):
    """Runs the prompt with the dict `names` as its `__main__`, until it is left; raises SystemExit as `exit()` does."""
    try:
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        readline.parse_and_bind("tab: complete")
    except ImportError:
        pass
    names["asyncio"] = rasyncio
    loop = rasyncio.new_event_loop()
    rasyncio.set_event_loop(loop)
    console = Console(names, loop)
    thread = threading.Thread(target=console.session, name="console", daemon=True)
    thread.start()
    while True:
        try:
            loop.run_forever()
            break
        except KeyboardInterrupt:
            console.interrupt()
    cancel_all(loop)
    loop.close()
    sys.exit(console.status)
