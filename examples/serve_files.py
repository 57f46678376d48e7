"""An HTTP/1.1 file server and a crowd of clients that check every byte of it, in one process.

The server serves the files of a directory (the one this program's project lies in, unless told otherwise) over
asyncio.start_server.  The clients fetch all of them over asyncio.open_connection, several requests to a connection, some of
them pipelined, and compare the sha256 of what arrives with that of the file.  Nothing in here knows which implementation of
asyncio it runs on:

    python examples/serve_files.py
    python -m rasyncio examples/serve_files.py

The exit status is 1 if any response differed from its file.
"""

import argparse
import asyncio
import dataclasses
import hashlib
import json
import math
import sys
import time
import urllib.parse
from pathlib import Path

CHUNK = 16 * 1024
ENOUGH = 50_000  # responses that make a run long enough to compare two of them
SKIPPED_FOLDERS = {".git", "target", "build", "node_modules", "__pycache__"}
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@dataclasses.dataclass
class Served:
    """A file as the server offers it."""

    content: bytes
    digest: str


@dataclasses.dataclass
class Tally:
    """What the clients have seen so far."""

    responses: int = 0
    received: int = 0
    differing: int = 0
    latencies: list = dataclasses.field(default_factory=list)


def collect(directory, largest):
    """The directory's files by URL path; hidden folders, builds and environments are left out."""
    files = {}
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory)
        if any(part in SKIPPED_FOLDERS or part.startswith(".venv") for part in inside.parts[:-1]):
            continue
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= largest:
            content = path.read_bytes()
            url = "/" + urllib.parse.quote(inside.as_posix())
            files[url] = Served(content, hashlib.sha256(content).hexdigest())
    return files


async def read_head(reader):
    """The start line and the headers of a message; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    return start, headers


class Server:
    """Answers GET for the files it was given, keeps connections alive, honours `Connection: close`."""

    def __init__(self, files):
        self.files = files
        self.connections = self.requests = 0

    async def handle(self, reader, writer):
        self.connections += 1
        try:
            while message := await read_head(reader):
                start, headers = message
                self.requests += 1
                keep = headers.get("connection", "keep-alive").lower() != "close"
                self.respond(writer, start, keep)
                await writer.drain()
                if not keep:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away; there is nobody left to tell
        finally:
            writer.close()

    def respond(self, writer, start, keep):
        method, _, rest = start.partition(" ")
        path = rest.partition(" ")[0]
        served = self.files.get(path)
        if not rest.endswith(" HTTP/1.1"):
            status, body, tag = 400, b"", ""
        elif method != "GET":
            status, body, tag = 405, b"", ""
        elif served is None:
            status, body, tag = 404, b"", ""
        else:
            status, body, tag = 200, served.content, f'ETag: "{served.digest}"\r\n'
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {len(body)}\r\n{tag}"
        head += f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        writer.write(head.encode("latin-1"))
        for offset in range(0, len(body), CHUNK):
            writer.write(body[offset : offset + CHUNK])


async def fetch(reader, served, tally):
    """Reads one response and compares it with the file."""
    message = await read_head(reader)
    if message is None:
        raise ConnectionError("the server closed the connection instead of answering")
    start, headers = message
    digest, left = hashlib.sha256(), int(headers["content-length"])
    tally.received += left
    while left:
        chunk = await reader.read(min(left, CHUNK))
        if not chunk:
            raise ConnectionError("the server closed the connection in the middle of a file")
        digest.update(chunk)
        left -= len(chunk)
    tally.responses += 1
    if start != "HTTP/1.1 200 OK" or digest.hexdigest() != served.digest:
        tally.differing += 1


async def client(address, urls, files, gate, tally, patience, pipelined):
    """Fetches `urls` over one connection, `pipelined` requests in flight at a time."""
    async with gate:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(*address)
            for first in range(0, len(urls), pipelined):
                batch = urls[first : first + pipelined]
                since = time.perf_counter()
                for url in batch:
                    writer.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"))
                await writer.drain()
                for url in batch:
                    await fetch(reader, files[url], tally)
                    tally.latencies.append(time.perf_counter() - since)
            writer.close()
            await writer.wait_closed()


async def report_progress(tally, expected, started):
    """A line that is rewritten on a terminal; a line a second elsewhere."""
    terminal = sys.stderr.isatty()
    while True:
        await asyncio.sleep(0.2 if terminal else 1.0)
        elapsed = time.perf_counter() - started
        text = f"{tally.responses:>9,} of {expected:,} responses, {tally.received / 2**20:7.1f} MiB, {elapsed:5.1f} s"
        print(f"\r\033[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)


def share(urls, clients, rounds):
    """Every client gets every file once a round, each beginning at another place."""
    for number in range(clients * rounds):
        first = number * 7 % len(urls)
        yield urls[first:] + urls[:first]


async def main(options):
    files = collect(options.directory, options.largest * 1024)
    if not files:
        sys.exit(f"no files to serve in {options.directory}")
    options.rounds = options.rounds or math.ceil(ENOUGH / (len(files) * options.clients))
    urls, tally = list(files), Tally()
    site = Server(files)
    server = await asyncio.start_server(site.handle, "127.0.0.1", 0)
    gate = asyncio.Semaphore(options.concurrent)
    loop = asyncio.get_running_loop()
    loop_name = f"{type(loop).__module__}.{type(loop).__qualname__}"
    expected = len(urls) * options.clients * options.rounds
    print(f"serving {len(urls)} files of {options.directory} on {loop_name}", file=sys.stderr)
    async with server:
        address = server.sockets[0].getsockname()
        started, cpu = time.perf_counter(), time.process_time()
        progress = asyncio.create_task(report_progress(tally, expected, started))
        async with asyncio.TaskGroup() as group:
            for number, mine in enumerate(share(urls, options.clients, options.rounds)):
                pipelined = 1 + number % options.pipeline
                group.create_task(client(address, mine, files, gate, tally, options.timeout, pipelined))
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        progress.cancel()
        print("\r\033[K" if sys.stderr.isatty() else "", end="", file=sys.stderr)
    return summary(options, files, site, tally, loop_name, seconds, cpu)


def summary(options, files, site, tally, loop_name, seconds, cpu):
    latencies = sorted(tally.latencies)
    return {
        "loop": loop_name,
        "files": len(files),
        "clients": options.clients * options.rounds,
        "connections": site.connections,
        "requests": site.requests,
        "responses": tally.responses,
        "received_mib": round(tally.received / 2**20, 1),
        "differing": tally.differing,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "requests_per_second": round(tally.responses / seconds),
        "median_ms": round(latencies[len(latencies) // 2] * 1e3, 3),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1e3, 3),
    }


def show(result):
    rows = [
        ("event loop", result["loop"]),
        ("files", f"{result['files']:,}"),
        ("connections", f"{result['connections']:,}"),
        ("responses", f"{result['responses']:,}"),
        ("received", f"{result['received_mib']:,} MiB"),
        ("differing from the file", f"{result['differing']:,}"),
        ("time", f"{result['seconds']:.2f} s"),
        ("processor time", f"{result['cpu_seconds']:.2f} s"),
        ("responses a second", f"{result['requests_per_second']:,}"),
        ("latency, median and 99 %", f"{result['median_ms']:.2f} ms, {result['p99_ms']:.2f} ms"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")


def parse():
    here = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description="Serves files over HTTP/1.1 to clients that check every byte.")
    parser.add_argument("--directory", type=Path, default=here, help="what to serve (default: this project)")
    parser.add_argument("--clients", type=int, default=100, help="clients a round; each fetches every file (default: 100)")
    parser.add_argument("--rounds", type=int, help=f"how often (default: enough for {ENOUGH:,} responses)")
    parser.add_argument("--concurrent", type=int, default=64, help="connections open at a time (default: 64)")
    parser.add_argument("--pipeline", type=int, default=4, help="most requests in flight on one connection (default: 4)")
    parser.add_argument("--largest", type=int, default=64, help="leave out files of more KiB than this (default: 64)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds that a client may take (default: 120)")
    parser.add_argument("--json", metavar="FILE", help="also write the summary to FILE, '-' for standard output")
    options = parser.parse_args()
    options.directory = options.directory.resolve()
    if min(options.clients, options.rounds or 1, options.concurrent, options.pipeline) < 1:
        parser.error("--clients, --rounds, --concurrent and --pipeline are at least 1")
    return options


if __name__ == "__main__":
    options = parse()
    result = asyncio.run(main(options))
    if options.json == "-":
        print(json.dumps(result))
    else:
        show(result)
        if options.json:
            Path(options.json).write_text(json.dumps(result) + "\n", encoding="utf-8")
    sys.exit(1 if result["differing"] or result["responses"] != result["requests"] else 0)
