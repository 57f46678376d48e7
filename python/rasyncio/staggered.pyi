from asyncio.staggered import staggered_race as staggered_race

__all__ = ("staggered_race",)
