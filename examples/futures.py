"""Futures: what joins callbacks and coroutines."""

import asyncio
import concurrent.futures


class Thermometer:
    """A device that calls back, made awaitable."""

    def __init__(self, loop):
        self.loop = loop

    def read(self, callback):
        self.loop.call_soon(callback, 21.5)

    async def temperature(self):
        future = self.loop.create_future()
        self.read(lambda value: future.cancelled() or future.set_result(value))
        return await future


async def main():
    loop = asyncio.get_running_loop()
    assert await Thermometer(loop).temperature() == 21.5

    future, told = loop.create_future(), []
    future.add_done_callback(lambda done: told.append(done.result()))
    future.set_result(1)
    assert told == []  # callbacks are called by the loop, not at once
    await asyncio.sleep(0)
    assert told == [1]
    try:
        future.set_result(2)
    except asyncio.InvalidStateError as error:
        print("InvalidStateError:", error)

    # A future of another thread's work becomes one that can be awaited.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert await asyncio.wrap_future(pool.submit(pow, 2, 10)) == 1024


asyncio.run(main())
