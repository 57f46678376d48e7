#!/usr/bin/env python3
"""Renders results that run.py has written as JSON, of one or several versions of Python, as markdown.

    conformance/report.py build/conformance/*.json

tools/status.py puts the same text into docs/status.md.
"""

import json
import sys
from pathlib import Path

from verdict import COUNTS, KINDS, version_key


def read(paths):
    """Reports in the order of their Python versions."""
    reports = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    return sorted(reports, key=lambda report: version_key(report["python"]))


def rows_to_markdown(head, rows):
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def sum_kind(report, kind):
    totals = dict.fromkeys(COUNTS, 0)
    for file in report["files"].values():
        for count, number in file["kinds"].get(kind, {}).items():
            totals[count] += number
    return totals


def share(numbers):
    """Passed of all that ran, those known to fail included."""
    ran = numbers["passed"] + numbers["failed"] + numbers["known"]
    return f"{numbers['passed']:,} of {ran:,}" if ran else ""


def totals_table(reports):
    rows = []
    for report in reports:
        kinds = [sum_kind(report, kind) for kind in KINDS]
        every = {count: sum(numbers[count] for numbers in kinds) for count in COUNTS}
        cells = [share(numbers) for numbers in [*kinds, every]]
        counts = (f"{every[count]:,}" for count in ("known", "skipped"))
        rows.append([report["python"], *cells, *counts, report.get("commit", "")])
    return rows_to_markdown(["CPython", *KINDS, "all", "known failures", "skipped by the suite", "at commit"], rows)


def files_table(reports):
    names = list(dict.fromkeys(name for report in reports for name in report["files"]))
    rows = []
    for name in names:
        row = [name]
        for report in reports:
            file = report["files"].get(name)
            numbers = {count: sum(kind[count] for kind in file["kinds"].values()) for count in COUNTS} if file else None
            row.append(share(numbers) if numbers else "")
        rows.append(row)
    return rows_to_markdown(["file", *(report["python"] for report in reports)], rows)


def known_list(reports):
    """Reasons with the number of tests that they hold for, per version."""
    reasons = {}
    for report in reports:
        for name, entry in report["known"].items():
            reasons.setdefault(entry["reason"], {}).setdefault(report["python"], []).append(name)
    for reason, versions in sorted(reasons.items()):
        yield f"- {reason}: " + ", ".join(f"{len(names)} on {version}" for version, names in versions.items())


def failed_list(reports):
    for report in reports:
        for name, failure in report["failed"].items():
            yield f"- `{name}` on {report['python']}: {failure['status']}"
        for name, why in report["wrongly_listed"].items():
            yield f"- `{name}` on {report['python']}: {why}"


def markdown(reports):
    parts = [totals_table(reports), "", files_table(reports)]
    failed, known = list(failed_list(reports)), list(known_list(reports))
    if failed:
        parts += ["", "Failing, and not known to:", "", *failed]
    if known:
        parts += ["", "Known failures, by reason (conformance/known.toml):", "", *known]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(markdown(read(sys.argv[1:])), end="")
