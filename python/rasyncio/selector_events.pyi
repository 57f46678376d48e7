import selectors
from socket import socket

from .base_events import BaseEventLoop

__all__ = ("BaseSelectorEventLoop",)

class BaseSelectorEventLoop(BaseEventLoop):
    """A loop that waits until descriptors can be read or written.

    selector is an object of the module selectors to wait with; without it the loop has a poller of its own, which is much
    faster.
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None: ...
    async def sock_recv(self, sock: socket, n: int) -> bytes:
        """Receive at most n bytes from a socket; b"" at the end."""
