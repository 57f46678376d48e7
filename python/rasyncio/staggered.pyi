from asyncio.events import AbstractEventLoop as _StdlibLoop
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

__all__ = ("staggered_race",)

async def staggered_race(
    coro_fns: Iterable[Callable[[], Awaitable[Any]]], delay: float | None, *, loop: _StdlibLoop | None = None
) -> tuple[Any, int | None, list[Exception | None]]:
    """Call coroutine functions one after another and run what they return side by side; the first success wins.

    The next one starts when the one before has failed, or after delay seconds (None: only then); the rest is cancelled when
    one has won.  RFC 8305 connects so.

    Returns (result, index of the winner, list of the exceptions of those that were started); None, None without a winner.
    """
