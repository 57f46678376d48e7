from .events import AbstractEventLoop

__all__ = ()

class _LoopBoundMixin:
    _loop: AbstractEventLoop | None
    def _get_loop(self) -> AbstractEventLoop: ...
