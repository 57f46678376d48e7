"""The tasks of another process as a tree or a table.

It came to asyncio with Python 3.14, and is here on all versions, for processes that run rasyncio; from 3.14 on for others too.
"""

__all__ = ()

from enum import Enum

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import (
    build_async_tree,
    build_task_table,
    display_awaited_by_tasks_table,
    display_awaited_by_tasks_tree,
    exit_with_permission_help_text,
    get_all_awaited_by,
)


class NodeType(Enum):
    """What stands in a tree: a function in which somebody waits, or a task."""

    COROUTINE = 1
    TASK = 2


class CycleFoundException(_rasyncio._CycleFound, Exception):
    """Tasks await each other in a ring, so that there is no tree of them."""


__getattr__ = lazily(
    __name__,
    FrameInfo="_remote_debugging:FrameInfo",
    RemoteUnwinder="_remote_debugging:RemoteUnwinder",
    count="itertools:count",
    defaultdict="collections:defaultdict",
    namedtuple="collections:namedtuple",
    sys="sys",
)
