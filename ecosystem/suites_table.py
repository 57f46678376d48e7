"""The results that run.py keeps, as markdown: for run.py itself, and for tools/status.py.

Of the tests that pass on asyncio, how many pass with rasyncio in asyncio's place, and how many on its loop only.
"""

MODES = {"stdlib": "asyncio", "install": "rasyncio", "loop": "its loop only"}


def cell(report, mode):
    numbers = report["modes"].get(mode)
    if numbers is None:
        asked = report.get("asked_of_asyncio") if mode == "stdlib" else None
        return "" if asked is None else f"asked for {asked:,}"
    if mode == "stdlib":
        return f"{numbers['passed']:,}"
    return f"{numbers['of_baseline']:,}" + (
        f" ({len(report['expected'][mode])} expected)" if mode in report["expected"] else ""
    )


def markdown(all_results):
    """The lines of the table, for the results of several Pythons."""
    yield "| CPython | suite | " + " | ".join(MODES.values()) + " |"
    yield "|---|---|" + "---:|" * len(MODES)
    for results in all_results:
        for name, report in results["suites"].items():
            yield (
                f"| {results['python']} | {name} {report['release']} | "
                + " | ".join(cell(report, mode) for mode in MODES)
                + " |"
            )


def reasons(all_results):
    """What is expected to fail, and why: a line for each test."""
    found = {}
    for results in all_results:
        for name, report in results["suites"].items():
            for mode, tests in report["expected"].items():
                for test, reason in tests.items():
                    found.setdefault(f"{name}, `{test.partition('::')[2]}`: {reason}", []).append(
                        f"{mode} on {results['python']}"
                    )
    for text, places in sorted(found.items()):
        yield f"- {text} ({', '.join(places)})"
