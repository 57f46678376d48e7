"""Says what a test's outcome means: of which kind the test is, and whether its failure is known.

The kind of every test was measured, not guessed (conformance/README.md tells how): `behaviour` tests use what asyncio
documents, `subclass-hooks` also subclass BaseEventLoop in the supported manner, `white-box` read or patch other insides.
kinds.json holds the measurement; known.toml holds what rasyncio does not pass.
"""

import dataclasses
import fnmatch
import json
import tomllib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
KINDS = ("behaviour", "subclass-hooks", "white-box")
COUNTS = ("passed", "failed", "known", "skipped")
PASSING = ("passed", "expected failure")


def short(name):
    """`test.test_asyncio.test_tasks.RunTests.test_x` as lists and tables call it: `test_tasks.RunTests.test_x`."""
    parts = name.split(".")
    while len(parts) > 1 and not (parts[0].startswith("test_") and parts[0] not in ("test_asyncio", "test_unittest")):
        parts.pop(0)
    return ".".join(parts)


def version_key(text):
    return tuple(int(part) for part in text.split("."))


class Kinds:
    """The kind of each test, as measured on the nearest version to `version`."""

    def __init__(self, version):
        data = json.loads((FOLDER / "kinds.json").read_text(encoding="utf-8"))
        wanted = version_key(version)
        self.order = sorted(
            range(len(data["versions"])),
            key=lambda place: [
                abs(mine - theirs) for mine, theirs in zip(wanted, version_key(data["versions"][place]), strict=True)
            ],
        )
        names = {letter: data["letters"][letter] for letter in "bhw"}
        self.kinds = {}
        for group, patterns in data["tests"].items():
            for pattern, tests in patterns.items():
                kind = next((names[pattern[place]] for place in self.order if pattern[place] in names), "behaviour")
                for test in tests.split():
                    self.kinds[f"{group}.{test}"] = kind

    def of(self, name):
        """A test that is not in the measurement belongs to a file outside test_asyncio, or is new: it must pass."""
        return self.kinds.get(short(name).partition("#")[0], "behaviour")


@dataclasses.dataclass
class Known:
    """One entry of known.toml that holds for the running version."""

    patterns: list
    reason: str
    may_pass: bool = False
    matched: set = dataclasses.field(default_factory=set)

    def matches(self, name):
        for pattern in self.patterns:
            if fnmatch.fnmatchcase(name, pattern):
                self.matched.add(pattern)
                return True
        return False


def read_known(version, path=FOLDER / "known.toml"):
    entries = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("known", ()):
        unknown = set(entry) - {"test", "versions", "reason", "may_pass"}
        if unknown or not entry.get("reason") or not entry.get("test"):
            raise SystemExit(f"{path}: an entry needs `test` and `reason`, and has nothing else: {entry}")
        versions = entry.get("versions")
        if versions is None or any(f"{version}.".startswith(f"{leading}.") for leading in versions):
            tests = entry["test"]
            patterns = [tests] if isinstance(tests, str) else tests
            entries.append(Known(patterns, entry["reason"], entry.get("may_pass", False)))
    return entries


class Verdict:
    """Collects the files' results and answers the report: counts by file and kind, and whatever needs a person."""

    def __init__(self, version, known):
        self.kinds, self.entries = Kinds(version), known
        self.files, self.failed, self.known, self.skipped, self.wrong = {}, {}, {}, {}, {}

    def known_entry(self, name):
        for entry in self.entries:
            if entry.matches(name):
                return entry
        return None

    def add(self, file):
        label = short(file.module)
        counts = {kind: dict.fromkeys(COUNTS, 0) for kind in KINDS}
        if file.state and file.state["module"] != "skipped":
            entry = self.known_entry(label)
            if entry:
                self.known[label] = {"status": file.state["module"], "reason": entry.reason}
            else:
                self.failed[label] = {
                    "status": file.state["module"],
                    "why": file.state["why"],
                    "trace": file.state.get("trace", ""),
                }
                if not file.tests:
                    counts["behaviour"]["failed"] += 1
        for name in file.tests:
            result = file.results.get(name) or self.missing(file, name)
            kind = self.kinds.of(name)
            counts[kind][self.count(short(name), kind, result)] += 1
        self.files[label] = {
            "seconds": file.seconds,
            "restarts": file.restarts,
            "kinds": {kind: numbers for kind, numbers in counts.items() if any(numbers.values())},
        }
        if file.state and file.state["module"] == "skipped":
            self.skipped[label] = file.state["why"]

    def missing(self, file, name):
        """A test that never started: its class's or module's fixture says why."""
        owner = name.partition("#")[0].rpartition(".")[0]
        for fixture in file.fixtures:
            if fixture["fixture"].endswith((f"({owner})", f"({file.module})")):
                return {"status": fixture["status"], "why": f"{fixture['fixture']}: {fixture['why']}"}
        return {"status": "error", "why": "it was not run: " + ((file.state or {}).get("why") or "the file ended early")}

    def count(self, name, kind, result):
        status = result["status"]
        if status == "skipped":
            self.skipped[name] = result["why"]
            return "skipped"
        entry = self.known_entry(name)
        if status in PASSING:
            if entry and not entry.may_pass:
                self.wrong[name] = f"listed as known to fail ({entry.reason}), and it passes"
                return "failed"
            return "passed"
        if entry:
            self.known[name] = {"status": status, "reason": entry.reason, "kind": kind}
            return "known"
        self.failed[name] = {
            "status": status,
            "kind": kind,
            "why": result["why"],
            "trace": result.get("trace", ""),
            "again": result.get("again", ""),
        }
        return "failed"

    def close(self, whole_files):
        """Looks for entries that match nothing in the files that were run as a whole."""
        for entry in self.entries:
            for pattern in set(entry.patterns) - entry.matched:
                if pattern.partition(".")[0] in whole_files:
                    self.wrong[pattern] = f"listed as known ({entry.reason}), and no such test was run"

    def totals(self):
        totals = dict.fromkeys(COUNTS, 0)
        for file in self.files.values():
            for numbers in file["kinds"].values():
                for count in COUNTS:
                    totals[count] += numbers[count]
        return totals

    def failures(self):
        """How many things make the run fail: a failed test, a broken file, a list entry that is not true."""
        return len(self.failed) + len(self.wrong)
