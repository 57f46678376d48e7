"""Runs the tests of one file of CPython's suite and tells its parent, line by line, how each one went.

Started by supervise.py inside the run's temporary environment, where substitute.py has already put the package under test
in asyncio's place.  Speaks JSON lines on the file descriptor it is given:

    {"tests": [id, ...]}                      what there is to run, once
    {"start": id}  {"done": id, "status": ..., "why": ..., "trace": ..., "seconds": ...}
    {"fixture": id, "status": ..., "why": ...}   a setUpClass or setUpModule that failed or skipped
    {"module": "skipped" | "failed", "why": ..., "trace": ...}   the file could not be imported, or does not apply here
    {"end": true}

A test that takes longer than the limit ends the process, after faulthandler has written every thread's stack to standard
error: its watchdog is a thread that needs no GIL, so a test stuck in native code is caught as well.  The parent then starts
another child for the rest of the file.
"""

import argparse
import faulthandler
import importlib
import json
import os
import signal
import sys
import time
import traceback
import unittest

import conformance_substitute

SEVERITY = ("passed", "expected failure", "skipped", "unexpected success", "failed", "error")
IMPORT_LIMIT = 60.0


class Telegraph:
    """The way to the parent."""

    def __init__(self, descriptor):
        os.set_inheritable(descriptor, False)
        self.stream = os.fdopen(descriptor, "w", buffering=1)

    def tell(self, **message):
        self.stream.write(json.dumps(message) + "\n")
        self.stream.flush()


def last_line(error):
    return "".join(traceback.format_exception_only(error)).strip()


def arm_watchdog(seconds):
    faulthandler.dump_traceback_later(seconds, exit=True)


class Recorder(unittest.TestResult):
    """Tells of each test when it starts and when it is over; the worst thing that happened to it counts."""

    def __init__(self, telegraph, names, limit):
        super().__init__()
        self.telegraph, self.names, self.limit = telegraph, names, limit
        self.running = None

    def startTest(self, test):
        super().startTest(test)
        self.begin(test)

    def begin(self, test):
        self.running, self.status, self.why, self.trace = test, "passed", "", ""
        self.since = time.perf_counter()
        self.telegraph.tell(start=self.names[id(test)])
        arm_watchdog(self.limit)

    def note(self, status, error=None, why=""):
        if SEVERITY.index(status) < SEVERITY.index(self.status):
            return
        self.status, self.why = status, why
        if error is not None:
            self.why = last_line(error[1])
            self.trace = "".join(traceback.format_exception(*error))

    def addError(self, test, err):
        if id(test) in self.names:
            self.note("error", err)
        else:
            self.telegraph.tell(fixture=test.id(), status="error", why=last_line(err[1]))

    def addFailure(self, test, err):
        self.note("failed", err)

    def addSkip(self, test, reason):
        if id(test) not in self.names:
            self.telegraph.tell(fixture=test.id(), status="skipped", why=reason)
            return
        if self.running is not test:  # a class-level skip does not always start the test first
            self.begin(test)
        self.note("skipped", why=reason)

    def addExpectedFailure(self, test, err):
        self.note("expected failure")

    def addUnexpectedSuccess(self, test):
        self.note("unexpected success", why="passed, although the suite marks it as an expected failure")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note("failed" if issubclass(err[0], test.failureException) else "error", err)

    def stopTest(self, test):
        super().stopTest(test)
        arm_watchdog(self.limit + IMPORT_LIMIT)
        self.telegraph.tell(
            done=self.names[id(test)],
            status=self.status,
            why=self.why[:500],
            trace=self.trace[-8000:],
            seconds=round(time.perf_counter() - self.since, 3),
        )
        self.running = None


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def load(module_name, rest):
    module = importlib.import_module(module_name)
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromName(rest, module) if rest else loader.loadTestsFromModule(module)
    return list(flatten(suite))


def number(tests):
    """Names for the tests; a class that the file binds twice has its tests run twice, the second time as `id#2`."""
    seen, names = {}, []
    for test in tests:
        name = test.id()
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def prepare(package):
    conformance_substitute.check(package)
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        # Started as a job in the background SIGINT is ignored, and the tests that send it would wait for ever.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    support = importlib.import_module("test.support")
    support.verbose = 0
    support.use_resources = {}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--descriptor", type=int, required=True)
    parser.add_argument("--package", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--rest", default="")
    parser.add_argument("--limit", type=float, required=True)
    parser.add_argument("--selection", help='a JSON file: {"done": [ids]} or {"only": [ids]}')
    arguments = parser.parse_args()
    del sys.argv[1:]
    sys.path[0:1] = []  # this folder's files are none of the suite's business
    telegraph = Telegraph(arguments.descriptor)
    faulthandler.enable()
    arm_watchdog(IMPORT_LIMIT + arguments.limit)
    try:
        prepare(arguments.package)
        tests = load(arguments.module, arguments.rest)
    except unittest.SkipTest as skip:
        telegraph.tell(module="skipped", why=str(skip))
        return
    except BaseException as error:  # whatever the package breaks at import is a result
        telegraph.tell(module="failed", why=last_line(error), trace=traceback.format_exc())
        return
    names = number(tests)
    telegraph.tell(tests=names)
    selection = {}
    if arguments.selection:
        with open(arguments.selection, encoding="utf-8") as file:
            selection = json.load(file)
    done, only = set(selection.get("done", ())), selection.get("only")
    chosen = [
        (test, name) for test, name in zip(tests, names, strict=True) if name not in done and (only is None or name in only)
    ]
    suite = unittest.TestSuite(test for test, _ in chosen)
    suite._cleanup = False  # the recorder knows tests by identity
    suite.run(Recorder(telegraph, {id(test): name for test, name in chosen}, arguments.limit))
    telegraph.tell(end=True)
    sys.stdout.flush()
    os._exit(0)  # threads that a failed test left behind must not hold the run up


if __name__ == "__main__":
    main()
