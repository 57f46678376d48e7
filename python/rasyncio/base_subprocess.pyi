from asyncio.events import AbstractEventLoop as _StdlibLoop
from collections.abc import Sequence
from typing import IO, Any

from . import protocols, transports
from .futures import Future

class BaseSubprocessTransport(transports.SubprocessTransport):
    """A child process and its pipes under one protocol.  For writers of loops: a derived class starts it, in _start().

    The process is killed when the transport is closed.  It is signalled by a descriptor of it where the system has one.
    """

    def __init__(
        self,
        loop: _StdlibLoop,
        protocol: protocols.SubprocessProtocol,
        args: str | bytes | Sequence[Any],
        shell: bool,
        stdin: int | IO[Any] | None,
        stdout: int | IO[Any] | None,
        stderr: int | IO[Any] | None,
        bufsize: int,
        waiter: Future[Any] | None = None,
        extra: Any | None = None,
        **kwargs: Any,
    ) -> None: ...
    def __del__(self) -> None: ...
    def _start(
        self,
        args: str | bytes | Sequence[Any],
        shell: bool,
        stdin: int | IO[Any] | None,
        stdout: int | IO[Any] | None,
        stderr: int | IO[Any] | None,
        bufsize: int,
        **kwargs: Any,
    ) -> None: ...

class WriteSubprocessPipeProto(protocols.BaseProtocol):
    """The protocol of a process's pipe to write to.  For writers of loops."""

    def __init__(self, proc: BaseSubprocessTransport, fd: int) -> None: ...

class ReadSubprocessPipeProto(WriteSubprocessPipeProto, protocols.Protocol):
    """The protocol of a process's pipe to read from.  For writers of loops."""
