"""Tasks that end together; see asyncio's reference of task groups."""

__all__ = ("TaskGroup",)

from ._lazy import lazily
from ._rasyncio import TaskGroup
from ._shell import shell

__getattr__ = lazily(
    __name__,
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    futures="rasyncio.futures",
    tasks="rasyncio.tasks",
)


@shell(TaskGroup)
async def __aenter__(self):
    """Make the calling task the parent of the group."""
    return self._enter()


@shell(TaskGroup)
async def __aexit__(self, et, exc, tb):
    """Wait for all members; raise what they raised."""
    waiting = self._begin_exit(et, exc)
    exc = tb = None  # its traceback holds this frame
    return self._finish_exit() if waiting is None else await waiting
