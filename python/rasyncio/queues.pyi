from asyncio import queues as _stdlib
from types import GenericAlias
from typing import Any, TypeVar

from _typeshed import SupportsRichComparisonT

from .exceptions import QueueEmpty as QueueEmpty
from .exceptions import QueueFull as QueueFull
from .exceptions import QueueShutDown as QueueShutDown

__all__ = ("Queue", "PriorityQueue", "LifoQueue", "QueueFull", "QueueEmpty", "QueueShutDown")

_T = TypeVar("_T")

class Queue(_stdlib.Queue[_T]):
    """Items on their way between the tasks of a loop; first in, first out.

    maxsize is how many items it holds; 0 or less is no limit.  Not thread-safe; for threads there is the module queue.

    Derived classes may keep the items in another way, by `_init()`, `_get()` and `_put()`.
    """

    def __init__(self, maxsize: int = 0) -> None: ...
    def __class_getitem__(cls, type: Any, /) -> GenericAlias: ...
    def _init(self, maxsize: int) -> None: ...
    def _get(self) -> _T: ...
    def _put(self, item: _T) -> None: ...
    def _format(self) -> str: ...
    @property
    def maxsize(self) -> int:
        """How many items the queue holds; 0 or less is no limit."""

    def qsize(self) -> int:
        """How many items there are."""

    def empty(self) -> bool:
        """Whether there is no item."""

    def full(self) -> bool:
        """Whether there are maxsize items."""

    async def put(self, item: _T) -> None:
        """Put an item in, waiting until there is room.

        Raises QueueShutDown if the queue is shut down, also while it waits.
        """

    def put_nowait(self, item: _T) -> None:
        """Put an item in.

        Raises QueueFull if there is no room, QueueShutDown if the queue is shut down.
        """

    async def get(self) -> _T:
        """Take an item out, waiting until there is one.

        Raises QueueShutDown if the queue is shut down and empty, or was shut down at once.
        """

    def get_nowait(self) -> _T:
        """Take an item out.

        Raises QueueEmpty if there is none, QueueShutDown if there is none and the queue is shut down.
        """

    def task_done(self) -> None:
        """Say that an item that was taken out is dealt with; join() waits until this was said for each item.

        Raises ValueError if it is said more often than items were put in.
        """

    async def join(self) -> None:
        """Wait until all items that were put in are dealt with, see task_done()."""

    def shutdown(self, immediate: bool = False) -> None:
        """Take no more items.  get() goes on until the queue is empty, then it raises QueueShutDown.

        With immediate the items are thrown away, as if they had been dealt with.  Python has it from 3.13 on, rasyncio
        on older ones too.
        """

class PriorityQueue(Queue[SupportsRichComparisonT]):
    """A Queue that gives the smallest item first; often pairs (priority, data)."""

    def __init__(self, maxsize: int = 0) -> None: ...

class LifoQueue(Queue[_T]):
    """A Queue that gives the item that came last first."""

    def __init__(self, maxsize: int = 0) -> None: ...
