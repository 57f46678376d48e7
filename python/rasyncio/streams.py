"""Readers and writers on top of transports; see asyncio's reference of streams."""

__all__ = (
    "StreamReader",
    "StreamWriter",
    "StreamReaderProtocol",
    "open_connection",
    "start_server",
    "open_unix_connection",
    "start_unix_server",
)

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import StreamReader, StreamWriter
from ._shell import shell
from .events import get_running_loop
from .protocols import Protocol

_DEFAULT_LIMIT = 2**16

__getattr__ = lazily(
    __name__,
    collections="collections",
    coroutines="rasyncio.coroutines",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    format_helpers="rasyncio.format_helpers",
    logger="rasyncio.log:logger",
    protocols="rasyncio.protocols",
    sleep="rasyncio.tasks:sleep",
    socket="socket",
    sys="sys",
    warnings="warnings",
    weakref="weakref",
)


class FlowControlMixin(_rasyncio._FlowControl, Protocol):
    """A protocol whose writers can wait until the transport has room."""


class StreamReaderProtocol(_rasyncio._StreamReaderProtocol, FlowControlMixin, Protocol):
    """Feeds a StreamReader from a transport; a server's client_connected_cb(reader, writer) is called for a new client."""


async def open_connection(host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """Connect to host and port; answers (reader, writer). Other keywords go to loop.create_connection()."""
    reader = StreamReader(limit=limit, loop=(loop := get_running_loop()))
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(client_connected_cb, host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """Serve: client_connected_cb(reader, writer) is called for each client, and run as a task if it is a coroutine.

    Other keywords go to loop.create_server(). Answers a Server.
    """
    factory = _rasyncio._StreamFactory(StreamReader, StreamReaderProtocol, client_connected_cb, limit, get_running_loop())
    return await get_running_loop().create_server(factory, host, port, **kwds)


async def open_unix_connection(path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """Connect to a Unix socket; answers (reader, writer). Other keywords go to loop.create_unix_connection()."""
    reader = StreamReader(limit=limit, loop=(loop := get_running_loop()))
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(client_connected_cb, path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """As start_server(), on a Unix socket. Other keywords go to loop.create_unix_server(). Answers a Server."""
    factory = _rasyncio._StreamFactory(StreamReader, StreamReaderProtocol, client_connected_cb, limit, get_running_loop())
    return await get_running_loop().create_unix_server(factory, path, **kwds)


@shell(FlowControlMixin)
async def _drain_helper(self):
    if (waiting := self._drain()) is not None:
        await waiting


@shell(StreamReader)
async def read(self, n=-1):
    """Read at most n bytes, or all until the end if n is negative. b'' at the end."""
    data = self._read(n)
    return data if type(data) is bytes else await data


@shell(StreamReader)
async def readline(self):
    """Read until a newline, which is included; less at the end. ValueError if the line is longer than the limit."""
    data = self._readline()
    return data if type(data) is bytes else await data


@shell(StreamReader)
async def readexactly(self, n):
    """Read exactly n bytes; IncompleteReadError with what there was if the end comes before."""
    data = self._readexactly(n)
    return data if type(data) is bytes else await data


@shell(StreamReader)
async def readuntil(self, separator=b"\n"):
    """Read until separator, which is included; it may be a tuple of several (3.13).

    IncompleteReadError if the end comes before, LimitOverrunError if the limit does.
    """
    data = self._readuntil(separator)
    return data if type(data) is bytes else await data


@shell(StreamReader)
async def _wait_for_data(self, func_name):
    await self._wait_for_news(func_name)


@shell(StreamReader)
async def __anext__(self):
    return self._next_line(await self.readline())


@shell(StreamWriter)
async def drain(self):
    """Wait until the transport has room. Raises what was wrong with the connection."""
    if (waiting := self._drain()) is not None:
        await waiting


@shell(StreamWriter)
async def wait_closed(self):
    """Wait until the connection is closed."""
    await self._close_waiter()


@shell(StreamWriter)
async def start_tls(self, sslcontext, *, server_hostname=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None):
    """Go on with TLS: what follows is encrypted. Of a server's connection this is the server's side."""
    server_side = (protocol := self._protocol)._client_connected_cb is not None
    await self.drain()
    given = {"server_side": server_side, "server_hostname": server_hostname}
    times = {"ssl_handshake_timeout": ssl_handshake_timeout, "ssl_shutdown_timeout": ssl_shutdown_timeout}
    self._replace_transport(await self._loop.start_tls(self._transport, protocol, sslcontext, **given, **times))
