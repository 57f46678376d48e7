"""Coroutines on their way, and waiting for them; see asyncio's reference of coroutines and tasks, and PEP 492."""

__all__ = (
    "Task",
    "create_task",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "ALL_COMPLETED",
    "wait",
    "wait_for",
    "as_completed",
    "sleep",
    "gather",
    "shield",
    "ensure_future",
    "run_coroutine_threadsafe",
    "current_task",
    "all_tasks",
    "create_eager_task_factory",
    "eager_task_factory",
    "_register_task",
    "_unregister_task",
    "_enter_task",
    "_leave_task",
)

import sys as _sys

from . import _rasyncio
from ._factories import create_eager_task_factory, eager_task_factory
from ._lazy import lazily
from ._rasyncio import (
    Task,
    _AsCompletedIterator,
    _enter_task,
    _GatheringFuture,
    _leave_task,
    _log_on_exception,
    _register_eager_task,
    _register_task,
    _set_task_name,
    _sleep,
    _swap_current_task,
    _timeout,
    _unregister_eager_task,
    _unregister_task,
    _wait_for_passed,
    _wait_for_task,
    all_tasks,
    as_completed,
    create_task,
    current_task,
    ensure_future,
    gather,
    run_coroutine_threadsafe,
    shield,
)

FIRST_COMPLETED = "FIRST_COMPLETED"
FIRST_EXCEPTION = "FIRST_EXCEPTION"
ALL_COMPLETED = "ALL_COMPLETED"

# asyncio has a Task in Python and one in C; here both names mean the one there is.
_PyTask = _CTask = Task
_py_current_task = _c_current_task = current_task
_py_all_tasks = _c_all_tasks = all_tasks
_py_register_task = _c_register_task = _register_task
_py_register_eager_task = _c_register_eager_task = _register_eager_task
_py_unregister_task = _c_unregister_task = _unregister_task
_py_unregister_eager_task = _c_unregister_eager_task = _unregister_eager_task
_py_enter_task = _c_enter_task = _enter_task
_py_leave_task = _c_leave_task = _leave_task
_py_swap_current_task = _c_swap_current_task = _swap_current_task

__getattr__ = lazily(
    __name__,
    GenericAlias="types:GenericAlias",
    _current_tasks="rasyncio._current:current_tasks",
    _is_coroutine="rasyncio.coroutines:_is_coroutine",
    base_tasks="rasyncio.base_tasks",
    concurrent="concurrent.futures",
    contextvars="contextvars",
    coroutines="rasyncio.coroutines",
    events="rasyncio.events",
    exceptions="rasyncio.exceptions",
    functools="functools",
    futures="rasyncio.futures",
    inspect="inspect",
    itertools="itertools",
    math="math",
    queues="rasyncio.queues",
    timeouts="rasyncio.timeouts",
    types="types",
    warnings="warnings",
    weakref="weakref",
)


async def sleep(delay, result=None):
    """Wait for delay seconds, then answer result. A delay of 0 lets the loop run once."""
    return await _sleep(delay, result)


# A delay of 0 needs no coroutine, only the one yield.
_rasyncio._divert(sleep)


async def wait(fs, *, timeout=None, return_when=ALL_COMPLETED):
    """Wait for tasks and futures; answers the sets (done, pending).

    Returns when all are done, or the first, or the first with an exception, as return_when says; or after timeout
    seconds. TimeoutError is not raised, and nothing is cancelled.
    """
    return await _rasyncio._wait(fs, timeout, return_when)


if _sys.version_info >= (3, 12):

    async def wait_for(fut, timeout):
        """Wait for an awaitable, at most timeout seconds (None for ever); then it is cancelled and TimeoutError raised."""
        if timeout is not None and timeout <= 0:
            return await _wait_for_passed(fut)
        async with _timeout(timeout):
            return await fut

    _rasyncio._divert(wait_for)

else:

    async def wait_for(fut, timeout):
        """Wait for an awaitable, at most timeout seconds (None for ever); then it is cancelled and TimeoutError raised."""
        if timeout is None:
            return await fut
        return await (_wait_for_passed(fut) if timeout <= 0 else _wait_for_task(fut, timeout))


async def _wrap_awaitable(awaitable):
    return await awaitable
