from types import TracebackType
from typing import Self, final

__all__ = ("Timeout", "timeout", "timeout_at")

@final
class Timeout:
    """A deadline around a block of code: `async with timeout(delay):`.

    When the time comes the block is cancelled, and the CancelledError that leaves it becomes TimeoutError.

    when is in seconds of loop.time(); None is no deadline.
    """

    def __init__(self, when: float | None) -> None: ...
    async def __aenter__(self) -> Self:
        """Start the clock.

        Raises RuntimeError outside of a task, and if it was entered before.
        """

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> bool | None:
        """Stop the clock.

        Raises TimeoutError if the deadline has cancelled the block.
        """

    def when(self) -> float | None:
        """The deadline, in seconds of loop.time(), or None."""

    def reschedule(self, when: float | None) -> None:
        """Move the deadline; None takes it away.  One that is over is due at once.

        Raises RuntimeError unless the block is being run and the deadline has not come.
        """

    def expired(self) -> bool:
        """Whether the deadline came while the block was run."""

def timeout(delay: float | None) -> Timeout:
    """A deadline delay seconds from the call on; None for none."""

def timeout_at(when: float | None) -> Timeout:
    """A deadline at a time, in seconds of loop.time(); None for none."""
