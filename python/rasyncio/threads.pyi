from asyncio.threads import to_thread as to_thread

__all__ = ("to_thread",)
