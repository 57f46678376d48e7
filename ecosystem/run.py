#!/usr/bin/env python3
"""Runs the own test suites of aiohttp, anyio, uvicorn and hypercorn on the standard library's asyncio and on rasyncio.

    ecosystem/run.py                      every suite, three ways; `make ecosystem` prepares the environment for it
    ecosystem/run.py anyio uvicorn        some suites
    ecosystem/run.py --save               also keep the results, in docs/results/ecosystem-VERSION.json
    ecosystem/run.py anyio --tests tests/test_sockets.py -- -k unix      some tests, with arguments for pytest

The three ways are `stdlib`, the baseline; `install`, all of asyncio replaced (`python -m rasyncio -m pytest`); and `loop`, the
standard library's asyncio on rasyncio's loop.  What passes on the baseline must pass on the others: whatever does not is tried
once more by itself, and is a failure then unless expected.toml has it, with the reason.
"""

import argparse
import collections
import dataclasses
import fnmatch
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
from pathlib import Path

from suites_table import markdown

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "ecosystem"
VERSION = platform.python_version()
MODES = {
    "stdlib": ["-m", "pytest"],
    "install": ["-m", "rasyncio", "-m", "pytest"],
    "loop": ["-m", "pytest", "-p", "loop_only"],
}
GOOD = ("passed", "xfailed")
# A test that hangs fails, and the run goes on: the plugin's alarm interrupts it.
TEST_LIMIT = ["--timeout=120", "--timeout-method=signal"]


def say(text):
    print(text, flush=True)


def holds(entry):
    return any(f"{VERSION}.".startswith(f"{leading}.") for leading in entry.get("versions", [VERSION]))


def has_ipv6():
    try:
        return bool(socket.getaddrinfo("localhost", 0, socket.AF_INET6))
    except OSError:
        return False


def fetch(name, suite):
    """The folder with the tests of a release, from its source distribution."""
    folder = BUILD / "tests" / f"{name}-{suite['release']}"
    if (folder / ".complete").exists():
        return folder
    say(f"Fetching the source distribution of {name} {suite['release']}")
    store = BUILD / "sdists"
    wanted = [f"{name}=={suite['release']}", "--no-deps", "--no-binary", name, "--dest", str(store)]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    root = f"{name}-{suite['release']}"
    with tarfile.open(store / f"{root}.tar.gz") as archive:
        inside = [
            m for m in archive.getmembers() if any(f"{m.name}/".startswith(f"{root}/{part}/") for part in suite["take"])
        ]
        archive.extractall(folder.parent, members=inside, filter="data")
    (folder / ".complete").touch()
    return folder


@dataclasses.dataclass
class Run:
    """What one suite did one way: test -> (outcome, text of the failure)."""

    tests: dict
    seconds: float
    ended: str

    def count(self):
        return collections.Counter(outcome for outcome, _ in self.tests.values())


def run_once(name, suite, mode, tests, extra, limit):
    folder, logs = fetch(name, suite), BUILD / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    record = logs / f"{name}-{VERSION}-{mode}.jsonl"
    record.write_text("")
    environment = {**os.environ, "ECOSYSTEM_RECORD": str(record), "PYTHONPATH": str(HERE / "plugins")}
    environment.pop("RASYNCIO_INSTALL", None)
    plugins = ["-p", "record_outcomes", "-p", "no:cacheprovider", "-q", *TEST_LIMIT]
    options = suite["pytest"] + ([] if has_ipv6() else suite.get("without_ipv6", []))
    command = [sys.executable, *MODES[mode], *plugins, *options, *extra, *tests]
    began, ended = time.monotonic(), ""
    with record.with_suffix(".log").open("w") as log:
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=limit
            )
            ended = (
                "" if '"finished": ' in record.read_text(encoding="utf-8") else f"pytest ended with status {done.returncode}"
            )
        except subprocess.TimeoutExpired:
            ended = f"not done after {limit} s"
    return Run(read_record(record, ended), time.monotonic() - began, ended)


def without_folders(text, suite_folder):
    """A failure's text as it would be on any machine: its files are named from the folder that they belong to."""
    library = sysconfig.get_paths()
    folders = {str(suite_folder), str(ROOT), sys.prefix, *(library[kind] for kind in ("purelib", "platlib", "stdlib"))}
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(f"{folder}/", "")
    return re.sub(r"(?:/[\w.+-]+)*/(?=pytest-of-)", "", text)


def read_record(record, ended=""):
    """What the plugin wrote of a run, which ended as `ended` says."""
    results, running = {}, None
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        entry = json.loads(line)
        running = entry.get("start", running)
        if "test" in entry:
            results[entry["test"]] = (entry["outcome"], entry["why"])
            running = None
    if ended and running:
        results[running] = ("failed", f"{ended} during this test")
    return results


class Judge:
    """Compares a suite's runs with its baseline, and knows what is expected to fail."""

    def __init__(self, name):
        entries = tomllib.loads((HERE / "expected.toml").read_text(encoding="utf-8")).get("expected", ())
        self.entries = [entry for entry in entries if entry["suite"] == name and holds(entry)]
        self.used = set()

    def entry_of(self, mode, test):
        for place, entry in enumerate(self.entries):
            patterns = [entry["test"]] if isinstance(entry["test"], str) else entry["test"]
            # A pattern's brackets are those of a test's parameters.
            matched = [p for p in patterns if fnmatch.fnmatchcase(test, p.replace("[", "[[]"))]
            if matched and mode in entry.get("modes", ["install", "loop"]):
                self.used.update((place, pattern) for pattern in matched)
                return entry
        return None

    def judge(self, mode, baseline, run):
        """(failed, expected, wrongly listed): names with what is to be said of them."""
        failed, expected, wrong = {}, {}, {}
        for test, (outcome, _) in baseline.tests.items():
            if outcome not in GOOD:
                continue
            mine, why = run.tests.get(test, ("failed", f"it was not run: {run.ended}"))
            entry = self.entry_of(mode, test)
            if mine in GOOD and entry and not entry.get("may_pass"):
                wrong[test] = f"listed as expected to fail ({entry['reason']}), and it passes"
            elif mine not in GOOD and entry:
                expected[test] = entry["reason"]
            elif mine not in GOOD:
                failed[test] = why or mine
        return failed, expected, wrong

    def unused(self):
        for place, entry in enumerate(self.entries):
            for pattern in [entry["test"]] if isinstance(entry["test"], str) else entry["test"]:
                if (place, pattern) not in self.used:
                    yield pattern, f"listed as expected to fail ({entry['reason']}), and no such test was run"


def summary(run):
    count = run.count()
    return {
        "passed": sum(count[outcome] for outcome in GOOD),
        "failed": count["failed"] + count["xpassed"],
        "skipped": count["skipped"],
        "seconds": round(run.seconds, 1),
    }


def whole_baseline(name, run, reuse):
    """The baseline, of which something must pass."""
    kept = read_record(BUILD / "logs" / f"{name}-{VERSION}-stdlib.jsonl") if reuse else None
    baseline = Run(kept, 0.0, "") if kept else run("stdlib")
    if not any(outcome in GOOD for outcome, _ in baseline.tests.values()):
        raise SystemExit(f"{name}: nothing passes on asyncio itself ({baseline.ended}); see {BUILD / 'logs'}")
    return baseline


def baseline_of_rest(runs, run):
    """What asyncio does with the tests that do not pass on rasyncio; those that do pass need no baseline.  (baseline, names)"""
    names = dict.fromkeys(test for done in runs.values() for test in done.tests)
    rest = [test for test in names if any(done.tests.get(test, ("",))[0] not in GOOD for done in runs.values())]
    asked = run("stdlib", rest) if rest and not any(done.ended for done in runs.values()) else Run({}, 0.0, "")
    # A run that broke off does not say which tests there are, and a name that pytest does not find makes it run none.
    if set(rest) - set(asked.tests):
        return None, rest
    return Run({test: ("passed", "") for test in names} | asked.tests, asked.seconds, ""), rest


def judge_mode(name, suite, judge, mode, baseline, done, run, report):
    """Adds to the report how one way compares with the baseline; what fails is run again, by itself."""
    failed, expected, wrong = judge.judge(mode, baseline, done)
    if failed and not done.ended:
        again = run(mode, list(failed))
        steady = {test: why for test, why in failed.items() if again.tests.get(test, ("",))[0] not in GOOD}
        report["second_try"][mode] = sorted(set(failed) - set(steady))
        for test in report["second_try"][mode]:
            done.tests[test] = ("passed", "")
        failed = steady
    folder = fetch(name, suite)
    failed = {test: without_folders(why, folder) for test, why in failed.items()}
    good = sum(outcome in GOOD for outcome, _ in baseline.tests.values())
    report["modes"][mode] = summary(done) | {"of_baseline": good - len(failed) - len(expected)}
    for kind, names in [("failed", failed), ("expected", expected), ("wrongly_listed", wrong)]:
        if names:
            report[kind][mode] = names


def run_suite(name, suite, arguments):
    judge, parts = Judge(name), ("modes", "failed", "expected", "wrongly_listed", "second_try")
    report = {"release": suite["release"]} | {part: {} for part in parts}

    def run(mode, tests=arguments.tests):
        done = run_once(name, suite, mode, tests, arguments.extra, arguments.limit)
        say(f"{name} {suite['release']}, {mode}: {describe(summary(done))} {done.ended}")
        return done

    modes, runs, baseline = [mode for mode in MODES if mode in arguments.modes and mode != "stdlib"], {}, None
    if arguments.short:
        runs = {mode: run(mode) for mode in modes}
        baseline, rest = baseline_of_rest(runs, run)
        if baseline:
            report["asked_of_asyncio"] = len(rest)
    if not baseline:
        baseline = whole_baseline(name, run, arguments.reuse)
        report["modes"]["stdlib"] = summary(baseline)
    for mode in modes:
        judge_mode(name, suite, judge, mode, baseline, runs.get(mode) or run(mode), run, report)
    if not arguments.tests and not arguments.extra and set(arguments.modes) >= set(MODES):
        report["wrongly_listed"].update({"list": unused} if (unused := dict(judge.unused())) else {})
    return report


def describe(numbers):
    text = ", ".join(f"{numbers[kind]} {kind}" for kind in ("passed", "failed", "skipped"))
    return f"{text} in {numbers['seconds']:.0f} s"


def save(name, report, order):
    """Keeps a suite's results when it is done: those of the others stay."""
    path = ROOT / "docs" / "results" / f"ecosystem-{VERSION}.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["suites"] if path.exists() else {}
    kept[name] = report
    results = {"python": VERSION, "suites": {suite: kept[suite] for suite in order if suite in kept}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    suites = tomllib.loads((HERE / "suites.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", help=f"of {', '.join(suites)} (default: all)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), help="the baseline is run in any case")
    parser.add_argument("--tests", nargs="+", default=[], help="files or names of tests, as pytest takes them")
    parser.add_argument("--reuse", action="store_true", help="take the baseline of the run before")
    parser.add_argument(
        "--short", action="store_true", help="run on asyncio, and last, only what does not pass on rasyncio both ways"
    )
    parser.add_argument("--limit", type=int, default=3600, help="seconds that one suite may take one way")
    parser.add_argument(
        "--save", action="store_true", help="keep the results under docs/results; suites that are not run keep theirs"
    )
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:split])
    arguments.extra = sys.argv[split + 1 :]
    if unknown := set(arguments.suites) - set(suites):
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    results = {"python": VERSION, "suites": {}}
    for name in arguments.suites or suites:
        if not holds({"versions": suites[name].get("only_on", [VERSION])}):
            say(f"{name} {suites[name]['release']} is not for Python {VERSION}")
            continue
        results["suites"][name] = run_suite(name, suites[name], arguments)
        if arguments.save:
            save(name, results["suites"][name], list(suites))
    print("\n" + "\n".join(markdown([results])) + "\n")
    bad = 0
    for name, report in results["suites"].items():
        for kind in ("failed", "wrongly_listed"):
            for mode, tests in report[kind].items():
                bad += len(tests)
                for test, why in tests.items():
                    print(f"{name}, {mode}: {test}\n    {why.strip().splitlines()[-1][:200]}")
    print(
        f"{bad} tests that pass on asyncio fail on rasyncio, or are wrongly listed"
        if bad
        else "All that passes on asyncio passes."
    )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
