"""The whole of Python's asyncio, in Rust: `import rasyncio as asyncio`, or `python -m rasyncio program.py`.

The names are asyncio's, and so is what they do.  Beyond them there are `install()`, which makes every later
`import asyncio` of this process give rasyncio, `uninstall()`, which undoes that, and `__version__`.
"""

import gc as _gc
import sys as _sys

# Said here, and in syntax that every Python 3 knows, for an installation that no package manager has checked.
if _sys.implementation.name != "cpython" or not (3, 11) <= _sys.version_info[:2] <= (3, 15):
    raise ImportError(
        "rasyncio needs CPython 3.11 to 3.15, and this is %s %d.%d" % (_sys.implementation.name, *_sys.version_info[:2])  # noqa: UP031
    )

# First of all, so that an interpreter that may not have the native module is left as it was.
try:
    from ._rasyncio import __version__ as __version__
except ImportError as _error:
    if "does not support loading in subinterpreters" not in str(_error):
        raise
    _refusal = ImportError(
        "rasyncio works in the main interpreter only, and this is a sub-interpreter; under mod_wsgi set "
        "`WSGIApplicationGroup %{GLOBAL}`, under uWSGI `single-interpreter = true`, or use asyncio here",
        name=__name__,
    )
    # rasyncio_install.pth keeps silent about this one.
    _refusal.only_in_main_interpreter = True
    raise _refusal from None

from ._install import install as install
from ._install import uninstall as uninstall
from ._lazy import lazily as _lazily
from ._rasyncio import _keep_modules

# These make up `__all__`, in asyncio's order.
_PUBLIC = """base_events coroutines events exceptions futures graph locks protocols runners queues streams subprocess tasks
    taskgroups threads timeouts transports unix_events""".split()
# These have no public names of their own. A module is quicker to ask without a `__getattr__`, so they are not lazy. As with
# asyncio, proactor_events, tools and the modules of Windows are imported by whoever names them.
_QUIET = """base_futures base_subprocess base_tasks constants format_helpers log mixins selector_events
    sslproto staggered trsock""".split()
# These are real dataclasses, and the import of `dataclasses` takes longer than all of this.
_LATER = ("FrameCallGraphEntry", "FutureCallGraph")

__all__ = ()
for _name in _PUBLIC + _QUIET:
    __import__(f"{__name__}.{_name}")
    if _name in _PUBLIC:
        _face = vars(_sys.modules[f"{__name__}.{_name}"])
        __all__ += tuple(_face["__all__"])
        globals().update((_public, _face[_public]) for _public in _face["__all__"] if _public not in _LATER)
_keep_modules()
# What this import has made lives as long as the process: the collector looks through it now, and not in the program's first steps.
if _gc.isenabled():
    _gc.collect(0)
del _face, _gc, _name, _keep_modules

_deprecated = {
    "AbstractEventLoopPolicy": "rasyncio.events:_AbstractEventLoopPolicy",
    "DefaultEventLoopPolicy": "rasyncio.unix_events:_DefaultEventLoopPolicy",
}
__getattr__ = _lazily(
    __name__,
    _deprecated if _sys.version_info >= (3, 14) else (),
    EventLoopPolicy="rasyncio._hosted:EventLoopPolicy",
    sys="sys",
    **{_public: f"rasyncio.graph:{_public}" for _public in _LATER},
)
