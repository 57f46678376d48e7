"""The life of a loop from start to end; see asyncio's reference of runners."""

__all__ = ("Runner", "run")

from ._lazy import lazily
from ._rasyncio import Runner, _cancel_all_tasks, _do_nothing, run

__getattr__ = lazily(
    __name__,
    constants="rasyncio.constants",
    contextvars="contextvars",
    coroutines="rasyncio.coroutines",
    enum="enum",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    functools="functools",
    inspect="inspect",
    signal="signal",
    sys="sys",
    tasks="rasyncio.tasks",
    threading="threading",
)
