"""Task groups, beyond what CPython's own tests say: cancel() on every Python.

More of cancel(): differential/newer/cancelled_groups.py.
"""

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


async def cleans_up(turns, meanwhile=lambda: None):
    try:
        await asyncio.sleep(3600)
    finally:
        for turn in range(turns):
            await asyncio.sleep(0)
            if turn == turns // 2:
                meanwhile()


@pytest.mark.parametrize("turns", [0, 1, 2, 5])
@pytest.mark.parametrize("first", ["group", "outside"])
def test_a_cancellation_from_outside_is_not_lost(turns, first):
    async def body(group):
        async with group:
            group.create_task(cleans_up(10))
            await asyncio.get_running_loop().create_future()

    async def main():
        task = asyncio.create_task(body(group := asyncio.TaskGroup()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if first == "outside":
            task.cancel("from outside")
        group.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        if first == "group":
            task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelling() == 1

    asyncio.run(main())


def test_a_deadline_from_outside_is_not_lost():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as deadline:
                async with asyncio.TaskGroup() as group:
                    group.create_task(cleans_up(20, lambda: deadline.reschedule(-1)))
                    await asyncio.sleep(0)
                    group.cancel()
                    await asyncio.sleep(3600)
        assert asyncio.current_task().cancelling() == 0

    asyncio.run(main())


@pytest.mark.parametrize("by_child", [False, True])
def test_the_task_of_a_cancelled_group_goes_on(by_child):
    """It is asked to stop no more, and its next wait is not cancelled, also where the body did not wait after cancel()."""

    async def cancels(group):
        group.cancel()

    async def main():
        async with asyncio.TaskGroup() as group:
            if by_child:
                group.create_task(cancels(group))
            else:
                group.cancel()
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(main())


def test_a_derived_class_s_cancel_is_called_at_the_entry():
    class Own(asyncio.TaskGroup):
        def cancel(self):
            calls.append(self._entered)
            super().cancel()

    async def main():
        (group := Own()).cancel()
        async with group:
            await asyncio.get_running_loop().create_future()

    calls = []
    asyncio.run(main())
    assert calls == [False, True]
