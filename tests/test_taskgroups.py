"""Task groups, beyond what CPython's own tests say: cancel() on every Python."""

import pytest
import rasyncio as asyncio


def test_cancel_ends_the_group_without_an_error():
    async def main():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(100))
            group.cancel()
            await asyncio.sleep(100)
        assert task.cancelled() and asyncio.current_task().cancelling() == 0
        return "after"

    assert asyncio.run(main()) == "after"


def test_cancel_before_the_entry():
    async def main():
        group = asyncio.TaskGroup()
        group.cancel()
        async with group:
            await asyncio.sleep(100)
        return "after"

    assert asyncio.run(main()) == "after"


def test_all_errors_are_raised_together():
    async def fail(error):
        raise error

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(ValueError(1)))
            group.create_task(fail(KeyError(2)))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


def test_a_foreign_task_factory_is_used():
    made = []

    def factory(loop, coro, **keywords):
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **keywords)

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0), name="named")

    asyncio.run(main())
    assert len(made) >= 1
