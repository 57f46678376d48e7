from asyncio.runners import Runner as Runner
from asyncio.runners import run as run

__all__ = ("Runner", "run")
