"""Shows the benchmarks' results: as a table for the terminal, as markdown, and as an SVG chart.

All three are made from the report that run.py writes as JSON, so that tools/status.py can make them again without measuring.
"""

import html

SCALE = {"us": 1e6, "ms": 1e3, "B": 1.0}
COLOURS = {
    "asyncio": "#8c8c8c",
    "uvloop": "#c9a227",
    "rloop": "#5b8fb9",
    "blazio": "#7a9e6b",
    "rasyncio": "#c0392b",
    "rasyncio-mixed": "#e59a91",
}
# "No slower than" is a target of 1; two medians are not told apart more finely than this.
EQUAL = 0.02
OURS = ("rasyncio", "rasyncio-mixed")


def cell(row, summary):
    if summary is None:
        return "-"
    value = summary["median"] * SCALE[row.unit]
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(summary):
    """Half the distance between the quartiles, in per cent of the median."""
    if not summary or not summary["median"]:
        return ""
    return f"{abs(summary['high'] - summary['low']) / 2 / summary['median']:.0%}"


def ratio(row, results, loop):
    """How many times as fast as the row's yardstick; None if one of the two is missing."""
    mine, theirs = results.get(loop), results.get(row.against)
    return theirs["median"] / mine["median"] if mine and theirs and mine["median"] > 0 else None


def behind(results):
    """The peers that are faster than rasyncio by more than the spread of either."""
    mine = results.get("rasyncio")
    if not mine:
        return []
    return [loop for loop, theirs in results.items() if loop not in OURS and theirs and theirs["high"] < mine["low"]]


def judge(row, results):
    """(met, text) for rasyncio on this row; met is None if it was not measured."""
    found = ratio(row, results, "rasyncio")
    if found is None:
        return None, ""
    least = row.target - EQUAL if row.target == 1 else row.target
    faults = [] if found >= least else [f"missed: {row.target:g} wanted"]
    mixed = ratio(row, results, "rasyncio-mixed")
    if row.mixed and mixed is not None and mixed < row.mixed:
        faults.append(f"mixed missed: {row.mixed:g} wanted")
    if behind(results):
        faults.append(f"behind {', '.join(behind(results))}")
    return not faults, "; ".join(faults) or "met"


def loops_of(report):
    return [loop for loop, version in report["versions"].items() if version]


def rows_of(report, rows):
    return [rows[name] for name in report["results"] if name in rows]


def lines(report, rows):
    """The table's cells: a head, then a line for each row."""
    loops = loops_of(report)
    ours = [loop for loop in loops if loop in OURS]
    head = ["", "unit", *loops, *(f"{loop} ratio" for loop in ours)]
    yield [*head, "spread", "target", ""] if ours else head
    for row in rows_of(report, rows):
        results = report["results"][row.name]
        line = [row.title, row.unit, *(cell(row, results.get(loop)) for loop in loops)]
        for loop in ours:
            found = ratio(row, results, loop)
            line.append("-" if found is None else f"{found:.2f}")
        if ours:
            against = "" if row.against == "uvloop" else f" ({row.against})"
            line += [spread(results.get("rasyncio")), f"{row.target:g}{against}", judge(row, results)[1]]
        yield line


def aligned(rows):
    widths = [max(len(line[place]) for line in rows) for place in range(len(rows[0]))]
    last = len(widths) - 1
    for line in rows:
        yield "  ".join(
            text.ljust(width) if place in (0, 1, last) else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()


def context(report):
    versions = ", ".join(f"{loop} {version}" for loop, version in report["versions"].items() if version)
    return (
        f"CPython {report['python']}; {versions} ({report.get('build', 'unknown')} build); {report['machine']}; "
        f"{report['date']}; {report['rounds']} interleaved rounds ({report['process_rounds']} for whole "
        f"processes), medians, {report['clock']} time; lower is better; a ratio is the yardstick's median by "
        "ours, and the yardstick is uvloop unless the target names another"
    )


def failures(report):
    for name, failed in report["failures"].items():
        for loop, why in failed.items():
            yield f"{name} failed on {loop}: {why}"


def tally(report, rows):
    verdicts = [judge(row, report["results"][row.name])[0] for row in rows_of(report, rows)]
    judged = [verdict for verdict in verdicts if verdict is not None]
    return f"rasyncio meets its target on {sum(judged)} of {len(judged)} rows" if judged else ""


def terminal(report, rows):
    parts = [*aligned(list(lines(report, rows))), "", *failures(report), tally(report, rows), context(report)]
    return "\n".join(part for part in parts if part is not None)


def markdown(report, rows):
    table = list(lines(report, rows))
    rule = ["---" if place in (0, 1, len(table[0]) - 1) else "---:" for place in range(len(table[0]))]
    text = ["| " + " | ".join(line) + " |" for line in [table[0], rule, *table[1:]]]
    return "\n".join([*text, "", *(f"- {failure}" for failure in failures(report)), "", context(report) + ".", ""])


def chart(report, rows):
    """Horizontal bars: speed of each implementation on each row, uvloop being 1."""
    loops = [loop for loop in loops_of(report) if loop != "uvloop"]
    bars, left, width, thick, top = [], 290, 620, 11, 60
    shown = [row for row in rows_of(report, rows) if report["results"][row.name].get("uvloop")]
    speeds = {
        (row.name, loop): report["results"][row.name]["uvloop"]["median"] / summary["median"]
        for row in shown
        for loop, summary in report["results"][row.name].items()
        if summary and summary["median"] > 0
    }
    longest = max([2.0, *speeds.values()])
    step = max(1, round(longest / 8))
    y = top
    for row in shown:
        middle = y + thick * len(loops) / 2 + 4
        bars.append(f'<text x="{left - 10}" y="{middle:.0f}" text-anchor="end">{html.escape(row.title)}</text>')
        for loop in loops:
            speed = speeds.get((row.name, loop))
            if speed:
                length = speed / longest * width
                bars.append(
                    f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{thick - 2}" fill="{COLOURS[loop]}"/>'
                    f'<text x="{left + length + 4:.1f}" y="{y + thick - 3}" class="n">{speed:.2f}</text>'
                )
            y += thick
        y += 9
    grid = []
    for mark in range(0, int(longest) + 1, step):
        x = left + mark / longest * width
        grid.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{y}" stroke="#dddddd"/>')
        grid.append(f'<text x="{x:.1f}" y="{top - 10}" text-anchor="middle" class="n">{mark}</text>')
    one = left + width / longest
    grid.append(
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top - 6}" y2="{y}" stroke="{COLOURS["uvloop"]}" stroke-width="2"/>'
    )
    key, x = [], left
    for loop in loops:
        key.append(
            f'<rect x="{x}" y="14" width="11" height="11" fill="{COLOURS[loop]}"/><text x="{x + 16}" y="24">{loop}</text>'
        )
        x += 40 + 8 * len(loop)
    title = f'<text x="{x}" y="24" fill="{COLOURS["uvloop"]}">times as fast as uvloop (line at 1)</text>'
    style = "text{font:12px sans-serif;fill:#222}.n{font-size:10px;fill:#666}"
    size = f'width="{left + width + 60}" height="{y + 20}"'
    body = "\n".join([*grid, *bars, *key, title])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>\n<rect {size} fill="white"/>'
    return f"{head}\n{body}\n</svg>\n"
