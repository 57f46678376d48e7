import socket
from typing import Any, Never, overload

from _typeshed import ReadableBuffer

__all__ = ()

class TransportSocket:
    """What a transport shows of its socket: what can be asked and set, without reading, writing or closing."""

    def __init__(self, sock: socket.socket) -> None: ...
    @property
    def family(self) -> int:
        """The family, as in socket.socket.family."""

    @property
    def type(self) -> int:
        """The type, as in socket.socket.type."""

    @property
    def proto(self) -> int:
        """The protocol, as in socket.socket.proto."""

    def __getstate__(self) -> Never: ...
    def fileno(self) -> int:
        """The descriptor; -1 once the transport is closed."""

    def dup(self) -> socket.socket:
        """A socket.socket of its own for the same connection."""

    def get_inheritable(self) -> bool:
        """Whether child processes inherit the descriptor (PEP 446)."""

    def shutdown(self, how: int) -> None:
        """See socket.socket.shutdown()."""

    @overload
    def getsockopt(self, level: int, optname: int) -> int:
        """See socket.socket.getsockopt()."""

    @overload
    def getsockopt(self, level: int, optname: int, buflen: int) -> bytes: ...
    @overload
    def setsockopt(self, level: int, optname: int, value: int | ReadableBuffer) -> None:
        """See socket.socket.setsockopt()."""

    @overload
    def setsockopt(self, level: int, optname: int, value: None, optlen: int) -> None: ...
    def getpeername(self) -> Any:
        """The address of the other side."""

    def getsockname(self) -> Any:
        """The address of this side."""

    def getsockbyname(self) -> Never:
        """Always raises AttributeError; asyncio has it, but sockets do not."""

    def settimeout(self, value: float | None) -> None:
        """The socket is non-blocking, and stays so: 0 changes nothing, all else raises ValueError."""

    def gettimeout(self) -> float | None:
        """Always 0: the socket is non-blocking."""

    def setblocking(self, flag: bool) -> None:
        """The socket is non-blocking, and stays so: False changes nothing, True raises ValueError."""
