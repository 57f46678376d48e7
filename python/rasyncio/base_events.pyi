import ssl
from asyncio.base_events import Server as _StdlibServer
from asyncio.events import AbstractEventLoop as _StdlibLoop
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from socket import socket
from typing import IO, Any, TypeAlias, TypeVar, overload

from .events import AbstractEventLoop, Handle
from .protocols import BaseProtocol
from .transports import DatagramTransport, Transport

__all__ = ("BaseEventLoop", "Server")

_ProtocolT = TypeVar("_ProtocolT", bound=BaseProtocol)
_SSLContext: TypeAlias = bool | ssl.SSLContext | None

MAXIMUM_SELECT_TIMEOUT: int
_MIN_SCHEDULED_TIMER_HANDLES: int
_MIN_CANCELLED_TIMER_HANDLES_FRACTION: float

class Server(_StdlibServer):
    """Listening sockets and the connections that came by them; what create_server() returns.

    `async with server:` closes it at the end, and waits for that.
    """

    def __init__(
        self,
        loop: _StdlibLoop,
        sockets: Iterable[socket],
        protocol_factory: Callable[[], BaseProtocol],
        ssl_context: _SSLContext,
        backlog: int,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None: ...
    def get_loop(self) -> AbstractEventLoop:
        """The loop of the server."""

    @property
    def sockets(self) -> tuple[socket, ...]:
        """The listening sockets, as trsock.TransportSocket objects; empty once the server is closed."""

    def is_serving(self) -> bool:
        """Whether connections are being accepted."""

    async def start_serving(self) -> None:
        """Accept connections from now on.  A second call changes nothing."""

    async def serve_forever(self) -> None:
        """Accept connections until cancelled; then close the server, and wait for that.

        Raises RuntimeError if the server is closed, or is served already by another call.
        """

    def close(self) -> None:
        """Close the listening sockets.  Connections stay open."""

    async def wait_closed(self) -> None:
        """Wait until the server is closed and all its connections are.  On Python 3.11 it does not wait after close()."""

    def close_clients(self) -> None:
        """Close all connections, after what is written to them was sent."""

    def abort_clients(self) -> None:
        """Close all connections at once; what is not sent yet is lost."""

class BaseEventLoop(AbstractEventLoop):
    """A loop without a way to wait for events; for what it can do see AbstractEventLoop.

    Derived classes bring `_selector`, `_process_events()` and `_write_to_self()`.
    """

    slow_callback_duration: float
    """In debug mode, callbacks and steps of tasks that take longer are logged: seconds, 0.1 at first."""

    def __init__(self) -> None: ...
    def __del__(self) -> None: ...
    async def sock_sendfile(
        self, sock: socket, file: IO[bytes], offset: int = 0, count: int | None = None, *, fallback: bool | None = True
    ) -> int:
        """Send a file over a connected stream socket.  Otherwise as sendfile()."""

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """The executor that run_in_executor(None, ...) is to use.  Raises TypeError for another kind of executor."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until the threads of the default executor have ended, at most timeout seconds; then it warns
        (RuntimeWarning), and goes on without them.

        run_in_executor(None, ...) is a RuntimeError from now on.
        """

    @overload
    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str = ...,
        port: int = ...,
        *,
        ssl: _SSLContext = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[Transport, _ProtocolT]:
        """Connect to host and port over TCP, or take sock, which is connected already.  Returns (transport, protocol).

        protocol_factory() makes the protocol.  Addresses are tried in the order in which they are resolved, at
        local_addr's end if that is given; with happy_eyeballs_delay, in seconds, the next one starts that much after
        the one before, and the first to answer is taken (RFC 8305); interleave mixes the families, by so many addresses
        of the first.  ssl is True or an SSLContext for TLS, server_hostname the name to check then, and the timeouts are
        in seconds, 60 and 30 by default.

        Raises OSError if no address answers; with all_errors an ExceptionGroup of all errors;
        ValueError for arguments that contradict each other.
        """

    @overload
    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: None = None,
        port: None = None,
        *,
        ssl: _SSLContext = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket,
        local_addr: None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[Transport, _ProtocolT]: ...
    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket | None = None,
    ) -> tuple[DatagramTransport, _ProtocolT]:
        """Open a datagram socket, bound to local_addr and connected to remote_addr if given, or take sock.  Returns
        (transport, protocol).

        protocol_factory() makes the protocol, a DatagramProtocol.  With AF_UNIX as family the addresses are paths; a socket
        file that is in the way of local_addr is removed.  With allow_broadcast the socket is not connected: remote_addr is
        where the transport sends to.

        Raises OSError if no address can be bound or connected, ValueError for arguments that contradict each other.
        """

    # For classes that derive from it, and for loops that live in another one's main loop.
    def _run_forever_setup(self) -> None: ...
    def _run_forever_cleanup(self) -> None: ...
    def _run_once(self) -> None: ...
    def _process_events(self, event_list: Any) -> None: ...
    def _write_to_self(self) -> None: ...
    def _add_callback(self, handle: Handle) -> None: ...
    def _add_callback_signalsafe(self, handle: Handle) -> None: ...
    def _check_closed(self) -> None: ...
    def _timer_handle_cancelled(self, handle: Handle) -> None: ...
