"""Synchronisation between the tasks of a loop; see asyncio's reference of synchronisation primitives."""

__all__ = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")

from ._lazy import lazily
from ._rasyncio import Barrier, BoundedSemaphore, Condition, Event, Lock, Semaphore, _ContextManagerMixin
from ._shell import shell

__getattr__ = lazily(
    __name__,
    collections="collections",
    enum="enum",
    exceptions="rasyncio.exceptions",
    mixins="rasyncio.mixins",
    tasks="rasyncio.tasks",
)


@shell(Lock)
async def acquire(self):
    """Take the lock, waiting until it is free; answers True."""
    return True if self._acquire_now() else await self._acquire_wait()


@shell(Semaphore)
async def acquire(self):
    """Take a turn, waiting until there is one; answers True."""
    return True if self._acquire_now() else await self._acquire_wait()


@shell(Event)
async def wait(self):
    """Wait until the flag is set; answers True."""
    return True if self.is_set() else await self._wait()


@shell(Condition)
async def wait(self):
    """Free the lock, wait to be notified, take the lock again; answers True. RuntimeError if the lock is not taken.

    It may also return without a notification, so look again at what you wait for.
    """
    return await self._wait()


@shell(Condition)
async def wait_for(self, predicate):
    """Wait until predicate() is true; answers what it returned."""
    while not (result := predicate()):
        await self.wait()
    return result


@shell(_ContextManagerMixin)
async def __aenter__(self):
    await self.acquire()


@shell(_ContextManagerMixin)
async def __aexit__(self, exc_type, exc, tb):
    self.release()


@shell(Lock)
@shell(Semaphore)
@shell(Condition)
async def __aenter__(self):
    if not self._enter_now():
        await self._enter_wait()


@shell(Lock)
@shell(Semaphore)
@shell(Condition)
async def __aexit__(self, exc_type, exc, tb):
    self.release()


@shell(Barrier)
async def wait(self):
    """Wait until all parties do; answers a number from 0 to parties - 1, another one for each task."""
    return await self._wait_for_all()


@shell(Barrier)
async def reset(self):
    """Make the barrier empty; tasks that wait get BrokenBarrierError."""
    await self._reset()


@shell(Barrier)
async def abort(self):
    """Break the barrier: tasks that wait, or come, get BrokenBarrierError until a reset()."""
    await self._abort()


@shell(Barrier)
async def __aenter__(self):
    return await self.wait()


@shell(Barrier)
async def __aexit__(self, *args):
    pass
