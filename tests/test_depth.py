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


# Objects that are among the values that they hold, or that hold a long chain of one another.
SELF_HELD = """
import sys
import {package} as asyncio

sys.setrecursionlimit({limit})
loop = asyncio.new_event_loop()


class Holds:
    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return repr(self.held)


def timer(**names):
    handle = asyncio.TimerHandle(1000.0, print, (), loop)
    for name, value in names.items():
        setattr(handle, "_" + name, value)
    return handle


def hash_of_itself():
    handle = timer()
    handle._when = handle
    return hash(handle)


def hash_of_a_chain():
    handle = timer()
    for _ in range(100_000):
        handle = timer(when=handle)
    return hash(handle)


def equal_to_a_chain():
    one, other = timer(when=1), timer(when=1)
    for _ in range(100_000):
        one, other = timer(when=1, args=(one,)), timer(when=1, args=(other,))
    return one == other


def equal_and_holding_themselves():
    one, other = timer(when=1), timer(when=1)
    one._args, other._args = [one], [other]
    return one == other


def not_greater_and_holding_themselves():
    one, other = timer(when=1), timer(when=1)
    one._callback, other._callback = [one], [other]
    return one <= other


def repr_of(make):
    def write():
        item, hold = make()
        hold(item)
        return len(repr(item))

    return write


def queue():
    queue = asyncio.Queue()
    return queue, queue.put_nowait


def handle():
    handle = loop.call_soon(print)
    return handle, lambda item: setattr(handle, "_callback", Holds(item))


def late_timer():
    handle = timer()
    return handle, lambda item: setattr(handle, "_when", Holds(item))


def future():
    future = loop.create_future()
    return future, lambda item: future.set_result(Holds(item))


def failed_future():
    future = loop.create_future()

    def hold(item):
        future.set_exception(ValueError(Holds(item)))
        future.exception()

    return future, hold


def reader():
    reader = asyncio.StreamReader(loop=loop)
    return reader, lambda item: reader.set_exception(ValueError(Holds(item)))


def chain_of_queues():
    queue = asyncio.Queue()
    for _ in range(100_000):
        outer = asyncio.Queue()
        outer.put_nowait(queue)
        queue = outer
    return queue, lambda item: None


def chain_of_futures():
    future = loop.create_future()
    for _ in range(100_000):
        outer = loop.create_future()
        outer.set_result(Holds(future))
        future = outer
    return future, lambda item: None


tests = [hash_of_itself, hash_of_a_chain, equal_to_a_chain, equal_and_holding_themselves, not_greater_and_holding_themselves]
tests += [repr_of(make) for make in (queue, handle, late_timer, future, failed_future, reader, chain_of_queues, chain_of_futures)]
for test in tests:
    try:
        print(type(test()).__name__)
    except RecursionError:
        print("RecursionError")
"""


@pytest.mark.parametrize("limit", [1000, 1_000_000])
def test_what_objects_hold_of_themselves_ends_with_an_error(limit):
    """Where asyncio raises RecursionError, so is it here; where the limit is out of reach, it is never a crash."""

    def lines(package):
        program = SELF_HELD.format(package=package, limit=limit)
        command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-800:]
        return done.stdout.splitlines()

    seen = lines("rasyncio")
    assert len(seen) == 13
    assert set(seen) <= {"int", "bool", "RecursionError"}
    if limit == 1000:
        assert seen == lines("asyncio")


EAGER = """
import sys
import rasyncio as asyncio

sys.setrecursionlimit(1_000_000)


async def nested(length):
    if length:
        return 1 + await asyncio.eager_task_factory(asyncio.get_running_loop(), nested(length - 1))
    return 0


async def cancelled(length):
    waits = asyncio.get_running_loop().create_future()
    for number in range(length):
        waits = asyncio.ensure_future(asyncio.wait_for(waits, 60)) if number % 2 else asyncio.gather(waits)
    for _ in range(3):
        await asyncio.sleep(0)
    try:
        waits.cancel()
        await waits
    except asyncio.CancelledError:
        return "cancelled"


for main in (nested(50), nested(50_000), cancelled(20_000)):
    try:
        print(asyncio.run(main))
    except RecursionError as error:
        print(error)
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a raised limit lets CPython 3.11 itself overflow its stack")
def test_first_steps_and_cancellations_in_one_another_end_with_an_error():
    command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", EAGER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]
    one, other, third = done.stdout.splitlines()
    assert one == "50"
    assert other.startswith("maximum recursion depth exceeded")
    assert third == "cancelled" or third.startswith("maximum recursion depth exceeded")
