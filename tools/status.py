"""Writes docs/status.md, and the table in README.md, from the results kept under docs/results: no figure is set by hand.

conformance/run.py -o docs/results/conformance-3.13.15.json    once for each Python
benches/run.py --save
benches/network.py --save
benches/servers.py --save
ecosystem/run.py --save                                         once for each Python
tools/release.py --save
tools/status.py                                                 `make status`
tools/status.py --check                                         fails if they are not what the results say
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
sys.path[:0] = [str(ROOT / "benches"), str(ROOT / "conformance"), str(ROOT / "ecosystem")]

import network as network_benches  # noqa: E402
import report  # noqa: E402
import run as benches  # noqa: E402
import servers as server_benches  # noqa: E402
import suites_table  # noqa: E402
import table  # noqa: E402

START, END = "<!-- written by tools/status.py from docs/results -->", "<!-- end -->"
NOTHING = "No results have been kept yet.\n"


def conformance():
    reports = report.read(RESULTS.glob("conformance-*.json"))
    return reports, report.markdown(reports) if reports else NOTHING


def saved(name):
    path = RESULTS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def network_section(results):
    rows = results["rows"]
    met = sum(not row["faults"] for row in rows)
    return [
        "## Network",
        f"rasyncio meets its target on {met} of {len(rows)} rows. Echo servers under a client that is not written in "
        "Python, beside one of nothing but epoll and system calls (bare), in thousand messages, or connections, a second: "
        f"`benches/network.py --save`, medians of {results['rounds']} interleaved rounds of {results['seconds']} s, on "
        f"{results['machine']}; {results['build']} build.",
        "\n".join(network_benches.markdown(results)),
    ]


def servers_section(results):
    return [
        "## Web servers",
        f"uvicorn (httptools) and aiohttp that say hello, under wrk with {results['connections']} connections: "
        f"`benches/servers.py --save`, medians of {results['rounds']} interleaved rounds of {results['seconds']} s, on "
        f"{results['machine']}; {results['build']} build.",
        "\n".join(server_benches.markdown(results)),
    ]


def ecosystem():
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("ecosystem-*.json")]
    return sorted(found, key=lambda results: [int(part) for part in results["python"].split(".")])


def ecosystem_section(results):
    parts = [
        "## Other people's suites",
        "Their own tests, of pinned releases: how many pass on asyncio, and how many of these with rasyncio in its place, or "
        "only its loop under the standard library's asyncio. Where asyncio was asked for some only, these are what did not pass on "
        "rasyncio: its skips too. An empty column was not run. `make ecosystem` runs them.",
        "\n".join(suites_table.markdown(results)),
    ]
    return parts + ["Expected failures:\n\n" + "\n".join(lines)] if (lines := [*suites_table.reasons(results)]) else parts


def sizes_section(results):
    wheels = [[name, f"{found['size'] / 1e6:.2f}", found["outcome"]] for name, found in results["files"].items()]
    sources = [[name, str(files), f"{lines:,}"] for name, (files, lines) in results["sources"].items()]
    return [
        "## Sizes",
        "`make release ARGS=--save`; a wheel that can run here is installed in a new environment without a compiler, and tried.",
        report.rows_to_markdown(["file", "MB", "outcome"], wheels),
        report.rows_to_markdown(["source", "files", "lines"], sources),
    ]


def status_page(reports, suite, bench, network, suites, servers, release):
    parts = [
        "# Status",
        START,
        "## CPython's own tests",
        "The interpreter's own, unmodified tests, with rasyncio in asyncio's place. `behaviour` tests use what asyncio "
        "documents, `subclass-hooks` also subclass BaseEventLoop, `white-box` read or patch other insides. `make "
        "conformance` runs them.",
        suite.strip(),
    ]
    if suites:
        parts += ecosystem_section(suites)
    parts.append("## Speed")
    if bench:
        parts += [table.tally(bench, benches.ALL_ROWS) + ".", "![speed relative to uvloop](bench.svg)"]
        parts += [table.markdown(bench, benches.ALL_ROWS).strip()]
    else:
        parts.append(NOTHING.strip())
    if network:
        parts += network_section(network)
    if servers:
        parts += servers_section(servers)
    if release:
        parts += sizes_section(release)
    return "\n\n".join([*parts, END]) + "\n"


def readme_table(reports, bench, suites, servers):
    """What a person wants to know first: does it work, and is it fast."""
    parts = [report.totals_table(reports)] if reports else []
    if suites:
        parts.append("\n".join(suites_table.markdown(suites)))
    if bench:
        rows = []
        for row in table.rows_of(bench, benches.ALL_ROWS):
            results = bench["results"][row.name]
            found = table.ratio(row, results, "rasyncio")
            loops = ("asyncio", "uvloop", "rasyncio")
            ratio = f"{found:.1f}" + ("" if row.against == "uvloop" else f" ({row.against})") if found else "-"
            rows.append([row.title, row.unit, *(table.cell(row, results.get(loop)) for loop in loops), ratio])
        parts.append(report.rows_to_markdown(["", "unit", "asyncio", "uvloop", "rasyncio", "times as fast as uvloop"], rows))
    if servers:
        parts.append("\n".join(server_benches.markdown(servers)))
    return "\n\n".join(parts) or NOTHING.strip()


def between_marks(text, inside):
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        sys.exit(f"README.md has lost its marks: {START} ... {END}")
    return f"{before}{START}\n{inside}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    options = parser.parse_args()
    (reports, suite), bench, network = conformance(), saved("bench.json"), saved("network.json")
    suites, servers, release = ecosystem(), saved("servers.json"), saved("release.json")
    readme, page = ROOT / "README.md", ROOT / "docs" / "status.md"
    texts = {
        page: status_page(reports, suite, bench, network, suites, servers, release),
        readme: between_marks(readme.read_text(encoding="utf-8"), readme_table(reports, bench, suites, servers)),
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is not what docs/results say: run make status' if options.check else 'written'}")
        if not options.check:
            path.write_text(texts[path], encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
