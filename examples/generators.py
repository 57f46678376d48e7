"""Asynchronous generators, iterators and context managers, and how a loop ends those that were left."""

import asyncio
from contextlib import aclosing, asynccontextmanager

closed = []


async def ticks(count):
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield number
    finally:
        closed.append(count)


@asynccontextmanager
async def connection():
    await asyncio.sleep(0)
    yield "a connection"
    await asyncio.sleep(0)


async def main():
    assert [tick async for tick in ticks(3)] == [0, 1, 2]
    async with connection() as connected:
        assert connected == "a connection"

    # A generator that is left early should be closed; aclosing() sees to it.
    async with aclosing(ticks(100)) as generator:
        async for tick in generator:
            if tick == 5:
                break
    assert closed == [3, 100]

    global left
    left = ticks(7)  # nobody closes this one: run() does
    await anext(left)


asyncio.run(main())
assert closed == [3, 100, 7]
print("three generators closed")
