"""Functions called in other threads; see asyncio's reference of coroutines and tasks."""

__all__ = ("to_thread",)

from ._lazy import lazily
from ._rasyncio import _to_thread

__getattr__ = lazily(__name__, contextvars="contextvars", events="rasyncio.events", functools="functools")


async def to_thread(func, /, *args, **kwargs):
    """Call func(*args, **kwargs) in a thread of the loop's executor, in a copy of the context; answers its result."""
    return await _to_thread(func, *args, **kwargs)
