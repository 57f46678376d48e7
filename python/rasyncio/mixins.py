"""What the synchronisation primitives share."""

__all__ = ()

from ._lazy import lazily
from ._rasyncio import _LoopBoundMixin

__getattr__ = lazily(
    __name__,
    _global_lock=lambda: __import__("threading").Lock(),
    events="rasyncio.events",
    threading="threading",
)
