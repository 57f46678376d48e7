"""A pytest plugin: the standard library's asyncio, its tasks and all the rest of it, on rasyncio's event loop.

A suite makes its loops by asyncio.run(), by a policy, or by a class that it names: each of these gives rasyncio's loop.
"""

import asyncio
import asyncio.unix_events

import rasyncio

for module in (asyncio, asyncio.unix_events):
    for name in ("SelectorEventLoop", "EventLoop"):
        if hasattr(module, name):
            setattr(module, name, rasyncio.SelectorEventLoop)
asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory = rasyncio.SelectorEventLoop


def pytest_report_header():
    assert asyncio is not rasyncio and asyncio.Task is not rasyncio.Task
    return f"event loops: {rasyncio.SelectorEventLoop.__module__}.{rasyncio.SelectorEventLoop.__qualname__}"
