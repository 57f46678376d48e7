"""Every primitive, used many times, leaves nothing: objects, descriptors, references to shared objects."""

import contextlib
import gc
import os
import socket
import ssl
import sys
import threading
import warnings
import weakref

import certificates
import pytest
import rasyncio as asyncio
from tls_peers import connect, served

ROUNDS = 10_000


async def _nothing():
    pass


async def _raise():
    raise ValueError


async def sleeps():
    await asyncio.sleep(0)


async def timers():
    await asyncio.sleep(1e-9)


async def tasks():
    await asyncio.create_task(_nothing())


async def failing_tasks():
    try:
        await asyncio.create_task(_raise())
    except ValueError:
        pass


async def cancelled_tasks():
    task = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass


async def gathers():
    await asyncio.gather(_nothing(), _raise(), return_exceptions=True)


async def waits():
    await asyncio.wait([asyncio.create_task(_nothing())])


async def deadlines():
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0)
    except TimeoutError:
        pass
    async with asyncio.timeout(10):
        await asyncio.sleep(0)


async def shields():
    await asyncio.shield(_nothing())


async def completions():
    for next_done in asyncio.as_completed([_nothing(), _nothing()]):
        await next_done


async def groups():
    async with asyncio.TaskGroup() as group:
        group.create_task(_nothing())


async def failing_groups():
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raise())
    except* ValueError:
        pass


async def locks():
    lock, event, condition = asyncio.Lock(), asyncio.Event(), asyncio.Condition()

    async def holder():
        async with lock, asyncio.Semaphore():
            event.set()
            async with condition:
                await condition.wait()

    task = asyncio.create_task(holder())
    await event.wait()
    await asyncio.sleep(0)
    async with condition:
        condition.notify_all()
    await task


async def queues():
    queue = asyncio.Queue(1)
    task = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    await queue.put(object())
    await task
    queue.task_done()
    await queue.join()


async def callbacks():
    loop = asyncio.get_running_loop()
    loop.call_soon(int)
    loop.call_later(0, int)
    loop.call_later(100, int).cancel()
    loop.call_soon_threadsafe(int)
    await asyncio.sleep(0)


PRIMITIVES = [
    sleeps,
    timers,
    tasks,
    failing_tasks,
    cancelled_tasks,
    gathers,
    waits,
    deadlines,
    shields,
    completions,
    groups,
    failing_groups,
    locks,
    queues,
    callbacks,
]


def count_after(primitive, rounds):
    async def main():
        for _ in range(rounds):
            await primitive()

    asyncio.run(main())
    gc.collect()
    return len(gc.get_objects()), sys.getrefcount(ValueError), len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=lambda primitive: primitive.__name__)
def test_nothing_is_left(primitive):
    count_after(primitive, 100)
    before = count_after(primitive, 100)
    after = count_after(primitive, ROUNDS)
    # A round that left one object would leave ten thousand.
    assert after[0] - before[0] < 100
    assert abs(after[1] - before[1]) < 100
    assert after[2] == before[2]


@pytest.mark.parametrize("primitive", [tasks, failing_tasks, gathers, groups, queues, locks], ids=lambda p: p.__name__)
def test_nothing_needs_the_collector(primitive):
    """Reference counts alone free what a finished primitive has used; only exceptions make cycles, as in asyncio."""

    async def main():
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await primitive()
            before = len(gc.get_objects())
            for _ in range(1000):
                await primitive()
            return len(gc.get_objects()) - before
        finally:
            gc.enable()

    assert asyncio.run(main()) < (200 if primitive not in (failing_tasks, gathers) else 20_000)


def test_a_loop_that_was_called_from_a_thread_and_never_ran_is_collected():
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)

    def call(loop=loop):
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=call)
    loop.call_soon(loop.stop)
    loop.call_soon(thread.start)
    loop.call_soon(thread.join)
    loop.run_forever()
    del loop, call, thread
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert gone() is None


async def tls_connections(count):
    """Connections under TLS that end in all ways: closed, aborted, refused by the client, garbage."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    trusting, suspicious = certificates.client(), ssl.create_default_context()
    async with served() as (port, made):
        for number in range(count):
            if number % 4 == 3:
                with contextlib.suppress(ssl.SSLCertVerificationError):
                    await connect(port, context=suspicious)
            elif number % 4 == 2:
                with socket.create_connection(("127.0.0.1", port)) as stranger:
                    stranger.setblocking(False)
                    await loop.sock_sendall(stranger, b"GET / HTTP/1.0\r\n\r\n")
                    with contextlib.suppress(ConnectionError):
                        await loop.sock_recv(stranger, 100)
            else:
                transport, protocol = await connect(port, context=trusting)
                transport.write(b"x" * 10_000)
                await protocol.until(lambda p: len(p.data) == 10_000)
                transport.close() if number % 2 else transport.abort()
                await protocol.lost
            made.clear()


def test_handles_of_another_thread_are_seen_by_the_collector_once_somebody_else_has_them():
    loop = asyncio.new_event_loop()
    kept, raised = [], []
    loop.set_exception_handler(lambda _, context: raised.append(context["handle"]))

    def send():
        kept.append(loop.call_soon_threadsafe(int))
        loop.call_soon_threadsafe(int, "no number")
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(lambda: (thread := threading.Thread(target=send)).start() or thread.join())
    loop.run_forever()
    loop.close()
    assert [gc.is_tracked(handle) for handle in kept + raised] == [True, True]


def test_the_collector_does_not_see_what_another_thread_sends_before_somebody_else_has_it():
    loop = asyncio.new_event_loop()
    seen, kept = [], []

    def send():
        for _ in range(1000):
            loop.call_soon_threadsafe(int)

    def look():
        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        seen.append(sum(issubclass(type(thing), asyncio.Handle) for thing in gc.get_objects()))
        kept.extend(loop._ready)
        loop.stop()

    loop.call_soon(look)
    loop.run_forever()
    loop.close()
    assert len(kept) == 1000 and all(map(gc.is_tracked, kept))
    # Others may have some, of loops that are not collected yet.
    assert seen[0] < 500


def test_a_stopped_loop_with_handles_of_another_thread_is_collected():
    class Anything:
        pass

    def leave():
        loop, thing = asyncio.new_event_loop(), Anything()
        thing.loop = loop

        def send():
            for _ in range(10):
                loop.call_soon_threadsafe(vars, thing)

        def stop():
            # What the thread sends after the last turn has begun stays in the queue.
            loop.stop()
            thread = threading.Thread(target=send)
            thread.start()
            thread.join()

        loop.call_soon(stop)
        loop.run_forever()
        return weakref.ref(thing)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        left = leave()
        gc.collect()
        assert left() is None


def test_a_thousand_tls_connections_leave_nothing():
    def left():
        gc.collect()
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return len(gc.get_objects()), len(os.listdir("/proc/self/fd")), resident

    asyncio.run(tls_connections(300))
    before = left()
    asyncio.run(tls_connections(1000))
    after = left()
    assert after[0] - before[0] < 100
    assert after[1] == before[1]
    # A connection has some 60 KiB while it lives.
    assert after[2] - before[2] < 4 << 20
