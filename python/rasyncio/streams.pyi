import ssl
from asyncio import streams as _stdlib
from asyncio.events import AbstractEventLoop as _StdlibLoop
from collections.abc import Awaitable, Callable, Iterable, Sequence, Sized
from typing import Any, Protocol, Self, SupportsIndex, TypeAlias, type_check_only

from _typeshed import ReadableBuffer, StrPath

from . import protocols, transports
from .base_events import Server

__all__ = (
    "StreamReader",
    "StreamWriter",
    "StreamReaderProtocol",
    "open_connection",
    "start_server",
    "open_unix_connection",
    "start_unix_server",
)

_ClientConnectedCallback: TypeAlias = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]

@type_check_only
class _Separator(ReadableBuffer, Sized, Protocol): ...

_DEFAULT_LIMIT: int

async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to host and port over TCP.  Returns (reader, writer).

    limit is for the reader, in bytes.  All other keywords go to loop.create_connection(), which also says what is raised.
    """

async def start_server(
    client_connected_cb: _ClientConnectedCallback,
    host: str | Sequence[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = 65536,
    **kwds: Any,
) -> Server:
    """Listen on host and port over TCP.  Returns a Server.

    client_connected_cb(reader, writer) is called for each connection; if it is a coroutine function, what it returns is run
    as a task.  limit is for the readers, in bytes.  All other keywords go to loop.create_server().
    """

async def open_unix_connection(
    path: StrPath | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to the Unix socket at path.  Returns (reader, writer).

    limit is for the reader, in bytes.  All other keywords go to loop.create_unix_connection().
    """

async def start_unix_server(
    client_connected_cb: _ClientConnectedCallback, path: StrPath | None = None, *, limit: int = 65536, **kwds: Any
) -> Server:
    """Listen on a Unix socket at path.  Returns a Server.  Otherwise as start_server().

    All other keywords go to loop.create_unix_server(); among them mode, for the permissions of the file.
    """

class FlowControlMixin(protocols.Protocol):
    """A protocol whose writers can wait until the transport has room.  For writers of protocols for streams."""

    def __init__(self, loop: _StdlibLoop | None = None) -> None: ...
    async def _drain_helper(self) -> None: ...

class StreamReaderProtocol(FlowControlMixin, _stdlib.StreamReaderProtocol):
    """What feeds a StreamReader from a transport.

    With client_connected_cb it is a server's: for a new connection that is called with the reader and a new writer.
    """

    def __init__(
        self,
        stream_reader: _stdlib.StreamReader,
        client_connected_cb: _ClientConnectedCallback | None = None,
        loop: _StdlibLoop | None = None,
    ) -> None: ...

class StreamReader(_stdlib.StreamReader):
    """Bytes as they come from a connection: `async for line in reader:`.  open_connection() and start_server() make it.

    limit is how many bytes a line may have; twice as many are buffered before the transport is paused.  One task at a time
    may read.  Not thread-safe.
    """

    def __init__(self, limit: int = 65536, loop: _StdlibLoop | None = None) -> None: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> bytes: ...
    async def read(self, n: int = -1) -> bytes:
        """At most n bytes, as soon as there are some; all until the end if n is negative.  b"" at the end."""

    async def readline(self) -> bytes:
        """All until a newline, which is included; at the end what there is.

        Raises ValueError if the line is longer than the limit; what was found of it is thrown away.
        """

    async def readexactly(self, n: int) -> bytes:
        """Exactly n bytes.

        Raises IncompleteReadError, with what there was as `partial`, if the end comes before; ValueError if n is negative.
        """

    async def readuntil(self, separator: _Separator | tuple[_Separator, ...] = b"\n") -> bytes:
        """All until separator, which is included; from Python 3.13 on it may be a tuple of several, the first to end counts.

        Raises IncompleteReadError, with what there was as `partial`, if the end comes before; LimitOverrunError if the limit
        is reached before, in which case all stays in the buffer; ValueError for an empty separator.
        """

    def at_eof(self) -> bool:
        """Whether the end has come, and all was read."""

    def exception(self) -> Exception | None:
        """What is raised by every read, or None."""

    # For what feeds the reader.
    def set_exception(self, exc: Exception) -> None:
        """Have every read raise exc."""

    def set_transport(self, transport: transports.BaseTransport) -> None:
        """Say which transport to pause when there is too much."""

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Add bytes."""

    def feed_eof(self) -> None:
        """Say that the end has come."""

class StreamWriter(_stdlib.StreamWriter):
    """The other half: sends bytes over a transport.  open_connection() and start_server() make it.  Not thread-safe."""

    def __init__(
        self,
        transport: transports.WriteTransport,
        protocol: protocols.BaseProtocol,
        reader: _stdlib.StreamReader | None,
        loop: _StdlibLoop,
    ) -> None: ...
    def __del__(self) -> None: ...  # type: ignore[override, unused-ignore]
    @property
    def transport(self) -> transports.WriteTransport:
        """The transport."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes now, or keep them until they can be sent.  Follow it with `await drain()`."""

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several pieces.  Otherwise as write()."""

    async def drain(self) -> None:
        """Wait until the transport has room for more.

        Raises what the reader has been given as its exception, ConnectionResetError if the connection is lost.
        """

    def write_eof(self) -> None:
        """Close the writing half, after what was written is sent."""

    def can_write_eof(self) -> bool:
        """Whether the transport can do write_eof()."""

    def close(self) -> None:
        """Close the connection, after what was written is sent.  Follow it with `await wait_closed()`."""

    def is_closing(self) -> bool:
        """Whether the connection is closed, or being closed."""

    async def wait_closed(self) -> None:
        """Wait until the connection is closed.

        Raises what it broke with.
        """

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows: "peername", "sockname", "socket", "ssl_object" and so on; default if it does not."""

    async def start_tls(
        self,
        sslcontext: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        """Go on with TLS; the timeouts are in seconds, 60 and 30 by default.  The side is the one that the stream has.

        What a server's reader has read already is taken for the beginning of the handshake.
        """
