"""Event loops as everybody sees them, handles, and event loop policies; see asyncio's event loop reference and PEP 3156."""

__all__ = (
    "AbstractEventLoop",
    "AbstractServer",
    "Handle",
    "TimerHandle",
    "get_event_loop_policy",
    "set_event_loop_policy",
    "get_event_loop",
    "set_event_loop",
    "new_event_loop",
    "_set_running_loop",
    "get_running_loop",
    "_get_running_loop",
)

import os as _os
import sys as _sys

from . import _rasyncio, _stdlib
from ._lazy import lazily
from ._rasyncio import (
    Handle,
    TimerHandle,
    _get_event_loop_policy,
    _get_running_loop,
    _set_event_loop_policy,
    _set_running_loop,
    get_event_loop,
    get_event_loop_policy,
    get_running_loop,
    new_event_loop,
    on_fork,
    set_event_loop,
    set_event_loop_policy,
)
from ._stdlib import AbstractEventLoop, AbstractServer

# The policy that is in use; None until somebody needs one.
_event_loop_policy = None

_py__get_running_loop = _c__get_running_loop = _get_running_loop
_py__set_running_loop = _c__set_running_loop = _set_running_loop
_py_get_running_loop = _c_get_running_loop = get_running_loop
_py_get_event_loop = _c_get_event_loop = get_event_loop


if _sys.version_info >= (3, 14):
    from ._rasyncio import _AbstractEventLoopPolicy, _ThreadSafeHandle
else:
    from ._rasyncio import AbstractEventLoopPolicy, get_child_watcher, set_child_watcher

    __all__ = ("AbstractEventLoopPolicy", *__all__[:9], "get_child_watcher", "set_child_watcher", *__all__[9:])


class BaseDefaultEventLoopPolicy(_rasyncio._DefaultPolicy):
    """One event loop for each thread; classes that derive from it name the loop's class as `_loop_factory`."""

    _loop_factory = None


if _sys.version_info >= (3, 14):
    BaseDefaultEventLoopPolicy.__name__ = BaseDefaultEventLoopPolicy.__qualname__ = "_BaseDefaultEventLoopPolicy"
    _BaseDefaultEventLoopPolicy = BaseDefaultEventLoopPolicy
    del BaseDefaultEventLoopPolicy

if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=on_fork)

__getattr__ = lazily(
    __name__,
    _lock=lambda: __import__("threading").Lock(),
    contextvars="contextvars",
    format_helpers="rasyncio.format_helpers",
    os="os",
    signal="signal",
    socket="socket",
    subprocess="subprocess",
    sys="sys",
    threading="threading",
    warnings="warnings",
)

# When the standard library's asyncio is loaded beside rasyncio, both tell the same running loop and current task.
_stdlib.on_stdlib_import(_rasyncio._publish)
