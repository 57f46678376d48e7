"""Signals: which of them a loop's handler hears of, whenever handlers come and go, inside a run and between runs."""

import asyncio
import os
import signal
import threading

from recorder import record

ONE, TWO = signal.SIGUSR1, signal.SIGUSR2


def python_handler(number, frame):
    record("python's handler", number == ONE)


async def passed():
    await asyncio.sleep(0.01)
    for _ in range(12):
        await asyncio.sleep(0)


def add(loop, number, name, *more):
    loop.add_signal_handler(number, record, "loop's handler", name, *more)


async def before(prime, number, runs):
    loop = asyncio.get_running_loop()
    record("before", prime, number == ONE, runs)
    if prime:
        add(loop, TWO, "two")
    old = signal.signal(ONE, python_handler)
    os.kill(os.getpid(), ONE)
    if runs:
        await passed()
    add(loop, ONE, "one")
    await passed()
    signal.raise_signal(ONE)
    signal.raise_signal(TWO) if prime else None
    signal.raise_signal(ONE)
    await passed()
    record(loop.remove_signal_handler(ONE), loop.remove_signal_handler(TWO))
    signal.signal(ONE, old)


async def interrupted():
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    os.kill(os.getpid(), signal.SIGINT)
    add(loop, signal.SIGINT, "interrupt")
    try:
        await passed()
    except asyncio.CancelledError:
        record("cancelled", task.cancelling())
        await passed()
    task.uncancel()
    signal.raise_signal(signal.SIGINT)
    await passed()
    record("removed", loop.remove_signal_handler(signal.SIGINT))


async def come_and_gone():
    loop = asyncio.get_running_loop()
    for other in False, True:
        record("come and gone", other)
        if other:
            add(loop, TWO, "two")
        add(loop, ONE, "first")
        signal.raise_signal(ONE)
        loop.remove_signal_handler(ONE)
        signal.signal(ONE, python_handler)
        signal.raise_signal(ONE)
        add(loop, ONE, "second")
        await passed()
        signal.raise_signal(ONE)
        loop.remove_signal_handler(ONE)
        await passed()
        signal.signal(ONE, python_handler)
        signal.raise_signal(ONE)
        await passed()
        add(loop, ONE, "third")
        await passed()
        add(loop, ONE, "fourth")
        signal.raise_signal(ONE)
        add(loop, ONE, "fifth")
        await passed()
        loop.remove_signal_handler(ONE)
    loop.remove_signal_handler(TWO)


async def in_callbacks():
    loop = asyncio.get_running_loop()

    def callback():
        signal.signal(ONE, python_handler)
        signal.raise_signal(ONE)
        add(loop, ONE, "added in a callback")
        signal.raise_signal(ONE)
        loop.call_soon(record, "callback's next")
        loop.call_soon(signal.raise_signal, ONE)
        loop.call_soon(loop.call_soon, record, "callback's last")

    loop.call_soon(callback)
    loop.call_soon(record, "after callback")
    await passed()

    def again(count):
        record("handler", count)
        if count:
            add_again(count - 1)
            signal.raise_signal(ONE)

    def add_again(count):
        loop.add_signal_handler(ONE, again, count)

    add_again(3)
    signal.raise_signal(ONE)
    await passed()
    handle = loop._signal_handlers[ONE]
    handle.cancel()
    signal.raise_signal(ONE)
    await passed()
    record("cancelled and removed", ONE in loop._signal_handlers, signal.getsignal(ONE) == signal.SIG_DFL)


async def several():
    loop = asyncio.get_running_loop()
    numbers = [ONE, TWO, signal.SIGHUP, signal.SIGTERM, signal.SIGALRM]
    for index, number in enumerate(numbers):
        add(loop, number, "several", index)
    for _ in range(3):
        for number in numbers:
            os.kill(os.getpid(), number)
    await passed()
    for number in numbers[:3]:
        loop.remove_signal_handler(number)
    signal.signal(ONE, python_handler)
    for number in [ONE, *numbers[3:]]:
        signal.raise_signal(number)
    add(loop, ONE, "several", "again")
    await passed()
    for number in [ONE, *numbers[3:]]:
        loop.remove_signal_handler(number)


async def foreign_descriptor():
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(ONE, python_handler)
    signal.raise_signal(ONE)
    add(loop, ONE, "after a foreign descriptor")
    await passed()
    signal.raise_signal(ONE)
    await passed()
    signal.set_wakeup_fd(writer)
    signal.raise_signal(ONE)
    await passed()
    record("foreign descriptor", list(os.read(reader, 100)) == [ONE, ONE])
    loop.remove_signal_handler(ONE)
    record("given back", signal.set_wakeup_fd(-1) == writer)
    os.close(reader)
    os.close(writer)


def between_runs():
    record("between runs")
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    loop.run_until_complete(passed())
    signal.signal(ONE, python_handler)
    signal.raise_signal(ONE)
    add(loop, ONE, "first")
    loop.run_until_complete(passed())
    signal.raise_signal(ONE)
    loop.remove_signal_handler(ONE)
    add(loop, ONE, "second")
    loop.run_until_complete(passed())
    signal.raise_signal(ONE)
    loop.run_until_complete(passed())
    record("another loop")
    add(other, ONE, "the other's")
    signal.raise_signal(ONE)
    loop.run_until_complete(passed())
    other.run_until_complete(passed())
    other.remove_signal_handler(ONE)
    other.run_until_complete(passed())
    loop.remove_signal_handler(ONE)
    record(signal.set_wakeup_fd(-1))
    loop.close()
    add(other, ONE, "the other's")
    signal.raise_signal(ONE)
    other.close()
    record(signal.getsignal(ONE) == signal.SIG_DFL, signal.set_wakeup_fd(-1))


def in_a_thread():
    async def main():
        loop = asyncio.get_running_loop()
        for _ in range(2):
            try:
                add(loop, ONE, "thread")
            except Exception as error:
                record("thread", error)
        record(loop._signal_handlers == {})

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()


for prime in False, True:
    for runs in False, True:
        asyncio.run(before(prime, ONE, runs))
for part in interrupted, come_and_gone, in_callbacks, several, foreign_descriptor:
    record(part.__name__)
    asyncio.run(part())
    asyncio.run(part(), debug=True)
between_runs()
in_a_thread()
