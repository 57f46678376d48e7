"""The classes of asyncio's loop on completion ports, which is for Windows; making one is a NotImplementedError for now.

They are there so that a program can ask what a loop is on every system: `isinstance(loop, BaseProactorEventLoop)`.
"""

__all__ = ("BaseProactorEventLoop",)

from ._lazy import lazily
from ._rasyncio import _no_proactor
from .base_events import BaseEventLoop
from .transports import BaseTransport, DatagramTransport, ReadTransport, Transport, WriteTransport, _FlowControlMixin


class _ProactorBasePipeTransport(_FlowControlMixin, BaseTransport):
    __new__ = _no_proactor


class _ProactorReadPipeTransport(_ProactorBasePipeTransport, ReadTransport):
    pass


class _ProactorBaseWritePipeTransport(_ProactorBasePipeTransport, WriteTransport):
    pass


class _ProactorWritePipeTransport(_ProactorBaseWritePipeTransport):
    pass


class _ProactorDatagramTransport(_ProactorBasePipeTransport, DatagramTransport):
    pass


class _ProactorDuplexPipeTransport(_ProactorReadPipeTransport, _ProactorBaseWritePipeTransport, Transport):
    pass


class _ProactorSocketTransport(_ProactorReadPipeTransport, _ProactorBaseWritePipeTransport, Transport):
    pass


class BaseProactorEventLoop(BaseEventLoop):
    """A loop that starts operations and waits until they are complete; for Windows, and not there yet."""

    __new__ = _no_proactor


__getattr__ = lazily(
    __name__,
    base_events="rasyncio.base_events",
    collections="collections",
    constants="rasyncio.constants",
    exceptions="rasyncio.exceptions",
    futures="rasyncio.futures",
    io="io",
    logger="rasyncio.log:logger",
    os="os",
    protocols="rasyncio.protocols",
    signal="signal",
    socket="socket",
    sslproto="rasyncio.sslproto",
    threading="threading",
    transports="rasyncio.transports",
    trsock="rasyncio.trsock",
    warnings="warnings",
)
