"""Objects that a program keeps after their end: what they still hold of it, arguments, results, errors, context variables."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import socket
import subprocess
import sys
import tempfile

from garbage.connections import Datagrams, Plain, pair, refusing, stream_pair
from garbage.counting import Holding, Token, begin, expected, program, turns, whole
from garbage.locks import Item
from garbage.system import Child, Piped, fail
from garbage.tls import CLIENT, SERVER, tls_pair

VARIABLE = contextvars.ContextVar("variable")


def with_variable(function):
    """A program that runs in a context of its own, where a token is the value of a variable."""

    async def inner():
        VARIABLE.set(Token())
        return await function()

    async def outer():
        return await asyncio.get_running_loop().create_task(inner())

    outer.__name__, outer.__module__ = function.__name__, function.__module__
    return program(outer)


async def value(*_):
    await asyncio.sleep(0)
    return Token()


async def wrong(*_):
    await asyncio.sleep(0)
    raise ValueError(Token())


async def forever(*_):
    await asyncio.Event().wait()


async def over(*awaitables):
    """The same objects, when they are awaited, whatever came of it."""
    for awaitable in awaitables:
        with expected(Exception):
            await awaitable
    return awaitables


@with_variable
async def handles():
    loop = asyncio.get_running_loop()
    called = [loop.call_soon(id, Token()), loop.call_later(0, id, Token()), loop.call_soon_threadsafe(id, Token())]
    called += [loop.call_soon(fail, Token()), loop.call_at(0, fail, Token())]
    await turns(5)
    return called


@with_variable
async def handles_cancelled():
    loop = asyncio.get_running_loop()
    called = [loop.call_soon(id, Token()), loop.call_later(0, id, Token()), loop.call_soon_threadsafe(id, Token())]
    called += [loop.call_later(1000, id, Token()), loop.call_at(loop.time() + 1000, id, Token())]
    for handle in called:
        handle.cancel()
    await turns(5)
    return called


@with_variable
async def tasks():
    return await over(begin(value(Token())), begin(asyncio.sleep(0)))


@with_variable
async def tasks_that_failed():
    tasks = [begin(wrong(Token())), begin(wrong(Token()))]
    await asyncio.wait(tasks)
    return tasks


@with_variable
async def tasks_cancelled():
    tasks = [begin(forever(Token())), begin(asyncio.sleep(1000, Token()))]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel(Token())
    await asyncio.wait(tasks)
    return tasks


@with_variable
async def tasks_in_a_context():
    context = contextvars.copy_context()
    return await over(asyncio.get_running_loop().create_task(value(), context=context))


@with_variable
async def tasks_with_callbacks():
    task = begin(value())
    task.add_done_callback(Holding(id))
    await task
    await turns(2)
    return task


@with_variable
async def futures():
    loop = asyncio.get_running_loop()
    done, failed, cancelled = (loop.create_future() for _ in range(3))
    for future in (done, failed, cancelled):
        future.add_done_callback(Holding(id))
    loop.call_soon(done.set_result, Token())
    loop.call_soon(failed.set_exception, ValueError(Token()))
    loop.call_soon(cancelled.cancel, Token())
    return await over(done, failed, cancelled)


@with_variable
async def gathers():
    done = asyncio.gather(value(Token()), value())
    failed = asyncio.gather(value(Token()), wrong())
    returned = asyncio.gather(value(), wrong(), return_exceptions=True)
    return await over(done, failed, returned)


@with_variable
async def shields():
    cancelled, inner = asyncio.shield(value(Token())), begin(forever())
    outer = asyncio.shield(inner)
    asyncio.get_running_loop().call_soon(outer.cancel, Token())
    asyncio.get_running_loop().call_soon(cancelled.cancel, Token())
    done = asyncio.shield(value(Token())), asyncio.shield(wrong())
    await over(outer, cancelled, *done)
    inner.cancel()
    await turns(3)
    return outer, cancelled, *done


@with_variable
async def coroutines():
    return await over(
        value(Token()), wrong(Token()), asyncio.sleep(0, Token()), asyncio.sleep(1e-6, Token()), asyncio.sleep(0)
    )


@with_variable
async def coroutines_of_wait():
    future = asyncio.get_running_loop().create_future()
    future.set_result(Token())
    coroutines = [asyncio.wait([begin(value()), begin(wrong())]), asyncio.wait_for(value(Token()), 100)]
    coroutines += [asyncio.wait_for(wrong(Token()), 100), asyncio.wait_for(forever(Token()), 1e-6)]
    coroutines += [asyncio.wait_for(future, 100), asyncio.wait_for(value(Token()), None), asyncio.wait_for(forever(), 0)]
    return await over(*coroutines, asyncio.to_thread(id, Token()), asyncio.to_thread(fail, Token()))


@with_variable
async def coroutines_of_completions():
    completions = asyncio.as_completed([value(Token()), wrong(Token())])
    kept = [await over(awaitable) for awaitable in completions]
    return completions, kept


@with_variable
async def coroutines_of_queues():
    kept = []
    for kind in (asyncio.Queue, asyncio.PriorityQueue):
        items = kind(1)
        kept += await over(items.put(Item()), items.get(), items.put(Item()))
        putting, getting = items.put(Item()), items.get()
        waiting = begin(putting)
        await turns(2)
        kept += await over(getting, waiting, items.get())
        waited = items.get()
        waiting = begin(waited)
        await turns(2)
        kept += [*await over(items.put(Item()), waiting), waited, putting]
        cancelled = items.get()
        waiting = begin(cancelled)
        await turns(2)
        waiting.cancel(Token())
        kept += [*await over(waiting), cancelled, items]
    return kept


@with_variable
async def coroutines_of_locks():
    lock, event, condition, semaphore = asyncio.Lock(), asyncio.Event(), asyncio.Condition(), asyncio.Semaphore()
    for thing in (lock, event, condition, semaphore):
        thing_of = getattr(thing, "__dict__", None)
        if thing_of is not None:
            thing.token = Token()
    event.set()
    kept = list(await over(lock.acquire(), event.wait(), semaphore.acquire(), condition.acquire()))
    waits = [lock.acquire(), semaphore.acquire()]
    waiting = [begin(wait) for wait in waits]
    await turns(2)
    lock.release(), semaphore.release(), condition.release()
    await over(*waiting)
    return kept, waits, waiting


@with_variable
async def timeouts():
    kept = []
    for delay in (100, 1e-6):
        with expected():
            async with asyncio.timeout(delay) as limit:
                await (asyncio.sleep(0) if delay > 1 else forever(Token()))
        kept.append(limit)
    return kept


@with_variable
async def groups():
    kept = []
    for child in (value, wrong):
        with expected(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                kept.append(group)
                group.create_task(child(Token()))
    return kept


@with_variable
async def threads():
    loop = asyncio.get_running_loop()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    jobs = [pool.submit(Token), pool.submit(fail, Token())]
    kept = await over(*(asyncio.wrap_future(job) for job in jobs))
    run = await over(loop.run_in_executor(pool, id, Token()), loop.run_in_executor(None, fail, Token()))
    pool.shutdown()
    return jobs, kept, run


@with_variable
async def threads_asked_from():
    loop = asyncio.get_running_loop()
    futures = []

    def ask():
        for coroutine in (value, wrong):
            futures.append(asyncio.run_coroutine_threadsafe(coroutine(Token()), loop))
            with contextlib.suppress(ValueError):
                futures[-1].result()

    await asyncio.to_thread(ask)
    return futures


@with_variable
async def connections():
    kept = []
    for end in ("close", "abort", "far"):
        transport, protocol, far = await pair()
        transport.write(b"some")
        far.send(b"some")
        await protocol.arrived.wait()
        if end == "far":
            far.close()
        else:
            getattr(transport, end)()
        await protocol.lost
        far.close()
        await turns(2)
        kept.append(transport)
    return kept


@with_variable
async def connections_with_full_buffers():
    kept = []
    for end in ("close", "abort"):
        transport, protocol, far = await pair()
        transport.write(b"x" * 3_000_000)
        getattr(transport, end)()
        far.close()
        await protocol.lost
        await turns(2)
        kept.append(transport)
    return kept


@with_variable
async def streams():
    reader, writer, far = await stream_pair()
    far.send(b"some\n")
    coroutines = await over(reader.readline(), writer.drain())
    waits = reader.readline()
    waiting = begin(waits)
    await turns(2)
    far.send(b"more\n")
    await over(waiting)
    far.close()
    coroutines += await over(reader.read(), reader.readexactly(1))
    writer.close()
    closed = await over(writer.wait_closed())
    await turns(2)
    return reader, writer, coroutines, waits, waiting, closed


@with_variable
async def streams_with_errors():
    reader, writer, far = await stream_pair()
    waits = reader.readline()
    waiting = begin(waits)
    await turns(2)
    reader.set_exception(ValueError(Token()))
    kept = await over(waiting, reader.read(), writer.drain())
    far.close()
    writer.close()
    await over(writer.wait_closed())
    return reader, writer, waits, kept


@with_variable
async def servers():
    loop, accepted = asyncio.get_running_loop(), []
    server = await loop.create_server(Holding(lambda: accepted.append(Plain()) or accepted[-1]), "127.0.0.1", 0)
    transport, protocol = await loop.create_connection(Plain, *server.sockets[0].getsockname())
    while not (accepted and accepted[-1].transport):
        await asyncio.sleep(0)
    accepted_transport = accepted[0].transport
    transport.close()
    await protocol.lost
    await accepted.pop().lost
    server.close()
    closed = await over(server.wait_closed())
    await turns(2)
    return server, transport, accepted_transport, closed


@with_variable
async def servers_of_streams():
    done = asyncio.Event()

    async def echo(reader, writer):
        writer.write(await reader.readline())
        writer.close()
        await over(writer.wait_closed())
        done.set()

    server = await asyncio.start_server(Holding(echo), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"some\n")
    await reader.read()
    await done.wait()
    writer.close()
    await over(writer.wait_closed())
    server.close()
    await over(server.wait_closed())
    await turns(2)
    return server, reader, writer


@with_variable
async def connecting():
    loop = asyncio.get_running_loop()
    return await over(
        loop.create_connection(Holding(Plain), *refusing()),
        loop.create_server(Holding(Plain), "192.0.2.1", 1),
        loop.create_unix_connection(Holding(Plain), "/nowhere/at/all"),
        loop.create_datagram_endpoint(Holding(Plain), ("192.0.2.1", 1)),
        asyncio.open_connection(*refusing()),
        loop.getaddrinfo("127.0.0.1", "no such service"),
    )


@with_variable
async def datagrams():
    loop = asyncio.get_running_loop()
    server, receiver = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    client, sender = await loop.create_datagram_endpoint(Datagrams, remote_addr=server.get_extra_info("sockname"))
    client.sendto(b"some")
    await receiver.arrived.wait()
    client.close(), server.abort()
    await sender.lost
    await receiver.lost
    await turns(2)
    return client, server


@with_variable
async def tls():
    kept = []
    for end in ("close", "abort"):
        transport, protocol, far = await tls_pair()
        transport.write(b"some")
        await far.arrived.wait()
        other = far.transport
        getattr(transport, end)()
        await protocol.lost
        await far.lost
        await turns(5)
        kept += transport, other
    return kept


@with_variable
async def tls_started_later():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    client, server = Plain(), Plain()
    transport, _ = await loop.create_connection(lambda: client, sock=near)
    other, _ = await loop.create_connection(lambda: server, sock=far)
    starts = [
        loop.start_tls(transport, client, CLIENT, server_hostname="localhost"),
        loop.start_tls(other, server, SERVER, server_side=True),
    ]
    upgraded, answering = await asyncio.gather(*starts)
    upgraded.write(b"some")
    await server.arrived.wait()
    upgraded.close(), answering.close()
    await client.lost
    await server.lost
    await turns(5)
    return transport, other, upgraded, answering, starts


@with_variable
async def sockets():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False), far.setblocking(False)
    waits = loop.sock_recv(near, 10)
    waiting = begin(waits)
    await turns(2)
    kept = await over(loop.sock_sendall(far, b"some"), waiting)
    more = await over(loop.sock_sendall(far, b"some"), loop.sock_recv(near, 10))
    loop.add_reader(near, id, Token())
    loop.add_writer(near, id, Token())
    await turns(3)
    loop.remove_reader(near), loop.remove_writer(near)
    near.close(), far.close()
    return near, far, waits, kept, more


@with_variable
async def files_sent():
    loop = asyncio.get_running_loop()
    transport, protocol, far = await pair()
    near = socket.socket(fileno=os.dup(far.fileno()))
    near.setblocking(False)
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.seek(0)
        kept = await over(loop.sendfile(transport, file), loop.sock_sendfile(near, file))
    near.close(), far.close()
    await protocol.lost
    return kept, transport


@with_variable
async def pipes():
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    reading, reader = await loop.connect_read_pipe(Piped, open(read, "rb", 0))
    writing, writer = await loop.connect_write_pipe(Piped, open(write, "wb", 0))
    writing.write(b"some")
    await reader.arrived.wait()
    writing.close()
    await reader.lost
    await writer.lost
    await turns(2)
    return reading, writing


@with_variable
async def processes():
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    kept = await over(process.communicate(b"some"), process.wait())
    await turns(5)
    return process, kept


@with_variable
async def processes_by_protocol():
    transport, protocol = await asyncio.get_running_loop().subprocess_exec(Child, "cat")
    transport.get_pipe_transport(0).close()
    await protocol.lost
    await turns(5)
    return transport


@with_variable
async def generators():
    async def numbers(token):
        yield 1
        yield 2

    finished, closed, failed = numbers(Token()), numbers(Token()), numbers(Token())
    async for _ in finished:
        pass
    await anext(closed)
    await closed.aclose()
    await anext(failed)
    await over(failed.athrow(ValueError(Token())))
    return finished, closed, failed


if sys.version_info >= (3, 12):

    @with_variable
    async def eager_tasks():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        tasks = [begin(value(Token())), begin(asyncio.sleep(0, Token()))]
        await asyncio.wait(tasks)
        loop.set_task_factory(None)
        return tasks


@whole
def loops_closed():
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(value(Token()))
    loop.call_soon(id, Token())
    loop.call_later(1000, id, Token())
    loop.close()
    return loop


@whole
def loops_closed_with_an_executor():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(loop.run_in_executor(None, Token))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return loop


@whole
def runners_closed():
    with asyncio.Runner() as runner:
        runner.run(value(Token()))
        with expected():
            runner.run(wrong(Token()))
        loop = runner.get_loop()
    return runner, loop
