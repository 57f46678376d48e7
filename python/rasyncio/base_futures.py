"""What makes an object a future, and how one is written."""

__all__ = ()

from ._lazy import lazily
from ._rasyncio import _format_callbacks, _future_repr, _future_repr_info, isfuture

# The states of a future, as `_state` shows them.
_PENDING = "PENDING"
_CANCELLED = "CANCELLED"
_FINISHED = "FINISHED"

__getattr__ = lazily(
    __name__,
    format_helpers="rasyncio.format_helpers",
    get_ident="_thread:get_ident",
    reprlib="reprlib",
)
