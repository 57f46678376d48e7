"""Eager task factories (of Python 3.12 and later): functions of Python, and not native objects.

Frameworks recognise them: they compare a loop's factory with `eager_task_factory` by `__code__`, and take the constructor
of tasks from its `__closure__`.
"""

import sys

from ._rasyncio import Task


def create_eager_task_factory(custom_task_constructor):
    """A task factory whose tasks make their first step at once.

    The constructor is called as Task is, with eager_start.
    """
    if sys.version_info >= (3, 14):

        def factory(loop, coro, *, eager_start=True, **kwargs):
            return custom_task_constructor(coro, loop=loop, eager_start=eager_start, **kwargs)

    else:
        # The constructor gets a name and a context always, as before 3.14; what create_task() takes since 3.14, it gets too.
        def factory(loop, coro, *, name=None, context=None, eager_start=True, **kwargs):
            kwargs |= {"name": name, "context": context, "eager_start": eager_start}
            return custom_task_constructor(coro, loop=loop, **kwargs)

    return factory


eager_task_factory = create_eager_task_factory(Task)
