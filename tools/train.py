"""What a release is optimised for: small programs as people write them, run on an instrumented build.

`tools/build_wheel.py` starts it as `python -m rasyncio tools/train.py`, collects which code ran how often, and compiles again
with that knowledge.  These are not the programs of benches/, which measure: a build is trained on one thing and
examined on another.  Each is of the kind that its name says; what it computes is checked, so that it cannot rot.
"""

import asyncio
import contextvars
import socket
import sys
import time

SECONDS = 0.4
request_id = contextvars.ContextVar("request_id")


async def crawler():
    """Workers that take addresses off a queue and fetch them under a limit and a deadline."""
    frontier, seen, limit = asyncio.Queue(), set(), asyncio.Semaphore(8)

    async def fetch(page):
        request_id.set(page)
        async with limit, asyncio.timeout(5):
            await asyncio.sleep(0)
            return [page * 3 + 1, page * 3 + 2] if page < 1000 else []

    async def worker():
        while True:
            page = await frontier.get()
            for link in await asyncio.wait_for(fetch(page), 5):
                if link not in seen:
                    seen.add(link)
                    await frontier.put(link)
            frontier.task_done()

    frontier.put_nowait(1)
    workers = [asyncio.create_task(worker(), name=f"worker-{number}") for number in range(10)]
    await frontier.join()
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert len(seen) > 100, len(seen)


async def pipeline():
    """Stages joined by bounded queues: who is early waits."""
    first, second = asyncio.Queue(4), asyncio.Queue(4)

    async def produce():
        for number in range(200):
            await first.put(number)
        await first.put(None)

    async def square():
        while (number := await first.get()) is not None:
            await second.put(number * number)
        await second.put(None)

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        group.create_task(square())
        total = 0
        while (number := await second.get()) is not None:
            total += number
    assert total == sum(n * n for n in range(200))


async def bank():
    """Accounts under locks, an audit under a condition, an event at the end."""
    balance, lock, changed, closed = [100] * 4, asyncio.Lock(), asyncio.Condition(), asyncio.Event()

    async def transfer(source, target):
        for _ in range(20):
            async with lock:
                balance[source] -= 1
                await asyncio.sleep(0)
                balance[target] += 1
            async with changed:
                changed.notify_all()

    async def audit():
        rounds = 0
        while not closed.is_set():
            async with changed:
                await changed.wait()
                rounds += 1
        return rounds

    auditor = asyncio.create_task(audit())
    await asyncio.gather(*[transfer(n % 4, (n + 1) % 4) for n in range(8)])
    closed.set()
    async with changed:
        changed.notify_all()
    assert await auditor > 0 and sum(balance) == 400


async def divide(depth):
    if depth == 0:
        return 1
    if depth % 2:
        return sum(await asyncio.gather(*[divide(depth - 1) for _ in range(3)]))
    tasks = [asyncio.create_task(divide(depth - 1)) for _ in range(3)]
    return sum([await task for task in tasks])


async def fan_out():
    """Work split among tasks and put together again, each way there is."""
    assert await divide(5) == 3**5
    tasks = [asyncio.ensure_future(divide(1)) for _ in range(20)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED)
    assert len(done) == 20 and not pending
    assert sum([await task for task in asyncio.as_completed([divide(1) for _ in range(10)])]) == 30
    assert await asyncio.shield(divide(2)) == 9


async def impatient():
    """Deadlines that pass, tasks that are cancelled, errors that are caught."""
    loop = asyncio.get_running_loop()
    never = loop.create_future()
    for _ in range(10):
        try:
            async with asyncio.timeout(0):
                await never
        except TimeoutError:
            pass
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(60))
                group.create_task(fail())
        except* ValueError:
            pass
        never = loop.create_future()


async def fail():
    raise ValueError


async def callbacks():
    """The loop below the coroutines: callbacks, timers, futures."""
    loop = asyncio.get_running_loop()
    done, calls, timers = loop.create_future(), 0, []

    def tick(limit):
        nonlocal calls
        calls += 1
        timers.append(loop.call_later(30, print))
        if calls < limit:
            loop.call_soon(tick, limit)
        else:
            loop.call_soon_threadsafe(finish)

    def finish():
        for timer in timers:
            timer.cancel()
        if not done.done():
            done.set_result(calls)

    loop.call_soon(tick, 300)
    assert await done == 300
    for delay in (0.0001, 0.0002, 0):
        await asyncio.sleep(delay)
    for _ in range(100):
        future = loop.create_future()
        loop.call_soon(future.set_result, 7)
        assert await future == 7


async def threads():
    """Blocking work elsewhere, and calls from there."""
    loop = asyncio.get_running_loop()
    assert await asyncio.gather(*[loop.run_in_executor(None, pow, 2, n) for n in range(20)]) == [2**n for n in range(20)]
    assert await asyncio.to_thread(sum, [1, 2, 3]) == 6
    done, count = loop.create_future(), 0

    def arrive():
        nonlocal count
        count += 1
        if count == 500:
            done.set_result(None)

    def call():
        for _ in range(500):
            loop.call_soon_threadsafe(arrive)

    await asyncio.gather(asyncio.to_thread(call), done)


async def chat():
    """A server that repeats each line to everybody, over TCP."""
    members = set()

    async def serve(reader, writer):
        members.add(writer)
        try:
            while line := await reader.readline():
                for member in members:
                    member.write(line)
                await asyncio.gather(*[member.drain() for member in members])
        finally:
            members.discard(writer)
            writer.close()

    async def talk(name, count):
        reader, writer = await asyncio.open_connection(*address)
        while len(members) < 3:
            await asyncio.sleep(0)
        await start.wait()
        for number in range(count):
            writer.write(f"{name} says {number}\n".encode())
            await writer.drain()
        for _ in range(3 * count):
            assert b" says " in await reader.readline()
        await leave.wait()
        writer.close()
        await writer.wait_closed()

    start, leave = asyncio.Barrier(3), asyncio.Barrier(3)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        await asyncio.gather(*[talk(name, 30) for name in ("ann", "bob", "eve")])


async def transfer():
    """Requests with a length and a body, small and large, over streams."""

    async def serve(reader, writer):
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                body = await reader.readexactly(length)
                writer.write(len(body).to_bytes(4, "big") + body)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for size in [10, 100, 1000, 5000] * 20 + [300_000]:
            writer.writelines([size.to_bytes(4, "big"), bytes(size)])
            await writer.drain()
            assert int.from_bytes(await reader.readexactly(4), "big") == size
            left = size
            while left:
                left -= len(await reader.read(min(left, 65536)))
        writer.close()
        await writer.wait_closed()


class Upper(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data.upper())


class Asker(asyncio.Protocol):
    def __init__(self, rounds, done):
        self.rounds, self.done = rounds, done

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"question")

    def data_received(self, data):
        self.rounds -= 1
        if self.rounds:
            self.transport.write(b"question")
        else:
            self.transport.close()

    def connection_lost(self, error):
        self.done.set_result(error)


async def protocols():
    """A server and a client without streams, and sockets without transports."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upper, "127.0.0.1", 0)
    async with server:
        done = loop.create_future()
        await loop.create_connection(lambda: Asker(100, done), *server.sockets[0].getsockname())
        assert await done is None
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        for _ in range(50):
            await loop.sock_sendall(near, b"x" * 200)
            assert len(await loop.sock_recv(far, 4096)) == 200


PROGRAMS = [crawler, pipeline, bank, fan_out, impatient, callbacks, threads, chat, transfer, protocols]


async def main():
    for program in PROGRAMS:
        rounds, end = 0, time.monotonic() + SECONDS
        while time.monotonic() < end:
            await program()
            rounds += 1
        print(f"{program.__name__:12} {rounds:6,} rounds", file=sys.stderr, flush=True)


asyncio.run(main())
