"""A pytest plugin: writes each test's start and outcome as a line of JSON to the file that ECOSYSTEM_RECORD names.

A line is written when it is known, so that of a run that hangs or dies the file says which test it was.
"""

import contextlib
import gc
import importlib
import json
import os

import pytest

RANK = ("passed", "xfailed", "skipped", "xpassed", "failed")


class Recorder:
    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)
        self.tests, self.owner = {}, os.getpid()

    def pytest_collection_finish(self):
        # Hypothesis, when it is imported, asks the collector who refers to an object: of what is frozen no one does, it seems.
        with contextlib.suppress(ImportError):
            importlib.import_module("hypothesis")
        # Suites that collect garbage after each test wait for what the collection of tests has left, otherwise.
        gc.collect()
        gc.freeze()

    def write(self, **line):
        if os.getpid() == self.owner:  # a fork of the test's must not report
            self.file.write(json.dumps(line) + "\n")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid):
        self.tests[nodeid] = ("passed", "")
        self.write(start=nodeid)

    def pytest_runtest_logreport(self, report):
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        else:
            outcome = report.outcome
        why = report.longreprtext if outcome == "failed" else ""
        known, text = self.tests.get(report.nodeid, ("passed", ""))
        if RANK.index(outcome) > RANK.index(known):
            self.tests[report.nodeid] = (outcome, why)
        elif why:
            self.tests[report.nodeid] = (known, f"{text}\n{why}")

    def pytest_runtest_logfinish(self, nodeid):
        outcome, why = self.tests.pop(nodeid, ("passed", ""))
        self.write(test=nodeid, outcome=outcome, why=why)

    def pytest_collectreport(self, report):
        if report.failed:
            self.write(test=f"{report.nodeid} (collection)", outcome="failed", why=report.longreprtext)

    def pytest_sessionfinish(self, exitstatus):
        self.write(finished=int(exitstatus))


def pytest_configure(config):
    if path := os.environ.get("ECOSYSTEM_RECORD"):
        config.pluginmanager.register(Recorder(path), "outcomes_recorder")
