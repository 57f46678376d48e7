"""Queues, beyond what CPython's own tests say: derived classes are asked, `_queue` is live, shutdown on every Python."""

import collections

import pytest
import rasyncio as asyncio


class Unique(asyncio.Queue):
    """Keeps one of each, the newest last."""

    def _init(self, maxsize):
        self._queue = {}

    def _put(self, item):
        self._queue.pop(item, None)
        self._queue[item] = None

    def _get(self):
        item = next(iter(self._queue))
        del self._queue[item]
        return item


def test_a_derived_class_is_asked():
    async def main():
        queue = Unique()
        for item in "abca":
            await queue.put(item)
        assert queue.qsize() == 3
        return [await queue.get() for _ in range(3)]

    assert asyncio.run(main()) == ["b", "c", "a"]


def test_orders():
    async def main():
        taken = []
        for make in (asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue):
            queue = make()
            for item in (2, 1, 3):
                queue.put_nowait(item)
            taken.append([await queue.get() for _ in range(3)])
        return taken

    assert asyncio.run(main()) == [[2, 1, 3], [3, 1, 2], [1, 2, 3]]


def test_the_container_is_live():
    queue = asyncio.Queue()
    queue.put_nowait(1)
    assert isinstance(queue._queue, collections.deque)
    queue._queue.appendleft(0)
    queue.put_nowait(2)
    assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]


def test_shutdown():
    async def main():
        queue = asyncio.Queue(1)
        queue.put_nowait(1)
        blocked = asyncio.create_task(queue.put(2))
        await asyncio.sleep(0)
        queue.shutdown()
        with pytest.raises(asyncio.queues.QueueShutDown):
            await blocked
        assert await queue.get() == 1
        with pytest.raises(asyncio.queues.QueueShutDown):
            await queue.get()

    asyncio.run(main())


def test_a_cancelled_getter_loses_no_item():
    async def main():
        queue = asyncio.Queue()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait("item")
        first.cancel()
        assert await second == "item"

    asyncio.run(main())
