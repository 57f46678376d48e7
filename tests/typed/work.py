"""Tasks, groups, timeouts, locks and queues, as typed programs use them."""

import asyncio
import contextvars
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, assert_type

T = TypeVar("T")
REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST")


async def number(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def word(value: str) -> str:
    return await asyncio.sleep(0, value)


async def with_retries(attempt: Callable[[], Awaitable[T]], times: int) -> T:
    for left in reversed(range(times)):
        try:
            return await attempt()
        except OSError:
            if not left:
                raise
    raise AssertionError("times is 0")


async def tasks() -> None:
    task = asyncio.create_task(number(1), name="one")
    assert_type(task, asyncio.Task[int])
    assert_type(await task, int)
    background: set[asyncio.Task[Any]] = {task}
    task.add_done_callback(background.discard)
    assert_type(task.get_name(), str)
    assert_type(asyncio.current_task(), asyncio.Task[Any] | None)
    assert_type(asyncio.all_tasks(), set[asyncio.Task[Any]])
    await asyncio.gather(*background)
    context = contextvars.copy_context()
    context.run(REQUEST.set, "there")
    asked = await asyncio.get_running_loop().create_task(word("x"), context=context)
    assert_type(asked, str)


async def gathering() -> None:
    pair = await asyncio.gather(number(1), word("x"))
    assert_type(pair, tuple[int, str])
    many = await asyncio.gather(*(number(n) for n in range(3)))
    assert_type(many, list[int])
    outcomes = await asyncio.gather(number(1), word("x"), return_exceptions=True)
    assert_type(outcomes, tuple[int | BaseException, str | BaseException])
    future = asyncio.ensure_future(number(2))
    assert_type(future, asyncio.Task[int])
    done, pending = await asyncio.wait([future], return_when=asyncio.FIRST_COMPLETED)
    assert_type(done, set[asyncio.Task[int]])
    assert_type(pending, set[asyncio.Task[int]])
    assert_type(await asyncio.shield(number(3)), int)
    assert_type(await asyncio.wait_for(word("x"), timeout=5), str)
    assert_type(await asyncio.wait_for(asyncio.get_running_loop().create_task(number(1)), None), int)
    for ready in asyncio.as_completed([number(1), number(2)]):
        assert_type(await ready, int)


async def groups() -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(number(1), name="first")
        second = group.create_task(word("x"))
    assert_type(first.result(), int)
    assert_type(second.result(), str)
    limit = asyncio.timeout(0)
    try:
        async with limit as entered:
            assert_type(entered.when(), float | None)
            await asyncio.sleep(1)
    except TimeoutError:
        assert limit.expired()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout_at(loop.time() + 5) as later:
        later.reschedule(None)


async def queues() -> None:
    queue: asyncio.Queue[tuple[int, str]] = asyncio.PriorityQueue(maxsize=10)
    for item in ((2, "b"), (1, "a")):
        await queue.put(item)
    priority, name = await queue.get()
    assert_type(priority, int)
    assert_type(name, str)
    queue.task_done()
    assert_type(queue.qsize(), int)
    try:
        asyncio.Queue[int]().get_nowait()
    except asyncio.QueueEmpty:
        pass


async def locks() -> None:
    lock, room = asyncio.Lock(), asyncio.BoundedSemaphore(2)
    async with lock, room:
        assert_type(lock.locked(), bool)
    changed = asyncio.Condition()
    async with changed:
        assert_type(await changed.wait_for(lambda: True), bool)
        changed.notify_all()
    event = asyncio.Event()
    event.set()
    await event.wait()
    barrier = asyncio.Barrier(1)
    async with barrier:
        assert_type(barrier.parties, int)
    assert_type(await barrier.wait(), int)


class Pool:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._free: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        self._closed: asyncio.Future[None] = loop.create_future()

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[int]:
        self._free.put_nowait(1)
        yield await self._free.get()

    def close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

    async def wait_closed(self) -> None:
        await self._closed


async def threads() -> None:
    loop = asyncio.get_running_loop()
    assert_type(await asyncio.to_thread(sum, [1, 2]), int)
    assert_type(await loop.run_in_executor(None, len, "abc"), int)
    assert_type(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(number(1), loop)), asyncio.Future[int])
    handle: asyncio.TimerHandle = loop.call_later(5, print, "never")
    handle.cancel()
    soon: asyncio.Handle = loop.call_soon(str.upper, "x")
    soon.cancel()


async def eagerly() -> None:
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
        assert await asyncio.create_task(number(1)) == 1
    loop.set_task_factory(None)
    if sys.version_info >= (3, 13):
        queue: asyncio.Queue[int] = asyncio.Queue()
        queue.shutdown(immediate=True)
        try:
            await queue.get()
        except asyncio.QueueShutDown:
            pass
        async for ready in asyncio.as_completed([asyncio.create_task(number(1))]):
            assert_type(await ready, int)


async def main() -> None:
    steps: list[Callable[[], Coroutine[Any, Any, None]]] = [tasks, gathering, groups, queues, locks, threads, eagerly]
    for step in steps:
        await step()
    pool = Pool(asyncio.get_running_loop())
    async with pool.borrow() as borrowed:
        assert_type(borrowed, int)
    pool.close()
    await pool.wait_closed()
    assert_type(await with_retries(lambda: number(1), times=3), int)


if __name__ == "__main__":
    asyncio.run(main())
