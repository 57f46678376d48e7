"""Locks and queues: waits that end well, by an error, by a cancellation, by a shutdown."""

import asyncio
import contextlib
import sys

from garbage.counting import Token, begin, cancelled, expected, program, turns

QUEUES = (asyncio.Queue, asyncio.PriorityQueue, asyncio.LifoQueue)


class Item(Token):
    """A token that a PriorityQueue can order."""

    def __lt__(self, other):
        return id(self) < id(other)


@program
async def queue():
    for kind in QUEUES:
        items = kind(2)
        await items.put(Item())
        items.put_nowait(Item())
        await items.get()
        items.get_nowait()
        items.task_done()
        items.task_done()
        await items.join()
        repr(items), str(items)


@program
async def queue_left_full():
    for kind in QUEUES:
        items = kind()
        for _ in range(5):
            items.put_nowait(Item())


@program
async def queue_waited_for():
    for kind in QUEUES:
        items = kind(1)
        getter = begin(items.get())
        await turns(2)
        repr(items), str(items)
        await items.put(Item())
        await getter
        items.task_done()
        await items.put(Item())
        putter = begin(items.put(Item()))
        await turns(2)
        await items.get()
        await putter
        joiner = begin(items.join())
        await turns(2)
        await items.get()
        items.task_done()
        items.task_done()
        await joiner


@program
async def queue_cancelled():
    for kind in QUEUES:
        items = kind(1)
        await cancelled(items.get())
        items.put_nowait(Item())
        await cancelled(items.put(Item()))
        await cancelled(items.join())


@program
async def queue_cancelled_and_woken():
    for kind in QUEUES:
        items = kind(1)
        first, second = begin(items.get()), begin(items.get())
        await turns(2)
        items.put_nowait(Item())
        first.cancel()
        with expected():
            await first
        await second
        items.put_nowait(Item())
        first, second = begin(items.put(Item())), begin(items.put(Item()))
        await turns(2)
        items.get_nowait()
        first.cancel()
        with expected():
            await first
        await second


@program
async def queue_waits_abandoned():
    for kind in QUEUES:
        items = kind(1)
        getting = items.get()
        getting.send(None)
        getting.close()
        items.get()


@program
async def queue_errors():
    for kind in QUEUES:
        items = kind(1)
        with contextlib.suppress(asyncio.QueueEmpty):
            items.get_nowait()
        items.put_nowait(Item())
        with contextlib.suppress(asyncio.QueueFull):
            items.put_nowait(Item())
        items.task_done()
        with expected():
            items.task_done()


@program
async def queue_timeouts():
    for kind in QUEUES:
        with expected():
            await asyncio.wait_for(kind().get(), 1e-6)
        with expected():
            async with asyncio.timeout(1e-6):
                await kind().get()


@program
async def queue_of_workers():
    items = asyncio.Queue()

    async def work():
        while True:
            item = await items.get()
            del item
            items.task_done()

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(3)]
        for _ in range(10):
            items.put_nowait(Item())
        await items.join()
        for worker in workers:
            worker.cancel()


@program
async def queue_looked_into():
    items = asyncio.Queue()
    getter = begin(items.get())
    await turns(2)
    len(items._getters), len(items._putters), len(items._queue)
    items.put_nowait(Item())
    await getter
    items._queue.append(Item())
    await items.get()


@program
async def queue_derived():
    class Mine(asyncio.Queue):
        def _put(self, item):
            self._queue.appendleft(item)

    items = Mine(1)
    await cancelled(items.get())
    await items.put(Item())
    await cancelled(items.put(Item()))
    await items.get()


if sys.version_info >= (3, 13):

    @program
    async def queue_shut_down():
        for kind in QUEUES:
            for immediate in (False, True):
                items = kind(1)
                getter = begin(items.get())
                await turns(2)
                items.shutdown(immediate)
                with contextlib.suppress(asyncio.QueueShutDown):
                    await getter
                items = kind(1)
                items.put_nowait(Item())
                putter, joiner = begin(items.put(Item())), begin(items.join())
                await turns(2)
                items.shutdown(immediate)
                with contextlib.suppress(asyncio.QueueShutDown):
                    await putter
                with contextlib.suppress(asyncio.QueueShutDown):
                    await items.get()
                    items.task_done()
                await joiner
                with contextlib.suppress(asyncio.QueueShutDown):
                    await items.put(Item())
                with contextlib.suppress(asyncio.QueueShutDown):
                    await items.get()


@program
async def lock():
    held = asyncio.Lock()
    async with held:
        waiting = begin(held.acquire())
        await turns(2)
        repr(held), held.locked()
    await waiting
    held.release()
    with contextlib.suppress(RuntimeError):
        held.release()


@program
async def lock_cancelled():
    held = asyncio.Lock()
    async with held:
        await cancelled(held.acquire())
        with expected():
            await asyncio.wait_for(held.acquire(), 1e-6)
        first, second = begin(held.acquire()), begin(held.acquire())
        await turns(2)
    first.cancel()
    with expected():
        await first
    await second


@program
async def lock_whose_holder_fails():
    held = asyncio.Lock()

    async def holder():
        async with held:
            await asyncio.sleep(0)
            raise ValueError(Token())

    with expected():
        await holder()
    with expected():
        await begin(holder())
    await asyncio.gather(holder(), holder(), return_exceptions=True)


@program
async def event():
    happened = asyncio.Event()
    waiting = begin(happened.wait())
    await turns(2)
    repr(happened)
    happened.set()
    await waiting
    await happened.wait()
    happened.clear()
    await cancelled(happened.wait())
    with expected():
        await asyncio.wait_for(happened.wait(), 1e-6)


@program
async def condition():
    changed = asyncio.Condition()

    async def wait():
        async with changed:
            await changed.wait()

    async def wait_until(given):
        async with changed:
            await changed.wait_for(lambda: given)

    waiting = [begin(wait()), begin(wait_until([Token()]))]
    await turns(3)
    repr(changed)
    async with changed:
        changed.notify_all()
    await asyncio.wait(waiting)
    with contextlib.suppress(RuntimeError):
        changed.notify()
    with contextlib.suppress(RuntimeError):
        await changed.wait()


@program
async def condition_cancelled():
    changed = asyncio.Condition()

    async def wait():
        async with changed:
            await changed.wait()

    await cancelled(wait(), 4)
    with expected():
        await asyncio.wait_for(wait(), 1e-6)
    waiting = begin(wait())
    await turns(3)
    async with changed:
        changed.notify()
        waiting.cancel()
        await turns(2)
    with expected():
        await waiting


@program
async def condition_whose_predicate_fails():
    changed = asyncio.Condition()

    def fail():
        raise ValueError(Token())

    async def wait():
        async with changed:
            await changed.wait_for(fail)

    with expected():
        await wait()
    with expected():
        await begin(wait())


@program
async def semaphores():
    for kind in (asyncio.Semaphore, asyncio.BoundedSemaphore):
        slots = kind(1)
        async with slots:
            waiting = begin(slots.acquire())
            await turns(2)
            repr(slots)
            await cancelled(slots.acquire())
            with expected():
                await asyncio.wait_for(slots.acquire(), 1e-6)
        await waiting
        slots.release()
        with expected():
            asyncio.BoundedSemaphore(1).release()
        with expected():
            kind(-1)


@program
async def semaphore_cancelled_and_woken():
    slots = asyncio.Semaphore(0)
    first, second = begin(slots.acquire()), begin(slots.acquire())
    await turns(2)
    slots.release()
    first.cancel()
    with expected():
        await first
    await turns(2)
    second.cancel()
    with expected():
        await second


@program
async def barrier():
    meeting = asyncio.Barrier(2)

    async def meet():
        async with meeting as position:
            return position

    await asyncio.gather(meet(), meet())
    repr(meeting)
    await asyncio.gather(meeting.wait(), meeting.wait())


@program
async def barrier_broken():
    meeting = asyncio.Barrier(2)
    waiting = begin(meeting.wait())
    await turns(2)
    await meeting.abort()
    with contextlib.suppress(asyncio.BrokenBarrierError):
        await waiting
    with contextlib.suppress(asyncio.BrokenBarrierError):
        await meeting.wait()
    await meeting.reset()
    waiting = begin(meeting.wait())
    await turns(2)
    await meeting.reset()
    with contextlib.suppress(asyncio.BrokenBarrierError):
        await waiting


@program
async def barrier_cancelled():
    meeting = asyncio.Barrier(2)
    await cancelled(meeting.wait(), 3)
    with expected():
        await asyncio.wait_for(meeting.wait(), 1e-6)


@program
async def another_loop():
    held, items = asyncio.Lock(), asyncio.Queue()
    await held.acquire()
    await cancelled(held.acquire())
    await cancelled(items.get())

    def elsewhere():
        with contextlib.suppress(RuntimeError):
            asyncio.run(held.acquire())
        with contextlib.suppress(RuntimeError):
            asyncio.run(items.get())

    await asyncio.get_running_loop().run_in_executor(None, elsewhere)
