"""Ctrl-C at random moments: a program of its own gets a real SIGINT from this one, and must end as on asyncio.

    python tests/stress_interrupt.py [--times 200] [--program busy|idle|runner] [--package rasyncio]

Each program says on its standard output when it begins, and at the end how it ended.  It has other threads, to any of which the
kernel may deliver the signal.  Reported are the ends, and the longest time between signal and end.  test_runners.py runs a few.
"""

import argparse
import collections
import random
import select
import signal
import subprocess
import sys
import time

HEAD = """
import {package} as asyncio, os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
for _ in range(2):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
def begin():
    os.write(1, b"begin\\n")
"""

PROGRAMS = {
    # Callbacks, tasks and queues without end, in a loop that runs by itself: KeyboardInterrupt leaves it.
    "busy": HEAD
    + """
async def work(queue):
    for number in range(10**12):
        await queue.put(number)
        await queue.get()
        await asyncio.sleep(0)
async def main():
    begin()
    await asyncio.gather(*(work(asyncio.Queue()) for _ in range(10)))
loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    os.write(1, b"KeyboardInterrupt\\n")
os._exit(0)
""",
    # Nothing to do: the signal must end the wait.
    "idle": HEAD
    + """
loop = asyncio.new_event_loop()
loop.call_soon(begin)
try:
    loop.run_forever()
except KeyboardInterrupt:
    os.write(1, b"KeyboardInterrupt\\n")
os._exit(0)
""",
    # asyncio.run(): the main task is cancelled, cleans up, and KeyboardInterrupt comes then.
    "runner": HEAD
    + """
async def main():
    begin()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        os.write(1, b"cancelled ")
        await asyncio.sleep(0)
        raise
try:
    asyncio.run(main())
except KeyboardInterrupt:
    os.write(1, b"KeyboardInterrupt\\n")
os._exit(0)
""",
}

ENDS = {"busy": "KeyboardInterrupt", "idle": "KeyboardInterrupt", "runner": "cancelled KeyboardInterrupt"}
PATIENCE = 20  # seconds; what takes as long has swallowed the signal


def interrupt(program, package, delay):
    """One program, interrupted so many seconds after it has begun: how it ended, and how long that took."""
    command = [sys.executable, "-c", PROGRAMS[program].format(package=package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout.readline() == b"begin\n"
        time.sleep(delay)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        if not ready:
            process.kill()
            return "swallowed", PATIENCE
        text = process.stdout.read().decode().strip()
        return text, time.monotonic() - sent


def check(program, times, package="rasyncio", seed=1):
    """Interrupts so many programs; the ends, counted, and the longest time."""
    rng, ends, longest = random.Random(seed), collections.Counter(), 0
    for _ in range(times):
        end, took = interrupt(program, package, rng.choice([0, rng.random() / 1000, rng.random() / 20]))
        ends[end] += 1
        longest = max(longest, took)
    return ends, longest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--program", choices=PROGRAMS, action="append")
    parser.add_argument("--package", default="rasyncio")
    options = parser.parse_args()
    for name in options.program or PROGRAMS:
        counted, most = check(name, options.times, options.package)
        print(f"{options.package} {name}: {dict(counted)}, at most {most * 1000:.0f} ms")
        if set(counted) != {ENDS[name]}:
            sys.exit(1)
