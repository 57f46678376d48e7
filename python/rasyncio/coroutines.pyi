from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeGuard, TypeVar, overload

from typing_extensions import TypeIs, deprecated

__all__ = ("iscoroutinefunction", "iscoroutine")

_T = TypeVar("_T")
_P = ParamSpec("_P")

_is_coroutine: object

def iscoroutine(obj: object) -> TypeIs[Coroutine[Any, Any, Any]]:
    """Whether obj is a coroutine: what an `async def` function returns when it is called (PEP 492), or what implements
    collections.abc.Coroutine.  On Python 3.11 generators count as well.
    """

@overload
@deprecated("Deprecated since Python 3.14, to be removed in 3.16; use inspect.iscoroutinefunction().")
def iscoroutinefunction(func: Callable[..., Coroutine[Any, Any, Any]]) -> bool:
    """Whether func is an `async def` function, or is marked as something that returns coroutines.

    A call warns (DeprecationWarning) from Python 3.14 on.
    """

@overload
@deprecated("Deprecated since Python 3.14, to be removed in 3.16; use inspect.iscoroutinefunction().")
def iscoroutinefunction(func: Callable[_P, Awaitable[_T]]) -> TypeGuard[Callable[_P, Coroutine[Any, Any, _T]]]: ...
@overload
@deprecated("Deprecated since Python 3.14, to be removed in 3.16; use inspect.iscoroutinefunction().")
def iscoroutinefunction(func: Callable[_P, object]) -> TypeGuard[Callable[_P, Coroutine[Any, Any, Any]]]: ...
@overload
@deprecated("Deprecated since Python 3.14, to be removed in 3.16; use inspect.iscoroutinefunction().")
def iscoroutinefunction(func: object) -> TypeGuard[Callable[..., Coroutine[Any, Any, Any]]]: ...
def _iscoroutinefunction(func: object) -> bool: ...
def _is_debug_mode() -> bool: ...
def _format_coroutine(coro: object) -> str: ...
