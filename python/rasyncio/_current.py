"""`asyncio.tasks._current_tasks`, the dict of which task runs on which loop, as a view of what the loops know.

asyncio has no such name among its public ones, but what runs a loop inside another takes the current task out of it and puts
it back: nest_asyncio, and so many a notebook.  From Python 3.14 on asyncio's own is an empty dict that nobody asks, and
that cannot be done; here it is the same on all versions.
"""

import sys
from _collections_abc import MutableMapping

from ._rasyncio import _swap_current_task, current_task


class CurrentTasks(MutableMapping):
    """From loops to their current tasks; loops without one are not there."""

    def __getitem__(self, loop):
        task = current_task(loop)
        if task is None:
            raise KeyError(loop)
        return task

    def __setitem__(self, loop, task):
        _swap_current_task(loop, task)

    def __delitem__(self, loop):
        if _swap_current_task(loop, None) is None:
            raise KeyError(loop)

    def __iter__(self):
        """Loops are in no list, so the collector is asked."""
        base = sys.modules[__package__].AbstractEventLoop
        loops = [found for found in __import__("gc").get_objects() if issubclass(type(found), base)]
        return (loop for loop in loops if current_task(loop) is not None)

    def __len__(self):
        return sum(1 for _ in self)

    def __repr__(self):
        return repr(dict(self))


current_tasks = CurrentTasks()
