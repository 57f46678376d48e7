"""What newer Pythons brought to asyncio is there on all that rasyncio supports: each thing, used once.

Only what is new is tested here, and tests/differential/newer compares how it behaves with the newest Python's asyncio.  Where
newer Pythons changed what an older name does, rasyncio does what the running Python's asyncio does: test_versions_followed.py,
tests/differential and CPython's own tests.  versions.toml lists the points.
"""

import contextvars
import importlib
import socket

import pytest
import rasyncio as asyncio

CHECKS = {}


def since(version, what):
    """Registers a coroutine function that fails unless `what`, which came with Python `version`, is there."""

    def register(check):
        CHECKS[f"{version}-{what}"] = check
        return check

    return register


async def silent(reader, writer):
    await reader.read()
    writer.close()


async def connected(**options):
    """A server, and a connection to it."""
    server = await asyncio.start_server(silent, "127.0.0.1", 0, **options)
    return server, *await asyncio.open_connection(*server.sockets[0].getsockname())


@since("3.11", "Barrier")
async def barrier():
    barrier = asyncio.Barrier(2)
    assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]


@since("3.11", "timeout() and timeout_at()")
async def timeouts():
    for cm in (asyncio.timeout(0), asyncio.timeout_at(0)):
        with pytest.raises(TimeoutError):
            async with cm:
                await asyncio.get_running_loop().create_future()


@since("3.12", "eager_task_factory")
async def eager_tasks():
    loop, seen = asyncio.get_running_loop(), []

    async def step():
        seen.append(asyncio.current_task())
        return 1

    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        task = asyncio.create_task(step())
        assert task.done() and seen == [task] and task.get_coro() is None and await task == 1
        async with asyncio.TaskGroup() as group:
            assert group.create_task(step()).done()
        assert await asyncio.gather(step(), step()) == [1, 1]
    finally:
        loop.set_task_factory(None)


@since("3.12", "create_eager_task_factory()")
async def eager_task_factories():
    class Own(asyncio.Task):
        pass

    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.create_eager_task_factory(Own))
    try:
        task = asyncio.create_task(asyncio.sleep(0, 1))
        assert type(task) is Own and await task == 1
    finally:
        loop.set_task_factory(None)


@since("3.12", "Task(eager_start=True)")
async def eager_start():
    async def step():
        return 1

    assert asyncio.Task(step(), loop=asyncio.get_running_loop(), eager_start=True).done()


@since("3.12", "Task.get_context() and Handle.get_context()")
async def contexts():
    context = contextvars.copy_context()
    task = asyncio.create_task(asyncio.sleep(0), context=context)
    assert task.get_context() is context
    await task
    assert asyncio.get_running_loop().call_soon(print, context=context).get_context() is context


@since("3.12", "shutdown_default_executor(timeout)")
async def executor_timeout():
    await asyncio.get_running_loop().run_in_executor(None, int)
    await asyncio.get_running_loop().shutdown_default_executor(timeout=10)


@since("3.12", "create_connection(all_errors=True)")
async def all_errors():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and not listening
        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, *bound.getsockname(), all_errors=True)
    assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]


@since("3.12", "wait() and as_completed() of generators")
async def generators():
    def tasks():
        yield from [asyncio.create_task(asyncio.sleep(0, n)) for n in range(3)]

    done, pending = await asyncio.wait(tasks())
    assert {task.result() for task in done} == {0, 1, 2} and not pending
    assert {await done for done in asyncio.as_completed(tasks())} == {0, 1, 2}


@since("3.13", "Queue.shutdown()")
async def queue_shutdown():
    queue = asyncio.Queue()
    queue.put_nowait(1)
    queue.shutdown()
    assert await queue.get() == 1
    for refused in (queue.get(), queue.put(2)):
        with pytest.raises(asyncio.QueueShutDown):
            await refused
    waiting = asyncio.create_task((other := asyncio.Queue()).get())
    await asyncio.sleep(0)
    other.shutdown(immediate=True)
    with pytest.raises(asyncio.queues.QueueShutDown):
        await waiting


@since("3.13", "as_completed() as an asynchronous iterator")
async def asynchronous_as_completed():
    tasks = {asyncio.create_task(asyncio.sleep(0, n)) for n in range(3)}
    seen = set()
    async for task in asyncio.as_completed(tasks):
        assert task.done()
        seen.add(task)
    assert seen == tasks


@since("3.13", "Server.close_clients()")
async def close_clients():
    server, reader, writer = await connected()
    while not server.sockets or not server._clients:
        await asyncio.sleep(0)
    server.close()
    server.close_clients()
    assert await reader.read() == b""
    writer.close()
    await server.wait_closed()


@since("3.13", "Server.abort_clients()")
async def abort_clients():
    server, reader, writer = await connected()
    while not server._clients:
        await asyncio.sleep(0)
    server.close()
    server.abort_clients()
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    writer.close()
    await server.wait_closed()


@since("3.13", "create_server(keep_alive=True)")
async def keep_alive():
    server, _, writer = await connected(keep_alive=True)
    assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    writer.close()
    server.close()
    await server.wait_closed()


@since("3.13", "readuntil() of several separators")
async def separators():
    reader = asyncio.StreamReader()
    reader.feed_data(b"one;two\n")
    assert [await reader.readuntil((b"\n", b";")) for _ in range(2)] == [b"one;", b"two\n"]


@since("3.13", "_run_forever_setup() and _run_forever_cleanup()")
async def loops_in_other_loops():
    def drives():
        loop = asyncio.new_event_loop()
        loop._run_forever_setup()
        try:
            assert loop.is_running() and asyncio.get_running_loop() is loop
            loop.call_soon(seen.append, "called")
            loop._run_once()
        finally:
            loop._run_forever_cleanup()
        assert not loop.is_running()
        loop.close()

    seen = []
    await asyncio.to_thread(drives)
    assert seen == ["called"]


@since("3.14", "create_task(eager_start=True)")
async def eager_keyword():
    async def step():
        return 1

    loop = asyncio.get_running_loop()
    assert asyncio.create_task(step(), eager_start=True, name="a").get_name() == "a"
    assert asyncio.create_task(step(), eager_start=True).done()
    assert loop.create_task(step(), eager_start=True).done()
    async with asyncio.TaskGroup() as group:
        assert group.create_task(step(), eager_start=True).done()


@since("3.14", "call graphs")
async def call_graphs():
    async def inner():
        return asyncio.capture_call_graph(), asyncio.format_call_graph()

    graph, text = await inner()
    assert isinstance(graph, asyncio.FutureCallGraph) and graph.future is asyncio.current_task()
    assert isinstance(graph.call_stack[0], asyncio.FrameCallGraphEntry) and "call_graphs" in text
    asyncio.future_add_to_awaited_by(future := asyncio.Future(), graph.future)
    assert future._asyncio_awaited_by == {graph.future}
    asyncio.future_discard_from_awaited_by(future, graph.future)
    assert not future._asyncio_awaited_by


@since("3.15", "TaskGroup.cancel()")
async def cancelled_group():
    reached = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asyncio.sleep(1000))
        group.cancel()
        await asyncio.sleep(1000)
        reached.append("past the cancellation")
    assert task.cancelled() and not reached and not asyncio.current_task().cancelling()


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_since(check):
    asyncio.run(asyncio.wait_for(check(), 60))


def test_since_3_12_run_takes_a_loop_factory():
    made = []

    def factory():
        made.append(asyncio.EventLoop())
        return made[0]

    async def main():
        return asyncio.get_running_loop()

    assert asyncio.run(main(), loop_factory=factory) is made[0]


def test_since_3_13_there_is_event_loop():
    assert issubclass(asyncio.EventLoop, asyncio.AbstractEventLoop)
    with asyncio.Runner(loop_factory=asyncio.EventLoop) as runner:
        assert type(runner.get_loop()) is asyncio.EventLoop


def test_since_3_13_the_file_of_a_unix_socket_may_be_removed(tmp_path):
    async def main():
        for cleanup in (True, False):
            path = tmp_path / f"{cleanup}"
            server = await asyncio.start_unix_server(silent, path, cleanup_socket=cleanup)
            server.close()
            await server.wait_closed()
            assert path.exists() != cleanup

    asyncio.run(main())


def test_since_3_14_run_takes_any_awaitable():
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            return 1

    assert asyncio.run(Awaitable()) == 1
    with asyncio.Runner() as runner:
        assert runner.run(Awaitable()) == 1


@pytest.mark.parametrize("name", ["graph", "mixins", "taskgroups", "timeouts", "tools"])
def test_modules_that_came_later(name):
    assert importlib.import_module(f"rasyncio.{name}")
