from asyncio.events import AbstractEventLoop as AbstractEventLoop
from asyncio.events import AbstractServer as AbstractServer
from collections.abc import Callable
from types import ModuleType

exceptions: ModuleType
transports: ModuleType
protocols: ModuleType
queue_exceptions: dict[str, type[Exception]]

def on_stdlib_import(callback: Callable[[ModuleType], object]) -> None: ...
