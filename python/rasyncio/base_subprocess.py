"""A child process and its pipes under one protocol, whatever the system; see asyncio's reference of transports and protocols."""

from . import _rasyncio
from ._lazy import lazily
from ._shell import shell
from .protocols import BaseProtocol, Protocol
from .transports import SubprocessTransport

__getattr__ = lazily(
    __name__,
    collections="collections",
    logger="rasyncio.log:logger",
    os="os",
    protocols="rasyncio.protocols",
    signal="signal",
    subprocess="subprocess",
    sys="sys",
    transports="rasyncio.transports",
    warnings="warnings",
)


class BaseSubprocessTransport(_rasyncio._BaseSubprocessTransport, SubprocessTransport):
    """A child process and its pipes; classes that derive from it start the process, in `_start`."""


@shell(BaseSubprocessTransport)
async def _connect_pipes(self, waiter):
    await self._connect(waiter)


@shell(BaseSubprocessTransport)
async def _wait(self):
    """Wait until the process has ended; answers its exit code."""
    return self._returncode if (waiting := self._exit_wait()) is None else await waiting


class WriteSubprocessPipeProto(_rasyncio._PipeProtocol, BaseProtocol):
    """The protocol of a process's pipe to write to."""


class ReadSubprocessPipeProto(_rasyncio._ReadPipeProtocol, WriteSubprocessPipeProto, Protocol):
    """The protocol of a process's pipe to read from."""
