"""The event loop of Unix systems, with signal handlers, Unix sockets and pipes, and its policy."""

import sys as _sys

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import _sighandler_noop, can_use_pidfd, waitstatus_to_exitcode
from ._shell import lend, shell
from .base_subprocess import BaseSubprocessTransport
from .selector_events import BaseSelectorEventLoop
from .transports import ReadTransport, WriteTransport, _FlowControlMixin

if _sys.version_info >= (3, 14):
    from .events import _BaseDefaultEventLoopPolicy as _Policy
else:
    from .events import BaseDefaultEventLoopPolicy as _Policy

__all__ = (
    "SelectorEventLoop",
    "AbstractChildWatcher",
    "SafeChildWatcher",
    "FastChildWatcher",
    "PidfdChildWatcher",
    "MultiLoopChildWatcher",
    "ThreadedChildWatcher",
    "DefaultEventLoopPolicy",
    "EventLoop",
)


class _UnixSelectorEventLoop(_rasyncio._UnixLoop, BaseSelectorEventLoop):
    """The event loop of Unix systems; see asyncio's event loop reference.

    selector is a `selectors` object to wait on; without it the loop has an epoll of its own, which is much faster.
    """


class _UnixReadPipeTransport(ReadTransport):
    """What makes a transport for a pipe to read from, and is its `__class__`: the native class cannot derive from asyncio's."""

    max_size = 256 * 1024
    __new__ = _rasyncio._new_read_pipe


class _UnixWritePipeTransport(_FlowControlMixin, WriteTransport):
    """What makes a transport for a pipe to write to, and is its `__class__`: the native class cannot derive from asyncio's."""

    __new__ = _rasyncio._new_write_pipe


lend(_rasyncio._PipeTransport, _UnixReadPipeTransport)
lend(_rasyncio._UnixReadPipeTransport, _UnixReadPipeTransport)
lend(_rasyncio._PipeTransport, _UnixWritePipeTransport)
lend(_rasyncio._UnixWritePipeTransport, _UnixWritePipeTransport)


class _UnixSubprocessTransport(_rasyncio._NativeSubprocessTransport, BaseSubprocessTransport):
    """A child process, started by subprocess.Popen, and its pipes."""


@shell(_UnixSelectorEventLoop)
async def create_unix_connection(
    self,
    protocol_factory,
    path=None,
    *,
    ssl=None,
    sock=None,
    server_hostname=None,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
):
    """Connect to a Unix socket by path, or take a connected one; answers (transport, protocol)."""
    options = (path, ssl, sock, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    return await self._create_unix_connection(protocol_factory, *options)


@shell(_UnixSelectorEventLoop)
async def create_unix_server(
    self,
    protocol_factory,
    path=None,
    *,
    sock=None,
    backlog=100,
    ssl=None,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
    start_serving=True,
    cleanup_socket=_sys.version_info >= (3, 13),
    mode=None,
):
    """Listen on a Unix socket at path, or on a bound one; returns a Server.

    A socket that is at path already is removed. With cleanup_socket the file is removed when the server is closed.
    The permissions of the file are changed to mode, as by os.chmod(), before a connection is accepted.
    """
    others = (ssl_handshake_timeout, ssl_shutdown_timeout, start_serving, cleanup_socket, mode)
    return await self._create_unix_server(protocol_factory, path, sock, backlog, ssl, *others)


@shell(_UnixSelectorEventLoop)
async def _make_subprocess_transport(self, protocol, args, shell, stdin, stdout, stderr, bufsize, extra=None, **kwargs):
    command = (args, shell, stdin, stdout, stderr, bufsize, extra)
    return await self._make_native_subprocess_transport(protocol, *command, **kwargs)


@shell(_UnixSelectorEventLoop)
async def _sock_sendfile_native(self, sock, file, offset, count):
    return 0 if (sending := self._begin_sendfile(sock, file, offset, count)) is None else await sending


if _sys.version_info >= (3, 14):
    from ._rasyncio import _PidfdChildWatcher, _ThreadedChildWatcher

    class _UnixDefaultEventLoopPolicy(_Policy):
        """A loop of Unix for each thread."""

        _loop_factory = _UnixSelectorEventLoop

else:
    from ._rasyncio import (
        AbstractChildWatcher,
        BaseChildWatcher,
        FastChildWatcher,
        MultiLoopChildWatcher,
        PidfdChildWatcher,
        SafeChildWatcher,
        ThreadedChildWatcher,
    )

    class _UnixDefaultEventLoopPolicy(_rasyncio._UnixPolicy, _Policy):
        """A loop of Unix for each thread, and a watcher of child processes."""

        _loop_factory = _UnixSelectorEventLoop

    DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy


EventLoop = SelectorEventLoop = _UnixSelectorEventLoop
_DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy
if _sys.version_info >= (3, 14):
    __all__ = ("SelectorEventLoop", "EventLoop")

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
