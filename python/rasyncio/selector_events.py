"""An event loop on a readiness poller: epoll of its own, or any object of the selectors module."""

__all__ = ("BaseSelectorEventLoop",)

from . import _rasyncio
from ._lazy import lazily
from .base_events import BaseEventLoop

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
