import concurrent.futures
from asyncio.events import AbstractEventLoop as _StdlibLoop
from asyncio.futures import Future as _StdlibFuture
from collections.abc import Callable, Generator
from contextvars import Context
from types import GenericAlias
from typing import Any, Literal, Self, TypeVar

from .base_futures import isfuture as isfuture
from .events import AbstractEventLoop

__all__ = ("Future", "wrap_future", "isfuture", "future_add_to_awaited_by", "future_discard_from_awaited_by")

_T = TypeVar("_T")

# To a type checker rasyncio's classes derive from those of the standard library's asyncio, so that what is annotated with
# asyncio's names takes them.  When a program runs they do not: isinstance() tells them apart, isfuture() takes both.

class Future(_StdlibFuture[_T]):
    """A result that is not there yet: pending, then finished with a result or an exception, or cancelled (PEP 3156).

    loop is the event loop that calls the callbacks; without it the running one, or what get_event_loop() answers.
    loop.create_future() is the better way to make one, since it leaves the class to the loop.

    `await future` answers the result or raises the exception.  An exception that nobody has asked for when the future is
    deleted is reported to the loop's exception handler.

    Futures are not thread-safe: from another thread, loop.call_soon_threadsafe(future.set_result, result).
    """

    _state: str
    _asyncio_future_blocking: bool
    def __init__(self, *, loop: _StdlibLoop | None = None) -> None: ...
    def __del__(self) -> None: ...
    def __iter__(self) -> Generator[Any, None, _T]: ...
    def __await__(self) -> Generator[Any, None, _T]: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def get_loop(self) -> AbstractEventLoop:
        """The event loop that the future belongs to."""

    def done(self) -> bool:
        """Whether the future is finished or cancelled."""

    def cancelled(self) -> bool:
        """Whether the future was cancelled."""

    def result(self) -> _T:
        """The result.  If the future has an exception, that is raised.

        Raises CancelledError if it was cancelled, InvalidStateError if it is pending.
        """

    def exception(self) -> BaseException | None:
        """The exception, or None if the future has a result.

        Raises CancelledError if it was cancelled, InvalidStateError if it is pending.
        """

    def set_result(self, result: _T, /) -> None:
        """Finish with a result, and schedule the callbacks.

        Raises InvalidStateError if the future is not pending.
        """

    def set_exception(self, exception: type | BaseException, /) -> None:
        """Finish with an exception, given as an instance or as a class, and schedule the callbacks.

        Raises InvalidStateError if the future is not pending, TypeError for what is no exception.  A StopIteration becomes
        the cause of a RuntimeError; before Python 3.12 it is a TypeError too.
        """

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future and schedule the callbacks.  msg becomes the CancelledError's argument.

        Returns whether the future was pending; if it was not, nothing happens.
        """

    def add_done_callback(self, fn: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        """Have the loop call fn(future) when the future is done; soon, if it is done already.

        The callbacks run in the order in which they were added, each in its context, by default a copy of the current
        one (PEP 567).
        """

    def remove_done_callback(self, fn: Callable[[Self], object], /) -> int:
        """Remove every callback that equals fn.  Returns how many there were."""

    @property
    def _loop(self) -> AbstractEventLoop: ...
    @property
    def _callbacks(self) -> list[tuple[Callable[[Self], Any], Context]]: ...
    @property
    def _exception(self) -> BaseException | None: ...
    @property
    def _log_traceback(self) -> bool: ...
    @_log_traceback.setter
    def _log_traceback(self, val: Literal[False]) -> None: ...

def wrap_future(future: concurrent.futures.Future[_T] | _StdlibFuture[_T], *, loop: _StdlibLoop | None = None) -> Future[_T]:
    """A Future of loop (by default the running one) that is done when a concurrent.futures.Future is.

    Cancelling either cancels the other.  A future of asyncio's kind is returned as it is; anything else raises
    AssertionError.
    """

def future_add_to_awaited_by(fut: _StdlibFuture[Any], waiter: _StdlibFuture[Any], /) -> None:
    """Note that waiter waits for fut, for call graphs.  For writers of things like gather().

    The note is ignored if either is not a future of this package.
    """

def future_discard_from_awaited_by(fut: _StdlibFuture[Any], waiter: _StdlibFuture[Any], /) -> None:
    """Take back what future_add_to_awaited_by() noted."""
