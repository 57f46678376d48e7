from asyncio.events import AbstractEventLoop as _StdlibLoop
from typing import IO, Any

from . import protocols, transports
from .streams import FlowControlMixin, StreamReader, StreamWriter

__all__ = ("create_subprocess_exec", "create_subprocess_shell")

PIPE: int
STDOUT: int
DEVNULL: int

class SubprocessStreamProtocol(FlowControlMixin, protocols.SubprocessProtocol):
    """Gives a child process's pipes their streams.  For writers of functions like create_subprocess_exec()."""

    stdin: StreamWriter | None
    stdout: StreamReader | None
    stderr: StreamReader | None

    def __init__(self, limit: int, loop: _StdlibLoop) -> None: ...

class Process:
    """A child process.

    pid is its number.  stdin, stdout and stderr are streams where they are pipes, otherwise None.
    """

    pid: int
    stdin: StreamWriter | None
    stdout: StreamReader | None
    stderr: StreamReader | None

    def __init__(
        self, transport: transports.SubprocessTransport, protocol: SubprocessStreamProtocol, loop: _StdlibLoop
    ) -> None: ...
    @property
    def returncode(self) -> int | None:
        """The exit code, minus the number of the signal that killed the process, or None while it runs."""

    async def wait(self) -> int:
        """Wait until the process has ended.  Returns its exit code.

        A process whose output is a pipe that nobody reads may never end: communicate() reads.
        """

    async def communicate(self, input: bytes | bytearray | memoryview | None = None) -> tuple[bytes, bytes]:
        """Write input to the process and close its input, read its output to the end, and wait.

        Returns (stdout, stderr); what is not a pipe is None there.
        """

    def send_signal(self, signal: int) -> None:
        """Send the process a signal; nothing if it has ended.  Raises ProcessLookupError when all of it is over."""

    def terminate(self) -> None:
        """Send the process SIGTERM, as send_signal()."""

    def kill(self) -> None:
        """Send the process SIGKILL, as send_signal()."""

async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    limit: int = 65536,
    **kwds: Any,
) -> Process:
    """Run a command line in a shell.  Returns a Process.

    stdin, stdout and stderr are PIPE, DEVNULL, a file or descriptor, or None for this process's own; stderr may be STDOUT.
    limit is for the readers, in bytes.  All other keywords go to subprocess.Popen; those for text raise ValueError.
    """

async def create_subprocess_exec(
    program: Any,
    *args: Any,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    limit: int = 65536,
    **kwds: Any,
) -> Process:
    """Run a program with arguments.  Returns a Process.  Otherwise as create_subprocess_shell()."""
