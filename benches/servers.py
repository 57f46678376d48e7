#!/usr/bin/env python3
"""Measures web servers that say hello, under wrk: uvicorn and aiohttp on asyncio, uvloop and rasyncio.

    benches/servers.py                    both frameworks, every implementation that is installed
    benches/servers.py aiohttp --quick    one of them, fewer and shorter rounds

rasyncio is measured in asyncio's place (`python -m rasyncio`), and as a loop only under the standard library's asyncio.  The
rounds are interleaved; a figure is the median of its rounds: requests a second, milliseconds until half and until 99 of a
hundred requests were answered, and microseconds of the server's processor for a request.  wrk is Debian's package of that name.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from network import processor_seconds, why_not
from run import FOLDER, ROOT, build, clean_environment, processor, version_of

LOOPS = ("asyncio", "uvloop", "rasyncio", "rasyncio-loop")
TITLES = {"rasyncio-loop": "rasyncio, only its loop"}
# How many times uvloop's requests a second rasyncio is to have.
TIMES = {"aiohttp": 1.15, "uvicorn": 1.1}
# Two medians of a percentile are not told apart more finely than this.
EQUAL = 0.02
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def read_wrk(text):
    """(requests, requests a second, ms for half of them, ms for 99 %), or None if there were errors."""
    if "Socket errors" in text or "Non-2xx" in text:
        return None
    percent = {share: milliseconds(value) for share, value in re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.MULTILINE)}
    requests = re.search(r"^\s*(\d+) requests in", text, re.MULTILINE)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", text, re.MULTILINE)
    return (int(requests[1]), float(rate[1]), percent["50"], percent["99"]) if requests and rate else None


def wrk(address, connections, seconds):
    command = ["wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://{address}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10 * seconds + 10)
    return read_wrk(done.stdout), (done.stderr.strip() or done.stdout.strip() or "wrk failed").splitlines()[-1]


def measure(framework, loop, options):
    """[requests a second, ms of half, ms of 99 %, us of the processor], or None and why."""
    launcher = ["-m", "rasyncio"] if loop == "rasyncio" else []
    command = [sys.executable, *launcher, FOLDER / "hello_server.py", loop, framework]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    server = subprocess.Popen(command, env=clean_environment(), text=True, **pipes)
    try:
        address = server.stdout.readline().strip()
        if not address:
            return None, why_not(server)
        warm, why = wrk(address, options.connections, 1)
        before = processor_seconds(server)
        found, why = wrk(address, options.connections, options.seconds) if warm else (None, why)
        used = processor_seconds(server) - before
        if found is None:
            return None, why
        requests, rate, half, most = found
        return [rate, half, most, used / requests * 1e6], None
    finally:
        server.kill()
        server.communicate()


def judge(framework, results):
    """What falls short, as text; empty if nothing does."""
    if "rasyncio" not in results or "uvloop" not in results:
        return "not measured"
    (ours, _, most, _), (theirs, _, their_most, _) = results["rasyncio"], results["uvloop"]
    faults = [f"{TIMES[framework]} times uvloop wanted"] if ours < TIMES[framework] * theirs else []
    return "; ".join([*faults, *(["p99 is worse than uvloop's"] if most > (1 + EQUAL) * their_most else [])])


def markdown(report):
    yield "| | requests/s | times uvloop | p50 ms | p99 ms | CPU us a request | |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    for framework, row in report["rows"].items():
        for loop, (rate, half, most, used) in row["results"].items():
            times = f"{rate / row['results']['uvloop'][0]:.2f}" if "uvloop" in row["results"] else "-"
            verdict = (row["faults"] or "met") if loop == "rasyncio" else ""
            title = f"{framework} on {TITLES.get(loop, loop)}"
            yield f"| {title} | {rate:,.0f} | {times} | {half:.2f} | {most:.2f} | {used:.1f} | {verdict} |"


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help=f"of {', '.join(TIMES)} (default: all)")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="2 rounds of a second")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench", help="folder for the results")
    parser.add_argument("--save", action="store_true", help="also put them under docs/results, for docs/status.md")
    options = parser.parse_args()
    if unknown := set(options.frameworks) - set(TIMES):
        parser.error(f"no such framework: {', '.join(sorted(unknown))}")
    if options.save and options.frameworks:
        parser.error("--save wants all frameworks: the saved table is made in one run")
    if options.quick:
        options.rounds, options.seconds = 2, 1
    if shutil.which("wrk") is None:
        parser.error("there is no wrk here: apt-get install wrk")
    return options


def main():
    options = parse()
    loops = [loop for loop in options.loops if version_of(loop.removesuffix("-loop"))]
    report = {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": {name: version_of(name) for name in ("asyncio", "uvloop", "rasyncio", *TIMES, "httptools")},
        "build": build(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "connections": options.connections,
        "rows": {},
        "failures": {},
    }
    for framework in options.frameworks or TIMES:
        samples = {loop: [] for loop in loops}
        for _ in range(options.rounds):
            for loop in loops:
                sample, why = measure(framework, loop, options)
                if sample is None:
                    report["failures"][f"{framework} on {loop}"] = why
                else:
                    samples[loop].append(sample)
        medians = {
            loop: [statistics.median(figures) for figures in zip(*found, strict=True)]
            for loop, found in samples.items()
            if found
        }
        report["rows"][framework] = {"results": medians, "faults": judge(framework, medians)}
        texts = (f"{loop} {result[0]:,.0f}" for loop, result in medians.items())
        print(f"{framework}: {'  '.join(texts)}", file=sys.stderr, flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "servers.json").write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(markdown(report)))
    for name, why in report["failures"].items():
        print(f"{name}: {why}")
    if options.save:
        shutil.copy(options.output / "servers.json", ROOT / "docs" / "results" / "servers.json")


if __name__ == "__main__":
    sys.exit(main())
