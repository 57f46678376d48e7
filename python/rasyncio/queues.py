"""Items on their way from task to task; see asyncio's reference of queues."""

__all__ = ("Queue", "PriorityQueue", "LifoQueue", "QueueFull", "QueueEmpty", "QueueShutDown")

from ._lazy import lazily
from ._rasyncio import LifoQueue, PriorityQueue, Queue
from ._shell import shell
from .exceptions import QueueEmpty, QueueFull, QueueShutDown

# What a queue answers when there is nothing to be had at once.
_MISSING = object()

__getattr__ = lazily(
    __name__,
    GenericAlias="types:GenericAlias",
    collections="collections",
    heapq="heapq",
    locks="rasyncio.locks",
    mixins="rasyncio.mixins",
)


@shell(Queue)
async def get(self):
    """Take an item out, waiting until there is one. QueueShutDown if there never will be."""
    item = self._get_or(_MISSING)
    return await self._get_wait() if item is _MISSING else item


@shell(Queue)
async def put(self, item):
    """Put an item in, waiting until there is room. QueueShutDown if the queue was shut down."""
    if not self._put_now(item):
        await self._put_wait(item)


@shell(Queue)
async def join(self):
    """Wait until every item that was put has been declared done."""
    if self._unfinished_tasks > 0:
        await self._finished.wait()
