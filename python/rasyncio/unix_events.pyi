import sys
from asyncio.unix_events import SelectorEventLoop as SelectorEventLoop

if sys.version_info >= (3, 14):
    __all__ = ("SelectorEventLoop", "EventLoop")
else:
    from asyncio.unix_events import DefaultEventLoopPolicy as DefaultEventLoopPolicy

    __all__ = ("SelectorEventLoop", "DefaultEventLoopPolicy", "EventLoop")

EventLoop = SelectorEventLoop
