"""Child processes with streams for their pipes; see asyncio's reference of subprocesses."""

__all__ = ("create_subprocess_exec", "create_subprocess_shell")

from _functools import partial as _partial

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import Process
from ._shell import shell
from .events import get_running_loop
from .protocols import SubprocessProtocol
from .streams import _DEFAULT_LIMIT, FlowControlMixin

# As the standard library's subprocess has them, without importing it.
PIPE, STDOUT, DEVNULL = -1, -2, -3

__getattr__ = lazily(
    __name__,
    events="rasyncio.events",
    logger="rasyncio.log:logger",
    protocols="rasyncio.protocols",
    streams="rasyncio.streams",
    subprocess="subprocess",
    tasks="rasyncio.tasks",
)


class SubprocessStreamProtocol(_rasyncio._SubprocessStreamProtocol, FlowControlMixin, SubprocessProtocol):
    """Gives a child process's pipes their streams."""


@shell(Process)
async def wait(self):
    """Wait until the process has ended; answers its exit code."""
    return await self._transport._wait()


@shell(Process)
async def communicate(self, input=None):
    """Write input, bytes or None, to the process, read its output to the end, and wait; answers (stdout, stderr).

    What is not a pipe is None there.
    """
    return await self._communicate(input)


@shell(Process)
async def _feed_stdin(self, input):
    await self._feed(input)


@shell(Process)
async def _noop(self):
    return None


@shell(Process)
async def _read_stream(self, fd):
    return await self._read(fd)


async def create_subprocess_shell(cmd, stdin=None, stdout=None, stderr=None, limit=_DEFAULT_LIMIT, **kwds):
    """Run a command line in a shell; answers a Process.

    stdin, stdout and stderr are PIPE, DEVNULL, a file or descriptor, or None for this process's own; stderr may be STDOUT.
    limit is that of the StreamReaders, in bytes. Other keywords go to subprocess.Popen.
    """
    factory = _partial(SubprocessStreamProtocol, limit, (loop := get_running_loop()))
    ends = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    return Process(*await loop.subprocess_shell(factory, cmd, **ends, **kwds), loop)


async def create_subprocess_exec(program, *args, stdin=None, stdout=None, stderr=None, limit=_DEFAULT_LIMIT, **kwds):
    """Run a program with arguments; answers a Process. For the keywords see create_subprocess_shell()."""
    factory = _partial(SubprocessStreamProtocol, limit, (loop := get_running_loop()))
    ends = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
    return Process(*await loop.subprocess_exec(factory, program, *args, **ends, **kwds), loop)
