import sys
from asyncio.exceptions import BrokenBarrierError as BrokenBarrierError
from asyncio.exceptions import CancelledError as CancelledError
from asyncio.exceptions import IncompleteReadError as IncompleteReadError
from asyncio.exceptions import InvalidStateError as InvalidStateError
from asyncio.exceptions import LimitOverrunError as LimitOverrunError
from asyncio.exceptions import SendfileNotAvailableError as SendfileNotAvailableError
from asyncio.exceptions import TimeoutError as TimeoutError
from asyncio.queues import QueueEmpty as QueueEmpty
from asyncio.queues import QueueFull as QueueFull

if sys.version_info >= (3, 13):
    from asyncio.queues import QueueShutDown as QueueShutDown
else:
    class QueueShutDown(Exception): ...

__all__ = (
    "BrokenBarrierError",
    "CancelledError",
    "InvalidStateError",
    "TimeoutError",
    "IncompleteReadError",
    "LimitOverrunError",
    "SendfileNotAvailableError",
)
