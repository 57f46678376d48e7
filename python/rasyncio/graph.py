"""Who waits for whom, and where in its code; see asyncio's reference of call graph introspection.

It came to asyncio with Python 3.14, and is here on all versions.
"""

__all__ = ("capture_call_graph", "format_call_graph", "print_call_graph", "FrameCallGraphEntry", "FutureCallGraph")

from ._lazy import lazily
from ._rasyncio import (
    _frame_entry_class,
    _future_graph_class,
    capture_call_graph,
    format_call_graph,
    print_call_graph,
)

__getattr__ = lazily(
    __name__,
    FrameCallGraphEntry=_frame_entry_class,
    FutureCallGraph=_future_graph_class,
    dataclasses="dataclasses",
    events="rasyncio.events",
    futures="rasyncio.futures",
    io="io",
    sys="sys",
    tasks="rasyncio.tasks",
    types="types",
)
