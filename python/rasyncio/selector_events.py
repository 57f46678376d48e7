"""An event loop on a readiness poller: epoll of its own, or any object of the selectors module."""

__all__ = ("BaseSelectorEventLoop",)

from . import _rasyncio
from ._lazy import lazily
from ._shell import lend, shell
from .base_events import BaseEventLoop
from .transports import DatagramTransport, Transport, _FlowControlMixin

__getattr__ = lazily(
    __name__,
    base_events="rasyncio.base_events",
    collections="collections",
    constants="rasyncio.constants",
    errno="errno",
    events="rasyncio.events",
    functools="functools",
    futures="rasyncio.futures",
    itertools="itertools",
    logger="rasyncio.log:logger",
    os="os",
    protocols="rasyncio.protocols",
    selectors="selectors",
    socket="socket",
    ssl="ssl",
    sslproto="rasyncio.sslproto",
    sys="sys",
    transports="rasyncio.transports",
    trsock="rasyncio.trsock",
    warnings="warnings",
    weakref="weakref",
    SC_IOV_MAX=lambda: __import__("os").sysconf("SC_IOV_MAX"),
    _HAS_SENDMSG=lambda: hasattr(__import__("socket").socket, "sendmsg"),
)


class BaseSelectorEventLoop(_rasyncio._BaseSelectorEventLoop, BaseEventLoop):
    """A loop that waits for descriptors to become readable or writable.

    selector is a `selectors` object; without it the loop has a poller of its own, which is much faster.
    """


class _SelectorTransport(_FlowControlMixin, Transport):
    """What the classes of transports on sockets derive from."""

    max_size = 256 * 1024
    __new__ = _rasyncio._new_selector_transport


class _SelectorSocketTransport(_SelectorTransport):
    """What makes a transport for a stream socket, and is its `__class__`: the native class cannot derive from asyncio's."""

    _start_tls_compatible = True
    __new__ = _rasyncio._new_socket_transport


class _SelectorDatagramTransport(_SelectorTransport, DatagramTransport):
    """What makes a transport for a datagram socket, and is its `__class__`, for the same reason."""

    __new__ = _rasyncio._new_datagram_transport


lend(_rasyncio._SelectorSocketTransport, _SelectorSocketTransport)
lend(_rasyncio._SelectorDatagramTransport, _SelectorDatagramTransport)


@shell(BaseSelectorEventLoop)
async def sock_recv(self, sock, n):
    """Receive at most n bytes from a non-blocking socket."""
    return await self._sock_recv(sock, n)


@shell(BaseSelectorEventLoop)
async def sock_recv_into(self, sock, buf):
    """Receive into a buffer from a non-blocking socket; answers how many bytes came."""
    return await self._sock_recv_into(sock, buf)


@shell(BaseSelectorEventLoop)
async def sock_recvfrom(self, sock, bufsize):
    """Receive a datagram of at most bufsize bytes from a non-blocking socket; answers (data, address)."""
    return await self._sock_recvfrom(sock, bufsize)


@shell(BaseSelectorEventLoop)
async def sock_recvfrom_into(self, sock, buf, nbytes=0):
    """Receive a datagram into a buffer from a non-blocking socket; answers (how many bytes came, address)."""
    return await self._sock_recvfrom_into(sock, buf, nbytes)


@shell(BaseSelectorEventLoop)
async def sock_sendto(self, sock, data, address):
    """Send a datagram to address from a non-blocking socket; answers how many bytes were sent."""
    return await self._sock_sendto(sock, data, address)


@shell(BaseSelectorEventLoop)
async def sock_sendall(self, sock, data):
    """Send all bytes of data to a non-blocking socket."""
    return await self._sock_sendall(sock, data)


@shell(BaseSelectorEventLoop)
async def sock_connect(self, sock, address):
    """Connect a non-blocking socket."""
    return await self._sock_connect(sock, address)


@shell(BaseSelectorEventLoop)
async def sock_accept(self, sock):
    """Accept a connection on a non-blocking socket; answers (socket, address)."""
    return await self._sock_accept(sock)


@shell(BaseSelectorEventLoop)
async def _sendfile_native(self, transp, file, offset, count):
    return await self._send_natively(transp, file, offset, count)
