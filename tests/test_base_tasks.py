"""How a task is written, and its stack."""

import io

import rasyncio as asyncio


async def waiting(future):
    await future


def test_repr_and_stack():
    async def main():
        future = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(waiting(future), name="the task")
        await asyncio.sleep(0)
        text = repr(task)
        assert text.startswith("<Task pending name='the task' coro=<waiting() running at ") and "wait_for=<Future" in text
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["waiting"]
        out = io.StringIO()
        task.print_stack(file=out)
        assert out.getvalue().startswith("Stack for <Task pending") and "await future" in out.getvalue()
        task.cancel()
        assert repr(task).startswith("<Task cancelling")
        await asyncio.wait([task])
        assert repr(task).startswith("<Task cancelled")

    asyncio.run(main())
