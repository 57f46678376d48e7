import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from typing_extensions import TypeVarTuple, deprecated

from .events import AbstractEventLoop, _BaseDefaultEventLoopPolicy
from .selector_events import BaseSelectorEventLoop

if sys.version_info >= (3, 14):
    __all__ = ("SelectorEventLoop", "EventLoop")
else:
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

_Ts = TypeVarTuple("_Ts")

class _UnixSelectorEventLoop(BaseSelectorEventLoop):
    """The event loop of Unix systems; for what it can do see AbstractEventLoop.

    selector is an object of the module selectors to wait with; without it the loop has an epoll of its own, which is much
    faster.
    """

def waitstatus_to_exitcode(status: int) -> int:
    """The exit code of a status of os.waitpid(): negative for a signal; the status itself if it is not understood."""

def can_use_pidfd() -> bool:
    """Whether the system lets us have descriptors of processes."""

if sys.version_info >= (3, 14):
    class _PidfdChildWatcher:
        """Tells of the end of child processes by descriptors of them, in the running loop's poller."""

        def add_child_handler(self, pid: int, callback: Callable[[int, int, *_Ts], object], *args: *_Ts) -> None:
            """Have the running loop call callback(pid, returncode, *args) when the process has ended."""

    class _ThreadedChildWatcher:
        """Tells of the end of child processes by threads, one for each."""

        def add_child_handler(self, pid: int, callback: Callable[[int, int, *_Ts], object], *args: *_Ts) -> None:
            """Have the running loop call callback(pid, returncode, *args) when the process has ended."""

else:
    class AbstractChildWatcher:
        """What a watcher of child processes must be able to do.  Processes are started in a `with` block of it.

        Deprecated since Python 3.12, as all watchers; gone in 3.14.
        """

        def add_child_handler(self, pid: int, callback: Callable[[int, int, *_Ts], object], *args: *_Ts) -> None:
            """Have callback(pid, returncode, *args) called, from any thread, when the process has ended."""

        def remove_child_handler(self, pid: int) -> bool:
            """Forget a process.  Returns whether it was known."""

        def attach_loop(self, loop: AbstractEventLoop | None) -> None:
            """Work by this loop, or by none."""

        def close(self) -> None:
            """Give back what the watcher holds."""

        def is_active(self) -> bool:
            """Whether exits will be noticed; a loop starts processes only then."""

        def __enter__(self) -> Self: ...
        def __exit__(
            self, typ: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
        ) -> None: ...

    class PidfdChildWatcher(AbstractChildWatcher):
        """Tells of the end of child processes by descriptors of them, in the running loop's poller."""

    class ThreadedChildWatcher(AbstractChildWatcher):
        """Tells of the end of child processes by threads, one for each."""

    class BaseChildWatcher(AbstractChildWatcher):
        """What the watchers share that a loop's handler of SIGCHLD drives."""

    @deprecated("Deprecated since Python 3.12, gone in 3.14.")
    class SafeChildWatcher(BaseChildWatcher):
        """Asks for each of its processes at every SIGCHLD of the attached loop; disturbs nobody else's."""

    @deprecated("Deprecated since Python 3.12, gone in 3.14.")
    class FastChildWatcher(BaseChildWatcher):
        """Reaps every process that has ended at SIGCHLD of the attached loop, also those of others."""

    @deprecated("Deprecated since Python 3.12, gone in 3.14.")
    class MultiLoopChildWatcher(AbstractChildWatcher):
        """Handles SIGCHLD itself, for the loops of all threads."""

class _UnixDefaultEventLoopPolicy(_BaseDefaultEventLoopPolicy):
    """A loop of Unix for each thread; before Python 3.14 also a watcher of child processes."""

SelectorEventLoop = _UnixSelectorEventLoop
EventLoop = _UnixSelectorEventLoop
_DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy
if sys.version_info < (3, 14):
    DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy
