"""Child processes in waves: output, input, kills, early closes, cancellations; every byte and exit code is accounted for.

    python tests/stress_subprocess.py [--children 2000] [--wave 200] [--disturb]

With --disturb another thread forks and reaps children of its own meanwhile, as fast as it can.  At the end there is no zombie and
no descriptor that was not there before.  test_subprocess.py runs a small version.
"""

import argparse
import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time

import rasyncio as asyncio


async def exits(rng):
    code = rng.randrange(256)
    process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {code}")
    assert await process.wait() == code == process.returncode
    return 0


async def writes(rng):
    count = rng.choice([0, 1, 4096, 65536, 65537, 300_000])
    process = await asyncio.create_subprocess_exec("head", "-c", str(count), "/dev/zero", stdout=-1)
    output = await process.stdout.read()
    assert len(output) == count and not output.strip(b"\0")
    assert await process.wait() == 0
    return count


async def echoes(rng):
    data = rng.randbytes(rng.choice([0, 1, 70_000, 500_000]))
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1, stderr=-1)
    assert await process.communicate(data) == (data, b"") and process.returncode == 0
    return len(data)


async def is_killed(rng):
    process = await asyncio.create_subprocess_exec("sleep", "600", stdout=rng.choice([None, -1]))
    number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
    await asyncio.sleep(rng.choice([0, 0.001]))
    process.send_signal(number)
    process.send_signal(number)
    assert await process.wait() == -number
    return 0


async def is_closed_early(rng):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat", stderr=None)
    transport.get_pipe_transport(0).write(bytes(100_000))
    await asyncio.sleep(rng.choice([0, 0.001]))
    transport.close()
    assert await transport._wait() == -signal.SIGKILL
    return 0


async def is_cancelled(rng):
    task = asyncio.ensure_future(asyncio.create_subprocess_exec("sleep", "600", stdin=-1, stdout=-1))
    for _ in range(rng.randrange(8)):
        await asyncio.sleep(0)
    task.cancel()
    try:
        process = await task
    except asyncio.CancelledError:
        return 0
    task = asyncio.ensure_future(process.communicate(b"x"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    return 0


KINDS = (exits, writes, echoes, is_killed, is_closed_early, is_cancelled)


async def waves(children, wave, seed):
    rng, moved = random.Random(seed), 0
    for begin in range(0, children, wave):
        count = min(wave, children - begin)
        moved += sum(await asyncio.gather(*(rng.choice(KINDS)(random.Random(rng.random())) for _ in range(count))))
    return moved


class Disturber(threading.Thread):
    """Forks and reaps children of its own."""

    def __init__(self):
        super().__init__()
        self.over, self.count = threading.Event(), 0

    def run(self):
        while not self.over.is_set():
            processes = [subprocess.Popen(["true"]) for _ in range(3)]
            assert [process.wait() for process in processes] == [0] * 3
            self.count += 3


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def check(children, wave, disturb=False, seed=1):
    """Runs the waves; answers how many bytes came through pipes."""
    before = descriptors()
    disturber = Disturber()
    if disturb:
        disturber.start()
    try:
        moved = asyncio.run(waves(children, wave, seed))
    finally:
        disturber.over.set()
        if disturb:
            disturber.join()
    gc.collect()
    try:
        left = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        left = None
    assert left is None, f"a child is left: {left}"
    assert len(descriptors()) <= len(before), "a descriptor is left"
    return moved


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--children", type=int, default=2000)
    parser.add_argument("--wave", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--disturb", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    total = check(options.children, options.wave, options.disturb, options.seed)
    print(f"{options.children} children, {total} bytes, {time.monotonic() - began:.1f} s, nothing left", file=sys.stderr)
