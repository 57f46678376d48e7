"""Tasks, futures and what waits for them: ends with results, errors and cancellations."""

import asyncio
import contextlib
import contextvars
import sys

from garbage.counting import Token, begin, cancelled, expected, program, whole


async def value(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return Token()


async def wrong(turns=1):
    token = Token()
    for _ in range(turns):
        await asyncio.sleep(0)
    raise ValueError(token)


async def forever():
    token = Token()
    await asyncio.Event().wait()
    del token


async def stubborn():
    """Turns its cancellation into an error."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise ValueError(Token()) from None


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
    repr(running), running.get_stack(), running.get_coro(), running.get_name(), running.get_context(), asyncio.all_tasks()
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


if sys.version_info >= (3, 12):

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


@program
async def future():
    loop = asyncio.get_running_loop()
    waited = loop.create_future()
    loop.call_soon(waited.set_result, Token())
    await waited
    await asyncio.wait_for(waited, 1)


@program
async def future_with_an_error():
    loop = asyncio.get_running_loop()
    waited = loop.create_future()
    loop.call_soon(waited.set_exception, ValueError(Token()))
    with expected():
        await waited


@program
async def future_with_an_error_read_often():
    waited = asyncio.get_running_loop().create_future()
    waited.set_exception(ValueError(Token()))
    for _ in range(3):
        with contextlib.suppress(ValueError):
            waited.result()
        with expected():
            await waited
    waited.exception()


@program
async def future_with_a_class_of_errors():
    waited = asyncio.get_running_loop().create_future()
    waited.set_exception(ValueError)
    with expected():
        await waited


@program
async def future_with_stop_iteration():
    waited = asyncio.get_running_loop().create_future()
    try:
        waited.set_exception(StopIteration(Token()))
    except TypeError:
        return
    with expected(RuntimeError):
        await waited


@program
async def future_never_retrieved():
    asyncio.get_running_loop().create_future().set_exception(ValueError(Token()))


@program
async def future_cancelled():
    waited = asyncio.get_running_loop().create_future()
    waited.cancel(Token())
    with expected():
        await waited
    with expected():
        await waited


@program
async def future_set_twice():
    waited = asyncio.get_running_loop().create_future()
    waited.set_result(Token())
    with contextlib.suppress(asyncio.InvalidStateError):
        waited.set_result(Token())
    with contextlib.suppress(asyncio.InvalidStateError):
        asyncio.get_running_loop().create_future().result()


@program
async def future_iterated():
    waited = asyncio.get_running_loop().create_future()
    steps = iter(waited)
    next(steps)
    waited.set_exception(ValueError(Token()))
    with contextlib.suppress(ValueError):
        next(steps)
    steps = iter(asyncio.get_running_loop().create_future())
    next(steps)
    with contextlib.suppress(ValueError):
        steps.throw(ValueError(Token()))
    steps.close()


@program
async def future_abandoned():
    waited = asyncio.get_running_loop().create_future()
    waited.add_done_callback(lambda _, token=Token(): None)


@program
async def future_subclass():
    class Mine(asyncio.Future):
        pass

    waited = Mine()
    waited.set_exception(ValueError(Token()))
    with expected():
        await waited


@program
async def callbacks_that_fail():
    loop = asyncio.get_running_loop()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))

    def fail(*_):
        raise ValueError(Token())

    loop.call_soon(fail, Token())
    loop.call_later(0, fail, Token())
    loop.call_soon_threadsafe(fail, Token())
    waited = loop.create_future()
    waited.add_done_callback(fail)
    waited.set_result(Token())
    while len(contexts) < 4:
        await asyncio.sleep(0)
    loop.set_exception_handler(None)


@program
async def callbacks_that_fail_by_default():
    loop = asyncio.get_running_loop()

    def fail():
        raise ValueError(Token())

    loop.call_soon(fail)
    await asyncio.sleep(0)
    loop.call_soon_threadsafe(fail)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@program
async def exception_handler_that_fails():
    loop = asyncio.get_running_loop()

    def handle(loop, context):
        raise LookupError(Token())

    def fail():
        raise ValueError(Token())

    loop.set_exception_handler(handle)
    loop.call_soon(fail)
    await asyncio.sleep(0)
    loop.set_exception_handler(None)


@program
async def callbacks_cancelled():
    loop = asyncio.get_running_loop()
    loop.call_later(1000, print, Token()).cancel()
    loop.call_at(loop.time() + 1000, print, Token()).cancel()
    handle = loop.call_soon(print, Token())
    handle.cancel()
    repr(handle)
    loop.call_soon_threadsafe(print, Token()).cancel()
    await asyncio.sleep(0)


@program
async def callbacks_that_hold_their_handles():
    loop, handles = asyncio.get_running_loop(), []
    handles.append(loop.call_later(1000, handles.append, handles))
    handles[0].cancel()
    handles = []
    handles.append(loop.call_soon(len, handles))
    await asyncio.sleep(0)


@program
async def sleeps():
    await asyncio.sleep(0, Token())
    await asyncio.sleep(1e-6, Token())
    await cancelled(asyncio.sleep(1000, Token()))


@program
async def gather():
    await asyncio.gather(value(), value(), begin(value()))
    await asyncio.gather()


@program
async def gather_that_fails():
    with expected():
        await asyncio.gather(value(), wrong(), value(3), wrong(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@program
async def gather_that_returns_errors():
    await asyncio.gather(value(), wrong(), wrong(2), return_exceptions=True)


@program
async def gather_cancelled():
    await cancelled(asyncio.gather(forever(), forever()))
    await cancelled(asyncio.gather(forever(), value(), return_exceptions=True))


@program
async def gather_whose_child_is_cancelled():
    child = begin(forever())
    asyncio.get_running_loop().call_soon(child.cancel)
    with expected():
        await asyncio.gather(child, value())
    child = begin(forever())
    asyncio.get_running_loop().call_soon(child.cancel)
    await asyncio.gather(child, value(), return_exceptions=True)


@program
async def gather_never_awaited():
    asyncio.gather(value(), wrong())
    for _ in range(5):
        await asyncio.sleep(0)


@program
async def gather_of_the_same():
    child = begin(wrong())
    with expected():
        await asyncio.gather(child, child)


@program
async def wait():
    await asyncio.wait([begin(value()), begin(wrong())])
    await asyncio.wait([begin(value(1)), begin(value(2))], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([begin(wrong(1)), begin(value(2))], return_when=asyncio.FIRST_EXCEPTION)


@program
async def wait_with_a_timeout():
    pending = begin(forever())
    await asyncio.wait([pending], timeout=0)
    await asyncio.wait([pending], timeout=1e-6)
    pending.cancel()
    await asyncio.wait([pending], timeout=100)


@program
async def wait_cancelled():
    pending = begin(forever())
    await cancelled(asyncio.wait([pending]))
    pending.cancel()
    with expected():
        await pending


@program
async def as_completed():
    for awaitable in asyncio.as_completed([value(), wrong(), value(2)]):
        with expected():
            await awaitable


@program
async def as_completed_with_a_timeout():
    pending = begin(forever())
    for awaitable in asyncio.as_completed([pending, value()], timeout=1e-6):
        with expected():
            await awaitable
    pending.cancel()
    with expected():
        await pending


@program
async def as_completed_left_early():
    for awaitable in asyncio.as_completed([value(), value(2)]):
        await awaitable
        break
    await asyncio.sleep(0)
    await asyncio.sleep(0)


if sys.version_info >= (3, 13):

    @program
    async def as_completed_by_async_for():
        async for child in asyncio.as_completed([begin(value()), begin(wrong())]):
            with expected():
                await child


@program
async def shield():
    await asyncio.shield(value())
    with expected():
        await asyncio.shield(wrong())


@program
async def shield_cancelled():
    inner = begin(value(4))
    await cancelled(asyncio.shield(inner))
    await inner
    inner = begin(wrong(4))
    await cancelled(asyncio.shield(inner))
    with expected():
        await inner
    inner = begin(forever())
    outer = asyncio.shield(inner)
    await asyncio.sleep(0)
    inner.cancel()
    with expected():
        await outer


@program
async def wait_for():
    await asyncio.wait_for(value(), 100)
    await asyncio.wait_for(value(), None)
    with expected():
        await asyncio.wait_for(wrong(), 100)


@program
async def wait_for_too_long():
    with expected():
        await asyncio.wait_for(forever(), 1e-6)
    with expected():
        await asyncio.wait_for(forever(), 0)
    with expected():
        await asyncio.wait_for(begin(forever()), 1e-6)
    with expected():
        await asyncio.wait_for(asyncio.get_running_loop().create_future(), 1e-6)


@program
async def wait_for_that_fails_when_cancelled():
    with expected():
        await asyncio.wait_for(stubborn(), 1e-6)


@program
async def wait_for_cancelled():
    await cancelled(asyncio.wait_for(forever(), 100))
    await cancelled(asyncio.wait_for(stubborn(), 100))


@program
async def timeout():
    async with asyncio.timeout(100):
        await value()
    async with asyncio.timeout(None) as limit:
        limit.reschedule(asyncio.get_running_loop().time() + 100)
        await value()
    repr(limit)


@program
async def timeout_expired():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1e-6):
            await forever()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await forever()


@program
async def timeout_expired_in_tasks():
    async def inner():
        async with asyncio.timeout(1e-6):
            await forever()

    with expected():
        await begin(inner())
    with expected():
        await inner()


@program
async def timeout_with_an_error():
    with contextlib.suppress(ValueError):
        async with asyncio.timeout(100):
            await wrong()
    with contextlib.suppress(ValueError):
        async with asyncio.timeout(1e-6):
            await stubborn()


@program
async def timeout_cancelled():
    async def inner():
        async with asyncio.timeout(100):
            await forever()

    await cancelled(inner())


@program
async def timeouts_nested():
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1e-6):
            async with asyncio.timeout(100):
                await forever()


@program
async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(value())
        tasks.create_task(value(2), name="named")
    repr(tasks)


@program
async def group_that_fails():
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wrong())
            tasks.create_task(forever())
    except* ValueError:
        pass


@program
async def group_that_fails_twice():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            tasks.create_task(wrong())

    with expected(ExceptionGroup):
        await inner()
    with expected(ExceptionGroup):
        await begin(inner())


@program
async def group_whose_body_fails():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())
            await wrong()

    with expected(ExceptionGroup):
        await inner()
    with expected(ExceptionGroup):
        await begin(inner())


@program
async def group_whose_body_fails_at_once():
    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup():
            raise ValueError(Token())


@program
async def group_that_exits_by_a_base_exception():
    class Leave(BaseException):
        pass

    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())
            await asyncio.sleep(0)
            raise Leave(Token())

    with contextlib.suppress(Leave):
        await inner()


@program
async def group_cancelled():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever())

    await cancelled(inner(), 3)


@program
async def group_cancelled_in_its_body():
    async def inner():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stubborn())
            await forever()

    with contextlib.suppress(ExceptionGroup):
        await cancelled(inner(), 3)


@program
async def group_misused():
    tasks = asyncio.TaskGroup()
    late = value()
    with contextlib.suppress(RuntimeError):
        tasks.create_task(late)
    async with tasks:
        pass
    with contextlib.suppress(RuntimeError):
        tasks.create_task(late)
    late.close()
    with contextlib.suppress(RuntimeError):
        async with tasks:
            pass


@program
async def groups_nested():
    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(forever())
            async with asyncio.TaskGroup() as inner:
                inner.create_task(wrong())
                inner.create_task(forever())
    except* ValueError:
        pass


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
        running = begin(asyncio.gather(forever(), forever(), return_exceptions=True))
        inner = begin(cancelled(running, 3))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asyncio.capture_call_graph(inner)
        asyncio.format_call_graph(running)
        await inner


@program
async def staggered():
    from asyncio.staggered import staggered_race

    async def failing():
        raise ValueError(Token())

    await staggered_race([failing, failing], None)
    await staggered_race([failing, value], None)
    await staggered_race([forever, value], 1e-6)
    await cancelled(staggered_race([forever], None), 4)


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
