import sys
from asyncio import Future as _StdlibFuture
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

__all__ = ("capture_call_graph", "format_call_graph", "print_call_graph", "FrameCallGraphEntry", "FutureCallGraph")

class _Writer(Protocol):
    def write(self, text: str, /) -> object: ...

if sys.version_info >= (3, 14):
    from asyncio import FrameCallGraphEntry as FrameCallGraphEntry
    from asyncio import FutureCallGraph as FutureCallGraph
else:
    @dataclass(frozen=True, slots=True)
    class FrameCallGraphEntry:
        """A place in a call graph: a frame of one of its stacks."""

        frame: FrameType

    @dataclass(frozen=True, slots=True)
    class FutureCallGraph:
        """A future or task, the frames of its stack, innermost first, and the graphs of those that wait for it."""

        future: _StdlibFuture[Any]
        call_stack: tuple[FrameCallGraphEntry, ...]
        awaited_by: tuple[FutureCallGraph, ...]

def capture_call_graph(
    future: _StdlibFuture[Any] | None = None, /, *, depth: int = 1, limit: int | None = None
) -> FutureCallGraph | None:
    """The call graph of a future, or of the current task; None where no task runs.

    Of the current task depth - 1 frames are left out at the near end.  limit is the number of frames that each stack keeps:
    from the call on if it is positive, from the far end if negative, none for 0.  Without a future and outside of a loop
    a RuntimeError.
    """

def format_call_graph(future: _StdlibFuture[Any] | None = None, /, *, depth: int = 1, limit: int | None = None) -> str:
    """What capture_call_graph() answers as text; an empty one where no task runs."""

def print_call_graph(
    future: _StdlibFuture[Any] | None = None,
    /,
    *,
    file: _Writer | None = None,
    depth: int = 1,
    limit: int | None = None,
) -> None:
    """Print the text of format_call_graph() to file, by default to sys.stdout."""
