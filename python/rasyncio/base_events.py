"""The part of an event loop that does not depend on the operating system; see asyncio's event loop reference and PEP 3156."""

__all__ = ("BaseEventLoop",)

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import _format_handle, _run_until_complete_cb
from ._shell import shell
from .events import AbstractEventLoop

# More timers than this, more of them cancelled than the fraction: the loop clears all cancelled ones away.
_MIN_SCHEDULED_TIMER_HANDLES = 100
_MIN_CANCELLED_TIMER_HANDLES_FRACTION = 0.5
# The longest wait in seconds; a longer one is made in parts.
MAXIMUM_SELECT_TIMEOUT = 24 * 3600

__getattr__ = lazily(
    __name__,
    collections="collections",
    concurrent="concurrent.futures",
    constants="rasyncio.constants",
    coroutines="rasyncio.coroutines",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    functools="functools",
    futures="rasyncio.futures",
    heapq="heapq",
    itertools="itertools",
    logger="rasyncio.log:logger",
    os="os",
    protocols="rasyncio.protocols",
    socket="socket",
    ssl="ssl",
    staggered="rasyncio.staggered",
    stat="stat",
    subprocess="subprocess",
    sys="sys",
    tasks="rasyncio.tasks",
    threading="threading",
    time="time",
    timeouts="rasyncio.timeouts",
    traceback="traceback",
    transports="rasyncio.transports",
    trsock="rasyncio.trsock",
    warnings="warnings",
    weakref="weakref",
)


class BaseEventLoop(_rasyncio._BaseEventLoop, AbstractEventLoop):
    """A loop without a way to wait; classes that derive from it bring `_selector`, `_process_events` and `_write_to_self`."""


@shell(BaseEventLoop)
async def shutdown_asyncgens(self):
    """Close every asynchronous generator that is being iterated; new ones warn from now on (PEP 525)."""
    return await self._shutdown_asyncgens()


@shell(BaseEventLoop)
async def shutdown_default_executor(self, timeout=None):
    """Wait until the default executor's threads are done, at most timeout seconds; a RuntimeWarning if they are not."""
    return await self._shutdown_default_executor(timeout)
