"""A program that ends with everything still pending and its loop neither closed nor let go of ends in peace all the same."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import socket, sys
import rasyncio as asyncio

async def guarded(awaitable):
    try:
        await awaitable
    finally:
        pass

async def main():
    loop = asyncio.get_running_loop()
    lock, event, queue, condition = asyncio.Lock(), asyncio.Event(), asyncio.Queue(), asyncio.Condition()
    future, keep = loop.create_future(), []
    await lock.acquire()
    left, right = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=left)

    async def notified():
        async with condition:
            await condition.wait()

    async def within():
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(100))

    waits = [
        lock.acquire(), event.wait(), queue.get(), notified(), reader.read(5), asyncio.sleep(100), within(), future,
        asyncio.wait_for(future, 100), asyncio.wait([future]), asyncio.gather(future), asyncio.shield(future),
    ]
    keep += [asyncio.create_task(guarded(awaitable)) for awaitable in waits]
    keep += [right, writer]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return keep

loop = asyncio.new_event_loop()
keep = loop.run_until_complete(main())
"""

ENDINGS = {
    "the loop in a global": "",
    "the loop in a cycle": "loop.self = loop",
    "the tasks in a module": "sys.modules['elsewhere'] = type(sys)('elsewhere'); sys.modules['elsewhere'].keep = keep",
    "the tasks in builtins": "import builtins; builtins.keep = keep",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_with_pending_tasks_ends(ending):
    program = textwrap.dedent(PROGRAM) + ENDINGS[ending]
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "panicked" not in ended.stderr and "internal error" not in ended.stderr, ended.stderr[:3000]


@pytest.mark.parametrize("package", ["asyncio", "rasyncio"])
def test_what_nobody_asked_for_is_reported_to_the_last(package):
    """Also where logging was never loaded, and can be no more."""
    program = f"""
import sys
import {package} as asyncio

future = asyncio.new_event_loop().create_future()
future.set_exception(ValueError("lost"))
sys.modules["kept"] = future
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "Future exception was never retrieved",
        "future: <Future finished exception=ValueError('lost')>",
        "ValueError: lost",
    ]


LATE = """
import socket
import rasyncio as asyncio

loop = asyncio.new_event_loop()
left, right = socket.socketpair()


async def connect():
    return await loop.create_connection(asyncio.Protocol, sock=left)


class Last:
    def __init__(self, transport, other):
        self.transport, self.other = transport, other

    def __del__(self, print=print, type=type, OSError=OSError, Exception=Exception):
        self.other.close()
        for call in (lambda: self.transport.write(b"x"), self.transport.close, lambda: loop.call_soon(print)):
            try:
                call()
                print("done")
            except Exception as error:
                print(type(error).__name__, error)


transport, _ = loop.run_until_complete(connect())
loop.close()
last = Last(transport, right)
last.self = last
del transport, right, left
"""


def test_a_connection_that_fails_while_the_interpreter_ends():
    """The error is an OSError as ever: nothing has to be imported for it."""
    ended = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "RuntimeError Event loop is closed\ndone\nRuntimeError Event loop is closed\n", ended
    assert "panicked" not in ended.stderr, ended.stderr[:3000]


STARVED = """
import sys
import rasyncio as asyncio
_testcapi = __import__("_testcapi")


async def program():
    queue = asyncio.Queue()
    getting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put_nowait(1)
    return await getting


async def nothing():
    pass


sys.unraisablehook = lambda unraisable: None
for count in range(200):
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    running, raised = program(), None
    # What fails may be the very callback that ends the run: the exception handler hears of it, and nobody else.
    loop.call_later(0.5, loop.stop)
    _testcapi.set_nomemory(count, count + 1)
    try:
        loop.run_until_complete(running)
    except BaseException as error:
        raised = error
    finally:
        _testcapi.remove_mem_hooks()
    running.close()
    assert raised is None or type(raised) in (MemoryError, RuntimeError), (count, raised)
    assert "internal error" not in str(raised), (count, raised)
    assert not loop.is_running() and asyncio._get_running_loop() is None, (count, raised)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(nothing())
    loop.run_until_complete(nothing())
    loop.close()
print("done")
"""


def test_a_loop_that_had_no_memory_runs_again():
    """Each allocation in turn fails, in the middle of whatever it is."""
    pytest.importorskip("_testcapi")
    ended = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "done\n", ended.stderr[-3000:]
