"""What is a coroutine, and what is a coroutine function; see PEP 492."""

__all__ = ("iscoroutinefunction", "iscoroutine")

from ._lazy import lazily
from ._rasyncio import (
    _coroutine_types,
    _format_coroutine,
    _is_debug_mode,
    _iscoroutinefunction,
    iscoroutine,
    iscoroutinefunction,
)

# The mark by which mocks and old decorators say that what they make is a coroutine function.
_is_coroutine = object()

__getattr__ = lazily(
    __name__,
    _COROUTINE_TYPES=_coroutine_types,
    _iscoroutine_typecache=set,
    collections="collections.abc",
    inspect="inspect",
    os="os",
    sys="sys",
    traceback="traceback",
    types="types",
)
