"""Loops in threads with small stacks (`threading.stack_size()`, 32 KiB at the least): what asyncio can do there, rasyncio can.

Chains that are too deep for the stack end with RecursionError; no program ends with a crash where it does not with asyncio.
Only the package itself is imported before the thread starts, as asyncio is: what a program needs besides is not loaded yet.
"""

import subprocess
import sys
import textwrap

import pytest

SIZES = [32 << 10, 64 << 10, 128 << 10]

MODES = {"all": "import {package} as asyncio", "install": "import rasyncio; rasyncio.install(); import asyncio"}

PROGRAM = """
import threading

{program}
def run():
    asyncio.run(main())

threading.stack_size({size})
thread = threading.Thread(target=run)
thread.start()
thread.join()
print("end")
"""

PROGRAMS = {
    "tasks": """
        async def child(number):
            await asyncio.sleep(0.001)
            return number

        async def main():
            assert sum(await asyncio.gather(*map(child, range(50)))) == 1225
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(child(1))
            for first in asyncio.as_completed([child(1), child(2)]):
                await first
    """,
    "queues and locks": """
        async def main():
            queue, lock, condition, barrier = asyncio.Queue(2), asyncio.Lock(), asyncio.Condition(), asyncio.Barrier(1)
            async def put():
                for number in range(100):
                    await queue.put(number)
            putting = asyncio.create_task(put())
            assert [await queue.get() for _ in range(100)] == list(range(100))
            async with lock, condition, asyncio.Semaphore(1):
                condition.notify_all()
            await barrier.wait()
    """,
    "streams": """
        async def echo(reader, writer):
            writer.write(await reader.readexactly(1 << 20))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            assert len(await reader.read()) == 1 << 20
            writer.close()
            await writer.wait_closed()
            server.close()
    """,
    "a child": """
        async def main():
            child = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
            assert await child.communicate(b"x") == (b"x", None)
    """,
    "errors": """
        async def failing():
            raise ValueError

        async def main():
            loop, seen = asyncio.get_running_loop(), []
            task = asyncio.create_task(failing())
            await asyncio.sleep(0.001)
            loop.set_exception_handler(lambda loop, context: seen.append(context))
            del task
            assert len(seen) == 1
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(failing())
                    group.create_task(asyncio.sleep(10))
            except BaseExceptionGroup:
                pass
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(10)
            except TimeoutError:
                pass
    """,
    "the default exception handler": """
        import os, sys
        os.dup2(1, 2)

        async def main():
            asyncio.get_running_loop().call_soon(1 .__truediv__, 0)
            asyncio.get_running_loop().call_soon(int, "x")
            await asyncio.sleep(0.001)
    """,
    "debug mode": """
        async def main():
            asyncio.get_running_loop().set_debug(True)
            await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(3)))
            repr(asyncio.current_task())
    """,
    "stacks": """
        import io

        async def main():
            task = asyncio.create_task(asyncio.sleep(10))
            await asyncio.sleep(0)
            task.print_stack(file=io.StringIO())
            repr(task)
    """,
    "waits in waits": """
        async def main():
            waiting = asyncio.sleep(0.001)
            for _ in range(10):
                waiting = asyncio.wait_for(asyncio.shield(asyncio.ensure_future(waiting)), 10)
            await waiting
    """,
    "too many waits in waits": """
        async def main():
            waiting = asyncio.sleep(0)
            for _ in range(3000):
                waiting = asyncio.wait_for(waiting, 10)
            try:
                await waiting
            except RecursionError:
                pass
    """,
    "a chain of tasks is cancelled": """
        async def link(earlier):
            await earlier

        async def main():
            first = asyncio.get_running_loop().create_future()
            tasks = [first]
            for _ in range(3000):
                tasks.append(asyncio.create_task(link(tasks[-1])))
            for _ in range(3):
                await asyncio.sleep(0)
            try:
                tasks[-1].cancel()
            except RecursionError:
                first.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    """,
    "gathers in gathers are cancelled": """
        async def main():
            future = first = asyncio.get_running_loop().create_future()
            for _ in range(3000):
                future = asyncio.gather(future)
            try:
                future.cancel()
            except RecursionError:
                first.cancel()
            try:
                await future
            except asyncio.CancelledError:
                pass
    """,
    "gathers in gathers are done": """
        async def main():
            future = first = asyncio.get_running_loop().create_future()
            for _ in range(3000):
                future = asyncio.gather(future)
            first.set_result(1)
            await future
    """,
    "reprs in reprs": """
        async def main():
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            for _ in range(3000):
                outer = loop.create_future()
                outer.set_result(future)
                future = outer
            try:
                repr(future)
            except RecursionError:
                pass
    """,
    "a chain that is freed": """
        async def main():
            future = None
            for _ in range(3000):
                outer = asyncio.get_running_loop().create_future()
                outer.add_done_callback(lambda done, future=future: None)
                future = outer
            del future, outer
    """,
}


def run(program):
    return subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_crash_where_asyncio_has_none(name, mode):
    for size in SIZES:
        body = PROGRAM.format(program=textwrap.dedent(PROGRAMS[name]), size=size)
        ended = run(MODES[mode].format(package="rasyncio") + body)
        if ended.returncode != 0 or ended.stderr:
            theirs = run(MODES["all"].format(package="asyncio") + body)
            assert theirs.returncode != 0 or theirs.stderr, (size, ended.returncode, ended.stderr[-3000:])
        else:
            assert ended.stdout.endswith("end\n")
