"""The logger of the package, which is asyncio's, so that a program's logging configuration means the same.

Nothing here imports logging before somebody logs.
"""

from ._lazy import lazily as _lazily

__getattr__ = _lazily(__name__, logging="logging", logger=lambda: __import__("logging").getLogger("asyncio"))
