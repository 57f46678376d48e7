"""The standard library's asyncio beside rasyncio: both know the same running loop and the same current task."""

import asyncio as stdlib
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
