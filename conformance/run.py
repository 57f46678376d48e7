#!/usr/bin/env python3
"""Runs CPython's own, unmodified asyncio tests on rasyncio: those of the interpreter that runs this program.

    conformance/run.py                          the files that rasyncio is held to
    conformance/run.py test_tasks               one file; also test_tasks.RunTests or test_tasks.RunTests.test_x
    conformance/run.py --all                    every file of test_asyncio, and the other files
    conformance/run.py --package asyncio        the baseline: the same tests on the stock asyncio
    conformance/run.py --dev                    under -X dev; what the stock asyncio fails there too does not count

Each file has a child process and an empty working folder of its own, each test a time limit; a test that hangs or kills
its process is recorded as such, and the rest of its file is run by another process.  The status is 0 if every test passed,
was skipped by the suite, or failed as known.toml says.
"""

import argparse
import collections
import importlib.util
import json
import os
import pkgutil
import platform
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from supervise import Environment, run_file
from verdict import KINDS, PASSING, Verdict, read_known, short

DEFAULT = """test_futures test_futures2 test_tasks test_locks test_queues test_runners test_taskgroups test_timeouts
    test_waitfor test_threads test_staggered test_eager_task_factory test_context test_pep492 test_protocols test_transports
    test_base_events test_events test_unix_events test_selector_events test_proactor_events test_sock_lowlevel test_streams
    test_server test_server_context test_buffered_proto test_sendfile test_ssl test_sslproto test_subprocess
    test_graph test_tools test_free_threading test_coroutines test_asyncgen test_contextlib_async test_async_case""".split()
# Files outside test_asyncio that exercise asyncio; --all runs those of them that DEFAULT names.
ELSEWHERE = ("test", "test.test_unittest", "unittest.test")
WINDOWS_ONLY = ("test_windows_events", "test_windows_utils")
SLOW_FIRST = ("test_subprocess", "test_events", "test_tasks", "test_taskgroups", "test_ssl", "test_sslproto")


def exists(module):
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def locate(name):
    """(module, rest) of a name as given by the user: `test_tasks.RunTests` is ('test.test_asyncio.test_tasks', 'RunTests').

    None if this version of Python has no such file."""
    first, _, rest = name.partition(".")
    for package in ("test.test_asyncio", *ELSEWHERE):
        if exists(f"{package}.{first}"):
            return f"{package}.{first}", rest
    parts = name.split(".")
    for end in range(len(parts), 1, -1):
        module = "test." + ".".join(parts[:end])
        if exists(module):
            return module, ".".join(parts[end:])
    return None


def all_names():
    folder = Path(importlib.util.find_spec("test.test_asyncio").origin).parent
    inside = [module.name for module in pkgutil.iter_modules([str(folder)]) if module.name.startswith("test_")]
    names = [name for name in inside if name not in WINDOWS_ONLY or sys.platform == "win32"]
    return names + [name for name in DEFAULT if name not in names]


class Progress:
    """One line on a terminal, rewritten; otherwise a line for each file."""

    def __init__(self, files):
        self.lock, self.tests, self.failed, self.files = threading.Lock(), 0, 0, files
        self.done, self.started = 0, time.monotonic()
        self.terminal = sys.stderr.isatty()

    def heard(self, name, message):
        with self.lock:
            self.tests += 1
            self.failed += message["status"] not in (*PASSING, "skipped")
            if self.terminal and self.tests % 5 == 0:
                self.rewrite(short(name))

    def rewrite(self, text):
        head = f"[{time.monotonic() - self.started:4.0f} s] {self.done}/{self.files} files, {self.tests} tests"
        head += f", {self.failed} not passing" if self.failed else ""
        width = os.get_terminal_size(2).columns - 1
        sys.stderr.write(f"\r\033[K{f'{head}  {text}'[:width]}")
        sys.stderr.flush()

    def file_done(self, file):
        with self.lock:
            self.done += 1
            if self.terminal:
                self.rewrite(short(file.module))
                return
            states = collections.Counter(result["status"] for result in file.results.values())
            text = ", ".join(f"{number} {status}" for status, number in states.most_common())
            if file.state:
                text = f"{file.state['module']}: {file.state['why'].splitlines()[0]}" + (f" ({text})" if text else "")
            sys.stderr.write(f"[{self.done}/{self.files}] {short(file.module)}: {text} in {file.seconds:.1f} s\n")
            sys.stderr.flush()

    def close(self):
        if self.terminal:
            sys.stderr.write("\r\033[K")


def run_all(environment, places, arguments, log_folder):
    """FileResults in the order of `places`; `arguments.jobs` children at a time."""
    progress, results, waiting = Progress(len(places)), {}, queue.SimpleQueue()
    for place in sorted(places, key=lambda place: place[0].rpartition(".")[2] not in SLOW_FIRST):
        waiting.put(place)

    def work():
        while True:
            try:
                module, rest = waiting.get_nowait()
            except queue.Empty:
                return
            log = log_folder / f"{short(module)}.txt"
            file = run_file(environment, module, rest, arguments.limit, log, progress.heard)
            results[module, rest] = file
            progress.file_done(file)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.close()
    return [results[place] for place in places]


def run_again(environment, file, names, arguments, log_folder):
    """Runs tests of `file` once more, with nothing else running; what passes then counts as passed, and is told of."""
    log = log_folder / f"{short(file.module)}-again.txt"
    again = run_file(environment, file.module, file.rest, arguments.limit, log, lambda *_: None, only=names)
    for name in names:
        result = again.results.get(name)
        if result and result["status"] in PASSING:
            print(f"{short(name)}: {file.results[name]['status']}, and passed when run again, alone", file=sys.stderr)
            file.results[name] = result
        elif name in file.results:
            file.results[name]["again"] = result["status"] if result else "did not run"


def excuse(environment, file, names, arguments, log_folder):
    """Runs tests of `file` that failed on the stock asyncio, in the same way; those that fail there, too, count as skipped."""
    log = log_folder / f"{short(file.module)}-asyncio.txt"
    stock = run_file(environment, file.module, file.rest, arguments.limit, log, lambda *_: None, only=names)
    for name in names:
        result = stock.results.get(name)
        if result is not None and result["status"] not in PASSING and name in file.results:
            file.results[name] = {"status": "skipped", "why": f"{arguments.package} fails as asyncio does: {result['why']}"}


def failed_tests(verdict, file):
    """The names of tests that neither passed, nor were skipped, nor are known to fail."""
    return [
        name
        for name, result in file.results.items()
        if result["status"] not in (*PASSING, "skipped") and not verdict.known_entry(short(name))
    ]


def table(verdict):
    """Counts by file and kind, as lines of text."""
    head = ["file", *KINDS, "known", "skipped", "seconds"]
    rows = []
    for label, file in verdict.files.items():
        row = [label]
        for kind in KINDS:
            numbers = file["kinds"].get(kind)
            held = numbers["passed"] + numbers["failed"] if numbers else 0
            row.append(f"{numbers['passed']}/{held}" if held else "")
        for count in ("known", "skipped"):
            row.append(str(sum(numbers[count] for numbers in file["kinds"].values()) or ""))
        rows.append([*row, f"{file['seconds']:.1f}"])
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        yield "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def print_report(verdict, arguments):
    print()
    print("\n".join(table(verdict)))
    for name, failure in verdict.failed.items():
        again = f"; when run again: {failure['again']}" if failure.get("again") else ""
        print(f"\n{failure['status'].upper()}: {name}{again}")
        text = failure.get("trace") if arguments.traces else ""
        print("    " + (text or failure["why"]).strip().replace("\n", "\n    "))
    for name, why in verdict.wrong.items():
        print(f"\nLIST: {name}: {why}")
    totals = verdict.totals()
    print(f"\n{totals['known']} known failures (conformance/known.toml); counted below as skipped")
    print(f"{totals['passed']} passed, {verdict.failures()} failed, {totals['skipped'] + totals['known']} skipped")


def commit():
    """The commit that is checked out, "" where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=9", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def write_json(path, verdict, environment, seconds):
    package = environment.package
    answer = environment.ask(f"import {package}; print(getattr({package}, '__version__', ''))")
    report = {
        "python": platform.python_version(),
        "package": package,
        "version": answer.stdout.strip(),
        "commit": commit(),
        "platform": f"{platform.system()} {platform.machine()}",
        "seconds": round(seconds, 1),
        "totals": verdict.totals(),
        "files": verdict.files,
        "failed": verdict.failed,
        "wrongly_listed": verdict.wrong,
        "known": verdict.known,
        "skipped": verdict.skipped,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "tests", nargs="*", metavar="TEST", help="test_tasks, test_tasks.RunTests, ... (default: see --list)"
    )
    parser.add_argument("--all", action="store_true", help="every file of test_asyncio, and the default's others")
    parser.add_argument("--list", action="store_true", help="name the files and stop")
    parser.add_argument("--package", default="rasyncio", help="what to put in asyncio's place (default: %(default)s)")
    parser.add_argument("--path", action="append", default=[], help="a folder in which to look for the package")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="files to run at the same time")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one test (default: %(default)g)")
    parser.add_argument("--again", action="store_true", help="run failed tests once more, alone, before they count")
    parser.add_argument("--dev", action="store_true", help="run the tests under -X dev, and count what asyncio passes there")
    parser.add_argument("-o", "--output", type=Path, help="write the results to this JSON file")
    parser.add_argument("--traces", action="store_true", help="show whole tracebacks")
    parser.add_argument("--logs", type=Path, help="keep what the tests print in this folder")
    parser.add_argument(
        "--without-suite",
        choices=("fail", "skip"),
        default="fail",
        help="what to do if this interpreter was installed without its test package",
    )
    return parser.parse_args()


def main():
    arguments = parse()
    if not exists("test.test_asyncio"):
        print(f"{sys.executable} has no test package (Debian: apt-get install libpython3-testsuite).", file=sys.stderr)
        print("0 passed, 0 failed, 1 skipped")
        return 0 if arguments.without_suite == "skip" else 2
    names = arguments.tests or (all_names() if arguments.all else DEFAULT)
    located = {name: locate(name) for name in names}
    absent = [name for name, place in located.items() if place is None]
    if arguments.tests and absent:
        print(f"this Python has no such test file: {' '.join(absent)}", file=sys.stderr)
        return 2
    places = list(dict.fromkeys(place for place in located.values() if place))
    if arguments.list:
        print("\n".join(module + (f" {rest}" if rest else "") for module, rest in places))
        return 0
    version = platform.python_version()
    known = read_known(version) if arguments.package != "asyncio" else []
    for entry in known:
        entry.may_pass |= arguments.dev  # the list is of what fails without it
    started = time.monotonic()
    options = ["-X", "dev"] if arguments.dev else []
    environment = Environment(arguments.package, arguments.path, options)
    stock = Environment("asyncio", options=options)
    try:
        package = arguments.package
        answer = environment.ask(f"import conformance_substitute; conformance_substitute.check({package!r})")
        if answer.returncode:
            print(f"{package} cannot be put in asyncio's place:\n{answer.stderr}", file=sys.stderr)
            print("0 passed, 1 failed, 0 skipped")
            return 2
        log_folder = arguments.logs or environment.folder / "logs"
        log_folder.mkdir(parents=True, exist_ok=True)
        print(f"{package} on CPython {version}: {len(places)} files, {arguments.jobs} at a time", file=sys.stderr)
        files = run_all(environment, places, arguments, log_folder)
        verdict = Verdict(version, known)
        for file in files:
            if arguments.again:
                if bad := failed_tests(verdict, file):
                    run_again(environment, file, bad, arguments, log_folder)
            if arguments.dev and (bad := failed_tests(verdict, file)):
                excuse(stock, file, bad, arguments, log_folder)
            verdict.add(file)
        verdict.close({short(module) for module, rest in places if not rest})
        if arguments.output:
            write_json(arguments.output, verdict, environment, time.monotonic() - started)
    finally:
        environment.remove()
        stock.remove()
    print_report(verdict, arguments)
    return 1 if verdict.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
