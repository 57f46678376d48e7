"""Where newer Pythons changed what asyncio does already, rasyncio does what the running Python's asyncio does.

Each point is a function of the package; what it returns for asyncio and for rasyncio is compared.  What newer Pythons added is
there on all: test_versions.py and tests/differential/newer.  versions.toml lists the points of both kinds.
"""

import contextvars
import subprocess
import sys
import threading

import pytest
from points import Points, attempt, outcome, shown

POINTS = Points()
follows = POINTS.follows


@follows("3.11", "wait() refuses coroutines")
def wait_of_coroutines(asyncio):
    async def main():
        coroutine = asyncio.sleep(0)
        try:
            return await outcome(asyncio.wait([coroutine]))
        finally:
            coroutine.close()

    return asyncio.run(main())


@follows("3.11", "no loop parameter")
def no_loop_parameter(asyncio):
    names = [
        "Lock",
        "Event",
        "Condition",
        "Semaphore",
        "BoundedSemaphore",
        "Queue",
        "PriorityQueue",
        "LifoQueue",
        "sleep",
        "wait",
    ]
    names += ["wait_for", "gather", "shield", "as_completed", "open_connection", "start_server", "create_subprocess_exec"]
    seen = []
    for name in names:
        try:
            made = getattr(asyncio, name)(*([1] if name in ("Queue", "sleep") else []), loop=None)
        except TypeError:
            made = "refused"
        if hasattr(made, "close"):
            made.close()
        seen.append((name, made if made == "refused" else "coroutine"))
    return seen


@follows("3.11", "gather() of nothing, without a loop")
def gather_of_nothing(asyncio):
    def tries():
        result, warned = attempt(asyncio.gather)
        results.append((result if isinstance(result, tuple) else type(result).__name__, warned))

    results = []
    thread = threading.Thread(target=tries, name="another")
    thread.start()
    thread.join()
    return results


@follows("3.11", "wait_for() and tasks")
def task_under_wait_for(asyncio):
    async def main():
        async def which():
            return asyncio.current_task() is me, asyncio.current_task().cancelling()

        me = asyncio.current_task()
        seen = [await asyncio.wait_for(which(), 60), await asyncio.wait_for(which(), None)]
        for timeout in (0, -1):
            coroutine = which()
            seen.append(await outcome(asyncio.wait_for(coroutine, timeout)))
            coroutine.close()
        return seen

    return asyncio.run(main())


@follows("3.12", "the context of exception handlers")
def context_of_handlers(asyncio):
    variable, seen = contextvars.ContextVar("variable", default="none"), []

    def handler(loop, details):
        seen.append((variable.get(), details["message"].partition(" ")[0]))

    async def fails():
        raise ValueError

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        context = contextvars.copy_context()
        context.run(variable.set, "within")
        loop.call_soon(lambda: 1 / 0, context=context)
        task = loop.create_task(fails(), context=context)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        await asyncio.sleep(0)

    asyncio.run(main())
    return seen


@follows("3.13", "cancellations of a task group and from elsewhere at once")
def cancellations_at_once(asyncio):
    async def fails(turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ValueError("child")

    async def body(turns):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(turns))
            await asyncio.sleep(3600)

    async def task(turns):
        result = await outcome(body(turns))
        return result, asyncio.current_task().cancelling(), await outcome(asyncio.sleep(0))

    async def exiting(turns):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails(turns))
            await asyncio.sleep(0)

    async def main():
        seen = []
        for turns in range(4):
            running = asyncio.create_task(task(turns))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            running.cancel("outside")
            seen.append(await outcome(running))
        for turns in range(4):
            seen.append((await outcome(asyncio.create_task(exiting(turns))), turns))
        return seen

    return asyncio.run(main())


@follows("3.13", "create_task() of a group that is not active")
def inactive_groups(asyncio):
    async def member():
        pass

    async def main():
        async def tries(name):
            coroutine = member()
            try:
                group.create_task(coroutine)
            except RuntimeError as error:
                seen.append((name, str(error).partition("> ")[2], coroutine.cr_frame is None))
            coroutine.close()

        async def while_it_aborts():
            try:
                await asyncio.sleep(3600)
            finally:
                await tries("aborting")

        seen, group = [], asyncio.TaskGroup()
        await tries("not entered")
        try:
            async with group:
                group.create_task(while_it_aborts())
                await asyncio.sleep(0)
                raise ValueError
        except ExceptionGroup:
            pass
        await tries("finished")
        return seen

    return asyncio.run(main())


@follows("3.13", "uncancel() to zero drops a cancellation that is not thrown yet")
def uncancel(asyncio):
    async def body():
        task = asyncio.current_task()
        task.cancel("dropped?")
        seen = [task.cancelling(), task._must_cancel, task.uncancel(), task._must_cancel]
        return [*seen, await outcome(asyncio.sleep(0))]

    async def main():
        return await asyncio.create_task(body())

    return asyncio.run(main())


@follows("3.13", "subclasses of CancelledError")
def derived_cancellations(asyncio):
    class Derived(asyncio.CancelledError):
        pass

    async def group():
        async with asyncio.TaskGroup():
            raise Derived("body")

    async def expired():
        async with asyncio.timeout(None) as deadline:
            deadline.reschedule(-1)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise Derived("expired") from None

    async def main():
        return [await outcome(asyncio.create_task(function())) for function in (group, expired)]

    return asyncio.run(main())


@follows("3.13", "timeout() misused")
def misused_timeouts(asyncio):
    async def main():
        unused, used = asyncio.timeout(60), asyncio.timeout(60)
        seen = [attempt(unused.reschedule, 1), repr(unused)]
        async with used:
            seen.append(await outcome(used.__aenter__()))
        seen += [
            attempt(used.reschedule, 1),
            await outcome(used.__aenter__()),
            await outcome(asyncio.create_task(outside(unused))),
        ]
        return [*seen, asyncio.current_task().cancelling()]

    async def outside(deadline):
        async with deadline:
            return repr(deadline).partition(" when")[0]

    def without_a_task():
        loop = asyncio.new_event_loop()
        results = []

        def step():
            try:
                asyncio.timeout(1).__aenter__().send(None)
            except (RuntimeError, StopIteration) as error:
                results.append(shown(error))
            loop.stop()

        loop.call_soon(step)
        loop.run_forever()
        loop.close()
        return results

    return asyncio.run(main()), without_a_task()


@follows("3.13", "TimeoutError is in the context of what is raised at the deadline")
def context_of_errors_at_the_deadline(asyncio):
    def chain(error):
        seen = []
        while error is not None:
            seen.append(type(error).__name__)
            error = error.__cause__ or error.__context__
        return seen

    async def expires(raised):
        async with asyncio.timeout(-1):
            try:
                await asyncio.sleep(60)
            finally:
                raise raised

    async def main():
        seen = []
        for raised in (ValueError(), ExceptionGroup("group", [KeyError()]), asyncio.CancelledError("own")):
            try:
                await expires(raised)
            except BaseException as error:
                seen.append((chain(error), [chain(inner) for inner in getattr(error, "exceptions", ())]))
        return seen

    return asyncio.run(main())


@follows("3.13", "set_exception(StopIteration)", since={"3.12": 2, "3.11": 8})
def stop_iteration(asyncio):
    async def main():
        seen = []
        for error in (StopIteration, StopIteration(1)):
            future = asyncio.get_running_loop().create_future()
            seen.append(attempt(future.set_exception, error))
            if not future.done():
                future.cancel()
            seen.append(await outcome(future))
        return seen

    return asyncio.run(main())


@follows("3.13", "sleep(nan)")
def sleep_nan(asyncio):
    async def main():
        if sys.version_info < (3, 13):  # sleeps in an undefined order, and for ever
            return None
        return await outcome(asyncio.sleep(float("nan")))

    return asyncio.run(main())


@follows("3.13", "arguments of callbacks in what is logged")
def logged_arguments(asyncio):
    async def main():
        loop, seen = asyncio.get_running_loop(), []
        for debug in (False, True):
            loop.set_debug(debug)
            seen.append("secret" in repr(loop.call_later(60, print, "secret")))
        loop.set_debug(False)
        return seen

    return asyncio.run(main())


@follows("3.13", "run_forever() while another loop runs", since={"3.12": 10, "3.11": 99})
def loop_in_a_loop(asyncio):
    async def main():
        inner = asyncio.new_event_loop()
        seen = [attempt(inner.run_forever), inner.is_running(), asyncio.get_running_loop() is outer]
        inner.close()
        return seen

    outer = asyncio.new_event_loop()
    try:
        return outer.run_until_complete(main())
    finally:
        outer.close()


@follows("3.13", "what a task factory gets", since={"3.12": 99, "3.11": 99})
def task_factories(asyncio):
    async def main():
        def factory(loop, coro, **keywords):
            got.append(sorted(keywords))
            return asyncio.Task(coro, loop=loop, **keywords)

        loop, got, context = asyncio.get_running_loop(), [], contextvars.copy_context()
        loop.set_task_factory(factory)
        ways = [
            {},
            {"name": "named"},
            {"context": context},
            {"name": "named", "context": context},
            {"name": None, "context": None},
        ]
        async with asyncio.TaskGroup() as group:
            for create in (asyncio.create_task, loop.create_task, group.create_task):
                for keywords in ways:
                    task = create(asyncio.sleep(0), **keywords)
                    got.append((task.get_name() == "named", task.get_name().startswith("Task-")))
                    await task
        await asyncio.gather(asyncio.sleep(0))
        loop.set_task_factory(None)
        return got

    return asyncio.run(main())


@follows("3.13", "a cancelled future of run_coroutine_threadsafe() cancels its task", since={"3.12": 99, "3.11": 99})
def cancelled_from_a_thread(asyncio):
    async def main():
        async def runs():
            started.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            finally:
                ended.set()

        seen, started, ended = [], threading.Event(), asyncio.Event()
        future = asyncio.run_coroutine_threadsafe(runs(), asyncio.get_running_loop())

        def cancels():
            started.wait()
            seen.append(future.cancel())

        thread = threading.Thread(target=cancels)
        thread.start()
        await ended.wait()
        thread.join()
        return sorted(seen, key=str), future.cancelled()

    return asyncio.run(main())


@follows("3.15", "a timer that is due where the clock's resolution is too small")
def coarse_clocks(asyncio):
    if sys.version_info < (3, 15):  # spins for ever
        return None
    loop, seen = asyncio.new_event_loop(), []
    loop.time = lambda: float(1 << 60)
    loop.call_at(float(1 << 60), seen.append, "due")
    loop.call_at(float(1 << 61), seen.append, "not due")
    loop.call_later(0, loop.stop)
    loop.run_forever()
    loop.close()
    return seen


@follows("3.14", "iscoroutinefunction()")
def iscoroutinefunction(asyncio):
    async def function():
        pass

    return [attempt(asyncio.iscoroutinefunction, item) for item in (function, print, asyncio.sleep)]


@follows("3.14", "shield() reports what nobody can see", since={"3.13": 99})
def shielded_errors(asyncio):
    async def fails(released):
        await released
        raise ValueError("inner")

    async def main():
        loop, seen = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda loop, details: seen.append((details["message"], str(details["exception"]))))
        released = loop.create_future()
        inner = loop.create_task(fails(released))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel()
        released.set_result(None)
        await asyncio.wait([inner])
        await asyncio.sleep(0)
        inner.exception()
        return seen, outer.cancelled()

    return asyncio.run(main())


PAUSES = """
import {package} as asyncio
import pdb

async def gives():
    return 42

async def main():
    await pdb.set_trace_async(commands=["p $_asynctask.get_name()", "await gives()", "p await gives()", "c"])
    return asyncio.current_task().get_name()

print(asyncio.run(main()))
"""


@follows("3.14", "the debugger's prompt")
def debugger(asyncio):
    if sys.version_info < (3, 14):
        return None
    program = PAUSES.format(package=asyncio.__name__)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout


@follows("3.14", "all_tasks() of a loop in another thread")
def tasks_of_another_thread(asyncio):
    seen = []

    async def main():
        task = asyncio.create_task(asyncio.sleep(3600), name="sleeper")
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=lambda: seen.extend(sorted(t.get_name() for t in asyncio.all_tasks(loop))))
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    with asyncio.Runner() as runner:
        runner.run(main())
    return len(seen), "sleeper" in seen


@follows("3.14", "handles of call_soon_threadsafe()")
def threadsafe_handles(asyncio):
    async def main():
        loop = asyncio.get_running_loop()
        handle = loop.call_soon_threadsafe(int)
        thread = threading.Thread(target=handle.cancel)
        thread.start()
        thread.join()
        return isinstance(handle, asyncio.Handle), handle.cancelled(), type(handle).__name__

    return asyncio.run(main())


@follows("3.15", "a lone GeneratorExit leaves a task group as it is")
def generator_exit(asyncio):
    async def leaves(child):
        async with asyncio.TaskGroup() as group:
            if child:
                group.create_task(fails())
                await asyncio.sleep(0)
            raise GeneratorExit

    async def fails():
        raise ValueError

    async def main():
        seen = []
        for child in (False, True):
            try:
                await leaves(child)
            except BaseException as error:
                seen.append((type(error).__name__, [type(inner).__name__ for inner in getattr(error, "exceptions", ())]))
        return seen

    return asyncio.run(main())


@follows("3.15", "a second __init__ of a task or future")
def second_init(asyncio):
    async def main():
        future, task = asyncio.get_running_loop().create_future(), asyncio.current_task()
        coroutine = asyncio.sleep(0)
        again = [(future.__init__,)]
        if sys.version_info >= (3, 15):  # before, the task forgets what it is running
            again.append((task.__init__, coroutine))
        seen = []
        for call in again:
            result, warned = attempt(*call)
            # The text begins with the class's name, which has the module's.
            seen.append((result and (result[0], result[1].partition(" ")[2]), warned))
        coroutine.close()
        return seen

    return asyncio.run(main())


@follows("3.15", "what is no context")
def no_context(asyncio):
    async def main():
        coroutine = asyncio.sleep(0)
        try:
            if sys.version_info < (3, 15):  # fails where it is entered
                return None
            return attempt(lambda: asyncio.Task(coroutine, loop=asyncio.get_running_loop(), context=1))
        finally:
            coroutine.close()

    return asyncio.run(main())


@follows("3.15", "_chain_future() of other kinds of futures")
def chained(asyncio):
    class Duck:
        _state = "FINISHED"

        def add_done_callback(self, callback):
            callback(self)

        def done(self):
            return True

        def cancelled(self):
            return False

        def exception(self):
            return None

        def result(self):
            return 1

        def set_running_or_notify_cancel(self):
            return True

    async def main():
        future = asyncio.get_running_loop().create_future()
        result = attempt(asyncio.futures._chain_future, Duck(), future)
        await asyncio.sleep(0)
        return result[0] if result[0] is None else result[0][0], future.done()

    return asyncio.run(main())


@pytest.mark.parametrize("point", POINTS)
def test_follows(point, complaints):
    POINTS.compare(point, complaints)
