"""What a transport shows of its socket."""

__all__ = ()

from ._lazy import lazily
from ._rasyncio import TransportSocket

__getattr__ = lazily(__name__, socket="socket")
