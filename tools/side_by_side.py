"""Runs one program on the standard library's asyncio and on rasyncio, and shows both summaries beside each other.

`make run` is this with examples/serve_files.py.  The program is started as a person would start it, `python program.py` and
`python -m rasyncio program.py`; it must take `--json FILE` and write its summary there, a flat object of what to show.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

LABELS = {
    "loop": "event loop",
    "received_mib": "received, MiB",
    "differing": "differing from the file",
    "seconds": "time, s",
    "cpu_seconds": "processor time, s",
    "requests_per_second": "responses a second",
    "median_ms": "median latency, ms",
    "p99_ms": "99 % latency, ms",
}


def run(title, command, arguments):
    """The program's summary, or None if it failed; its progress goes to the terminal as it comes."""
    print(f"\n{title}: python {' '.join([*command, *arguments])}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "summary.json"
        done = subprocess.run([sys.executable, *command, *arguments, "--json", path], stdout=subprocess.DEVNULL)
        if done.returncode:
            print(f"it failed with exit status {done.returncode}", file=sys.stderr)
        return json.loads(path.read_text()) if path.exists() and not done.returncode else None


def cell(value):
    """Numbers with separators; of a class's full name, the package."""
    return f"{value:,}" if isinstance(value, int | float) else str(value).partition(".")[0]


def show(columns):
    names = list(next(iter(columns.values())))
    rows = [["", *columns]]
    rows += [[LABELS.get(name, name), *(cell(summary[name]) for summary in columns.values())] for name in names]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    print()
    for row in rows:
        first, *rest = (
            text.ljust(width) if not place else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join([first, *rest]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--launcher", default="-m rasyncio", help="how python is told to use the other implementation")
    parser.add_argument("program")
    options, arguments = parser.parse_known_args()
    launcher = options.launcher.split()
    runs = {"asyncio": [options.program], "rasyncio": [*launcher, options.program]}
    columns = {title: run(title, command, arguments) for title, command in runs.items()}
    if None in columns.values():
        return 1
    show(columns)
    times = [summary["seconds"] for summary in columns.values()]
    if all(times):
        ratio = times[0] / times[1]
        print(f"\n  The same program took {ratio:.2f} times as long on asyncio as on rasyncio.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
