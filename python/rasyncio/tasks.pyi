import concurrent.futures
import sys
from asyncio.events import AbstractEventLoop as _StdlibLoop
from asyncio.futures import Future as _StdlibFuture
from asyncio.tasks import Task as _StdlibTask
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator, Iterable, Iterator
from contextvars import Context
from types import FrameType, GenericAlias
from typing import Any, Final, Literal, Protocol, TextIO, TypeAlias, TypeVar, overload, type_check_only

from .futures import Future

__all__ = (
    "Task",
    "create_task",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "ALL_COMPLETED",
    "wait",
    "wait_for",
    "as_completed",
    "sleep",
    "gather",
    "shield",
    "ensure_future",
    "run_coroutine_threadsafe",
    "current_task",
    "all_tasks",
    "create_eager_task_factory",
    "eager_task_factory",
    "_register_task",
    "_unregister_task",
    "_enter_task",
    "_leave_task",
)

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_T1 = TypeVar("_T1")
_T2 = TypeVar("_T2")
_T3 = TypeVar("_T3")
_T4 = TypeVar("_T4")
_T5 = TypeVar("_T5")
_T6 = TypeVar("_T6")
_FT = TypeVar("_FT", bound=_StdlibFuture[Any])
_TaskT_co = TypeVar("_TaskT_co", bound=_StdlibTask[Any], covariant=True)

if sys.version_info >= (3, 12):
    _FutureLike: TypeAlias = _StdlibFuture[_T] | Awaitable[_T]
    _CoroutineLike: TypeAlias = Coroutine[Any, Any, _T_co]
else:
    _FutureLike: TypeAlias = _StdlibFuture[_T] | Generator[Any, None, _T] | Awaitable[_T]
    _CoroutineLike: TypeAlias = Generator[Any, None, _T_co] | Coroutine[Any, Any, _T_co]

# What gather(..., return_exceptions=True) has for each of its arguments.
_Outcome: TypeAlias = _T | BaseException

FIRST_COMPLETED: Final = concurrent.futures.FIRST_COMPLETED
FIRST_EXCEPTION: Final = concurrent.futures.FIRST_EXCEPTION
ALL_COMPLETED: Final = concurrent.futures.ALL_COMPLETED

# The standard library's Task is covariant though its Future is not: nobody sets a task's result.
class Task(Future[_T_co], _StdlibTask[_T_co]):  # type: ignore[type-var]
    """A coroutine on its way (PEP 492, PEP 3156): the loop runs it, until it waits for something, and again when that is
    there.  create_task() is the usual way to make one.

    name is for reprs and logs, by default `Task-1` and so on.  context is the contextvars.Context to run in, by default a
    copy of the current one (PEP 567).  With eager_start the coroutine is run at once until it waits for the first time,
    and is finished already if it never did; the loop must be the running one then.

    Keep a reference: the loop itself holds a task only weakly.  Tasks are not thread-safe.
    """

    def __init__(
        self,
        coro: _CoroutineLike[_T_co],
        *,
        loop: _StdlibLoop | None = None,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool = False,
    ) -> None: ...
    def __del__(self) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def cancel(self, msg: Any | None = None) -> bool:
        """Ask the task to stop: CancelledError(msg) is raised in the coroutine, where it waits.

        The coroutine may catch it, to clean up, or to go on (see uncancel()).  Returns False if the task is done already.
        """

    def cancelling(self) -> int:
        """How many calls of cancel() there were that uncancel() has not taken back."""

    def uncancel(self) -> int:
        """Take one call of cancel() back.  Returns how many are left.

        For what catches CancelledError and goes on, as timeout() and TaskGroup do.
        """

    def get_coro(self) -> _CoroutineLike[_T_co] | None:  # type: ignore[override, unused-ignore]
        """The coroutine; None for a task that was finished by its eager start."""

    def get_context(self) -> Context:
        """The contextvars.Context that the coroutine runs in."""

    def get_name(self) -> str:
        """The name."""

    def set_name(self, value: object, /) -> None:
        """Change the name; what is no str is converted."""

    def get_stack(self, *, limit: int | None = None) -> list[FrameType]:
        """The frames of the coroutine, at most limit of them.

        While it waits that is one frame, where it waits; after a failure those of the traceback, oldest first.
        """

    def print_stack(self, *, limit: int | None = None, file: TextIO | None = None) -> None:
        """Print what get_stack() returns, in the manner of the module traceback, to file or sys.stderr."""

    def set_result(self, result: Any, /) -> None:
        """Always raises RuntimeError: the coroutine gives the result."""

    def set_exception(self, exception: Any, /) -> None:
        """Always raises RuntimeError: the exception is what the coroutine raises."""

if sys.version_info >= (3, 14):
    def create_task(
        coro: _CoroutineLike[_T], *, name: str | None = None, context: Context | None = None, eager_start: bool | None = None
    ) -> Task[_T]:
        """Run a coroutine as a task of the running loop; arguments as for Task.  Keep a reference to the task.

        Raises RuntimeError if no loop is running.
        """

else:
    def create_task(coro: _CoroutineLike[_T], *, name: str | None = None, context: Context | None = None) -> Task[_T]:
        """Run a coroutine as a task of the running loop; arguments as for Task.  Keep a reference to the task.

        Raises RuntimeError if no loop is running.
        """

@overload
def ensure_future(coro_or_future: _FT, *, loop: _StdlibLoop | None = None) -> _FT:  # type: ignore[overload-overlap]
    """A future for what can be awaited: itself if it is one, else a task that awaits it.

    loop is where the task runs, by default the running one.  Raises TypeError for what cannot be awaited, ValueError if
    loop is not the future's.
    """

@overload
def ensure_future(coro_or_future: Awaitable[_T], *, loop: _StdlibLoop | None = None) -> Task[_T]: ...
@overload
def gather(coro_or_future1: _FutureLike[_T1], /, *, return_exceptions: Literal[False] = False) -> Future[tuple[_T1]]:  # type: ignore[overload-overlap]
    """Run awaitables side by side.  Returns a future for the list of their results, in the order of the arguments.

    Coroutines become tasks.  The first exception is that of the future, and the others go on; with return_exceptions
    exceptions stand in the list as results do.  Cancelling the future cancels all of them.

    TaskGroup is the safer choice: it cancels the others when one fails.
    """

@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Future[tuple[_T1, _T2]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Future[tuple[_T1, _T2, _T3]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Future[tuple[_T1, _T2, _T3, _T4]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Future[tuple[_T1, _T2, _T3, _T4, _T5]]: ...
@overload
def gather(  # type: ignore[overload-overlap]
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    coro_or_future6: _FutureLike[_T6],
    /,
    *,
    return_exceptions: Literal[False] = False,
) -> Future[tuple[_T1, _T2, _T3, _T4, _T5, _T6]]: ...
@overload
def gather(*coros_or_futures: _FutureLike[_T], return_exceptions: Literal[False] = False) -> Future[list[_T]]: ...  # type: ignore[overload-overlap]
@overload
def gather(coro_or_future1: _FutureLike[_T1], /, *, return_exceptions: bool) -> Future[tuple[_Outcome[_T1]]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    /,
    *,
    return_exceptions: bool,
) -> Future[tuple[_Outcome[_T1], _Outcome[_T2]]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    /,
    *,
    return_exceptions: bool,
) -> Future[tuple[_Outcome[_T1], _Outcome[_T2], _Outcome[_T3]]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    /,
    *,
    return_exceptions: bool,
) -> Future[tuple[_Outcome[_T1], _Outcome[_T2], _Outcome[_T3], _Outcome[_T4]]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    /,
    *,
    return_exceptions: bool,
) -> Future[tuple[_Outcome[_T1], _Outcome[_T2], _Outcome[_T3], _Outcome[_T4], _Outcome[_T5]]]: ...
@overload
def gather(
    coro_or_future1: _FutureLike[_T1],
    coro_or_future2: _FutureLike[_T2],
    coro_or_future3: _FutureLike[_T3],
    coro_or_future4: _FutureLike[_T4],
    coro_or_future5: _FutureLike[_T5],
    coro_or_future6: _FutureLike[_T6],
    /,
    *,
    return_exceptions: bool,
) -> Future[tuple[_Outcome[_T1], _Outcome[_T2], _Outcome[_T3], _Outcome[_T4], _Outcome[_T5], _Outcome[_T6]]]: ...
@overload
def gather(*coros_or_futures: _FutureLike[_T], return_exceptions: bool) -> Future[list[_Outcome[_T]]]: ...
def shield(arg: _FutureLike[_T]) -> Future[_T]:
    """Keep a cancellation of the caller from what it awaits: `await shield(task)`.

    Cancelling the future that is returned leaves arg alone; cancelling arg cancels that future.  Keep a reference to arg.
    """

@overload
async def sleep(delay: float) -> None:
    """Wait for delay seconds, then return result.  A delay of 0 or less lets the loop make one turn.

    Raises ValueError for NaN, from Python 3.13 on.
    """

@overload
async def sleep(delay: float, result: _T) -> _T: ...
async def wait_for(fut: _FutureLike[_T], timeout: float | None) -> _T:
    """Wait for an awaitable, at most timeout seconds, None for ever.  Returns its result.

    When the time is over it is cancelled, waited for, and TimeoutError is raised; so timeout may be exceeded.  If the
    caller is cancelled, so is the awaitable.  Before Python 3.12 a coroutine is run as a task of its own.
    """

async def wait(
    fs: Iterable[_FT], *, timeout: float | None = None, return_when: str = "ALL_COMPLETED"
) -> tuple[set[_FT], set[_FT]]:
    """Wait for futures and tasks.  Returns two sets of them, (done, pending).

    It returns when all are done, or one (FIRST_COMPLETED), or one with an exception (FIRST_EXCEPTION), and at the latest
    after timeout seconds.  Nothing is cancelled, and what the futures raise is not raised.

    Raises TypeError for coroutines, ValueError for an empty fs or an unknown return_when.
    """

if sys.version_info >= (3, 13):
    @type_check_only
    class _SyncAndAsyncIterator(Iterator[Coroutine[Any, Any, _T]], AsyncIterator[Future[_T]], Protocol[_T]): ...

    def as_completed(fs: Iterable[_FutureLike[_T]], *, timeout: float | None = None) -> _SyncAndAsyncIterator[_T]:
        """Iterate over awaitables in the order in which they are done.

        `async for future in as_completed(fs)` gives the futures and tasks themselves where fs has such, and tasks for the
        rest; `for next_one in as_completed(fs)` gives coroutines, each for the result of the next one that is done.

        TimeoutError is raised where it waits if they are not all done in timeout seconds; nothing is cancelled.
        Raises TypeError if fs is an awaitable itself.
        """

else:
    def as_completed(fs: Iterable[_FutureLike[_T]], *, timeout: float | None = None) -> Iterator[Coroutine[Any, Any, _T]]:
        """Iterate over awaitables in the order in which they are done: coroutines, each for the result of the next one.

        A coroutine raises TimeoutError if they are not all done in timeout seconds; nothing is cancelled.
        Raises TypeError if fs is an awaitable itself.
        """

# A strict check when it runs: coroutines, no other awaitables.
def run_coroutine_threadsafe(coro: Coroutine[Any, Any, _T], loop: _StdlibLoop) -> concurrent.futures.Future[_T]:
    """Run a coroutine as a task of a loop that runs in another thread.  To be called from there, or from any thread.

    Returns a concurrent.futures.Future for its result; cancelling that cancels the task.  Raises TypeError for what is no
    coroutine.
    """

def current_task(loop: _StdlibLoop | None = None) -> Task[Any] | None:
    """The task that is being run in loop, by default in the running one; None in a callback.

    Raises RuntimeError if neither is there.
    """

def all_tasks(loop: _StdlibLoop | None = None) -> set[Task[Any]]:
    """The tasks of loop, by default of the running one, that are not done.

    Raises RuntimeError if neither is there.
    """

def eager_task_factory(
    loop: _StdlibLoop | None,
    coro: _CoroutineLike[_T_co],
    *,
    name: str | None = None,
    context: Context | None = None,
    eager_start: bool = True,
) -> Task[_T_co]:
    """A task factory, for loop.set_task_factory(): tasks start at once, and those that never wait need no turn of the loop.

    Python has it from 3.12 on, and eager_start from 3.14 on; rasyncio has both on all.
    """

@type_check_only
class _CustomTaskConstructor(Protocol[_TaskT_co]):
    def __call__(
        self,
        coro: _CoroutineLike[Any],
        /,
        *,
        loop: _StdlibLoop,
        name: str | None,
        context: Context | None,
        eager_start: bool,
    ) -> _TaskT_co: ...

@type_check_only
class _EagerTaskFactoryType(Protocol[_TaskT_co]):
    def __call__(
        self,
        loop: _StdlibLoop,
        coro: _CoroutineLike[Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool = True,
    ) -> _TaskT_co: ...

def create_eager_task_factory(
    custom_task_constructor: _CustomTaskConstructor[_TaskT_co],
) -> _EagerTaskFactoryType[_TaskT_co]:
    """A task factory like eager_task_factory(), for another class of tasks: it takes the arguments of Task."""

# For writers of loops and tasks.
def _register_task(task: _StdlibTask[Any]) -> None:
    """Have all_tasks() know a task."""

def _unregister_task(task: _StdlibTask[Any]) -> None:
    """Have all_tasks() forget a task."""

def _enter_task(loop: _StdlibLoop, task: _StdlibTask[Any]) -> None:
    """Make task the current one of loop.  Raises RuntimeError if there is one."""

def _leave_task(loop: _StdlibLoop, task: _StdlibTask[Any]) -> None:
    """Have loop run no task any more.  Raises RuntimeError if task is not the current one."""

def _swap_current_task(loop: _StdlibLoop, task: _StdlibTask[Any] | None) -> Task[Any] | None:
    """Make task, or none, the current one of loop.  Returns the one before."""

def _register_eager_task(task: _StdlibTask[Any]) -> None: ...
def _unregister_eager_task(task: _StdlibTask[Any]) -> None: ...
