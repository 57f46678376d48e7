"""Checks the stubs: against what they describe, and with programs typed for asyncio.  `make stubs` runs it.

1. mypy's stubtest imports rasyncio and compares every name, signature and type of a class with its stub.  What may
   differ is in tools/stubs/allowed.txt, and in allowed-3.11.txt and so on for one version of Python, with reasons.
2. The programs of tests/typed are checked by mypy --strict and by pyright, twice: as they are, which shows that they are
   sound programs for asyncio, and with `import rasyncio as asyncio` in its place.  --versions checks them for other
   Pythons too, which need not be installed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "tools" / "stubs"
PROGRAMS = sorted((ROOT / "tests" / "typed").glob("*.py"))
RUNNING = "{}.{}".format(*sys.version_info)


def run(title, *command, where=ROOT):
    done = subprocess.run([sys.executable, "-m", *map(str, command)], cwd=where, capture_output=True, text=True)
    print(f"{'ok  ' if not done.returncode else 'FAIL'}  {title}", flush=True)
    if done.returncode:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def stubtest():
    lists = [path for path in (STUBS / "allowed.txt", STUBS / f"allowed-{RUNNING}.txt") if path.exists()]
    allowed = [word for path in lists for word in ("--allowlist", path)]
    # For the sake of programs that mix both, the stubs derive some classes from asyncio's, which natively they do not; which
    # classes can be bases together (PEP 800) cannot be said at the same time.
    return run(f"stubtest on {RUNNING}", "mypy.stubtest", "rasyncio", "--ignore-disjoint-bases", *allowed)


def substituted(text):
    text = re.sub(r"^import asyncio$", "import rasyncio as asyncio", text, flags=re.MULTILINE)
    return re.sub(r"^from asyncio\b", "from rasyncio", text, flags=re.MULTILINE)


def programs(version, pyright):
    held = True
    for name, change in (("asyncio", str), ("rasyncio", substituted)):
        with tempfile.TemporaryDirectory() as folder:
            for path in PROGRAMS:
                Path(folder, path.name).write_text(change(path.read_text()))
            for title, options in (
                ("mypy --strict", ("mypy", "--strict", "--no-incremental", "--python-version", version, ".")),
                ("pyright", ("pyright", "--warnings", "--pythonversion", version, "--pythonpath", sys.executable, ".")),
            ):
                if pyright or title != "pyright":
                    held &= run(f"{len(PROGRAMS)} programs on {name} by {title}, Python {version}", *options, where=folder)
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", nargs="*", default=[RUNNING], help="the Pythons that the programs are checked for")
    parser.add_argument("--without-pyright", action="store_true", help="which fetches itself by npm on its first run")
    options = parser.parse_args()
    held = stubtest()
    for version in options.versions:
        held &= programs(version, not options.without_pyright)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
