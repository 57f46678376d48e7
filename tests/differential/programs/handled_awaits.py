"""What a call or an await inside an `except` clause raises has what is handled there as its context."""

import asyncio
import os
import signal
import socket

from handling import each_part, fail, handled, links, turns
from recorder import record


async def waiting(loop):
    """What ends an await inside an `except` clause has what is handled there as its context."""
    queue, lock, event, condition = asyncio.Queue(), asyncio.Lock(), asyncio.Event(), asyncio.Condition()
    semaphore, barrier, reader = asyncio.Semaphore(0), asyncio.Barrier(2), asyncio.StreamReader()
    await lock.acquire()

    async def conditioned():
        async with condition:
            await condition.wait()

    async def hold():
        async with condition:
            await turns(30)

    async def held():
        async with condition:
            holder = loop.create_task(hold())
            try:
                await condition.wait()
            finally:
                record("held", holder.done())

    async def grouped():
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(100))

    async def timed():
        async with asyncio.timeout(100):
            await asyncio.sleep(100)

    async def completed():
        for each in asyncio.as_completed([asyncio.sleep(100)]):
            await each

    async def locked():
        async with lock:
            pass

    waits = {
        "sleep": lambda: asyncio.sleep(100),
        "get": queue.get,
        "acquire": lock.acquire,
        "locked": locked,
        "event": event.wait,
        "condition": conditioned,
        "held": held,
        "semaphore": semaphore.acquire,
        "barrier": barrier.wait,
        "read": lambda: reader.read(1),
        "future": loop.create_future,
        "task": lambda: loop.create_task(asyncio.sleep(100)),
        "gather": lambda: asyncio.gather(asyncio.sleep(100)),
        "shield": lambda: asyncio.shield(asyncio.sleep(100)),
        "wait": lambda: asyncio.wait([loop.create_task(asyncio.sleep(100))]),
        "wait_for": lambda: asyncio.wait_for(asyncio.sleep(100), 50),
        "wait_for future": lambda: asyncio.wait_for(loop.create_future(), 50),
        "group": grouped,
        "timeout": timed,
        "completed": completed,
        "join": joined(asyncio.Queue()),
    }
    for name, wait in waits.items():

        async def waiter(wait=wait, name=name):
            try:
                raise KeyError("outer")
            except KeyError:
                try:
                    await wait()
                except BaseException as error:
                    record(name, links(error), handled())
                    raise
                finally:
                    record(name, "finally", handled())

        task = loop.create_task(waiter())
        await turns(4)
        task.cancel("enough")
        try:
            await task
        except BaseException as error:
            record(name, "task", links(error))
    for each in asyncio.all_tasks() - {asyncio.current_task()}:
        each.cancel()
    await turns()


def joined(queue):
    queue.put_nowait(1)
    return queue.join


def chain_of(error, context):
    try:
        raise context
    except type(context):
        try:
            raise error
        except type(error) as raised:
            return raised


async def await_it(awaitable):
    return await awaitable


async def raising(loop):
    """What a function or coroutine raises inside an `except` clause has what is handled there as its context."""

    async def fed(data, how):
        reader = asyncio.StreamReader(limit=8)
        reader.feed_data(data)
        reader.feed_eof()
        return await how(reader)

    async def leave(error):
        raise error

    async def group():
        async with asyncio.TaskGroup() as group:
            group.create_task(leave(ValueError("child")))
            group.create_task(leave(LookupError("child")))

    async def body():
        async with asyncio.TaskGroup() as group:
            group.create_task(leave(ValueError("child")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise OSError("body")

    async def timed(outer=False):
        async with asyncio.timeout(0):
            try:
                await asyncio.sleep(100)
            finally:
                if outer:
                    raise OSError("body")

    async def broken():
        barrier = asyncio.Barrier(2)
        await barrier.abort()
        await barrier.wait()

    async def release():
        asyncio.Lock().release()

    async def bounded():
        asyncio.BoundedSemaphore().release()

    async def failed():
        future = loop.create_future()
        future.set_exception(ValueError("future"))
        await future

    async def failed_later():
        future = loop.create_future()
        loop.call_soon(future.set_exception, ValueError("future"))
        await future

    async def cancelled():
        future = loop.create_future()
        loop.call_soon(future.cancel, "message")
        await future

    async def first():
        for each in asyncio.as_completed([leave(ValueError("first"))], timeout=1):
            await each

    async def none_in_time():
        for each in asyncio.as_completed([asyncio.sleep(100)], timeout=0):
            await each

    async def call(function, *arguments):
        return function(*arguments)

    done = loop.create_future()
    done.set_result(1)
    chained = loop.create_future()
    chained.set_exception(chain_of(ValueError("second"), KeyError("first")))
    chained_cancelled = loop.create_future()
    chained_cancelled.cancel()
    # Five figures, which are written as a port is.
    address = f"\0rasyncio-{os.getpid() % 90_000 + 10_000}"
    abstract = await loop.create_unix_server(asyncio.Protocol, address)
    taken = socket.create_server(("127.0.0.1", 0))
    full = asyncio.Queue(1)
    full.put_nowait(1)
    calls = {
        "exactly": lambda: fed(b"abc", lambda reader: reader.readexactly(5)),
        "until": lambda: fed(b"abc", lambda reader: reader.readuntil(b"x")),
        "limit": lambda: fed(b"a" * 20 + b"x", lambda reader: reader.readuntil(b"x")),
        "line": lambda: fed(b"a" * 20 + b"\n", lambda reader: reader.readline()),
        "negative": lambda: fed(b"abc", lambda reader: reader.readexactly(-1)),
        "group": group,
        "body": body,
        "timeout": timed,
        "timeout with error": lambda: timed(True),
        "barrier": broken,
        "release": release,
        "bounded": bounded,
        "future": failed,
        "future later": failed_later,
        "cancelled": cancelled,
        "chained": lambda: call(chained.result),
        "chained again": lambda: await_it(chained),
        "chained cancelled": lambda: call(chained_cancelled.result),
        "cancelled again": lambda: call(chained_cancelled.exception),
        "cancelled awaited": lambda: await_it(chained_cancelled),
        "gather": lambda: asyncio.gather(leave(ValueError("gathered")), asyncio.sleep(0)),
        "shield": lambda: asyncio.shield(leave(ValueError("shielded"))),
        "wait_for": lambda: asyncio.wait_for(asyncio.sleep(100), 0.001),
        "wait_for 0": lambda: asyncio.wait_for(loop.create_future(), 0),
        "wait_for error": lambda: asyncio.wait_for(leave(ValueError("waited")), 10),
        "wait none": lambda: asyncio.wait([]),
        "completed": first,
        "not completed": none_in_time,
        "executor": lambda: loop.run_in_executor(None, fail, "executor"),
        "thread": lambda: asyncio.to_thread(fail, "thread"),
        "get_nowait": lambda: call(asyncio.Queue().get_nowait),
        "put_nowait": lambda: call(full.put_nowait, 2),
        "task_done": lambda: call(asyncio.Queue().task_done),
        "set_result": lambda: call(done.set_result, 2),
        "set_exception": lambda: call(done.set_exception, ValueError()),
        "exception": lambda: call(loop.create_future().exception),
        "result": lambda: call(loop.create_future().result),
        "run": lambda: call(asyncio.run, 1),
        "run_forever": lambda: call(loop.run_forever),
        "no file": lambda: call(loop.add_reader, None, fail),
        "port": lambda: loop.create_server(asyncio.Protocol, *taken.getsockname()),
        "unix port": lambda: loop.create_unix_server(asyncio.Protocol, address),
        "close": lambda: call(loop.close),
        "handler": lambda: call(loop.set_exception_handler, 1),
        "factory": lambda: call(loop.set_task_factory, 1),
        "signal": lambda: call(loop.add_signal_handler, 1000, fail),
        "uncatchable": lambda: call(loop.add_signal_handler, signal.SIGKILL, fail),
        "reader": lambda: call(loop.add_reader, -1, fail),
        "task": lambda: call(asyncio.Task, 1),
        "ensure": lambda: call(asyncio.ensure_future, 1),
        "addresses": lambda: loop.create_connection(asyncio.Protocol),
        "unix": lambda: loop.create_unix_connection(asyncio.Protocol, "/no/such/socket"),
        "unix server": lambda: loop.create_unix_server(asyncio.Protocol, "/no/such/folder/socket"),
        "factory of connection": lambda: loop.create_connection(lambda: fail("factory"), sock=socket.socket()),
        "sock_recv": lambda: loop.sock_recv(socket.socket(), 1),
    }
    for name, start in calls.items():
        try:
            raise KeyError("outer")
        except KeyError:
            try:
                await start()
            except BaseException as error:
                record(name, links(error), handled())
            else:
                record(name, "no error")
    taken.close()
    abstract.close()
    await turns()


each_part(waiting, raising)
