"""How a task is written, and its stack."""

__all__ = ()

from ._lazy import lazily
from ._rasyncio import _task_get_stack, _task_print_stack, _task_repr, _task_repr_info

__getattr__ = lazily(
    __name__,
    base_futures="rasyncio.base_futures",
    coroutines="rasyncio.coroutines",
    linecache="linecache",
    reprlib="reprlib",
    traceback="traceback",
)
