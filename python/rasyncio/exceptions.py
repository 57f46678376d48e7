"""The exceptions of asyncio: the standard library's own classes, and those that only a newer Python has."""

from ._stdlib import exceptions as _theirs
from ._stdlib import queue_exceptions as _queue_exceptions

__all__ = _theirs.__all__

BrokenBarrierError = _theirs.BrokenBarrierError
CancelledError = _theirs.CancelledError
IncompleteReadError = _theirs.IncompleteReadError
InvalidStateError = _theirs.InvalidStateError
LimitOverrunError = _theirs.LimitOverrunError
SendfileNotAvailableError = _theirs.SendfileNotAvailableError
TimeoutError = _theirs.TimeoutError

# asyncio has these in its queues, and so has rasyncio; they are made here to be classes of the standard library.
QueueEmpty = _queue_exceptions["QueueEmpty"]
QueueFull = _queue_exceptions["QueueFull"]
QueueShutDown = _queue_exceptions.get("QueueShutDown")
if QueueShutDown is None:

    class QueueShutDown(Exception):
        """A queue that was shut down was asked for an item, or given one."""
