# ruff: noqa: F403
from .base_events import *
from .coroutines import *
from .events import *
from .exceptions import *
from .futures import *
from .locks import *
from .protocols import *
from .queues import *
from .runners import *
from .streams import *
from .taskgroups import *
from .tasks import *
from .threads import *
from .timeouts import *
from .transports import *
from .unix_events import *

__version__: str

def install() -> None:
    """Makes every later `import asyncio`, and of its submodules, give rasyncio in this process.

    A second call changes nothing.  If the standard library's asyncio has been imported before, its importers keep it, and
    share the running loop and the current task with rasyncio; imports after the call give rasyncio.
    """
