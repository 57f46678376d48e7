"""The programs that are measured; each says `asyncio` and knows nothing of the implementation that it runs on.

A program takes a number of operations and answers the seconds that one of them took.  What is measured is the whole
operation as a user writes it, the program's own Python included.  `ROWS` lists them in the order of the table, with what the
project demands of itself: a ratio of medians to uvloop's (or to that of the implementation that `against` names), 2 meaning
half the time.
"""

import asyncio
import dataclasses
import gc
import os
import socket
import statistics
import threading
import time

ROWS = {}
MESSAGE = b"x" * 1024


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    title: str
    target: float
    mixed: float | None
    against: str
    unit: str
    program: object
    least: int
    once: bool


def row(title, target, *, mixed=None, against="uvloop", unit="us", least=1, once=False):
    def register(program):
        ROWS[program.__name__] = Row(program.__name__, title, target, mixed, against, unit, program, least, once)
        return program

    return register


clock = time.perf_counter


async def nop():
    pass


@row("sleep(0) switch", 5, mixed=3)
async def sleep0(number):
    sleep = asyncio.sleep
    since = clock()
    for _ in range(number):
        await sleep(0)
    return (clock() - since) / number


@row("create_task + await", 5, mixed=2)
async def create_task(number):
    create = asyncio.create_task
    since = clock()
    for _ in range(number):
        await create(nop())
    return (clock() - since) / number


@row("gather of 100, per task", 5)
async def gather100(number):
    rounds = max(1, number // 100)
    since = clock()
    for _ in range(rounds):
        await asyncio.gather(*[nop() for _ in range(100)])
    return (clock() - since) / (rounds * 100)


@row("future woken by call_soon", 3)
async def future_call_soon(number):
    loop = asyncio.get_running_loop()
    since = clock()
    for _ in range(number):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
    return (clock() - since) / number


async def node(depth):
    if depth:
        await asyncio.gather(*[node(depth - 1) for _ in range(6)])


@row("async tree, per node", 5)
async def async_tree(number):
    nodes = sum(6**level for level in range(5))
    rounds = max(1, number // nodes)
    since = clock()
    for _ in range(rounds):
        await node(4)
    return (clock() - since) / (rounds * nodes)


@row("Queue ping-pong, per message", 4)
async def queue_ping_pong(number):
    there, back = asyncio.Queue(), asyncio.Queue()
    rounds = max(1, number // 2)

    async def answer():
        for _ in range(rounds):
            await back.put(await there.get())

    task = asyncio.create_task(answer())
    since = clock()
    for turn in range(rounds):
        await there.put(turn)
        assert await back.get() == turn
    elapsed = clock() - since
    await task
    return elapsed / (rounds * 2)


@row("contended Lock, per acquisition", 3.5)
async def lock_contended(number):
    lock = asyncio.Lock()
    tasks, each = 10, max(1, number // 10)

    async def contend():
        for _ in range(each):
            async with lock:
                await asyncio.sleep(0)

    since = clock()
    await asyncio.gather(*[contend() for _ in range(tasks)])
    return (clock() - since) / (tasks * each)


@row("TaskGroup of 10, per task", 4)
async def task_group(number):
    rounds = max(1, number // 10)
    since = clock()
    for _ in range(rounds):
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(nop())
    return (clock() - since) / (rounds * 10)


@row("asyncio.timeout around sleep(0)", 3.5)
async def timeout(number):
    since = clock()
    for _ in range(number):
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
    return (clock() - since) / number


@row("wait_for of sleep(0)", 3.5)
async def wait_for(number):
    since = clock()
    for _ in range(number):
        await asyncio.wait_for(asyncio.sleep(0), 10)
    return (clock() - since) / number


async def chain(schedule, number):
    """Seconds for a callback that schedules itself `number` times."""
    done = asyncio.get_running_loop().create_future()
    left = number

    def again():
        nonlocal left
        left -= 1
        if left:
            schedule(again)
        else:
            done.set_result(None)

    since = clock()
    schedule(again)
    await done
    return (clock() - since) / number


@row("call_soon chain", 3)
async def call_soon(number):
    return await chain(asyncio.get_running_loop().call_soon, number)


@row("call_later + cancel", 3)
async def call_later_cancel(number):
    loop = asyncio.get_running_loop()
    rounds = max(1, number // 100)
    since = clock()
    for _ in range(rounds):
        for handle in [loop.call_later(10, nop) for _ in range(100)]:
            handle.cancel()
        await asyncio.sleep(0)
    return (clock() - since) / (rounds * 100)


@row("call_soon_threadsafe, own thread", 2.5)
async def threadsafe_own(number):
    return await chain(asyncio.get_running_loop().call_soon_threadsafe, number)


@row("call_soon_threadsafe, another thread", 1, least=2000)
async def threadsafe_other(number):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    seen = 0

    def arrive():
        nonlocal seen
        seen += 1
        if seen == number:
            done.set_result(None)

    def call():
        for _ in range(number):
            loop.call_soon_threadsafe(arrive)

    thread = threading.Thread(target=call)
    since = clock()
    thread.start()
    await done
    elapsed = clock() - since
    thread.join()
    return elapsed / number


def job():
    return 1


@row("run_in_executor, 20 at a time", 1, least=200)
async def executor(number):
    loop = asyncio.get_running_loop()
    rounds = max(1, number // 20)
    since = clock()
    for _ in range(rounds):
        await asyncio.gather(*[loop.run_in_executor(None, job) for _ in range(20)])
    return (clock() - since) / (rounds * 20)


@row("run_in_executor from a busy loop, median latency", 1, against="asyncio", least=60)
async def executor_latency(number):
    loop = asyncio.get_running_loop()
    busy = True

    async def spin():
        while busy:
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(spin()) for _ in range(20)]
    latencies = []
    for _ in range(number):
        since = time.perf_counter()  # a wait is not processor time
        await loop.run_in_executor(None, job)
        latencies.append(time.perf_counter() - since)
    busy = False
    await asyncio.gather(*tasks)
    return statistics.median(latencies)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Pinger(asyncio.Protocol):
    """Sends a message, waits for all of it, sends the next."""

    def __init__(self, number, done):
        self.left, self.done, self.missing = number, done, len(MESSAGE)

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.missing -= len(data)
        if not self.missing:
            self.left -= 1
            if self.left:
                self.missing = len(MESSAGE)
                self.transport.write(MESSAGE)
            else:
                self.done.set_result(None)


@row("echo of 1 KiB over a socketpair, protocols", 1.15)
async def echo_protocols(number):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left, right = socket.socketpair()
    far, _ = await loop.create_connection(Echo, sock=right)
    near, _ = await loop.create_connection(lambda: Pinger(number, done), sock=left)
    since = clock()
    near.write(MESSAGE)
    await done
    elapsed = clock() - since
    near.close()
    far.close()
    return elapsed / number


@row("echo of 1 KiB over a socketpair, streams", 2)
async def echo_streams(number):
    left, right = socket.socketpair()
    near_reader, near_writer = await asyncio.open_connection(sock=left)
    far_reader, far_writer = await asyncio.open_connection(sock=right)

    async def echo():
        while data := await far_reader.read(65536):
            far_writer.write(data)
            await far_writer.drain()
        far_writer.close()

    task = asyncio.create_task(echo())
    since = clock()
    for _ in range(number):
        near_writer.write(MESSAGE)
        await near_writer.drain()
        assert len(await near_reader.readexactly(len(MESSAGE))) == len(MESSAGE)
    elapsed = clock() - since
    near_writer.close()
    await near_writer.wait_closed()
    await task
    return elapsed / number


@row("a process that ends at once, started and waited for", 1.2, least=20)
async def spawn(number):
    since = clock()
    for _ in range(number):
        process = await asyncio.create_subprocess_exec("/bin/true")
        assert await process.wait() == 0
    return (clock() - since) / number


@row("1 MiB through cat", 1.5, against="asyncio", least=20)
async def cat(number):
    data = bytes(1 << 20)
    since = clock()
    for _ in range(number):
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        output, _ = await process.communicate(data)
        assert len(output) == len(data)
    return (clock() - since) / number


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@row("memory of a pending task and its future", 1, against="asyncio", unit="B", least=50_000, once=True)
async def task_memory(number):
    loop = asyncio.get_running_loop()

    async def wait(future):
        await future

    async def grow(count, keep):
        for _ in range(count):
            future = loop.create_future()
            keep.append((future, asyncio.create_task(wait(future))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    keep = []
    await grow(1000, keep)
    gc.collect()
    before = resident_bytes()
    await grow(number, keep)
    gc.collect()
    taken = resident_bytes() - before
    for future, _ in keep:
        future.set_result(None)
    await asyncio.gather(*[task for _, task in keep])
    return taken / number
