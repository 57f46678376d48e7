"""The event loop of Unix systems, with signal handlers, and its policy."""

import sys as _sys

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import _sighandler_noop
from ._shell import shell
from .selector_events import BaseSelectorEventLoop

if _sys.version_info >= (3, 14):
    from .events import _BaseDefaultEventLoopPolicy as _Policy
else:
    from .events import BaseDefaultEventLoopPolicy as _Policy

__all__ = ("SelectorEventLoop", "DefaultEventLoopPolicy", "EventLoop")


class _UnixSelectorEventLoop(_rasyncio._UnixLoop, BaseSelectorEventLoop):
    """The event loop of Unix systems; see asyncio's event loop reference.

    selector is a `selectors` object to wait on; without it the loop has an epoll of its own, which is much faster.
    """


@shell(_UnixSelectorEventLoop)
async def create_unix_connection(self, protocol_factory, path=None, **options):
    """Not there yet: NotImplementedError."""
    raise NotImplementedError("rasyncio has no Unix sockets yet")


@shell(_UnixSelectorEventLoop)
async def create_unix_server(self, protocol_factory, path=None, **options):
    """Not there yet: NotImplementedError."""
    raise NotImplementedError("rasyncio has no Unix sockets yet")


@shell(_UnixSelectorEventLoop)
async def connect_read_pipe(self, protocol_factory, pipe):
    """Not there yet: NotImplementedError."""
    raise NotImplementedError("rasyncio has no pipes yet")


@shell(_UnixSelectorEventLoop)
async def connect_write_pipe(self, protocol_factory, pipe):
    """Not there yet: NotImplementedError."""
    raise NotImplementedError("rasyncio has no pipes yet")


@shell(_UnixSelectorEventLoop)
async def subprocess_shell(self, protocol_factory, cmd, **options):
    """Not there yet: NotImplementedError."""
    raise NotImplementedError("rasyncio has no subprocesses yet")


@shell(_UnixSelectorEventLoop)
async def subprocess_exec(self, protocol_factory, *args, **options):
    """Not there yet: NotImplementedError."""
    raise NotImplementedError("rasyncio has no subprocesses yet")


class _UnixDefaultEventLoopPolicy(_Policy):
    """A loop of Unix for each thread."""

    _loop_factory = _UnixSelectorEventLoop


EventLoop = SelectorEventLoop = _UnixSelectorEventLoop
_DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy
if _sys.version_info >= (3, 14):
    __all__ = ("SelectorEventLoop", "EventLoop")
else:
    DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy

__getattr__ = lazily(
    __name__,
    base_events="rasyncio.base_events",
    base_subprocess="rasyncio.base_subprocess",
    constants="rasyncio.constants",
    coroutines="rasyncio.coroutines",
    errno="errno",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    fcntl="fcntl",
    futures="rasyncio.futures",
    io="io",
    itertools="itertools",
    logger="rasyncio.log:logger",
    os="os",
    selector_events="rasyncio.selector_events",
    selectors="selectors",
    signal="signal",
    socket="socket",
    stat="stat",
    subprocess="subprocess",
    sys="sys",
    tasks="rasyncio.tasks",
    threading="threading",
    transports="rasyncio.transports",
    warnings="warnings",
)
