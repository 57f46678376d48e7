"""Tasks and their coroutines, and generators: ends with results, errors and cancellations."""

import asyncio
import contextlib
import contextvars
import sys

from garbage.counting import Token, begin, cancelled, expected, forever, program, stubborn, value, whole, wrong


@program
async def task():
    await begin(value())


@program
async def task_that_fails():
    with expected():
        await begin(wrong())


@program
async def task_that_fails_at_once():
    with expected():
        await begin(wrong(0))


@program
async def task_that_fails_in_a_local():
    failing = begin(wrong())
    with expected():
        await failing


@program
async def task_never_retrieved():
    begin(wrong())
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@program
async def task_cancelled():
    await cancelled(forever())


@program
async def task_cancelled_before_its_start():
    await cancelled(forever(), 0)


@program
async def task_cancelled_while_another_is_awaited():
    await cancelled(begin(forever()))


@program
async def task_cancelled_with_an_error():
    await cancelled(stubborn())


@program
async def task_cancelled_that_returns():
    async def kind():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            return str(error)

    await cancelled(kind())


@program
async def task_cancels_itself():
    async def itself():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with expected():
        await begin(itself())


@program
async def task_uncancelled():
    async def inner():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()

    running = begin(inner())
    await asyncio.sleep(0)
    running.cancel()
    await running


@program
async def task_awaits_itself():
    async def itself():
        await asyncio.current_task()

    with expected(RuntimeError):
        await begin(itself())


@program
async def task_awaits_a_wrong_thing():
    class Wrong:
        def __await__(self):
            yield Token()

    async def inner():
        await Wrong()

    with expected(RuntimeError):
        await begin(inner())


@program
async def task_awaits_another_loop():
    other = asyncio.new_event_loop()
    future = other.create_future()

    async def inner():
        await future

    with expected(RuntimeError):
        await begin(inner())
    other.close()


@program
async def task_callbacks():
    running = begin(value())
    token = Token()
    running.add_done_callback(lambda _: token)
    await running
    await asyncio.sleep(0)


@program
async def task_exception_read():
    failing = begin(wrong())
    await asyncio.wait([failing])
    failing.exception()
    with contextlib.suppress(ValueError):
        failing.result()


@program
async def task_stack_and_repr():
    running = begin(forever())
    await asyncio.sleep(0)
    repr(running), running.get_stack(), running.get_coro(), running.get_name(), asyncio.all_tasks()
    running.cancel()
    with expected():
        await running
    repr(running)


@program
async def task_in_a_context():
    context, variable = contextvars.copy_context(), contextvars.ContextVar("variable")

    async def inner():
        variable.set(Token())
        await asyncio.sleep(0)

    await asyncio.get_running_loop().create_task(inner(), context=context)


@program
async def task_subclass():
    class Mine(asyncio.Task):
        pass

    loop = asyncio.get_running_loop()
    await Mine(value(), loop=loop)
    with expected():
        await Mine(wrong(), loop=loop)
    failing = Mine(forever(), loop=loop)
    await asyncio.sleep(0)
    failing.cancel()
    with expected():
        await failing


@program
async def task_factory():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coro, **given: asyncio.Task(coro, loop=loop, **given))
    await loop.create_task(value())
    with expected():
        await loop.create_task(wrong())
    loop.set_task_factory(None)


@program
async def task_of_a_generator_based_awaitable():
    class Awaitable:
        def __await__(self):
            yield
            raise ValueError(Token())

    with expected():
        await asyncio.ensure_future(Awaitable())


@program
async def task_that_raises_stop_iteration():
    async def inner():
        raise StopIteration(Token())

    with expected(RuntimeError):
        await begin(inner())


@program
async def task_that_raises_again():
    async def inner():
        try:
            await begin(wrong())
        except ValueError as error:
            raise TimeoutError(Token()) from error

    with expected():
        await begin(inner())


@program
async def chain_of_tasks_that_fail():
    async def inner(depth):
        if depth:
            await begin(inner(depth - 1))
        await wrong()

    with expected():
        await begin(inner(5))


@program
async def coroutines_that_fail_many_frames_deep():
    async def inner(depth):
        if depth:
            await inner(depth - 1)
        await asyncio.sleep(0)
        await wrong()

    with expected():
        await inner(5)


if sys.version_info >= (3, 13):  # 3.12.1's loses a cancellation, which meets another task

    @program
    async def eager_tasks():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        await begin(value(0))
        await begin(value())
        with expected():
            await begin(wrong(0))
        with expected():
            await begin(wrong())
        await cancelled(forever())
        await asyncio.gather(value(0), value(1), wrong(0), wrong(1), return_exceptions=True)
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(value(0))
                group.create_task(wrong(0))
        loop.set_task_factory(None)


async def numbers():
    token = Token()
    for number in range(3):
        await asyncio.sleep(0)
        yield number
    del token


@program
async def async_generators():
    async for _ in numbers():
        pass
    async for _ in numbers():
        break
    generator = numbers()
    await anext(generator)
    await generator.aclose()
    with contextlib.suppress(ValueError):
        generator = numbers()
        await anext(generator)
        await generator.athrow(ValueError(Token()))
    async with contextlib.aclosing(numbers()) as generator:
        await anext(generator)
    for _ in range(5):
        await asyncio.sleep(0)


@program
async def async_generator_that_fails():
    async def failing():
        yield 1
        raise ValueError(Token())

    with contextlib.suppress(ValueError):
        async for _ in failing():
            await asyncio.sleep(0)


@program
async def coroutine_never_awaited():
    value()
    asyncio.sleep(1)
    asyncio.wait_for(asyncio.sleep(1), 1)


@program
async def coroutine_closed():
    waiting = forever()
    waiting.send(None)
    waiting.close()
    for coroutine in (asyncio.sleep(1), asyncio.Event().wait(), asyncio.Queue().get(), asyncio.Barrier(2).wait()):
        steps = coroutine.__await__()
        steps.send(None)
        coroutine.close()


@program
async def coroutine_thrown_into():
    for coroutine in (asyncio.sleep(1), asyncio.Event().wait(), asyncio.Queue().get(), asyncio.Barrier(2).wait()):
        with contextlib.suppress(StopIteration):
            coroutine.send(None)
        with contextlib.suppress(ValueError):
            coroutine.throw(ValueError(Token()))


@program
async def coroutine_in_use_twice():
    coroutine = forever()
    running = begin(coroutine)
    await asyncio.sleep(0)
    with expected(RuntimeError):
        await coroutine
    running.cancel()
    with expected():
        await running


if sys.version_info >= (3, 14):

    @program
    async def call_graphs():
        running = asyncio.gather(forever(), forever(), return_exceptions=True)
        inner = begin(cancelled(running, 3))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asyncio.capture_call_graph(inner)
        asyncio.format_call_graph(running)
        await inner


@whole
def tasks_left_pending():
    async def main():
        begin(forever())
        begin(stubborn())
        await asyncio.sleep(0)

    asyncio.run(main())


@whole
def tasks_destroyed():
    loop = asyncio.new_event_loop()
    loop.create_task(forever())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


@whole
def errors_of_run():
    async def main():
        begin(forever())
        await wrong()

    with contextlib.suppress(ValueError):
        asyncio.run(main())
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(itself())
    with contextlib.suppress(ValueError, TypeError):
        asyncio.run(len)
    with contextlib.suppress(SystemExit):
        asyncio.run(leaves())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(interrupts())


async def itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


async def leaves():
    async def leave():
        raise SystemExit(Token())

    begin(leave())
    await forever()


async def interrupts():
    raise KeyboardInterrupt(Token())
