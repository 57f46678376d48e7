"""The runner of CPython's tests: what it makes of tests that fail, hang, crash or are known to fail."""

import sys
import textwrap
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "conformance"))
try:
    import supervise
    import verdict
finally:
    del sys.path[0]

SUITE = """
    import os, subprocess, sys, time, unittest

    class Tests(unittest.TestCase):
        def test_1_passes(self):
            pass
        def test_2_fails(self):
            self.assertEqual(1, 2)
        def test_3_hangs(self):
            while True:
                pass
        def test_4_after_the_hang(self):
            pass
        def test_5_crashes(self):
            os.abort()
        def test_6_after_the_crash(self):
            pass
        @unittest.skip("not here")
        def test_7_skipped(self):
            pass
        @unittest.expectedFailure
        def test_8_expected(self):
            self.fail()
        def test_9_child_is_substituted(self):
            code = "import asyncio; print(asyncio.__name__, asyncio.tasks._CTask is asyncio.tasks._PyTask)"
            for option in ("-E", "-I"):
                self.assertEqual(subprocess.check_output([sys.executable, option, "-c", code], text=True).split(), NAME)

    class Broken(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            raise OSError("no set-up")
        def test_never(self):
            pass

    NAME = ["standin", "True"]
"""
STANDIN = """
    import sys, types
    for name, names in {"events": [], "futures": ["Future"], "tasks": ["Task", "current_task"]}.items():
        module = types.ModuleType(f"standin.{name}")
        vars(module).update({item: type(item, (), {}) for item in names})
        globals()[name] = sys.modules[module.__name__] = module
    def install():
        for name in ("", ".events", ".futures", ".tasks"):
            sys.modules["asyncio" + name] = sys.modules["standin" + name]
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    (folder / "test_sample.py").write_text(textwrap.dedent(SUITE))
    (folder / "standin.py").write_text(textwrap.dedent(STANDIN) + "__path__ = []\n")
    environment = supervise.Environment("standin", [folder])
    # the harness of the real suite is not needed, and it needs the real asyncio
    (folder / "test").mkdir()
    (folder / "test" / "__init__.py").touch()
    (folder / "test" / "support.py").touch()
    environment.variables["PYTHONPATH"] = str(folder)
    try:
        yield supervise.run_file(environment, "test_sample", "", 1.0, folder / "log.txt", lambda *_: None)
    finally:
        environment.remove()


def judged(results, entries):
    judge = verdict.Verdict("3.13.0", [verdict.Known(tests, "a reason") for tests in entries])
    judge.add(results)
    judge.close({"test_sample"})
    return judge


def test_every_outcome_is_told_apart(results):
    statuses = {name.rpartition(".")[2]: result["status"] for name, result in results.results.items()}
    assert statuses == {
        "test_1_passes": "passed",
        "test_2_fails": "failed",
        "test_3_hangs": "timeout",
        "test_4_after_the_hang": "passed",
        "test_5_crashes": "crash",
        "test_6_after_the_crash": "passed",
        "test_7_skipped": "skipped",
        "test_8_expected": "expected failure",
        "test_9_child_is_substituted": "passed",
    }
    assert results.restarts == 2
    assert "in test_3_hangs" in results.results["test_sample.Tests.test_3_hangs"]["trace"]


def test_a_test_whose_class_cannot_be_set_up_has_failed(results):
    judge = judged(results, [])
    assert judge.failed["test_sample.Broken.test_never"]["status"] == "error"
    assert "no set-up" in judge.failed["test_sample.Broken.test_never"]["why"]
    assert judge.totals() == {"passed": 5, "failed": 4, "known": 0, "skipped": 1}


def test_the_list_of_known_failures_must_be_true(results):
    failing = ["test_sample.Tests.test_[235]_*", "test_sample.Broken.*"]
    judge = judged(results, [failing])
    assert judge.failures() == 0
    assert judge.totals() == {"passed": 5, "failed": 0, "known": 4, "skipped": 1}
    judge = judged(results, [failing, ["test_sample.Tests.test_1_passes"]])
    assert list(judge.wrong) == ["test_sample.Tests.test_1_passes"]
    judge = judged(results, [failing, ["test_sample.Tests.test_no_more"], ["test_other.Tests.test_x"]])
    assert list(judge.wrong) == ["test_sample.Tests.test_no_more"]


def test_entries_hold_for_the_versions_they_name(tmp_path):
    path = tmp_path / "known.toml"
    path.write_text('[[known]]\ntest = "a.*"\nversions = ["3.13.1", "3.12"]\nreason = "x"\n')
    found = {version: len(verdict.read_known(version, path)) for version in ("3.13.0", "3.13.1", "3.13.15", "3.12.1")}
    assert found == {"3.13.0": 0, "3.13.1": 1, "3.13.15": 0, "3.12.1": 1}
    path.write_text('[[known]]\ntest = "a.*"\n')
    with pytest.raises(SystemExit):
        verdict.read_known("3.13.0", path)


def test_kinds_are_those_of_the_nearest_version():
    kinds = verdict.Kinds("3.13.15")
    assert kinds.of("test.test_asyncio.test_events.HandleTests.test_callback_with_exception") == "white-box"
    assert kinds.of("test.test_asyncio.test_events.HandleTests.test_callback_with_exception#2") == "white-box"
    assert kinds.of("test.test_coroutines.CoroutineTest.test_func_1") == "behaviour"
    assert verdict.Kinds("3.14.99").order[0] == 4
