"""Coroutines started one after another, of which the first that succeeds wins; what Happy Eyeballs (RFC 8305) needs."""

__all__ = ("staggered_race",)

from ._lazy import lazily
from ._rasyncio import _staggered_race

__getattr__ = lazily(
    __name__,
    contextlib="contextlib",
    events="rasyncio.events",
    exceptions_mod="rasyncio.exceptions",
    futures="rasyncio.futures",
    locks="rasyncio.locks",
    tasks="rasyncio.tasks",
    typing="typing",
)


async def staggered_race(coro_fns, delay, *, loop=None):
    """Run coroutine functions, each as soon as the one before it has failed or delay seconds are over; the first success wins.

    Without a delay (None) each waits for the failure of the one before. The others are cancelled when one has won.
    Answers (result, index of the winner, list of what those that were started raised); None, None without a winner.
    """
    return await _staggered_race(coro_fns, delay, loop=loop)
