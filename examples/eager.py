"""Task factories, and eager tasks (Python 3.12, rasyncio everywhere): who never waits needs no turn of the loop."""

import asyncio

cache = {"a": 1}


async def look_up(key):
    if key not in cache:
        await asyncio.sleep(0)
        cache[key] = len(cache) + 1
    return cache[key]


async def main():
    loop = asyncio.get_running_loop()
    assert not asyncio.create_task(look_up("a")).done()

    if hasattr(asyncio, "eager_task_factory"):
        loop.set_task_factory(asyncio.eager_task_factory)
        assert asyncio.create_task(look_up("a")).done()
        waiting = asyncio.create_task(look_up("b"))
        assert not waiting.done()
        assert await waiting == 2

    # A factory of one's own sees every task.
    names = []

    def factory(loop, coro, **options):
        names.append(coro.__name__)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    await asyncio.create_task(look_up("a"))
    assert names == ["look_up"]
    loop.set_task_factory(None)
    print("found at once:", cache["a"])


asyncio.run(main())
