"""The loop: what others may override while it runs, its exposed queues, threads, executors, debug mode."""

import collections
import heapq
import logging
import threading

import pytest
import rasyncio as asyncio


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def run_until_stopped(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


class Recorder:
    """A call_soon that notes what it is asked and does it."""

    def __init__(self, call_soon):
        self.calls, self.call_soon = [], call_soon

    def __call__(self, callback, *args, context=None):
        self.calls.append(callback)
        return self.call_soon(callback, *args, context=context)


async def yield_once():
    await asyncio.sleep(0)


def test_a_subclass_that_overrides_call_soon_is_asked():
    class Loop(asyncio.SelectorEventLoop):
        seen = 0

        def call_soon(self, callback, *args, context=None):
            self.seen += 1
            return super().call_soon(callback, *args, context=context)

    loop = Loop()
    loop.run_until_complete(yield_once())
    assert loop.seen >= 2  # the task's first step and the one after the yield
    loop.close()


def test_an_attribute_set_on_a_running_loop_is_asked(loop):
    async def main():
        recorder = loop.call_soon = Recorder(loop.call_soon)
        await asyncio.sleep(0)
        assert len(recorder.calls) == 1
        del loop.call_soon
        await asyncio.sleep(0)
        assert len(recorder.calls) == 1

    loop.run_until_complete(main())


def test_a_method_patched_on_the_class_of_a_running_loop_is_asked(loop, monkeypatch):
    seen = []
    original = asyncio.SelectorEventLoop.call_soon

    def call_soon(self, callback, *args, context=None):
        seen.append(callback)
        return original(self, callback, *args, context=context)

    async def main():
        await asyncio.sleep(0)
        monkeypatch.setattr(asyncio.BaseEventLoop, "call_soon", call_soon, raising=False)
        await asyncio.sleep(0)
        monkeypatch.undo()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(seen) == 1


def test_a_name_patched_on_a_face_is_looked_up(loop, monkeypatch, caplog):
    logger = logging.getLogger("somebody's own")
    monkeypatch.setattr(asyncio.base_events, "logger", logger)
    loop.call_soon(lambda: 1 / 0)
    with caplog.at_level(logging.ERROR):
        run_until_stopped(loop)
    assert [record.name for record in caplog.records] == ["somebody's own"]


def test_time_of_a_subclass_rules_the_timers():
    class Virtual(asyncio.SelectorEventLoop):
        now = 0.0

        def time(self):
            return self.now

        def _run_once(self):
            if not self._ready and self._scheduled:
                self.now = self._scheduled[0].when()
            super()._run_once()

    loop = Virtual()
    loop.run_until_complete(asyncio.wait_for(asyncio.sleep(3600), 4000))
    assert loop.now == 3600
    loop.close()


def test_ready_is_live(loop):
    ran = []
    loop.call_soon(ran.append, 1)
    ready = loop._ready
    assert isinstance(ready, collections.deque) and len(ready) == 1
    loop.call_soon(ran.append, 2)
    ready.appendleft(asyncio.Handle(ran.append, (0,), loop))
    ready.append(asyncio.Handle(ran.append, (3,), loop))
    run_until_stopped(loop)
    assert ran == [0, 1, 2, 3] and not ready


def test_ready_looked_at_in_the_middle_of_a_batch_keeps_the_batch(loop):
    ran = []
    loop.call_soon(lambda: ran.append(len(loop._ready)))
    for number in range(3):
        loop.call_soon(ran.append, number)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [4, 0, 1, 2]


def test_a_task_in_ready_is_a_handle(loop):
    task = asyncio.Task(yield_once(), loop=loop)  # the loop makes those of asyncio, which pytest has loaded
    (handle,) = loop._ready
    assert handle._callback.__self__ is task and handle._context is task.get_context()
    loop.run_until_complete(task)


def test_scheduled_is_a_heap(loop):
    ran = []
    now = loop.time()
    late, soon = loop.call_at(now + 1e-6, ran.append, "late"), loop.call_at(now, ran.append, "soon")
    scheduled = loop._scheduled
    assert scheduled[0] is soon and set(scheduled) == {soon, late}
    extra = asyncio.TimerHandle(loop.time() - 1, ran.append, ("extra",), loop)
    heapq.heappush(scheduled, extra)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert ran == ["extra", "soon", "late"]


def test_equal_deadlines_run_in_their_order(loop):
    ran, when = [], loop.time()
    for number in range(100):
        loop.call_at(when, ran.append, number)
    run_until_stopped(loop)
    assert ran == list(range(100))


@pytest.mark.parametrize("delay", [float("inf"), 1e300, 10**12])
def test_a_huge_delay_is_accepted(loop, delay):
    handle = loop.call_later(delay, pytest.fail)
    run_until_stopped(loop)
    handle.cancel()


def test_stop_before_run_means_one_turn(loop):
    ran = []
    loop.call_soon(lambda: loop.call_soon(ran.append, "second turn"))
    loop.stop()
    loop.run_forever()
    assert ran == []
    run_until_stopped(loop)
    assert ran == ["second turn"]


def test_system_exit_leaves_the_rest_of_the_batch_queued(loop):
    ran = []

    def leave():
        raise SystemExit(3)

    loop.call_soon(leave)
    loop.call_soon(ran.append, 1)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert ran == []
    run_until_stopped(loop)
    assert ran == [1]


def test_an_idle_loop_is_woken_from_another_thread(loop):
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_calls_from_another_thread_keep_their_order(loop):
    ran, count = [], 10_000

    def send():
        for number in range(count):
            loop.call_soon_threadsafe(ran.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=send)
    thread.start()
    loop.run_forever()
    thread.join()
    assert ran == list(range(count))


def test_two_loops_in_two_threads():
    async def main(number):
        results = await asyncio.gather(*(asyncio.to_thread(lambda: number) for _ in range(50)))
        return set(results), asyncio.get_running_loop()

    found = {}
    threads = [threading.Thread(target=lambda n=n: found.setdefault(n, asyncio.run(main(n)))) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0][0] == {0} and found[1][0] == {1} and found[0][1] is not found[1][1]


def test_a_closed_loop_refuses(loop):
    closed = asyncio.new_event_loop()
    closed.close()
    for call in (
        lambda: closed.call_soon(int),
        lambda: closed.call_later(1, int),
        lambda: closed.call_soon_threadsafe(int),
        lambda: closed.run_in_executor(None, int),
        closed.run_forever,
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()


def test_debug_mode_refuses_the_wrong_thread(loop):
    loop.set_debug(True)
    caught = []

    def wrong():
        try:
            loop.call_soon(int)
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=wrong)

    def start():
        thread.start()
        thread.join()
        loop.stop()

    loop.call_soon(start)
    loop.run_forever()
    assert caught == ["Non-thread-safe operation invoked on an event loop other than the current one"]


def test_debug_mode_logs_slow_callbacks(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, "asyncio"):
        run_until_stopped(loop)
    assert any("Executing <Handle" in record.getMessage() for record in caplog.records)


def test_an_asynchronous_generator_that_is_dropped_is_closed(loop):
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main():
        async for _ in numbers():
            break
        for _ in range(3):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert closed == [True]


def test_a_selector_looked_at_takes_over(loop):
    import os

    read, write = os.pipe()
    try:
        got = []
        loop.add_reader(read, lambda: (got.append(os.read(read, 10)), loop.stop()))
        selector = loop._selector
        assert selector.get_map()[read].data[0] is not None
        os.write(write, b"x")
        loop.run_forever()
        assert got == [b"x"]
        assert loop.remove_reader(read) and not loop.remove_reader(read)
    finally:
        os.close(read)
        os.close(write)


def test_single_arguments_may_be_given_by_name():
    loop = asyncio.new_event_loop()
    try:
        loop.set_debug(enabled=True)
        assert loop.get_debug()
        loop.set_debug(enabled=False)
        loop.set_exception_handler(handler=None)
        loop.set_task_factory(factory=None)
        assert loop.remove_reader(fd=0) is False
        assert loop.run_until_complete(future=asyncio.sleep(0, 3)) == 3
        with pytest.raises(TypeError, match=r"set_debug\(\) missing 1 required positional argument: 'enabled'"):
            loop.set_debug()
        with pytest.raises(TypeError, match=r"set_debug\(\) got an unexpected keyword argument 'on'"):
            loop.set_debug(on=True)
        with pytest.raises(TypeError, match=r"set_debug\(\) takes 2 positional arguments but 3 were given"):
            loop.set_debug(True, 1)
    finally:
        loop.close()
