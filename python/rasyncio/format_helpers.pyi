from collections.abc import Iterable, Mapping
from traceback import StackSummary
from types import FrameType
from typing import Any

__all__ = ()

def extract_stack(f: FrameType | None = None, limit: int | None = None) -> StackSummary:
    """The stack of the frame f (by default the caller's), at most limit frames of it, without the lines of source.

    limit is constants.DEBUG_STACK_DEPTH by default.  This is what debug mode keeps of where something was created.
    """

def _get_function_source(func: object) -> tuple[str, int] | None: ...
def _format_callback_source(func: object, args: Iterable[Any], *, debug: bool = False) -> str: ...
def _format_args_and_kwargs(args: Iterable[Any], kwargs: Mapping[str, Any], *, debug: bool = False) -> str: ...
def _format_callback(
    func: object, args: Iterable[Any], kwargs: Mapping[str, Any], *, debug: bool = False, suffix: str = ""
) -> str: ...
