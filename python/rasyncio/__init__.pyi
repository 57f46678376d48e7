# ruff: noqa: F403
from ._install import install as install
from ._install import uninstall as uninstall
from .base_events import *
from .coroutines import *
from .events import *
from .exceptions import *
from .futures import *
from .graph import *
from .locks import *
from .protocols import *
from .queues import *
from .runners import *
from .streams import *
from .subprocess import *
from .taskgroups import *
from .tasks import *
from .threads import *
from .timeouts import *
from .transports import *
from .unix_events import *
from .unix_events import _UnixDefaultEventLoopPolicy as _DefaultEventLoopPolicy

__version__: str

class EventLoopPolicy(_DefaultEventLoopPolicy):
    """Event loops of rasyncio, one for each thread; for `asyncio.set_event_loop_policy`, up to Python 3.15."""
