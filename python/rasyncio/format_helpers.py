"""How callbacks and stacks are written in reprs and in the log."""

__all__ = ()

from ._lazy import lazily
from ._rasyncio import (
    _format_args_and_kwargs,
    _format_callback,
    _format_callback_source,
    _get_function_source,
    extract_stack,
)

__getattr__ = lazily(
    __name__,
    constants="rasyncio.constants",
    functools="functools",
    inspect="inspect",
    reprlib="reprlib",
    sys="sys",
    traceback="traceback",
)
