"""Call graphs, on every version of Python: who waits for whom, and the functions in which they wait."""

import dataclasses
import io
import sys

import pytest
import rasyncio as asyncio


def walk(graph):
    """(name, functions from the inside out, those who wait) of a graph."""
    name = graph.future.get_name() if isinstance(graph.future, asyncio.Task) else "future"
    functions = [entry.frame.f_code.co_name for entry in graph.call_stack]
    return name, functions, sorted(walk(other) for other in graph.awaited_by)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def shown_by(make):
    """What the task `inner` sees of itself: `make(coroutine)` makes a task of it and waits for it, in the task `main`."""
    seen = []

    async def inner():
        await settle()
        seen.append(walk(asyncio.capture_call_graph()))

    async def outermost():
        asyncio.current_task().set_name("main")
        await make(inner())

    asyncio.run(outermost())
    return seen[0]


MAIN = ("main", ["make", "outermost"], [])


def named(coroutine):
    return asyncio.create_task(coroutine, name="inner")


def test_a_task_that_is_awaited():
    async def make(coroutine):
        await named(coroutine)

    assert shown_by(make) == ("inner", ["inner"], [MAIN])


def test_a_task_of_a_gather_and_of_a_gather_in_a_gather():
    async def make(coroutine):
        await asyncio.gather(named(coroutine), asyncio.sleep(0))

    assert shown_by(make) == ("inner", ["inner"], [MAIN])

    async def make(coroutine):
        await asyncio.gather(asyncio.gather(named(coroutine)))

    assert shown_by(make) == ("inner", ["inner"], [MAIN])


def test_a_task_of_a_group():
    async def make(coroutine):
        async with asyncio.TaskGroup() as group:
            group.create_task(coroutine, name="inner")

    assert shown_by(make) == ("inner", ["inner"], [("main", ["__aexit__", "make", "outermost"], [])])


def test_a_shielded_task():
    async def make(coroutine):
        await asyncio.shield(named(coroutine))

    assert shown_by(make) == ("inner", ["inner"], [MAIN])


def test_a_task_that_wait_waits_for():
    async def make(coroutine):
        await asyncio.wait([named(coroutine)])

    assert shown_by(make) == ("inner", ["inner"], [("main", ["wait", "make", "outermost"], [])])


def test_a_task_that_as_completed_waits_for():
    async def make(coroutine):
        for next_done in asyncio.as_completed([named(coroutine)]):
            await next_done

    assert shown_by(make) == ("inner", ["inner"], [MAIN])


def test_a_task_under_wait_for():
    async def make(coroutine):
        await asyncio.wait_for(named(coroutine), 10)

    name, functions, waiting = shown_by(make)
    assert (name, functions) == ("inner", ["inner"])
    assert [(who, functions[-2:]) for who, functions, _ in waiting] == [("main", ["make", "outermost"])]


def test_a_future_and_all_that_wait_for_it():
    async def main():
        future = asyncio.get_running_loop().create_future()
        assert not future._asyncio_awaited_by

        async def wait():
            await future

        async def above():
            await tasks[0]

        tasks = [asyncio.create_task(wait(), name="a"), asyncio.create_task(wait(), name="b")]
        tasks.append(asyncio.create_task(above(), name="above"))
        await settle()
        waiting = [("a", ["wait"], [("above", ["above"], [])]), ("b", ["wait"], [])]
        assert walk(asyncio.capture_call_graph(future)) == ("future", [], waiting)
        assert future._asyncio_awaited_by == frozenset(tasks[:2])
        future.set_result(None)
        await asyncio.wait(tasks)
        assert not future._asyncio_awaited_by and not tasks[0]._asyncio_awaited_by

    asyncio.run(main())


def test_what_was_noted_by_hand():
    async def main():
        future, waiter = (asyncio.get_running_loop().create_future() for _ in range(2))
        asyncio.future_add_to_awaited_by(future, waiter)
        asyncio.future_add_to_awaited_by(future, object())
        assert future._asyncio_awaited_by == {waiter}
        assert walk(asyncio.capture_call_graph(future)) == ("future", [], [("future", [], [])])
        asyncio.future_discard_from_awaited_by(future, waiter)
        assert not future._asyncio_awaited_by

    asyncio.run(main())


def test_calls_of_asyncio_that_are_native_have_their_place():
    async def get(queue):
        await queue.get()

    async def get_in_time(queue):
        await asyncio.wait_for(queue.get(), 10)

    async def main():
        coroutines = [get(asyncio.Queue()), get_in_time(asyncio.Queue()), asyncio.sleep(10)]
        tasks = [asyncio.create_task(coroutine, name="task") for coroutine in coroutines]
        await settle()
        assert walk(asyncio.capture_call_graph(tasks[0])) == ("task", ["get", "get"], [])
        if sys.version_info >= (3, 12):  # before, wait_for() has a task of its own
            assert walk(asyncio.capture_call_graph(tasks[1])) == ("task", ["get", "wait_for", "get_in_time"], [])
        assert walk(asyncio.capture_call_graph(tasks[2])) == ("task", ["sleep"], [])
        frame = asyncio.capture_call_graph(tasks[0]).call_stack[0].frame
        assert frame.f_code is asyncio.Queue.get.__code__ and frame.f_lineno >= frame.f_code.co_firstlineno
        assert " in async Queue.get()" in asyncio.format_call_graph(tasks[0])
        for task in tasks:
            task.cancel()

    asyncio.run(main())


def test_the_text():
    async def generator():
        yield asyncio.format_call_graph()

    def plain():
        return asyncio.format_call_graph()

    async def main():
        task = asyncio.current_task()
        task.set_name("main")
        line = plain.__code__.co_firstlineno + 1
        text = plain().splitlines()
        assert text[:3] == [
            f"* Task(name='main', id={id(task):#x})",
            "  + Call stack:",
            f"  |   File {__file__!r}, line {line}, in {plain.__qualname__}()",
        ]
        assert text[3].endswith(f" in async {main.__qualname__}()") and len(text) == 4
        async for text in generator():
            assert f" in async generator {generator.__qualname__}()" in text
        printed = io.StringIO()
        asyncio.print_call_graph(file=printed)
        assert f"in async {main.__qualname__}()" in printed.getvalue() and printed.getvalue().endswith("\n")
        future = asyncio.get_running_loop().create_future()
        assert asyncio.format_call_graph(future) == f"* Future(id={id(future):#x})"

    asyncio.run(main())


def test_a_finished_task_has_no_frames():
    async def main():
        async def fail():
            raise ValueError

        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        task.exception()
        assert asyncio.capture_call_graph(task).call_stack == ()

    asyncio.run(main())


def test_depth_and_limit():
    def names(**options):
        return [entry.frame.f_code.co_name for entry in asyncio.capture_call_graph(**options).call_stack]

    async def b(ask):
        return ask()

    async def a(ask):
        return await b(ask)

    async def main():
        whole = ["names", "<lambda>", "b", "a", "main"]
        assert await a(lambda: names()) == whole
        assert await a(lambda: names(depth=3)) == whole[2:]
        # Of the task that asks, a limit above zero leaves the far end, as in CPython.
        assert await a(lambda: names(limit=2)) == whole[-2:]
        assert await a(lambda: names(limit=-2)) == whole[:2]
        assert await a(lambda: names(limit=0)) == []

        async def wait():
            await asyncio.get_running_loop().create_future()

        async def outer():
            await wait()

        task = asyncio.create_task(outer())
        await settle()
        of = lambda **options: [e.frame.f_code.co_name for e in asyncio.capture_call_graph(task, **options).call_stack]  # noqa: E731
        assert of() == ["wait", "outer"] and of(limit=1) == ["outer"] and of(limit=-1) == ["wait"] and of(limit=0) == []
        task.cancel()

    asyncio.run(main())


def test_where_there_is_no_task():
    with pytest.raises(RuntimeError, match="outside of a running event loop and no .future. to introspect"):
        asyncio.capture_call_graph()
    loop = asyncio.new_event_loop()
    future, seen = loop.create_future(), []
    assert walk(asyncio.capture_call_graph(future)) == ("future", [], [])
    loop.call_soon(lambda: seen.extend([asyncio.capture_call_graph(), asyncio.format_call_graph()]))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert seen == [None, ""]


def test_what_is_no_future():
    with pytest.raises(TypeError, match=r"^1 object does not appear to be compatible with asyncio.Future$"):
        asyncio.capture_call_graph(1)
    with pytest.raises(TypeError):
        asyncio.capture_call_graph(future=None)


def test_the_classes_are_dataclasses():
    async def main():
        graph = asyncio.capture_call_graph()
        assert [field.name for field in dataclasses.fields(graph)] == ["future", "call_stack", "awaited_by"]
        assert isinstance(graph, asyncio.FutureCallGraph)
        assert isinstance(graph.call_stack[0], asyncio.FrameCallGraphEntry)
        with pytest.raises(dataclasses.FrozenInstanceError):
            graph.future = None
        return graph

    asyncio.run(main())
    assert asyncio.graph.FutureCallGraph is asyncio.FutureCallGraph
    assert asyncio.FutureCallGraph.__module__ == "rasyncio.graph"
    assert asyncio.FrameCallGraphEntry(1) == asyncio.FrameCallGraphEntry(1)
    assert asyncio.FrameCallGraphEntry.__slots__ == ("frame",)


def test_a_ring_and_a_long_chain_end():
    async def main():
        futures = [asyncio.get_running_loop().create_future() for _ in range(sys.getrecursionlimit() + 10)]
        for future, waiter in zip(futures, futures[1:], strict=False):
            asyncio.future_add_to_awaited_by(future, waiter)
        graph = asyncio.capture_call_graph(futures[20])
        depth = 0
        while graph.awaited_by:
            [graph], depth = graph.awaited_by, depth + 1
        assert depth == len(futures) - 21
        with pytest.raises(RecursionError):
            asyncio.capture_call_graph(futures[0])
        asyncio.future_add_to_awaited_by(futures[-1], futures[-2])
        with pytest.raises(RecursionError):
            asyncio.capture_call_graph(futures[-1])

    asyncio.run(main())
