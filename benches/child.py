"""Measures one program on one implementation, in a process of its own, and prints the samples as JSON.

run.py starts it as `python child.py IMPLEMENTATION PROGRAM`, and for rasyncio as
`python -m rasyncio child.py rasyncio PROGRAM`.
"""

import argparse
import asyncio
import gc
import importlib
import json
import statistics
import time

import programs

FACTORIES = {"uvloop": "uvloop", "rloop": "rloop", "blazio": "blazio"}
SAMPLES = 5


def runner(implementation):
    """How the implementation's users run a coroutine."""
    if implementation in FACTORIES:
        factory = importlib.import_module(FACTORIES[implementation]).new_event_loop
        return lambda main: asyncio.Runner(loop_factory=factory).run(main)
    if implementation == "rasyncio":
        if asyncio is not importlib.import_module("rasyncio"):
            raise SystemExit("rasyncio is not in asyncio's place")
        return asyncio.run
    if implementation == "rasyncio-mixed":
        # Both are loaded, and the program uses rasyncio: what is published to the other's registry is paid for.
        programs.asyncio = importlib.import_module("rasyncio")
        if programs.asyncio is asyncio:
            raise SystemExit("rasyncio is in asyncio's place, where both should be loaded")
        return programs.asyncio.run
    return asyncio.run


async def measure(row, seconds):
    """Samples of a length of about `seconds`; the number of operations is found out first, which also warms up."""
    if row.once:
        return [await row.program(row.least)]
    number = row.least
    while True:
        since = time.perf_counter()
        await row.program(number)
        elapsed = time.perf_counter() - since
        if elapsed > seconds / 3 or number > 10_000_000:
            break
        number *= 4
    number = max(row.least, int(number * seconds / elapsed))
    samples = []
    for _ in range(SAMPLES):
        gc.collect()
        samples.append(await row.program(number))
    return samples


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("implementation")
    parser.add_argument("program", choices=programs.ROWS)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--clock", choices=("wall", "process"), default="wall")
    options = parser.parse_args()
    if options.clock == "process":
        programs.clock = time.process_time
    samples = runner(options.implementation)(measure(programs.ROWS[options.program], options.seconds))
    print(json.dumps({"samples": samples, "median": statistics.median(samples)}))


if __name__ == "__main__":
    main()
