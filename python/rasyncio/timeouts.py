"""A deadline around a block of code; see asyncio's reference of timeouts."""

__all__ = ("Timeout", "timeout", "timeout_at")

from ._lazy import lazily
from ._rasyncio import Timeout, timeout, timeout_at
from ._shell import shell

__getattr__ = lazily(
    __name__,
    Optional="typing:Optional",
    TracebackType="types:TracebackType",
    Type="typing:Type",
    final="typing:final",
    enum="enum",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    tasks="rasyncio.tasks",
)


@shell(Timeout)
async def __aenter__(self):
    """Start the clock for the calling task."""
    return self._enter()


@shell(Timeout)
async def __aexit__(self, exc_type, exc_val, exc_tb):
    """Stop the clock; if it had run out, the cancellation becomes TimeoutError."""
    return self._exit(exc_type, exc_val, exc_tb)
