#!/usr/bin/env python3
"""Runs the same programs on asyncio, uvloop, rloop, blazio and rasyncio, and says how they compare.

    benches/run.py                           every row, every implementation that is installed
    benches/run.py sleep0 gather100          some rows
    benches/run.py --loops asyncio rasyncio  some implementations
    benches/run.py --quick                   fewer and shorter rounds, for a first look

Each measurement has a process of its own; the rounds are interleaved (A B C A B C ...), so that whatever else the machine
does falls on all of them.  A figure is the median of its rounds, the spread the distance between the quartiles, a ratio
uvloop's median divided by the implementation's: 2 means half the time.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import table
from programs import ROWS, Row

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
LOOPS = ("asyncio", "uvloop", "rloop", "blazio", "rasyncio", "rasyncio-mixed")
LIMIT = 60.0

# Programs whose cost is that of a whole process: (title, code by implementation, or by the default).
NOP = "async def nop(): pass"
PROCESSES = {
    "import_time": (
        "import, process included",
        {"asyncio": "import asyncio", "rasyncio": "import rasyncio", "": "import asyncio, {0}"},
    ),
    "run_nop": (
        "asyncio.run(nop()) to exit",
        {
            "asyncio": f"import asyncio\n{NOP}\nasyncio.run(nop())",
            "rasyncio": f"import rasyncio as asyncio\n{NOP}\nasyncio.run(nop())",
            "": f"import asyncio, {{0}}\n{NOP}\nasyncio.Runner(loop_factory={{0}}.new_event_loop).run(nop())",
        },
    ),
}
ALL_ROWS = ROWS | {
    name: Row(name, title, 1, None, "asyncio", "ms", codes, 1, True) for name, (title, codes) in PROCESSES.items()
}


def package(loop):
    return loop.partition("-")[0]


def version_of(loop):
    """The installed version, or None."""
    if loop == "asyncio":
        return platform.python_version()
    try:
        return metadata.version(package(loop))
    except metadata.PackageNotFoundError:
        return None


def clean_environment():
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return variables | {"PYTHONHASHSEED": "0"}


def measure_process(row, loop):
    """Seconds from start to exit of an interpreter that does what the row says."""
    code = row.program.get(loop, row.program[""]).format(package(loop))
    since = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True)
    elapsed = time.perf_counter() - since
    return (elapsed, None) if not done.returncode else (None, done.stderr.strip().splitlines()[-1])


def measure_program(row, loop, options):
    launcher = ["-m", "rasyncio"] if loop == "rasyncio" else []
    command = [sys.executable, *launcher, str(FOLDER / "child.py"), loop, row.name]
    command += ["--seconds", str(options.seconds), "--clock", options.clock]
    try:
        done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=LIMIT, cwd=FOLDER)
    except subprocess.TimeoutExpired:
        return None, f"no end within {LIMIT:g} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])["median"], None


def measure(row, loop, options):
    return measure_process(row, loop) if row.name in PROCESSES else measure_program(row, loop, options)


class Progress:
    def __init__(self, total):
        self.total, self.done, self.started = total, 0, time.monotonic()
        self.terminal = sys.stderr.isatty()

    def step(self, row, loop):
        self.done += 1
        if self.terminal:
            left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
            print(f"\r\033[K{self.done}/{self.total} {row.name} {loop}, {left:.0f} s left", end="", file=sys.stderr)

    def row_done(self, row, summaries):
        text = "  ".join(f"{loop} {table.cell(row, summary)}" for loop, summary in summaries.items())
        print(f"\r\033[K{row.title}: {text}" if self.terminal else f"{row.title}: {text}", file=sys.stderr, flush=True)


def summarise(values):
    if not values:
        return None
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return {"median": statistics.median(values), "low": quartiles[0], "high": quartiles[2], "rounds": len(values)}


def run_rows(rows, loops, options):
    """{row: {loop: summary}}, and what failed."""
    progress = Progress(sum(rounds_of(row, options) for row in rows) * len(loops))
    results, failures = {}, {}
    for row in rows:
        values = {loop: [] for loop in loops}
        failed = {}
        if row.name in PROCESSES:
            for loop in loops:
                measure(row, loop, options)  # warms the bytecode
        for _ in range(rounds_of(row, options)):
            for loop in loops:
                progress.step(row, loop)
                if loop in failed:
                    continue
                value, why = measure(row, loop, options)
                if value is None:
                    failed[loop] = why
                else:
                    values[loop].append(value)
        results[row.name] = {loop: summarise([] if loop in failed else values[loop]) for loop in loops}
        if failed:
            failures[row.name] = failed
        progress.row_done(row, results[row.name])
    return results, failures


def rounds_of(row, options):
    return options.process_rounds if row.name in PROCESSES else options.rounds


def build():
    """How the measured wheel was built (tools/build_wheel.py)."""
    try:
        return (ROOT / "build" / "wheels" / "build.txt").read_text().strip()
    except OSError:
        return "unknown"


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="rows: " + " ".join(ALL_ROWS)
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--process-rounds", type=int, default=50, help="rounds of the rows that time a whole process")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of one sample; a round has five")
    parser.add_argument("--clock", choices=("wall", "process"), default="wall", help="processor time, on a machine in use")
    parser.add_argument("--quick", action="store_true", help="3 rounds of short samples, 10 of whole processes")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench", help="folder for the results")
    parser.add_argument("--save", action="store_true", help="also put them under docs/results, for docs/status.md")
    options = parser.parse_args()
    unknown = set(options.rows) - set(ALL_ROWS)
    if unknown:
        parser.error(f"no such row: {' '.join(sorted(unknown))}; there are: {' '.join(ALL_ROWS)}")
    if options.save and options.rows:
        parser.error("--save wants all rows: the saved table is made in one run")
    if options.quick:
        options.rounds, options.process_rounds, options.seconds = 3, 10, 0.03
    return options


def main():
    options = parse()
    versions = {loop: version_of(loop) for loop in options.loops}
    absent = [loop for loop, version in versions.items() if version is None]
    if absent:
        print(f"not installed here, and left out: {', '.join(absent)}", file=sys.stderr)
    loops = [loop for loop in options.loops if versions[loop]]
    rows = [row for name, row in ALL_ROWS.items() if not options.rows or name in options.rows]
    results, failures = run_rows(rows, loops, options)
    report = {
        "python": platform.python_version(),
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "date": datetime.date.today().isoformat(),
        "clock": options.clock,
        "rounds": options.rounds,
        "process_rounds": options.process_rounds,
        "versions": versions,
        "build": build(),
        "results": results,
        "failures": failures,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.output / "bench.md").write_text(table.markdown(report, ALL_ROWS))
    (options.output / "bench.svg").write_text(table.chart(report, ALL_ROWS))
    print("\n" + table.terminal(report, ALL_ROWS))
    print(f"\nwritten: {options.output}/bench.json, bench.md, bench.svg")
    if options.save:
        (ROOT / "docs" / "results").mkdir(parents=True, exist_ok=True)
        shutil.copy(options.output / "bench.json", ROOT / "docs" / "results" / "bench.json")
        shutil.copy(options.output / "bench.svg", ROOT / "docs" / "bench.svg")


if __name__ == "__main__":
    sys.exit(main())
