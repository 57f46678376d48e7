#!/usr/bin/env python3
"""Measures echo servers under a client that is not written in Python, and says how near they come to a bare one.

    benches/network.py                        every row, every implementation that is installed
    benches/network.py protocols-64-1024      some rows
    benches/network.py --quick                fewer and shorter rounds

A row is a style of server, a number of connections, and the size of a message in bytes; each connection has one message on
its way, and on the connect rows none has a second one: what is measured is setting a connection up and taking it down.  The idle
rows say how much memory a connection takes that nothing is sent on.  The bare server is epoll and system calls and nothing
else (crates/engine/examples/bare_echo.rs); it is the limit.  Under TLS (1.3, a P-256 certificate) it is epoll and OpenSSL, and
the client is in C too (tls_echo.c); shake and resume are handshakes there, one after the other.  These rows need a C compiler
and the headers of OpenSSL.
The rounds are interleaved, each begins with another implementation, a figure is the median of its rounds, and the spread half the
distance between rasyncio's quartiles.  The server's processor time for a message is given too: the client takes its share of the
machine, and where both have a core of their own it is the truer measure.  A peer is ahead if its lower quartile is above
rasyncio's upper one.  Where more is wanted than the bare server reaches, that is said.  On the rows of large messages by streams a
second bare server has memory of its own for each connection, as a program that still has a message when the next one comes.
"""

import argparse
import json
import os
import resource
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from run import FOLDER, ROOT, build, clean_environment, processor, version_of

LOOPS = ("asyncio", "uvloop", "rloop", "blazio", "rasyncio")
BARE = "bare"
# The bare server with memory of its own for each connection: the limit of a program that has a message until the next one comes.
KEPT = "bare-kept"
TICK = os.sysconf("SC_CLK_TCK")
LIMIT = 30.0

# Style, connections, size: the least share of the bare server, or how many times uvloop's.
SHARES = {
    ("protocols", 64, 1024): 0.92,
    ("read", 64, 1024): 0.75,
    ("sockets", 64, 1024): 0.60,
    ("buffered", 64, 1024): None,
    ("readexactly", 64, 1024): None,
    ("readline", 64, 1024): None,
    ("protocols", 64, 10_240): None,
    ("read", 64, 10_240): None,
    ("protocols", 64, 102_400): 0.97,
    ("read", 64, 102_400): 0.80,
    ("readexactly", 64, 102_400): 0.80,
    ("protocols", 1, 1024): 0.97,
    ("read", 1, 1024): 0.92,
    ("datagrams", 64, 1024): None,
    ("unix", 64, 1024): None,
    ("connect", 64, 64): None,
    ("connect-streams", 64, 64): None,
    ("tls-protocols", 64, 1024): None,
    ("tls-read", 64, 1024): None,
    ("tls-protocols", 64, 102_400): 0.90,
    ("tls-read", 64, 102_400): 0.90,
    ("tls-protocols", 1, 1024): None,
    ("tls-read", 1, 1024): None,
    ("tls-protocols", 1, 102_400): 0.90,
    ("tls-read", 1, 102_400): 0.90,
    ("tls-shake", 1, 1): 0.90,
    ("tls-resume", 1, 1): 0.90,
}
TIMES = {
    ("tls-protocols", 64, 1024): 1.3,
    ("tls-protocols", 1, 1024): 1.3,
    ("tls-read", 64, 1024): 1.8,
    ("tls-read", 1, 1024): 1.8,
    ("readline", 64, 1024): 1.7,
    ("datagrams", 64, 1024): 1.15,
    ("unix", 64, 1024): 1.15,
    ("connect", 64, 64): 1.2,
    ("connect-streams", 64, 64): 1.2,
}
KEEPING = (("read", 64, 102_400), ("readexactly", 64, 102_400))
# One of the two is enough.
EITHER = {("datagrams", 64, 1024): 0.92, ("unix", 64, 1024): 0.92}
IDLE = (("idle", 4000, 1), ("idle-streams", 4000, 1), ("tls-idle", 1000, 1), ("tls-idle-streams", 1000, 1))
KINDS = {
    "datagrams": "udp",
    "unix": "unix",
    "connect": "connect",
    "connect-streams": "connect",
    "idle": "idle",
    "idle-streams": "idle",
}


def name_of(row):
    return "-".join(map(str, row))


def examples(rows):
    """The bare servers and the clients that the rows need, compiled; and a certificate."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--release", "-p", "rasyncio-engine", "--examples"], cwd=ROOT, check=True
    )
    folder = target / "release" / "examples"
    programs = {name: folder / name for name in ("bare_echo", "echo_client")}
    if any(style.startswith("tls") for style, *_ in rows):
        programs |= {name: folder / name for name in ("tls_echo", "tls_echo.pem")}
        command = [os.environ.get("CC", "cc"), "-O2", "-o", programs["tls_echo"], FOLDER / "tls_echo.c", "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)
        subprocess.run([programs["tls_echo"], "certificate", programs["tls_echo.pem"]], check=True)
    return programs


def client_of(programs, row, address):
    """The command of the client, but for how long."""
    style, connections, size = row
    if style in ("tls-shake", "tls-resume"):
        return [programs["tls_echo"], "shake", address, "full" if style == "tls-shake" else "resumed"]
    if style.startswith("tls"):
        return [programs["tls_echo"], "drive", address, str(connections), str(size)]
    return [
        programs["echo_client"],
        "tcp" if style.startswith("idle") else KINDS.get(style, "tcp"),
        address,
        str(connections),
        str(size),
    ]


def processor_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_bytes(process):
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start(programs, row, loop):
    """The server and its address; an empty one if it did not start."""
    style, _, size = row
    is_tls = style.startswith("tls")
    if loop == BARE and is_tls:
        command = [programs["tls_echo"], "serve", programs["tls_echo.pem"]]
    elif loop in (BARE, KEPT):
        kind = KINDS.get(style, "tcp")
        path = [str(Path(tempfile.mkdtemp()) / "socket")] if kind == "unix" else []
        command = [programs["bare_echo"], "kept" if loop == KEPT else kind if kind in ("udp", "unix") else "tcp", *path]
    else:
        launcher = ["-m", "rasyncio"] if loop == "rasyncio" else []
        command = [sys.executable, *launcher, FOLDER / "echo_server.py", loop, style, str(size)]
        command += [programs["tls_echo.pem"]] if is_tls else []
    server = subprocess.Popen(
        command, env=clean_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return server, server.stdout.readline().strip()


def stop(server, address):
    server.kill()
    server.communicate()
    if "/" in address:
        shutil.rmtree(Path(address).parent, ignore_errors=True)


def why_not(server):
    return (server.stderr.read().strip().splitlines() or ["it did not start"])[-1]


def memory(programs, row, loop):
    """(bytes of the server's memory for an idle connection, 0), or None and why."""
    style, connections, size = row
    server, address = start(programs, row, loop)
    try:
        if not address:
            return None, why_not(server)
        sizes = [resident_bytes(server)]
        # The second time all that the first one left behind is in use again.
        for _ in range(2):
            if style.startswith("tls"):
                command = [programs["tls_echo"], "hold", address, str(connections)]
            else:
                command = [programs["echo_client"], KINDS[style], address, str(connections), str(size), "0"]
            client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            answers, _, _ = select.select([client.stdout], [], [], LIMIT)
            if not answers or not client.stdout.readline():
                client.kill()
                client.communicate()
                return None, "the client could not open its connections"
            # Whoever is served after all of them says that the server has taken all of them in.
            subprocess.run([*client_of(programs, (style, 1, size), address), "0.2"], capture_output=True)
            sizes.append(resident_bytes(server))
            client.communicate()
        return ((max(sizes) - sizes[0]) / connections, 0.0), None
    finally:
        stop(server, address)


def measure(programs, row, loop, seconds):
    """(messages a second, microseconds of the server's processor for a message), or None and why."""
    server, address = start(programs, row, loop)
    try:
        if not address:
            return None, why_not(server)
        client = client_of(programs, row, address)
        limit = 10 * seconds + 10
        subprocess.run([*client, str(seconds / 5)], capture_output=True, text=True, timeout=limit)
        before = processor_seconds(server)
        done = subprocess.run([*client, str(seconds)], capture_output=True, text=True, timeout=limit)
        used = processor_seconds(server) - before
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["the client failed"])[-1]
        messages, elapsed = done.stdout.split()
        return (int(messages) / float(elapsed), used / max(1, int(messages)) * 1e6), None
    except subprocess.TimeoutExpired:
        return None, "the client did not end"
    finally:
        stop(server, address)


def summary(samples):
    rates, processor_times = zip(*samples, strict=True)
    low, _, high = statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else rates * 3
    return {"rate": statistics.median(rates), "low": low, "high": high, "cpu": statistics.median(processor_times)}


def run_rows(programs, rows, loops, options):
    results, failures = {}, {}
    for row in rows:
        measured = [*loops, KEPT] if row in KEEPING else loops
        samples = {loop: [] for loop in measured}
        for turn in range(options.rounds):
            for loop in (*measured[turn % len(measured) :], *measured[: turn % len(measured)]):
                if (row, loop) in failures:
                    continue
                sample, why = memory(programs, row, loop) if row in IDLE else measure(programs, row, loop, options.seconds)
                if sample is None:
                    failures[row, loop] = why
                else:
                    samples[loop].append(sample)
        results[row] = {loop: summary(found) for loop, found in samples.items() if found}
        scale = 1 if row in IDLE else 1e3
        texts = (f"{loop} {found['rate'] / scale:.1f}" for loop, found in results[row].items())
        print(f"{name_of(row)}: {'  '.join(texts)}", file=sys.stderr, flush=True)
    return results, failures


def judge(row, result):
    """What falls short on a row, as text; empty if nothing does."""
    if "rasyncio" not in result:
        return "not measured"
    rates = {loop: found["rate"] for loop, found in result.items()}
    ours, faults = rates["rasyncio"], []
    if row in IDLE:
        return "more than uvloop" if "uvloop" in rates and ours > rates["uvloop"] else ""
    share, times = SHARES[row], TIMES.get(row)
    if row in EITHER and BARE in rates and ours >= EITHER[row] * rates[BARE]:
        times = None
    if share and BARE in rates and ours < share * rates[BARE]:
        reach = rates.get(KEPT, 0) / rates[BARE]
        reach = f"; bare that keeps each connection's message has {reach:.0%}" if reach else ""
        faults.append(f"{share:.0%} of bare wanted{reach}")
    if times and "uvloop" in rates and ours < times * rates["uvloop"]:
        limit = rates.get(BARE, 0) / rates["uvloop"]
        reach = f", and bare has {limit:.2f}" if 0 < limit < times else ""
        faults.append(f"{times} times uvloop wanted{reach}")
    others = (loop for loop in result if loop not in (BARE, KEPT, "rasyncio"))
    faults += [f"behind {loop}" for loop in others if result[loop]["low"] > result["rasyncio"]["high"]]
    return "; ".join(faults)


def markdown(report):
    loops = report["loops"]
    yield (
        "| style, connections, bytes | "
        + " | ".join(loops)
        + " | spread | share of bare | times uvloop | CPU us: bare, rasyncio, uvloop | |"
    )
    yield "|---|" + "---:|" * (len(loops) + 4) + "---|"
    for row in report["rows"]:
        result = row["results"]
        if "idle" in row["style"]:
            continue
        cells = [f"{result[loop]['rate'] / 1e3:.1f}" if loop in result else "-" for loop in loops]
        ours = result.get("rasyncio")
        spread = f"{(ours['high'] - ours['low']) / 2 / ours['rate']:.0%}" if ours else "-"
        share = f"{ours['rate'] / result[BARE]['rate']:.0%}" if ours and BARE in result else "-"
        times = f"{ours['rate'] / result['uvloop']['rate']:.2f}" if ours and "uvloop" in result else "-"
        used = ", ".join(f"{result[loop]['cpu']:.2f}" if loop in result else "-" for loop in (BARE, "rasyncio", "uvloop"))
        title = f"{row['style']}, {row['connections']}, {row['size']:,}"
        yield f"| {title} | {' | '.join(cells)} | {spread} | {share} | {times} | {used} | {row['faults'] or 'met'} |"
    idle = [row for row in report["rows"] if "idle" in row["style"]]
    if idle:
        yield from (
            "",
            "Bytes of memory for a connection that nothing is sent on; these rows may be of a run of their own.",
            "",
        )
        yield "| style, connections | " + " | ".join(loops) + " | |"
        yield "|---|" + "---:|" * len(loops) + "---|"
    for row in idle:
        cells = (f"{row['results'][loop]['rate']:,.0f}" if loop in row["results"] else "-" for loop in loops)
        yield f"| {row['style']}, {row['connections']:,} | {' | '.join(cells)} | {row['faults'] or 'met'} |"


def parse():
    names = [name_of(row) for row in (*SHARES, *IDLE)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="rows: " + " ".join(names)
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one measurement")
    parser.add_argument("--quick", action="store_true", help="2 rounds of a third of a second")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench", help="folder for the results")
    parser.add_argument("--save", action="store_true", help="also put them under docs/results, for docs/status.md")
    options = parser.parse_args()
    if options.save and set(options.rows) - {name_of(row) for row in IDLE}:
        parser.error("--save wants all rows: the saved table is made in one run; rows of memory alone may join it later")
    if unknown := set(options.rows) - set(names):
        parser.error(f"no such row: {' '.join(sorted(unknown))}; there are: {' '.join(names)}")
    if options.quick:
        options.rounds, options.seconds = 2, 0.3
    return options


def main():
    options = parse()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loops = [BARE, *[loop for loop in options.loops if version_of(loop)]]
    rows = [row for row in (*SHARES, *IDLE) if not options.rows or name_of(row) in options.rows]
    results, failures = run_rows(examples(rows), rows, loops, options)
    report = {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "versions": {loop: version_of(loop) for loop in loops if loop != BARE},
        "build": build(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "loops": loops,
        "rows": [
            {"style": row[0], "connections": row[1], "size": row[2], "results": result, "faults": judge(row, result)}
            for row, result in results.items()
        ],
        "failures": [f"{name_of(row)} on {loop}: {why}" for (row, loop), why in failures.items()],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "network.json").write_text(json.dumps(report, indent=1) + "\n")
    text = "\n".join(markdown(report))
    (options.output / "network.md").write_text(text + "\n")
    print(f"\nthousand messages a second\n\n{text}")
    for failure in report["failures"]:
        print(failure)
    print(f"\nwritten: {options.output}/network.json, network.md")
    if options.save:
        saved = ROOT / "docs" / "results" / "network.json"
        saved.parent.mkdir(parents=True, exist_ok=True)
        if options.rows:
            styles = [row["style"] for row in report["rows"]]
            kept = json.loads(saved.read_text())
            kept["rows"] = [row for row in kept["rows"] if row["style"] not in styles] + report["rows"]
            report = kept
        saved.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
