"""Long chains of futures, tasks and callbacks: completed, cancelled and freed without a deep stack."""

import gc
import subprocess
import sys
import textwrap

import pytest
import rasyncio as asyncio

LENGTH = 100_000


def test_a_chain_of_futures_is_completed():
    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(LENGTH)]
        for one, other in zip(futures, futures[1:], strict=False):
            one.add_done_callback(lambda done, other=other: other.set_result(done.result() + 1))
        futures[0].set_result(1)
        return await futures[-1]

    assert asyncio.run(main()) == LENGTH


def test_a_chain_of_callbacks_is_freed():
    loop = asyncio.new_event_loop()
    try:
        last = None
        for _ in range(LENGTH):
            future = loop.create_future()
            future.add_done_callback(lambda done, last=last: None)
            last = future
        freed = []
        first = loop.create_future()
        first.add_done_callback(freed.append)
        del first, last, future
        gc.collect()
        assert not any(isinstance(thing, asyncio.Future) and thing.get_loop() is loop for thing in gc.get_objects())
    finally:
        loop.close()


def test_a_chain_of_tasks_is_completed():
    async def link(earlier):
        return 1 + (await earlier if earlier else 0)

    async def main():
        task = None
        for _ in range(LENGTH):
            task = asyncio.create_task(link(task))
        return await task

    assert asyncio.run(main()) == LENGTH


def test_a_chain_of_tasks_is_cancelled_from_its_end():
    """Cancelling the last cancels what it waits for, and so on; CPython raises RecursionError there, and no more."""

    async def link(earlier):
        await earlier

    async def main():
        loop = asyncio.get_running_loop()
        first = loop.create_future()
        tasks = [first]
        for _ in range(LENGTH):
            tasks.append(asyncio.create_task(link(tasks[-1])))
        for _ in range(3):
            await asyncio.sleep(0)
        try:
            tasks[-1].cancel()
        except RecursionError:
            first.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(result, asyncio.CancelledError) for result in results)

    assert asyncio.run(main()) == LENGTH + 1


def test_nested_gathers_are_freed():
    async def main():
        loop = asyncio.get_running_loop()
        future = inner = loop.create_future()
        for _ in range(10_000):
            future = asyncio.gather(future)
        inner.set_result(0)
        value = await future
        for _ in range(10_000):
            (value,) = value
        return value

    assert asyncio.run(main()) == 0


CHAIN = """
import sys, threading
import {package} as asyncio

async def main(length):
    wait = asyncio.sleep(0, "value")
    for _ in range(length):
        wait = asyncio.wait_for(wait, 60)
    try:
        return await wait
    except RecursionError:
        return "too deep"

def run():
    print(asyncio.run(main({length})))

sys.setrecursionlimit({limit})
threading.stack_size({stack})
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""

# Before 3.12 wait_for() gives each awaitable a task of its own.
DEEP = "too deep" if sys.version_info >= (3, 12) else "value"


@pytest.mark.parametrize(
    ("length", "limit", "stack", "expected"),
    [
        (100, 1000, 8 << 20, {"value"}),
        (3000, 1000, 8 << 20, {DEEP}),
        (100_000, 1000, 8 << 20, {DEEP}),
        # What stands on the heap in Python stands on the stack here: the end of that is an error, and no crash.
        (2000, 100_000, 512 << 10, {"value", "too deep"}),
        (50_000, 1_000_000, 8 << 20, {"value", "too deep"}),
    ],
)
def test_a_chain_of_awaits_ends_with_an_error(length, limit, stack, expected):
    program = textwrap.dedent(CHAIN.format(package="rasyncio", length=length, limit=limit, stack=stack))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.strip() in expected
