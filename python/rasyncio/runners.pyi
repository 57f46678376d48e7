import sys
from asyncio.events import AbstractEventLoop as _StdlibLoop
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, Self, TypeAlias, TypeVar, final

from _typeshed import Unused

from .events import AbstractEventLoop

__all__ = ("Runner", "run")

_T = TypeVar("_T")

if sys.version_info >= (3, 14):
    _Main: TypeAlias = Awaitable[_T]
else:
    _Main: TypeAlias = Coroutine[Any, Any, _T]

@final
class Runner:
    """The life of a loop: `with Runner() as runner:` makes it, and closes it with all that it has.

    debug sets the loop's debug mode, None leaves it; loop_factory() makes the loop, by default new_event_loop().

    Ctrl-C cancels the main task, and KeyboardInterrupt is raised when that is done; a second one raises it at once.
    """

    def __init__(self, *, debug: bool | None = None, loop_factory: Callable[[], _StdlibLoop] | None = None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, exc_type: Unused, exc_val: Unused, exc_tb: Unused) -> None: ...
    def run(self, coro: _Main[_T], *, context: Context | None = None) -> _T:
        """Run a coroutine, from Python 3.14 on any awaitable, to its end.  Returns its result or raises its exception.

        All calls run in one context unless context is given.  Raises RuntimeError if a loop is running on the thread, or the
        runner is closed; ValueError, or TypeError from 3.14 on, for what it cannot run.
        """

    def get_loop(self) -> AbstractEventLoop:
        """The runner's loop, which is made if it was not yet."""

    def close(self) -> None:
        """Cancel all tasks, shut asynchronous generators and the default executor down, close the loop."""

def run(main: _Main[_T], *, debug: bool | None = None, loop_factory: Callable[[], _StdlibLoop] | None = None) -> _T:
    """Run a coroutine, from Python 3.14 on any awaitable, on a new loop, and close the loop.  Returns its result.

    Arguments and exceptions are those of Runner.  loop_factory is Python's from 3.12 on, rasyncio's on 3.11 too.
    """
