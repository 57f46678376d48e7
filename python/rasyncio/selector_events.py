"""An event loop on a readiness poller: epoll of its own, or any object of the selectors module."""

__all__ = ("BaseSelectorEventLoop",)

from . import _rasyncio
from ._lazy import lazily
from ._shell import shell
from .base_events import BaseEventLoop
from .transports import Transport

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
    sys="sys",
    transports="rasyncio.transports",
    trsock="rasyncio.trsock",
    warnings="warnings",
    weakref="weakref",
)


class BaseSelectorEventLoop(_rasyncio._BaseSelectorEventLoop, BaseEventLoop):
    """A loop that waits for descriptors to become readable or writable.

    selector is a `selectors` object; without it the loop has a poller of its own, which is much faster.
    """


class _SelectorSocketTransport(Transport):
    """What `__class__` of a socket transport is: the native class cannot derive from asyncio.Transport, this one does."""


@shell(BaseSelectorEventLoop)
async def sock_recv(self, sock, n):
    """Receive at most n bytes from a non-blocking socket."""
    return await self._sock_recv(sock, n)


@shell(BaseSelectorEventLoop)
async def sock_recv_into(self, sock, buf):
    """Receive into a buffer from a non-blocking socket; answers how many bytes came."""
    return await self._sock_recv_into(sock, buf)


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
