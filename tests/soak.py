"""Thousands of connections on one loop that are closed, aborted and left waiting at random: `make soak`.

The server's loop is in this process, the clients' in a child.  Each side serves protocols, buffered protocols and streams.  A
client holds so many connections at once; each lives for one session of a random plan and is followed by another.  What comes
back is compared byte by byte with what was sent, and a session that ends in order compares the checksum of the whole.

A line every few seconds tells of both processes.  At the end: no error may have been reported, no session may have failed,
nothing may be left open, and memory must not have grown after the warm-up.  test_soak.py runs a small one in one loop.
"""

import argparse
import asyncio as stdlib
import collections
import gc
import json
import os
import random
import resource
import struct
import subprocess
import sys
import time
import weakref
import zlib

try:
    import rasyncio
except ImportError:
    rasyncio = None

asyncio = stdlib if "--stdlib" in sys.argv or rasyncio is None else rasyncio

HEADER = struct.Struct("!cI")
ECHO, CLOSE, ABORT = b"e", b"c", b"a"  # what the server does: until the end; so many bytes, then close(); then abort()
PATTERN = random.Random(1).randbytes(1 << 16) * 2
HALF = len(PATTERN) // 2
HOSTS = [f"127.0.0.{last}" for last in range(1, 17)]  # for more connections than one address has ports
LIMIT = 60  # seconds that a session may take to end after its stalls
GONE = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


def pattern(start, count):
    start %= HALF
    return memoryview(PATTERN)[start : start + count]


class Counts(collections.Counter):
    """What happened so far; and the objects of connections that are alive."""

    def __init__(self):
        super().__init__()
        self.alive, self.errors = weakref.WeakSet(), []

    def made(self, *objects):
        for item in objects:
            self.alive.add(item)

    def failed(self, text):
        self["failed"] += 1
        if len(self.errors) < 20:
            self.errors.append(text)

    def watch(self, loop):
        loop.set_exception_handler(lambda loop, context: self.failed(f"reported: {context}"))


class Echo(asyncio.Protocol):
    """Sends back what comes; the header says how long."""

    def __init__(self, counts):
        self.counts, self.command, self.left, self.head = counts, None, 0, b""

    def connection_made(self, transport):
        self.transport = transport
        self.counts.made(self, transport)
        self.counts["open"] += 1
        self.counts["accepted"] += 1

    def data_received(self, data):
        if self.command is None:
            self.head += data
            if len(self.head) < HEADER.size:
                return
            self.command, self.left = HEADER.unpack(self.head[: HEADER.size])
            data = self.head[HEADER.size :]
        self.counts["bytes"] += len(data)
        if self.command == ECHO:
            self.transport.write(data)
            return
        self.transport.writelines([data[: self.left // 2], data[self.left // 2 : self.left]])
        self.left -= len(data)
        if self.left <= 0:
            self.transport.close() if self.command == CLOSE else self.transport.abort()

    def eof_received(self):
        return False

    def pause_writing(self):
        self.transport.pause_reading()
        self.counts["server pauses"] += 1

    def resume_writing(self):
        self.transport.resume_reading()

    def connection_lost(self, error):
        self.counts["open"] -= 1
        self.counts["server resets"] += error is not None
        if error is not None and not isinstance(error, GONE):
            self.counts.failed(f"the server's connection ended with {error!r}")


class BufferedEcho(Echo, asyncio.BufferedProtocol):
    def __init__(self, counts):
        super().__init__(counts)
        self.buffer = bytearray(4096)

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.data_received(bytes(self.buffer[:count]))


async def echo_streams(counts, reader, writer):
    counts.made(reader, writer, writer.transport)
    counts["open"] += 1
    counts["accepted"] += 1
    try:
        command, left = HEADER.unpack(await reader.readexactly(HEADER.size))
        while data := await reader.read(8192 if command == ECHO else min(left, 8192)):
            counts["bytes"] += len(data)
            writer.write(data)
            await writer.drain()
            left -= len(data)
            if command == ABORT and left <= 0:
                writer.transport.abort()
                break
    except (asyncio.IncompleteReadError, *GONE):
        counts["server resets"] += 1
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except GONE:
            pass
        counts["open"] -= 1


async def serve(counts, backlog):
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Echo(counts), "0.0.0.0", 0, backlog=backlog),
        await loop.create_server(lambda: BufferedEcho(counts), "0.0.0.0", 0, backlog=backlog),
        await asyncio.start_server(
            lambda reader, writer: echo_streams(counts, reader, writer), "0.0.0.0", 0, backlog=backlog, limit=8192
        ),
    ]
    return servers, [server.sockets[0].getsockname()[1] for server in servers]


class Client(asyncio.Protocol):
    """Compares what comes with what was sent; can be waited for."""

    def __init__(self, counts):
        self.counts, self.received, self.checksum, self.right = counts, 0, 0, True
        self.changed, self.lost, self.ended, self.error = asyncio.Event(), False, False, None
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport):
        self.transport = transport
        self.counts.made(self, transport)

    def data_received(self, data):
        self.right = self.right and bytes(data) == take(self.received, len(data))
        self.checksum = zlib.crc32(data, self.checksum)
        self.received += len(data)
        self.changed.set()

    def eof_received(self):
        self.ended = True
        self.changed.set()

    def connection_lost(self, error):
        self.lost, self.error = True, error
        self.room.set()
        self.changed.set()

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()

    async def send(self, data):
        await self.room.wait()
        self.transport.write(data)

    async def until(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def rest(self, count):
        """So many bytes, and the end; fewer if the connection is reset."""
        await self.until(lambda: self.lost or self.ended)

    async def gone(self):
        await self.until(lambda: self.lost)


class BufferedClient(Client, asyncio.BufferedProtocol):
    def __init__(self, counts):
        super().__init__(counts)
        self.buffer = bytearray(3000)

    def get_buffer(self, hint):
        return memoryview(self.buffer)

    def buffer_updated(self, count):
        self.data_received(self.buffer[:count])


class StreamClient:
    """The same over a reader and a writer."""

    def __init__(self, counts, reader, writer):
        self.reader, self.writer, self.transport = reader, writer, writer.transport
        self.received, self.checksum, self.right, self.lost, self.error = 0, 0, True, False, None
        counts.made(reader, writer, writer.transport)

    async def send(self, data):
        self.writer.write(data)
        try:
            await self.writer.drain()
        except GONE as error:
            self.lost, self.error = True, error

    async def rest(self, count):
        while True:
            try:
                if self.received < count and count % 2:
                    data = await self.reader.readexactly(min(count - self.received, 5000))
                else:
                    data = await self.reader.read(5000)
            except asyncio.IncompleteReadError as error:
                data = error.partial
            except GONE as error:
                self.lost, self.error = True, error
                return
            if not data:
                return
            Client.data_received(self, data)

    class changed:
        @staticmethod
        def set():
            pass

    async def gone(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except GONE:
            pass
        self.lost = True


def take(start, count):
    """What was sent from `start` on."""
    pieces = []
    while count > 0:
        piece = pattern(start, min(count, HALF))
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    return b"".join(pieces)


async def connect(counts, kind, address, local):
    if kind == "streams":
        # A reader that is paused by its limit when the connection stalls.
        return StreamClient(counts, *await asyncio.open_connection(*address, local_addr=local, limit=4096))
    factory = {"plain": Client, "buffered": BufferedClient}[kind]
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: factory(counts), *address, local_addr=local)
    return protocol


async def session(counts, chance, ports, stall, connecting):
    """One connection from its beginning to its end."""
    kind = chance.choice(["plain", "buffered", "streams"])
    end = chance.choices(["eof", "close", "abort", "peer closes", "peer aborts"], [55, 15, 15, 8, 7])[0]
    total = chance.choices([0, chance.randrange(1, 100), chance.randrange(20_000), chance.randrange(300_000)], [1, 4, 4, 1])[
        0
    ]
    local = (HOSTS[chance.randrange(len(HOSTS))], 0)
    async with connecting:
        client = await connect(counts, kind, ("127.0.0.1", chance.choice(ports)), local)
    counts["open"] += 1
    try:
        command = {"peer closes": CLOSE, "peer aborts": ABORT}.get(end, ECHO)
        if command == CLOSE:
            total = max(1, total)  # the server closes when the last byte has come
        await client.send(HEADER.pack(command, total))
        paused = kind != "streams" and chance.random() < 0.3
        if paused:
            client.transport.pause_reading()
            counts["stalls"] += 1
        sent = 0
        while sent < total:
            data = take(sent, min(total - sent, chance.choice([1, 100, 4096, 65_536])))
            sent += len(data)
            await client.send(data) if not paused else client.transport.write(data)
            if client.lost:
                break
            if chance.random() < 0.02:
                await asyncio.sleep(chance.random() * stall)
        await asyncio.sleep(min(chance.expovariate(1), 2) * stall)
        if paused:
            client.transport.resume_reading()
        if end == "eof":
            client.transport.write_eof()
        if end in ("eof", "peer closes"):
            await asyncio.wait_for(client.rest(total), LIMIT)
            if client.error is not None or client.received != total:
                counts.failed(f"{kind}, {end}: {client.received} of {total} bytes came, {client.error!r}")
            elif client.checksum != zlib.crc32(take(0, total)):
                counts.failed(f"{kind}, {end}: a wrong checksum of {total} bytes")
        elif end == "peer aborts":
            await asyncio.wait_for(client.rest(total), LIMIT)
        elif end == "close":
            client.transport.close()
        else:
            client.transport.abort()
        await asyncio.wait_for(client.gone(), LIMIT)
        if not client.right:
            counts.failed(f"{kind}, {end}: wrong bytes")
        counts["bytes"] += client.received
    finally:
        client.transport.abort()
        counts["open"] -= 1
    counts["sessions"] += 1
    counts[end] += 1


async def keep_open(counts, number, seed, ports, more, stall, connecting):
    """One session after the other, while there are to be more."""
    chance = random.Random(f"{seed} {number}")
    while more():
        try:
            await session(counts, chance, ports, stall, connecting)
        except Exception as error:
            counts.failed(f"a session ended with {error!r}")


async def clients(counts, connections, seed, ports, more, stall):
    connecting = asyncio.Semaphore(200)
    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(keep_open(counts, number, seed, ports, more, stall, connecting))


async def closed(servers):
    for server in servers:
        server.close()
    for server in servers:
        await server.wait_closed()


async def come_to_rest(counts):
    """Until the other side's ends have come here."""
    while counts["open"]:
        await asyncio.sleep(0.01)
    for _ in range(10):
        await asyncio.sleep(0)


async def small(connections, sessions, seed):
    """So many sessions, both sides on the loop that runs; answers what happened on each side."""
    served, asked = Counts(), Counts()
    loop = asyncio.get_running_loop()
    served.watch(loop)
    servers, ports = await serve(served, connections)
    left = iter(range(sessions))
    await clients(asked, connections, seed, ports, lambda: next(left, None) is not None, 0.01)
    await come_to_rest(served)
    await closed(servers)
    return served, asked


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def measures(counts):
    # An exception that a stream raised holds its frames and they it, in asyncio as here; how soon the collector comes is no leak.
    gc.collect()
    names = ("open", "accepted", "sessions", "bytes", "failed", "stalls")
    return {name: counts[name] for name in names} | {"rss": resident(), "descriptors": descriptors()}


async def tell(counts, every, say):
    while True:
        await asyncio.sleep(every)
        say(measures(counts))


def left_over(counts, before):
    gc.collect()
    found = [f"{descriptors() - before} descriptors"] if descriptors() != before else []
    if counts.alive:
        kinds = collections.Counter(type(item).__name__ for item in counts.alive)
        found.append(f"objects: {dict(kinds)}")
    return found


def be_clients(arguments):
    counts, before = Counts(), descriptors()
    say = lambda line: print(json.dumps(line), flush=True)  # noqa: E731

    async def main():
        counts.watch(asyncio.get_running_loop())
        end = time.monotonic() + arguments.seconds
        telling = asyncio.create_task(tell(counts, arguments.every, say))
        more = lambda: time.monotonic() < end  # noqa: E731
        await clients(counts, arguments.connections, arguments.seed, arguments.ports, more, arguments.stall)
        telling.cancel()

    asyncio.run(main())
    say(measures(counts) | {"all": dict(counts), "left": left_over(counts, before), "errors": counts.errors})


def be_server(arguments):
    counts, before = Counts(), descriptors()
    memory, began, last = [], time.monotonic(), {}

    async def main():
        loop = asyncio.get_running_loop()
        counts.watch(loop)
        servers, ports = await serve(counts, 4096)
        options = [f"--{name}={getattr(arguments, name)}" for name in ("connections", "seconds", "seed", "every", "stall")]
        options += ["--stdlib"] * arguments.stdlib
        child = subprocess.Popen(
            [sys.executable, __file__, *options, "--ports", *map(str, ports)], stdout=subprocess.PIPE, text=True
        )
        done = loop.create_future()

        def progress():
            line = child.stdout.readline()
            if not line:
                loop.remove_reader(child.stdout)
                done.set_result(None)
                return
            last.clear()
            last.update(json.loads(line))
            mine, at = measures(counts), time.monotonic() - began
            if "left" not in last:
                memory.append((at, mine["rss"], last["rss"]))
            print(
                f"{at:5.0f} s  server: {mine['open']:6} open {mine['accepted']:8} accepted {mine['rss'] >> 20:5} MiB"
                f"   clients: {last['open']:6} open {last['sessions']:8} sessions {last['stalls']:6} stalls "
                f"{last['bytes'] >> 20:6} MiB back {last['rss'] >> 20:5} MiB   {mine['failed'] + last['failed']} errors",
                flush=True,
            )

        loop.add_reader(child.stdout, progress)
        await done
        child.stdout.close()
        if child.wait():
            counts.failed(f"the clients ended with status {child.returncode}")
        await come_to_rest(counts)
        await closed(servers)

    asyncio.run(main())
    problems = [f"server: {text}" for text in counts.errors + left_over(counts, before)]
    problems += [f"clients: {text}" for text in last.get("errors", ["no report"]) + last.get("left", [])]
    # The first third is warm-up, when the connections are made; the last line may be of their end.
    steady = [line for line in memory if arguments.seconds / 3 <= line[0] <= arguments.seconds]
    for side, column in (("server", 1), ("clients", 2)):
        if len(steady) < 4:
            print(f"{side}: too short to say whether memory grows")
            continue
        half = len(steady) // 2
        early, late = (max(line[column] for line in part) for part in (steady[:half], steady[half:]))
        print(f"{side}: at most {early / 2**20:.1f} MiB after the warm-up, {late / 2**20:.1f} MiB later")
        if late > early * 1.03 + (4 << 20):
            problems.append(f"{side}: memory grew from {early} to {late}")
    print(
        f"sessions that ended: { ({name: n for name, n in last.get('all', {}).items() if name not in ('open', 'bytes')}) }"
    )
    print(f"server: {dict(counts)}")
    print("\n".join(problems) or "no error, nothing left open")
    return bool(problems)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, help="seconds between two lines (default: %(default)s)")
    parser.add_argument(
        "--stall", type=float, default=10, help="seconds that a session waits on average (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stdlib", action="store_true", help="the standard library's asyncio instead, to compare")
    parser.add_argument("--ports", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = arguments.connections + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"{wanted} descriptors are needed, {hard} allowed: raise the limit, or ask for fewer --connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if arguments.ports:
        return be_clients(arguments)
    return be_server(arguments)


if __name__ == "__main__":
    sys.exit(main())
