from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Final

from typing_extensions import TypeIs

from .futures import Future

__all__ = ()

_PENDING: Final = "PENDING"
_CANCELLED: Final = "CANCELLED"
_FINISHED: Final = "FINISHED"

def isfuture(obj: object) -> TypeIs[Future[Any]]:
    """Whether obj is a future: of this package, of the standard library, or anything that marks itself as one.

    The mark is an attribute `_asyncio_future_blocking` that obj's class has, and that is not None in obj.
    """

def _format_callbacks(cb: Sequence[tuple[Callable[[Future[Any]], object], Context]]) -> str: ...
def _future_repr(future: Future[Any]) -> str: ...
def _future_repr_info(future: Future[Any]) -> list[str]: ...
