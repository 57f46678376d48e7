import sys

from .events import _BaseDefaultEventLoopPolicy
from .selector_events import BaseSelectorEventLoop

if sys.version_info >= (3, 14):
    __all__ = ("SelectorEventLoop", "EventLoop")
else:
    __all__ = ("SelectorEventLoop", "DefaultEventLoopPolicy", "EventLoop")

class _UnixSelectorEventLoop(BaseSelectorEventLoop):
    """The event loop of Unix systems; for what it can do see AbstractEventLoop.

    selector is an object of the module selectors to wait with; without it the loop has an epoll of its own, which is much
    faster.

    Not there yet, and a NotImplementedError: TLS, child processes.
    """

class _UnixDefaultEventLoopPolicy(_BaseDefaultEventLoopPolicy):
    """A loop of Unix for each thread."""

SelectorEventLoop = _UnixSelectorEventLoop
EventLoop = _UnixSelectorEventLoop
_DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy
if sys.version_info < (3, 14):
    DefaultEventLoopPolicy = _UnixDefaultEventLoopPolicy
