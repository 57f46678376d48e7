"""Races: who starts when, who wins, and what becomes of the others. On all Pythons as in the newest."""

import sys

import pytest
import rasyncio
from rasyncio.staggered import staggered_race


def fails(text):
    async def failing():
        raise ValueError(text)

    return failing


async def race_of_four():
    started = []

    async def slow():
        started.append("slow")
        await rasyncio.Event().wait()

    async def quick():
        started.append("quick")
        return "quick"

    async def never():
        started.append("never")

    result, index, exceptions = await staggered_race([fails("first"), slow, quick, never], 0.001)
    assert (result, index, started) == ("quick", 2, ["slow", "quick"])
    assert [type(exception) for exception in exceptions] == [ValueError, rasyncio.CancelledError, type(None)]
    assert len(rasyncio.all_tasks()) == 1


def test_the_first_success_wins():
    rasyncio.run(race_of_four())


def test_none_wins():
    result = rasyncio.run(staggered_race([fails("one"), fails("two")], None))
    assert result[:2] == (None, None)
    assert [str(exception) for exception in result[2]] == ["one", "two"]
    assert rasyncio.run(staggered_race([], None)) == (None, None, [])


def test_a_cancellation_reaches_every_task_and_leaves_at_the_end():
    seen = []

    async def stubborn():
        try:
            await rasyncio.Event().wait()
        except rasyncio.CancelledError as error:
            seen.append(error.args)
            await rasyncio.sleep(0)
            seen.append("cleaned up")
            raise

    async def main():
        race = rasyncio.create_task(staggered_race([stubborn, stubborn], 0))
        for _ in range(20):
            await rasyncio.sleep(0)
        race.cancel("enough")
        with pytest.raises(rasyncio.CancelledError):
            await race
        assert len(rasyncio.all_tasks()) == 1

    rasyncio.run(main())
    assert seen.count("cleaned up") == 2
    assert seen.count(("enough",)) == 2


def test_what_is_no_coroutine_function_counts_as_failed():
    result = rasyncio.run(staggered_race([lambda: 1 / 0, lambda: None], None))
    assert [type(exception) for exception in result[2]] == [ZeroDivisionError, TypeError]


def test_errors_of_the_functions_themselves_are_raised():
    def functions():
        yield fails("one")
        raise LookupError("two")

    with pytest.raises(ExceptionGroup, match="staggered race failed") as info:
        rasyncio.run(staggered_race(functions(), None))
    assert [repr(error) for error in info.value.exceptions] == ["LookupError('two')"]
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        rasyncio.run(staggered_race(1, None))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks_race_too():
    async def main():
        rasyncio.get_running_loop().set_task_factory(rasyncio.eager_task_factory)
        return await staggered_race([fails("one"), lambda: rasyncio.sleep(0, "won")], None)

    result = rasyncio.run(main())
    assert result[:2] == ("won", 1)
