"""What the synchronisation primitives share."""

__all__ = ()

from ._lazy import lazily

__getattr__ = lazily(__name__, events="rasyncio.events", threading="threading")
