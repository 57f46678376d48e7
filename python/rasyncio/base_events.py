"""The part of an event loop that does not depend on the operating system; see asyncio's event loop reference and PEP 3156."""

__all__ = ("BaseEventLoop", "Server")

from . import _hosted, _rasyncio, _stdlib
from ._lazy import lazily
from ._rasyncio import (
    _check_ssl_socket,
    _format_handle,
    _format_pipe,
    _interleave_addrinfos,
    _ipaddr_info,
    _run_until_complete_cb,
    _set_nodelay,
)
from ._shell import shell
from .events import AbstractEventLoop, AbstractServer
from .exceptions import SendfileNotAvailableError as _NotAvailable
from .protocols import Protocol as _Protocol

# More timers than this, more of them cancelled than the fraction: the loop clears all cancelled ones away.
_MIN_SCHEDULED_TIMER_HANDLES = 100
_MIN_CANCELLED_TIMER_HANDLES_FRACTION = 0.5
# The longest wait in seconds; a longer one is made in parts.
MAXIMUM_SELECT_TIMEOUT = 24 * 3600

__getattr__ = lazily(
    __name__,
    _HAS_IPv6=lambda: hasattr(__import__("socket"), "AF_INET6"),
    collections="collections",
    concurrent="concurrent.futures",
    constants="rasyncio.constants",
    contextvars="contextvars",
    coroutines="rasyncio.coroutines",
    errno="errno",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    functools="functools",
    futures="rasyncio.futures",
    heapq="heapq",
    itertools="itertools",
    logger="rasyncio.log:logger",
    math="math",
    os="os",
    protocols="rasyncio.protocols",
    socket="socket",
    ssl="ssl",
    sslproto="rasyncio.sslproto",
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


@shell(BaseEventLoop)
async def _make_subprocess_transport(self, protocol, args, shell, stdin, stdout, stderr, bufsize, extra=None, **kwargs):
    raise NotImplementedError


@shell(BaseEventLoop)
async def subprocess_shell(
    self,
    protocol_factory,
    cmd,
    *,
    stdin=-1,
    stdout=-1,
    stderr=-1,
    universal_newlines=False,
    shell=True,
    bufsize=0,
    encoding=None,
    errors=None,
    text=None,
    **kwargs,
):
    """Run a command line in a shell; answers (transport, protocol).

    stdin, stdout and stderr are PIPE, DEVNULL, a file or descriptor, or None for this process's own; stderr may be STDOUT.
    Other keywords go to subprocess.Popen, but for those of text: ValueError.
    """
    checked = (universal_newlines, shell, bufsize, encoding, errors, text)
    return await self._subprocess(protocol_factory, cmd, True, (stdin, stdout, stderr), checked, kwargs)


@shell(BaseEventLoop)
async def subprocess_exec(
    self,
    protocol_factory,
    program,
    *args,
    stdin=-1,
    stdout=-1,
    stderr=-1,
    universal_newlines=False,
    shell=False,
    bufsize=0,
    encoding=None,
    errors=None,
    text=None,
    **kwargs,
):
    """Run a program with arguments; answers (transport, protocol). For the keywords see subprocess_shell()."""
    checked = (universal_newlines, shell, bufsize, encoding, errors, text)
    return await self._subprocess(protocol_factory, (program, *args), False, (stdin, stdout, stderr), checked, kwargs)


@shell(BaseEventLoop)
async def _ensure_resolved(self, address, *, family=0, type=1, proto=0, flags=0, loop):
    return await self._resolve(address, family=family, type=type, proto=proto, flags=flags, loop=loop)


@shell(BaseEventLoop)
async def getaddrinfo(self, host, port, *, family=0, type=0, proto=0, flags=0):
    """socket.getaddrinfo() in the default executor."""
    return await self._getaddrinfo(host, port, family, type, proto, flags)


@shell(BaseEventLoop)
async def getnameinfo(self, sockaddr, flags=0):
    """socket.getnameinfo() in the default executor."""
    return await self._getnameinfo(sockaddr, flags)


@shell(BaseEventLoop)
async def create_connection(
    self,
    protocol_factory,
    host=None,
    port=None,
    *,
    ssl=None,
    family=0,
    proto=0,
    flags=0,
    sock=None,
    local_addr=None,
    server_hostname=None,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
    happy_eyeballs_delay=None,
    interleave=None,
    all_errors=False,
):
    """Connect to host and port over TCP, or take a connected socket; answers (transport, protocol).

    Addresses are tried in their order, or, with happy_eyeballs_delay in seconds, in a race (RFC 8305). OSError if none
    answers; with all_errors an ExceptionGroup of all errors.
    """
    hosts = (host, port, ssl, family, proto, flags, sock, local_addr, server_hostname)
    times = (ssl_handshake_timeout, ssl_shutdown_timeout, happy_eyeballs_delay, interleave, all_errors)
    return await self._create_connection(protocol_factory, *hosts, *times)


@shell(BaseEventLoop)
async def connect_accepted_socket(
    self, protocol_factory, sock, *, ssl=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None
):
    """A transport and protocol for a socket that was accepted elsewhere; answers (transport, protocol)."""
    times = (ssl_handshake_timeout, ssl_shutdown_timeout)
    return await self._connect_accepted_socket(protocol_factory, sock, ssl, *times)


@shell(BaseEventLoop)
async def start_tls(
    self,
    transport,
    protocol,
    sslcontext,
    *,
    server_side=False,
    server_hostname=None,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
):
    """Go on with TLS on a transport that is there already; answers the transport for protocol to use from now on."""
    times = (ssl_handshake_timeout, ssl_shutdown_timeout)
    return await self._start_tls(transport, protocol, sslcontext, server_side, server_hostname, *times)


@shell(BaseEventLoop)
async def create_server(
    self,
    protocol_factory,
    host=None,
    port=None,
    *,
    family=0,
    flags=1,
    sock=None,
    backlog=100,
    ssl=None,
    reuse_address=None,
    reuse_port=None,
    keep_alive=None,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
    start_serving=True,
):
    """Listen on host and port over TCP, or on a bound socket; answers a Server.

    host may be several hosts, or empty for all interfaces. OSError if no address can be bound.
    """
    address = (host, port, family, flags, sock, backlog, ssl, reuse_address, reuse_port, keep_alive)
    times = (ssl_handshake_timeout, ssl_shutdown_timeout, start_serving)
    return await self._create_server(protocol_factory, *address, *times)


@shell(BaseEventLoop)
async def connect_read_pipe(self, protocol_factory, pipe):
    """Take the reading end of a pipe, a file object; answers (transport, protocol)."""
    return await self._connect_read_pipe(protocol_factory, pipe)


@shell(BaseEventLoop)
async def connect_write_pipe(self, protocol_factory, pipe):
    """Take the writing end of a pipe, a file object; answers (transport, protocol)."""
    return await self._connect_write_pipe(protocol_factory, pipe)


@shell(BaseEventLoop)
async def _create_server_getaddrinfo(self, host, port, family, flags):
    if infos := await self._ensure_resolved((host, port), family=family, type=1, flags=flags, loop=self):
        return infos
    raise OSError(f"getaddrinfo({host!r}) returned empty list")


@shell(BaseEventLoop)
async def create_datagram_endpoint(
    self,
    protocol_factory,
    local_addr=None,
    remote_addr=None,
    *,
    family=0,
    proto=0,
    flags=0,
    reuse_port=None,
    allow_broadcast=None,
    sock=None,
):
    """Open a datagram socket, bound to local_addr, connected to remote_addr, or take one; answers (transport, protocol).

    With AF_UNIX as family the addresses are paths. OSError if no address can be bound or connected.
    """
    options = (family, proto, flags, reuse_port, allow_broadcast, sock)
    return await self._create_datagram_endpoint(protocol_factory, local_addr, remote_addr, *options)


@shell(BaseEventLoop)
async def sock_sendfile(self, sock, file, offset=0, count=None, *, fallback=True):
    """Send a file, opened in binary mode, over a connected stream socket; answers how many bytes were sent.

    Without fallback it must go by the system's sendfile: SendfileNotAvailableError if it cannot.
    """
    return await self._sock_sendfile(sock, file, offset, count, fallback)


@shell(BaseEventLoop)
async def _sock_sendfile_native(self, sock, file, offset, count):
    raise _NotAvailable(f"syscall sendfile is not available for socket {sock!r} and file {file!r} combination")


@shell(BaseEventLoop)
async def _sock_sendfile_fallback(self, sock, file, offset, count):
    return await self._copy_to_socket(sock, file, offset, count)


@shell(BaseEventLoop)
async def sendfile(self, transport, file, offset=0, count=None, *, fallback=True):
    """Send a file, opened in binary mode, over a transport; answers how many bytes were sent.

    Without fallback it must go by the system's sendfile: SendfileNotAvailableError or RuntimeError if it cannot.
    """
    return await self._send_file(transport, file, offset, count, fallback)


@shell(BaseEventLoop)
async def _sendfile_native(self, transp, file, offset, count):
    raise _NotAvailable("sendfile syscall is not supported")


@shell(BaseEventLoop)
async def _sendfile_fallback(self, transp, file, offset, count):
    return await self._copy_to_transport(transp, file, offset, count)


class _SendfileFallbackProtocol(_rasyncio._FallbackProtocol, _Protocol):
    """The protocol of a transport while a file is read and sent over it."""


@shell(_SendfileFallbackProtocol)
async def drain(self):
    """Wait until the transport takes more."""
    if (waiter := self._drained()) is not None:
        await waiter


@shell(_SendfileFallbackProtocol)
async def restore(self):
    """Give the transport its own protocol back."""
    self._restore()


class Server(_rasyncio._Server, AbstractServer):
    """Listening sockets and the connections they brought; see asyncio's reference of event loops."""


@shell(Server)
async def start_serving(self):
    """Accept connections from now on."""
    self._start_serving()
    await _rasyncio._sleep(0)


@shell(Server)
async def serve_forever(self):
    """Accept connections until cancelled; then the server is closed."""
    await self._serve_forever()


@shell(Server)
async def wait_closed(self):
    """Wait until the server is closed and its last connection is gone."""
    if (waiter := self._close_waiter()) is not None:
        await waiter


@shell(Server)
async def __aenter__(self):
    return self


@shell(Server)
async def __aexit__(self, *exc):
    self.close()
    await self.wait_closed()


# `isinstance(loop, asyncio.BaseEventLoop)`, when the standard library's asyncio is loaded beside rasyncio.
_stdlib.on_stdlib_import(_hosted.stand_in)
