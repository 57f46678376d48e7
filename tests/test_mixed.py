"""The standard library's asyncio beside rasyncio: both know the same running loop and the same current task."""

import asyncio as stdlib
import contextlib
import sys

import pytest
import rasyncio


async def look():
    loop, task = rasyncio.get_running_loop(), rasyncio.current_task()
    assert stdlib.get_running_loop() is loop
    assert stdlib.current_task() is task
    assert task in stdlib.all_tasks()
    child = rasyncio.create_task(rasyncio.sleep(0))
    assert {task, child} <= stdlib.all_tasks()
    await child
    assert stdlib.current_task() is task and child not in stdlib.all_tasks()
    return "looked"


def test_rasyncio_tells_the_standard_library():
    assert rasyncio.run(look()) == "looked"
    with pytest.raises(RuntimeError):
        stdlib.get_running_loop()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run() has no loop_factory before 3.12")
def test_only_the_loop():
    async def main():
        async with stdlib.timeout(10), stdlib.TaskGroup() as group:
            tasks = [group.create_task(look()) for _ in range(3)]
        queue = stdlib.Queue()
        queue.put_nowait(await stdlib.gather(*(stdlib.sleep(0, number) for number in range(3))))
        reader = await stdlib.wait_for(queue.get(), 10)
        return [task.result() for task in tasks], reader, stdlib.get_running_loop()

    looked, numbers, loop = stdlib.run(main(), loop_factory=rasyncio.new_event_loop)
    assert looked == ["looked"] * 3 and numbers == [0, 1, 2] and isinstance(loop, rasyncio.EventLoop)


async def kind_of_task():
    task = stdlib.current_task()
    assert rasyncio.current_task() is task
    return type(task)


async def use_only_the_loop():
    """What a program of the standard library's asyncio sees of a loop of ours, and what code that names rasyncio sees there."""
    task, loop = stdlib.current_task(), stdlib.get_running_loop()
    assert type(task) is stdlib.Task and rasyncio.current_task() is task
    assert type(loop.create_future()) is stdlib.Future and type(loop.create_task(kind_of_task())) is stdlib.Task
    assert type(loop.create_task(kind_of_task(), name="named")) is stdlib.Task
    theirs, ours = stdlib.create_task(kind_of_task()), rasyncio.create_task(kind_of_task())
    assert {task, theirs, ours} < rasyncio.all_tasks() == stdlib.all_tasks()
    assert await theirs is stdlib.Task and await ours is rasyncio.Task
    async with rasyncio.timeout(10), rasyncio.TaskGroup() as group:
        member = group.create_task(kind_of_task())
    assert member.result() is rasyncio.Task
    # Frameworks ask with isinstance() what a task waits for, and what they were given.
    job = loop.run_in_executor(None, int)
    assert isinstance(job, stdlib.Future) and isinstance(job, rasyncio.Future) and not isinstance(job, stdlib.Task)
    assert isinstance(ours, stdlib.Task) and isinstance(ours, rasyncio.Task)
    assert await job == 0
    return loop


def test_the_standard_librarys_tasks_are_the_default_on_its_loops():
    with contextlib.closing(rasyncio.new_event_loop()) as loop:
        assert loop.run_until_complete(use_only_the_loop()) is loop
    if sys.version_info >= (3, 12):
        stdlib.run(use_only_the_loop(), loop_factory=rasyncio.new_event_loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_inside_of_a_task_of_the_other_kind():
    async def main():
        task, loop = stdlib.current_task(), stdlib.get_running_loop()
        for factory, kind in [(rasyncio.eager_task_factory, rasyncio.Task), (stdlib.eager_task_factory, stdlib.Task)]:
            assert factory(loop, kind_of_task()).result() is kind
            assert stdlib.current_task() is rasyncio.current_task() is task

    stdlib.run(main(), loop_factory=rasyncio.new_event_loop)


def test_rasyncios_tasks_by_choice():
    async def main():
        task, future = rasyncio.current_task(), rasyncio.get_running_loop().create_future()
        assert type(task) is task.__class__ is rasyncio.Task
        assert type(future) is future.__class__ is rasyncio.Future
        return type(stdlib.create_task(kind_of_task()))

    # Whoever runs the loop by rasyncio, or makes it rasyncio's, has chosen.
    assert rasyncio.run(main()) is rasyncio.Task
    with contextlib.closing(rasyncio.new_event_loop()) as loop:
        rasyncio.set_event_loop(loop)
        assert loop.run_until_complete(main()) is rasyncio.Task
        rasyncio.set_event_loop(None)
    if sys.version_info >= (3, 12):
        assert rasyncio.run(main(), loop_factory=rasyncio.new_event_loop) is rasyncio.Task


def test_imported_in_the_middle_of_a_run():
    """In a process of its own, in which the standard library's asyncio comes late."""
    import subprocess

    program = """
import sys, rasyncio
async def main():
    assert "asyncio" not in sys.modules
    import asyncio
    assert asyncio.get_running_loop() is rasyncio.get_running_loop()
    assert asyncio.current_task() is rasyncio.current_task()
    await rasyncio.sleep(0)
    assert asyncio.current_task() is rasyncio.current_task()
rasyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_libraries_ask_for_the_base_class():
    with contextlib.closing(rasyncio.new_event_loop()) as loop:
        assert isinstance(loop, stdlib.AbstractEventLoop) and isinstance(loop, stdlib.BaseEventLoop)
        assert type(loop).__mro__.index(rasyncio.base_events._rasyncio._BaseEventLoop) < type(loop).__mro__.index(
            stdlib.BaseEventLoop
        )

        async def main():
            server = await stdlib.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
            assert isinstance(server, stdlib.Server)
            reader, writer = await stdlib.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
            server.close()
            await server.wait_closed()

        loop.run_until_complete(main())
        assert isinstance(loop.run_in_executor, type(loop.close)), "nothing of the standard library's comes first"


def test_a_loop_from_before_the_import_is_one_too():
    import subprocess

    program = """
import sys, rasyncio
loop = rasyncio.new_event_loop()
assert "asyncio" not in sys.modules
import asyncio
assert isinstance(loop, asyncio.BaseEventLoop)
loop.run_until_complete(rasyncio.sleep(0))
loop.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


POLICY = """
import {first}
{install}
import asyncio, rasyncio, warnings
warnings.simplefilter("ignore")
assert rasyncio.EventLoopPolicy is rasyncio.EventLoopPolicy
asyncio.set_event_loop_policy(rasyncio.EventLoopPolicy())
async def main():
    assert type(asyncio.current_task()) is asyncio.Task and asyncio.current_task() is rasyncio.current_task()
    return asyncio.get_running_loop()
loop = asyncio.new_event_loop()
assert type(loop) is rasyncio.EventLoop
asyncio.set_event_loop(loop)
assert asyncio.get_event_loop() is loop
assert loop.run_until_complete(main()) is loop
asyncio.set_event_loop(None)
loop.close()
assert type(asyncio.run(main())) is rasyncio.EventLoop
"""


@pytest.mark.parametrize(
    ("first", "install"),
    [("asyncio", ""), ("rasyncio", ""), ("rasyncio", "rasyncio.install()")],
    ids=["after", "before", "installed"],
)
def test_the_policy(first, install):
    import subprocess

    subprocess.run([sys.executable, "-c", POLICY.format(first=first, install=install)], check=True)
