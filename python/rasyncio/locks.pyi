from asyncio import locks as _stdlib
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TypeVar

from _typeshed import Unused

from .futures import Future

__all__ = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")

_T = TypeVar("_T")

# None of these is thread-safe, and each belongs to the loop on which it first had to wait.  They derive from the standard
# library's for type checkers only, see futures.pyi.

class Lock(_stdlib.Lock):
    """Mutual exclusion between tasks: `async with lock:`.  Whoever waits longest gets it first.

    For the tasks of one loop; it is not thread-safe.
    """

    _waiters: deque[Future[Any]] | None  # type: ignore[assignment]
    def __init__(self) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def locked(self) -> bool:
        """Whether the lock is taken."""

    async def acquire(self) -> Literal[True]:
        """Take the lock, waiting until it is free.  Returns True.

        Raises RuntimeError if it would have to wait in another loop than it did before.
        """

    def release(self) -> None:
        """Free the lock, and wake the task that waits longest.

        Raises RuntimeError if it is not taken.
        """

class Event(_stdlib.Event):
    """A flag, unset at first, that tasks can wait for.  Not thread-safe."""

    _value: bool
    _waiters: deque[Future[Any]]  # type: ignore[assignment]
    def __init__(self) -> None: ...
    def is_set(self) -> bool:
        """Whether the flag is set."""

    def set(self) -> None:
        """Set the flag, and wake all tasks that wait for it."""

    def clear(self) -> None:
        """Unset the flag."""

    async def wait(self) -> Literal[True]:
        """Wait until the flag is set.  Returns True."""

class Condition(_stdlib.Condition):
    """A lock, and a way to wait while it is free for others until one of them says that something has changed.

    lock is a Lock of the caller's; without it there is a new one.  Not thread-safe.
    """

    _lock: Lock
    _waiters: deque[Future[Any]]  # type: ignore[assignment]
    def __init__(self, lock: _stdlib.Lock | None = None) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def locked(self) -> bool:
        """Whether the lock is taken."""

    async def acquire(self) -> Literal[True]:
        """Take the lock, waiting until it is free.  Returns True."""

    def release(self) -> None:
        """Free the lock.

        Raises RuntimeError if it is not taken.
        """

    async def wait(self) -> Literal[True]:
        """Free the lock, wait for a notification, take the lock again.  Returns True.

        It may return without a notification, so look again at what you wait for; wait_for() does that.
        Raises RuntimeError if the lock is not taken.
        """

    async def wait_for(self, predicate: Callable[[], _T]) -> _T:
        """Wait until predicate() is true.  Returns what it returned.

        Raises RuntimeError if it has to wait and the lock is not taken.
        """

    def notify(self, n: int = 1) -> None:
        """Wake n of the tasks that wait, or all if there are fewer.  They go on when the lock is free.

        Raises RuntimeError if the lock is not taken.
        """

    def notify_all(self) -> None:
        """Wake all tasks that wait.  Otherwise as notify()."""

class Semaphore(_stdlib.Semaphore):
    """Lets a number of tasks in at a time: `async with semaphore:`.  Whoever waits longest gets in first.

    value is that number; ValueError if it is negative.  Not thread-safe.
    """

    _value: int
    _waiters: deque[Future[Any]] | None  # type: ignore[assignment]
    def __init__(self, value: int = 1) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...
    def locked(self) -> bool:
        """Whether acquire() would have to wait."""

    async def acquire(self) -> Literal[True]:
        """Take a turn, waiting until there is one.  Returns True."""

    def release(self) -> None:
        """Give a turn back, or add one: it may be called more often than acquire()."""

    def _wake_up_next(self) -> bool: ...  # type: ignore[override]

class BoundedSemaphore(Semaphore, _stdlib.BoundedSemaphore):
    """A Semaphore that never has more turns to give than at first."""

    def release(self) -> None:
        """Give a turn back.

        Raises ValueError if there are as many as at first.
        """

class Barrier(_stdlib.Barrier):
    """A place where tasks wait until a number of them have come, parties; then all go on, and it can be used again.

    ValueError if parties is less than 1.  Not thread-safe.
    """

    def __init__(self, parties: int) -> None: ...
    async def __aenter__(self) -> int:  # type: ignore[override]
        """wait(); the block is run when all have come."""

    async def __aexit__(self, *args: Unused) -> None: ...
    async def wait(self) -> int:
        """Wait until all have come.  Returns a number from 0 to parties - 1, another one for each task.

        Raises BrokenBarrierError if the barrier is broken, or reset meanwhile.
        """

    async def reset(self) -> None:
        """Make the barrier empty and whole.  Tasks that wait get a BrokenBarrierError."""

    async def abort(self) -> None:
        """Break the barrier: tasks that wait, or come, get a BrokenBarrierError until a reset()."""

    @property
    def parties(self) -> int:
        """How many tasks must come."""

    @property
    def n_waiting(self) -> int:
        """How many tasks have come, and wait."""

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
