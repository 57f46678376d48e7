import sys
from asyncio import taskgroups as _stdlib
from collections.abc import Coroutine, Generator
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

from .events import AbstractEventLoop
from .tasks import Task

__all__ = ("TaskGroup",)

_T = TypeVar("_T")

if sys.version_info >= (3, 12):
    _CoroutineLike: TypeAlias = Coroutine[Any, Any, _T]
else:
    _CoroutineLike: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]

class TaskGroup(_stdlib.TaskGroup):
    """Tasks that end together: `async with TaskGroup() as group:` is left when all tasks of the group are done.

    When one of them, or the block, fails, the others are cancelled, and the block with them; at the end all that was raised
    is raised as an ExceptionGroup (PEP 654), except SystemExit and KeyboardInterrupt, which are raised as they are.

    Not thread-safe.
    """

    _loop: AbstractEventLoop | None
    _tasks: set[Task[Any]]  # type: ignore[assignment]

    def __init__(self) -> None: ...
    async def __aenter__(self) -> Self:
        """Make the calling task the group's parent.

        Raises RuntimeError if the group was entered before, or if it is not in a task.
        """

    async def __aexit__(self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        """Wait for all tasks; raise what they raised."""

    if sys.version_info >= (3, 14):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: str | None = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> Task[_T]:
            """Run a coroutine as a task of the group; arguments as for Task.

            Raises RuntimeError if the group was not entered, is finished, or is shutting down.
            """

    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: str | None = None, context: Context | None = None
        ) -> Task[_T]:
            """Run a coroutine as a task of the group; arguments as for Task.

            Raises RuntimeError if the group was not entered, is finished, or is shutting down.
            """

    def cancel(self) -> None:
        """Cancel the group's tasks and the block, which is left without a CancelledError; in advance, if not entered.

        Python has it from 3.15 on, rasyncio on older ones too.
        """
