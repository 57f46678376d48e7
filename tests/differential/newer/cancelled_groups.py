"""TaskGroup.cancel() (3.15): by whom, when and how often, with cancellations, deadlines and errors from elsewhere.

Each scenario ends by recording what left the group, how often its task is still asked to stop, and whether the next wait of
that task is cancelled.  The last part makes up programs by a seed.
"""

import asyncio

from recorder import record, record_outcome

SINCE = (3, 15)


async def let_run(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)


async def works(turns=1000, clean_up=0, error=None):
    try:
        await let_run(turns)
        if error:
            raise error
    finally:
        await let_run(clean_up)


async def forever():
    await asyncio.get_running_loop().create_future()


async def scenario(name, function, during=None, turns=3):
    """Runs `function(group)` in a group in a task; `during(task, group)` is called after some turns."""
    group = asyncio.TaskGroup()

    async def body():
        try:
            async with group:
                await function(group)
            record(name, "left", asyncio.current_task().cancelling())
        except BaseException as error:
            record(name, error, asyncio.current_task().cancelling())
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            record(name, "cancelled afterwards", error)

    task = asyncio.create_task(body())
    await let_run(turns)
    if during:
        during(task, group)
    await record_outcome(name, task)
    record(name, task.cancelling(), repr(group))


async def by_itself():
    async def at_once(group):
        group.cancel()

    async def twice(group):
        group.create_task(works())
        group.cancel()
        group.cancel()
        await forever()

    async def while_a_child_cleans_up(group):
        group.create_task(works(clean_up=3))
        await let_run()
        group.cancel()
        await forever()

    async def swallowed(group):
        group.cancel()
        try:
            await forever()
        except asyncio.CancelledError:
            record("swallowed", asyncio.current_task().cancelling())
        await let_run(2)
        record("goes on")

    async def then_fails(group):
        group.cancel()
        try:
            await forever()
        finally:
            raise ValueError("body")

    async def and_uncancels(group):
        group.cancel()
        record("uncancel", asyncio.current_task().uncancel())

    async def refused(group):
        group.cancel()
        coroutine = works()
        try:
            group.create_task(coroutine)
        except RuntimeError as error:
            record("refused", str(error).partition("> ")[2])
        record("closed", coroutine.cr_frame is None)

    async def a_cancellation_of_ones_own(group):
        group.cancel()
        raise asyncio.CancelledError("own")

    async def derived(group):
        class Derived(asyncio.CancelledError):
            pass

        group.cancel()
        raise Derived("derived")

    async def generator_exit(group):
        group.cancel()
        raise GeneratorExit

    async def generator_exit_and_error(group):
        group.create_task(works(1, error=ValueError("child")))
        group.cancel()
        raise GeneratorExit

    async def children_fail(group):
        group.create_task(fails_when_cancelled())
        await let_run()
        group.cancel()
        await forever()

    async def fails_when_cancelled():
        try:
            await forever()
        finally:
            raise KeyError("child")

    for function in (
        at_once,
        twice,
        while_a_child_cleans_up,
        swallowed,
        then_fails,
        and_uncancels,
        refused,
        a_cancellation_of_ones_own,
        derived,
        generator_exit,
        generator_exit_and_error,
        children_fail,
    ):
        await scenario(function.__name__, function)


async def by_others():
    async def waits(group):
        group.create_task(works())
        await forever()

    async def waits_in_the_exit(group):
        group.create_task(works())

    async def a_child(group):
        async def cancels():
            await let_run()
            group.cancel()
            await let_run()
            record("never")

        group.create_task(cancels())
        group.create_task(works(clean_up=2))

    async def a_child_that_goes_on(group):
        async def cancels():
            group.cancel()
            try:
                await forever()
            except asyncio.CancelledError:
                record("child goes on")

        group.create_task(cancels())
        await forever()

    async def fails_first(group):
        group.create_task(works(1, error=ValueError("child")))
        group.create_task(works(clean_up=5))
        await forever()

    def cancel(task, group):
        group.cancel()

    def both(task, group):
        group.cancel()
        task.cancel("outside")

    def other_way_round(task, group):
        task.cancel("outside")
        group.cancel()

    def thrice(task, group):
        task.cancel("first")
        group.cancel()
        task.cancel("last")

    for function in (waits, waits_in_the_exit, a_child, a_child_that_goes_on, fails_first):
        for during in (None, cancel, both, other_way_round, thrice):
            if during or function in (a_child, a_child_that_goes_on, fails_first):
                for turns in (1, 3, 5):
                    await scenario(f"{function.__name__} {during and during.__name__} {turns}", function, during, turns)


async def around():
    """Groups in groups, deadlines in and around, before the entry and after the exit."""

    async def inner_of_two(outer):
        async with asyncio.TaskGroup() as inner:
            inner.create_task(works(clean_up=2))
            inner.cancel()
            await forever()
        record("inner left", asyncio.current_task().cancelling())

    async def outer_of_two(outer):
        async with asyncio.TaskGroup() as inner:
            inner.create_task(works(clean_up=2))
            await let_run()
            outer.cancel()
            await forever()
        record("never")

    async def both_of_two(outer):
        async with asyncio.TaskGroup() as inner:
            inner.cancel()
            outer.cancel()
            await forever()
        record("inner left", asyncio.current_task().cancelling())
        await let_run()
        record("never")

    async def deadline_inside(group):
        try:
            async with asyncio.timeout(-1):
                group.create_task(works(clean_up=2))
                await let_run()
                group.cancel()
                await forever()
        except TimeoutError:
            record("too late", asyncio.current_task().cancelling())

    for function in (inner_of_two, outer_of_two, both_of_two, deadline_inside):
        await scenario(function.__name__, function)

    async def deadline_around(clean_up):
        try:
            async with asyncio.timeout(None) as deadline:
                async with asyncio.TaskGroup() as group:
                    group.create_task(works(clean_up=clean_up))
                    await let_run()
                    group.cancel()
                    deadline.reschedule(-1)
                    await forever()
                record("left the group")
        except TimeoutError:
            record("deadline", asyncio.current_task().cancelling())
        await let_run()

    for clean_up in (0, 1, 5):
        await record_outcome(f"deadline around {clean_up}", asyncio.create_task(deadline_around(clean_up)))

    async def before_the_entry(group):
        record("entered", repr(group))
        await let_run()
        record("never")

    async def entered_late():
        group = asyncio.TaskGroup()
        group.cancel()
        record("not entered", repr(group))
        async with group:
            await before_the_entry(group)
        group.cancel()
        record("after the exit", asyncio.current_task().cancelling(), repr(group))
        await let_run()
        try:
            await group.__aenter__()
        except RuntimeError as error:
            record("again", str(error).partition("> ")[2])

    await record_outcome("before the entry", asyncio.create_task(entered_late()))

    class Own(asyncio.TaskGroup):
        def cancel(self):
            record("own cancel()")
            super().cancel()

    async def derived():
        group = Own()
        group.cancel()
        async with group:
            await forever()

    await record_outcome("derived", asyncio.create_task(derived()))

    async def generator():
        async with asyncio.TaskGroup() as group:
            group.create_task(works(clean_up=1))
            group.cancel()
            yield 1

    async def closes_a_generator():
        values = generator()
        await record_outcome("generator", anext(values))
        await record_outcome("closed", values.aclose())
        record("cancelling", asyncio.current_task().cancelling())
        await let_run()

    await record_outcome("generators", asyncio.create_task(closes_a_generator()))


async def eagerly():
    """A child that cancels its group within create_task(), before it is a member."""

    async def ends_others(group, turns):
        group.cancel()
        await let_run(turns)
        record("not cancelled")

    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    for turns in (0, 1):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(ends_others(group, turns))
            record("cancelling", task.cancelling(), asyncio.current_task().cancelling())
            await let_run()
            record("never")
        record("ended", task.cancelled(), asyncio.current_task().cancelling())
    asyncio.get_running_loop().set_task_factory(None)


class Chance:
    """Numbers that are the same on every Python."""

    def __init__(self, seed):
        self.state = seed * 2654435761 + 12345 & 0xFFFFFFFF

    def below(self, n):
        self.state = self.state * 1664525 + 1013904223 & 0xFFFFFFFF
        return (self.state >> 16) % n


def made_up(chance, depth=0):
    """Steps of a body: at most one child of a group, since a group cancels its children in the order of a set."""
    steps = []
    for _ in range(1 + chance.below(3)):
        kind = ("wait", "wait", "cancel", "cancel", "fail", "group", "catch", "clean up", "child", "stop")[chance.below(10)]
        if kind in ("group", "catch", "clean up", "child"):
            if depth == 3 or (kind == "child" and any(step[0] == "child" for step in steps)):
                kind, inner = "wait", None
            else:
                inner = made_up(chance, depth + 1)
            steps.append((kind, inner, chance.below(3)))
        else:
            steps.append((kind, None, chance.below(3)))
    return steps


class MadeUp:
    def __init__(self, seed):
        self.chance, self.groups, self.events = Chance(seed), [], []

    def note(self, *event):
        self.events.append(event)

    async def group(self, steps, ends):
        group = asyncio.TaskGroup()
        self.groups.append(group)
        try:
            async with group:
                try:
                    await self.run(steps, group, ends)
                finally:
                    if ends:
                        group.cancel()
            self.note("left", asyncio.current_task().cancelling())
        except BaseException as error:
            self.note(error, asyncio.current_task().cancelling())
            raise

    async def run(self, steps, group, ends):
        for kind, inner, number in steps:
            match kind:
                case "wait":
                    await let_run(number + 1)
                case "cancel":
                    self.groups[-1 - number % len(self.groups)].cancel()
                case "fail":
                    raise (ValueError("made up"), asyncio.CancelledError("made up"), GeneratorExit())[number]
                case "stop":
                    asyncio.current_task().cancel("by itself")
                case "group":
                    await self.group(inner, ends)
                case "child":
                    group.create_task(self.group(inner, ends))
                case "catch":
                    try:
                        await self.run(inner, group, ends)
                    except asyncio.CancelledError as error:
                        self.note("caught", error, asyncio.current_task().cancelling())
                case "clean up":
                    try:
                        await self.run(inner, group, ends)
                    finally:
                        self.note("cleans up")
                        await let_run(number)

    async def main(self):
        steps = made_up(self.chance)
        turn, way = self.chance.below(8), self.chance.below(5)
        task = asyncio.create_task(self.group(steps, True))
        await let_run(turn)
        if way < 2 and not task.done():
            task.cancel("outside")
        if way in (1, 2) and self.groups:
            self.groups[0].cancel()
        await let_run(10)
        task.cancel("too long")
        try:
            await task
        except BaseException as error:
            self.note("ended", error)
        self.note(task.cancelling())
        for other in asyncio.all_tasks() - {asyncio.current_task()}:
            other.cancel()
            await asyncio.wait([other])


async def main():
    await by_itself()
    await by_others()
    await around()
    await eagerly()
    for seed in range(150):
        program = MadeUp(seed)
        await program.main()
        record(seed, program.events)


asyncio.run(main())
