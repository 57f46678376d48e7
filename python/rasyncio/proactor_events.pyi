from .base_events import BaseEventLoop

__all__ = ("BaseProactorEventLoop",)

class BaseProactorEventLoop(BaseEventLoop):
    """A loop that starts operations and waits until they are complete; for Windows.

    Not there yet: making one is a NotImplementedError.
    """
