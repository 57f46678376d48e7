"""rasyncio's loop under the standard library's asyncio: what that one's programs ask of a loop by name.

`stand_in` is called when the standard library's asyncio has been imported.  From then on BaseEventLoop and Server derive from
its classes of those names, which everything they have precedes: `isinstance(loop, asyncio.BaseEventLoop)` is true, of loops that
are there already too.  `EventLoopPolicy` is made when somebody asks for it.
"""

from . import _rasyncio


def stand_in(asyncio):
    """Has our classes derive from the abstract and concrete ones of `asyncio` in whose place they stand."""
    from . import base_events

    base_events.BaseEventLoop.__bases__ = (_rasyncio._BaseEventLoop, asyncio.base_events.BaseEventLoop)
    base_events.Server.__bases__ = (_rasyncio._Server, asyncio.base_events.Server)


def __getattr__(name):
    """`EventLoopPolicy`, of that asyncio which an import gives: the standard library's, or after `install()` rasyncio itself."""
    if name != "EventLoopPolicy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import asyncio.unix_events

    from .unix_events import SelectorEventLoop

    bases = (asyncio.unix_events._UnixDefaultEventLoopPolicy,)
    names = {
        "_loop_factory": SelectorEventLoop,
        "__module__": __package__,
        "__doc__": "Event loops of rasyncio, one for each thread.",
    }
    return globals().setdefault(name, type(name, bases, names))
