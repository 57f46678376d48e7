"""Programs that run while an allocation fails, for test_memory_errors.py; prints what came of it as a line of JSON.

    python tests/memory_scenarios.py SCENARIO [--stride N] [--width N]      (MODULE=asyncio for asyncio itself)

A scenario runs once for each n = 0, STRIDE, 2 * STRIDE, ...: from its call of `arm()` on, the n-th allocation (and the WIDTH - 1
after it) fails.  The sweep (memory_sweep.py) ends when n is larger than the number of allocations that the scenario makes.

No function is defined, and no Python thread started, while allocations fail.  CPython 3.12 and 3.13 free a function's code when
making the function fails, and crash later; Thread.start() waits for ever for a thread that found no memory to begin with.
"""

import _thread
import concurrent.futures
import functools
import os
import socket

from memory_sweep import arm, asyncio, disarm, main, same

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


async def number(value):
    await asyncio.sleep(0)
    if value == 2:
        raise KeyError(value)
    return value


async def product(value):
    return await number(value) * await asyncio.create_task(number(value), name="factor")


@scenario
async def tasks(loop):
    arm()
    both = [asyncio.create_task(product(3)), loop.create_task(product(4))]
    for task in both:
        await task
    asyncio.current_task(), asyncio.all_tasks()
    cancelled = asyncio.create_task(number(1))
    cancelled.cancel("message")
    try:
        await cancelled
    except asyncio.CancelledError:
        pass


@scenario
async def timers(loop):
    arm()
    await asyncio.sleep(0)
    await asyncio.sleep(0.0001)
    future = loop.create_future()
    loop.call_later(0.0001, future.set_result, 1)
    handle = loop.call_at(loop.time() + 10, print)
    handle.cancel()
    repr(handle), handle.when()
    await future


@scenario
async def gathering(loop):
    arm()
    await asyncio.gather(number(1), number(2), number(3), return_exceptions=True)
    await asyncio.wait([asyncio.ensure_future(number(1)), asyncio.ensure_future(number(3))])
    for each in asyncio.as_completed([number(1), number(3)]):
        await each
    await asyncio.shield(number(1))


@scenario
async def timeouts(loop):
    arm()
    await asyncio.wait_for(number(1), 10)
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.0001)
    except TimeoutError:
        pass
    try:
        async with asyncio.timeout(0.0001) as timeout:
            repr(timeout)
            await asyncio.sleep(10)
    except TimeoutError:
        pass


@scenario
async def groups(loop):
    arm()
    async with asyncio.TaskGroup() as group:
        group.create_task(number(1))
        repr(group)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(number(1))
            group.create_task(number(2))
            await asyncio.sleep(10)
    except* KeyError:
        pass


async def produce(queue, ordered):
    for item in range(3):
        await queue.put(item)
        await ordered.put((item, "item"))


@scenario
async def queues(loop):
    arm()
    queue, ordered = asyncio.Queue(1), asyncio.PriorityQueue()
    task = asyncio.create_task(produce(queue, ordered))
    repr(queue)
    for _ in range(3):
        await queue.get()
        await ordered.get()
        queue.task_done()
    await queue.join()
    await task


async def contend(lock, event, condition, semaphore, barrier):
    async with lock:
        await asyncio.sleep(0)
    await event.wait()
    async with condition:
        condition.notify_all()
    async with semaphore:
        await asyncio.sleep(0)
    await barrier.wait()


@scenario
async def locks(loop):
    arm()
    all_of_them = asyncio.Lock(), asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(), asyncio.Barrier(2)
    lock, event, condition, semaphore, barrier = all_of_them
    task = asyncio.create_task(contend(*all_of_them))
    await asyncio.sleep(0)
    async with lock:
        pass
    event.set()
    async with condition:
        await condition.wait()
    async with semaphore:
        pass
    await barrier.wait()
    await task
    for each in all_of_them:
        repr(each)


async def connect(*args, **options):
    """open_connection() without its lambda, see above."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(functools.partial(same, protocol), *args, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def echo(**options):
    reader, writer = await connect(**options)
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@scenario
async def streams(loop):
    one, other = socket.socketpair()
    with one, other:
        try:
            arm()
            task = asyncio.create_task(echo(sock=one))
            reader, writer = await connect(sock=other)
            for line in b"hello\n", b"x" * 30000 + b"\n":
                writer.write(line)
                if await reader.readline() != line:
                    raise AssertionError("an echo is not what was sent")
            writer.get_extra_info("peername")
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()
            await task
        finally:
            disarm()


async def served(reader, writer):
    writer.write(await reader.readexactly(3))
    writer.close()


@scenario
async def serving(loop):
    arm()
    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        reader, writer = await connect(*server.sockets[0].getsockname()[:2])
        writer.write(b"abc")
        await reader.read()
        writer.close()
        await writer.wait_closed()


@scenario
async def pipes(loop):
    reading, writing = (os.fdopen(fd, mode) for fd, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    with reading, writing:
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        make = functools.partial(same, protocol)
        try:
            arm()
            incoming, _ = await loop.connect_read_pipe(make, reading)
            outgoing, _ = await loop.connect_write_pipe(asyncio.Protocol, writing)
            outgoing.write(b"hello\n")
            await reader.readline()
            outgoing.close()
            await reader.read()
            incoming.close()
        finally:
            disarm()


@scenario
async def subprocesses(loop):
    arm()
    process = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
    await process.communicate(b"hello")


class AtOnce(concurrent.futures.Executor):
    """Runs a job where it is submitted."""

    def submit(self, function, *args, **options):
        future = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(*args, **options))
        except Exception as error:
            future.set_exception(error)
        return future


@scenario
async def executors(loop):
    executor = AtOnce()
    arm()
    await loop.run_in_executor(executor, len, "abc")
    try:
        await loop.run_in_executor(executor, int, "x")
    except ValueError:
        pass
    await asyncio.wrap_future(executor.submit(len, "abc"))
    asyncio.run_coroutine_threadsafe(number(1), loop)
    await asyncio.sleep(0)


def post(loop, start, callback, end):
    start.acquire()
    try:
        loop.call_soon_threadsafe(callback)
    except MemoryError:
        pass
    end.release()


@scenario
async def threads(loop):
    arrived = asyncio.Event()
    start, end = _thread.allocate_lock(), _thread.allocate_lock()
    start.acquire()
    end.acquire()
    _thread.start_new_thread(post, (loop, start, arrived.set, end))
    try:
        arm()
        start.release()
        loop.call_soon_threadsafe(int)
        await arrived.wait()
    finally:
        disarm()
        end.acquire()


async def count():
    try:
        for item in range(3):
            yield item
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)


@scenario
async def generators(loop):
    arm()
    async for _ in count():
        pass
    async for _ in count():
        break
    generator = count()
    await generator.__anext__()
    await generator.aclose()
    await loop.shutdown_asyncgens()


@scenario
async def futures(loop):
    arm()
    future = loop.create_future()
    future.add_done_callback(id)
    future.add_done_callback(repr)
    repr(future)
    future.set_result([1])
    await future
    failed = asyncio.Future()
    failed.set_exception(KeyError(1))
    try:
        await failed
    except KeyError:
        pass
    repr(failed)
    cancelled = asyncio.Future()
    cancelled.cancel("message")
    try:
        await cancelled
    except asyncio.CancelledError:
        pass
    try:
        asyncio.Future().result()
    except asyncio.InvalidStateError:
        pass
    task = asyncio.current_task()
    repr(task), task.get_stack()


def fail():
    raise ZeroDivisionError


@scenario
async def callbacks(loop):
    future = loop.create_future()
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        readable = loop.create_future()
        try:
            arm()
            loop.call_soon(int)
            loop.call_soon(fail)
            loop.call_soon(future.set_result, 2)
            await future
            loop.call_exception_handler({"message": "reported on purpose", "future": future})
            loop.add_reader(one, readable.set_result, 1)
            other.send(b"x")
            await readable
            loop.remove_reader(one)
            await loop.sock_sendall(one, b"abc")
            await loop.sock_recv(other, 10)
        finally:
            disarm()
            loop.remove_reader(one)


class Collect(asyncio.DatagramProtocol):
    """Completes a future with the first datagram."""

    def __init__(self, future):
        self.future = future

    def datagram_received(self, data, address):
        self.future.set_result(data)

    def connection_lost(self, error):
        if not self.future.done():
            self.future.set_result(error)


@scenario
async def datagrams(loop):
    arrived = loop.create_future()
    make = functools.partial(Collect, arrived)
    arm()
    receiver, _ = await loop.create_datagram_endpoint(make, local_addr=("127.0.0.1", 0))
    sender, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=receiver.get_extra_info("sockname")
    )
    sender.sendto(b"hello")
    await arrived
    receiver.close()
    sender.close()


async def echo_a_line(loop, sock, context):
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(functools.partial(same, protocol), sock, ssl=context)
    transport.write(await reader.readline())
    transport.close()


@scenario
async def tls(loop):
    import certificates

    one, other = socket.socketpair()
    with one, other:
        server, client = certificates.server(), certificates.client()
        try:
            arm()
            task = asyncio.create_task(echo_a_line(loop, one, server))
            reader, writer = await connect(sock=other, ssl=client, server_hostname="localhost")
            writer.write(b"hello\n")
            if await reader.readline() != b"hello\n":
                raise ConnectionResetError("the other end gave up")
            writer.close()
            await writer.wait_closed()
            await task
        finally:
            disarm()


async def nothing():
    return 1


@scenario
def loops(_):
    coroutine = nothing()
    loop = None
    try:
        arm()
        loop = asyncio.new_event_loop()
        repr(loop)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.run_until_complete(coroutine)
    finally:
        disarm()
        coroutine.close()
        if loop:
            loop.close()


@scenario
def runners(_):
    arm()
    with asyncio.Runner() as runner:
        runner.run(nothing())


if __name__ == "__main__":
    main(SCENARIOS)
