"""Results that are not there yet; see asyncio's reference of futures and PEP 3156."""

__all__ = ("Future", "wrap_future", "isfuture", "future_add_to_awaited_by", "future_discard_from_awaited_by")

from ._lazy import lazily
from ._rasyncio import (
    Future,
    _chain_future,
    _convert_future_exc,
    _copy_future_state,
    _get_loop,
    _set_concurrent_future_state,
    _set_result_unless_cancelled,
    _set_state,
    future_add_to_awaited_by,
    future_discard_from_awaited_by,
    isfuture,
    wrap_future,
)
from .base_futures import _CANCELLED, _FINISHED, _PENDING

# asyncio has a Future in Python and one in C; here both names mean the one there is.
_PyFuture = _CFuture = Future
_py_future_add_to_awaited_by = _c_future_add_to_awaited_by = future_add_to_awaited_by
_py_future_discard_from_awaited_by = _c_future_discard_from_awaited_by = future_discard_from_awaited_by

__getattr__ = lazily(
    __name__,
    GenericAlias="types:GenericAlias",
    STACK_DEBUG=lambda: __import__("logging").DEBUG - 1,
    base_futures="rasyncio.base_futures",
    concurrent="concurrent.futures",
    contextvars="contextvars",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    format_helpers="rasyncio.format_helpers",
    logger="rasyncio.log:logger",
    logging="logging",
    sys="sys",
)
