"""Signal handlers of a loop, Unix sockets, and what becomes of a loop in a forked child."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings

import pytest
import rasyncio

PACKAGES = [asyncio, rasyncio]


@pytest.fixture(params=PACKAGES, ids=["asyncio", "rasyncio"])
def loop(request):
    loop = request.param.new_event_loop()
    yield loop
    loop.close()


def current_wakeup_fd():
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def test_handlers_run_in_the_order_of_their_signals(loop):
    heard = []

    def hear(name):
        heard.append(name)
        if len(heard) == 3:
            loop.stop()

    for name in ("SIGUSR1", "SIGUSR2"):
        loop.add_signal_handler(getattr(signal, name), hear, name)
    # Before the loop runs, from a callback, and to another thread than the loop's.
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR2)
    loop.call_later(0, lambda: signal.raise_signal(signal.SIGUSR1))
    loop.run_forever()
    assert heard == ["SIGUSR1", "SIGUSR2", "SIGUSR1"]


def test_a_signal_to_another_thread_wakes_the_loop(loop):
    begin, end = threading.Event(), threading.Event()

    def other():
        begin.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        end.wait()

    thread = threading.Thread(target=other)
    thread.start()
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_soon(begin.set)
    loop.run_forever()
    end.set()
    thread.join()


def test_the_newest_handler_replaces_the_older(loop):
    heard = []
    loop.add_signal_handler(signal.SIGUSR1, heard.append, "old")
    loop.add_signal_handler(signal.SIGUSR1, lambda: (heard.append("new"), loop.stop()))
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert heard == ["new"]


def test_the_last_handler_gives_the_wakeup_descriptor_back(loop):
    assert current_wakeup_fd() == -1
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    assert current_wakeup_fd() != -1
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert current_wakeup_fd() != -1
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert current_wakeup_fd() == -1


def test_each_run_looks_for_signals(loop):
    """However short it is: whoever makes single turns by `stop` finds in the second what came before the first."""
    heard = []
    loop.add_signal_handler(signal.SIGUSR1, heard.append, None)
    for count in range(1, 20):
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(2):
            loop.call_soon(loop.stop)
            loop.run_forever()
        assert len(heard) == count


def test_a_busy_loop_does_not_look_for_signals_at_each_turn():
    """A look is a system call, and costs as much as all the rest of a short turn.

    A signal of its own is noted by its own handler; with another in that one's place it can only look.
    """
    loop = rasyncio.new_event_loop()
    turns, sent, waited = 0, 0, []
    loop.add_signal_handler(signal.SIGUSR1, lambda: waited.append(turns - sent))
    signal.signal(signal.SIGUSR1, lambda *_: None)

    def turn():
        nonlocal turns, sent, asked
        turns += 1
        if len(waited) == 20:
            return loop.stop()
        if len(waited) == asked:
            asked, sent = asked + 1, turns
            os.kill(os.getpid(), signal.SIGUSR1)
        loop.call_soon(turn)

    asked = 0
    loop.call_soon(turn)
    loop.run_forever()
    loop.close()
    # Hundreds of turns, and two if each turn had a look.
    assert sorted(waited)[10] > 20, waited


def test_close_removes_all_handlers(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert current_wakeup_fd() == -1
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)


def test_handlers_live_with_a_selector_of_the_callers():
    import selectors

    loop = rasyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    loop.close()


def test_another_thread_wakes_a_selector_of_the_callers():
    import selectors

    loop = rasyncio.SelectorEventLoop(selectors.DefaultSelector())
    asleep = threading.Event()

    class Telling(type(loop._selector)):
        def select(self, timeout=None):
            # Told before the sleep, the other thread may come just before it: that wake must not be lost either.
            if timeout is None:
                asleep.set()
            return super().select(timeout)

    loop._selector.__class__ = Telling

    def wake():
        for _ in range(200):
            asleep.wait()
            asleep.clear()
            loop.call_soon_threadsafe(heard.append, None)
        loop.call_soon_threadsafe(loop.stop)

    heard = []
    thread = threading.Thread(target=wake)
    thread.start()
    loop.run_forever()
    thread.join()
    loop.close()
    assert len(heard) == 200


async def coroutine_function():
    pass


@pytest.mark.parametrize(
    ("sig", "callback", "kind", "text"),
    [
        ("1", print, TypeError, "sig must be an int, not '1'"),
        (12345, print, ValueError, "invalid signal number 12345"),
        (signal.SIGKILL, print, RuntimeError, "sig 9 cannot be caught"),
        (signal.SIGUSR1, coroutine_function, TypeError, "coroutines cannot be used with add_signal_handler()"),
    ],
)
def test_what_cannot_be_handled(loop, sig, callback, kind, text):
    with pytest.raises(kind) as info:
        loop.add_signal_handler(sig, callback)
    assert str(info.value) == text
    assert current_wakeup_fd() == -1
    assert not loop._signal_handlers


def test_only_the_main_thread_may_handle_signals(loop):
    raised = []

    def other():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert raised == ["set_wakeup_fd only works in main thread of the main interpreter"]


FORK = """import PACKAGE as asyncio, os, signal, sys

async def in_child(loop):
    reader, writer = os.pipe()
    await asyncio.sleep(0)
    heard = asyncio.Event()
    asyncio.get_running_loop().add_reader(reader, heard.set)
    os.write(writer, b"x")
    await heard.wait()
    assert asyncio.get_running_loop() is not loop
    assert len(asyncio.all_tasks()) == 1
    return 7

async def main():
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    heard = asyncio.Event()
    loop.add_reader(reader, heard.set)
    loop.add_signal_handler(signal.SIGUSR1, heard.set)
    timer = loop.call_later(1000, print)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert signal.set_wakeup_fd(-1) == -1
            assert asyncio._get_running_loop() is None
            status = asyncio.run(in_child(loop))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    # The parent's own descriptors are still watched, whatever the child did.
    os.write(writer, b"x")
    await heard.wait()
    assert asyncio.get_running_loop() is loop
    assert os.waitstatus_to_exitcode(status) == 7, status
    heard.clear()
    loop.remove_reader(reader)
    os.kill(os.getpid(), signal.SIGUSR1)
    await heard.wait()
    timer.cancel()

asyncio.run(main())
"""


# The standard library's forgets its loops in a child from 3.12 on.
@pytest.mark.parametrize("package", ["asyncio", "rasyncio"] if sys.version_info >= (3, 12) else ["rasyncio"])
def test_a_forked_child_forgets_the_loop_and_runs_its_own(package):
    done = subprocess.run(
        [sys.executable, "-c", FORK.replace("PACKAGE", package)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_streams_over_a_unix_socket(tmp_path):
    async def serve(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        async with await rasyncio.start_unix_server(serve, tmp_path / "socket"):
            reader, writer = await rasyncio.open_unix_connection(tmp_path / "socket")
            sent = os.urandom(1_000_000)
            task = rasyncio.ensure_future(reader.readexactly(len(sent)))
            writer.write(sent)
            await writer.drain()
            assert await task == sent
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    rasyncio.run(main())
    assert list(tmp_path.iterdir()) == ([] if sys.version_info >= (3, 13) else [tmp_path / "socket"])


@pytest.mark.parametrize("cleanup", [True, False])
def test_a_server_s_file_goes_or_stays(tmp_path, cleanup):
    async def main():
        loop = rasyncio.get_running_loop()
        server = await loop.create_unix_server(rasyncio.Protocol, tmp_path / "socket", cleanup_socket=cleanup)
        assert list(tmp_path.iterdir()) == [tmp_path / "socket"]
        assert bool(loop._unix_server_sockets) == cleanup
        server.close()
        await server.wait_closed()
        assert list(tmp_path.iterdir()) == ([] if cleanup else [tmp_path / "socket"])
        assert not loop._unix_server_sockets

    rasyncio.run(main())


def test_a_file_that_took_the_place_of_a_server_s_stays(tmp_path):
    async def main():
        loop = rasyncio.get_running_loop()
        server = await loop.create_unix_server(rasyncio.Protocol, tmp_path / "socket", cleanup_socket=True)
        (tmp_path / "socket").rename(tmp_path / "moved")
        (tmp_path / "socket").write_text("somebody else's")
        server.close()
        await server.wait_closed()
        assert (tmp_path / "socket").read_text() == "somebody else's"

    rasyncio.run(main())


def test_a_connection_that_is_cancelled_or_refused_leaves_nothing(tmp_path):
    async def main():
        loop = rasyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(tmp_path / "socket"))
            with pytest.raises(ConnectionRefusedError):
                await loop.create_unix_connection(rasyncio.Protocol, tmp_path / "socket")
            listener.listen(0)
            task = loop.create_task(loop.create_unix_connection(rasyncio.Protocol, tmp_path / "socket"))
            await rasyncio.sleep(0)
            task.cancel()
            with pytest.raises(rasyncio.CancelledError):
                await task
        for _ in range(3):
            await rasyncio.sleep(0)

    rasyncio.run(main())


@pytest.fixture
def own_loop():
    """One of rasyncio only: asyncio sleeps on where these loops wake."""
    event_loop = rasyncio.new_event_loop()
    yield event_loop
    event_loop.close()


def test_an_idle_loop_hears_of_a_handler_written_in_python(own_loop):
    """Whichever thread the kernel gives the signal to; `signal.signal` alone, without the loop's knowledge."""

    def elsewhere():
        running.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    running = threading.Event()
    old = signal.signal(signal.SIGUSR1, lambda *_: own_loop.stop())
    thread = threading.Thread(target=elsewhere)
    thread.start()
    own_loop.call_soon(running.set)
    own_loop.run_forever()
    thread.join()
    signal.signal(signal.SIGUSR1, old)


def test_the_wakeup_descriptor_is_the_loops_while_it_runs(own_loop):
    async def look():
        return current_wakeup_fd()

    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        assert own_loop.run_until_complete(look()) != -1 == current_wakeup_fd()
        signal.set_wakeup_fd(near.fileno())
        assert own_loop.run_until_complete(look()) == near.fileno() == current_wakeup_fd()
        signal.set_wakeup_fd(-1)

        async def put():
            signal.set_wakeup_fd(near.fileno())

        own_loop.run_until_complete(put())
        assert signal.set_wakeup_fd(-1) == near.fileno()


def test_a_busy_loop_hears_of_a_signal_as_soon_as_asyncio_does():
    async def main(package):
        event_loop, waited, heard = package.get_running_loop(), [], []
        event_loop.add_signal_handler(signal.SIGUSR1, heard.append, True)
        for quiet in (1, 5, 50):
            for _ in range(quiet):
                await package.sleep(0)
            os.kill(os.getpid(), signal.SIGUSR1)
            turns = 0
            while not heard:
                turns += 1
                assert turns < 10_000
                await package.sleep(0)
            heard.clear()
            waited.append(turns)
        # One that the loop cannot know of, since somebody has put another handler in its handler's place.
        signal.signal(signal.SIGUSR1, lambda *_: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        turns = 0
        while not heard and turns < 10_000:
            turns += 1
            await package.sleep(0)
        return waited, bool(heard)

    assert rasyncio.run(main(rasyncio)) == asyncio.run(main(asyncio))


def test_a_handler_that_goes_while_the_loop_runs_leaves_it_awake(own_loop):
    async def main():
        before = current_wakeup_fd()
        own_loop.add_signal_handler(signal.SIGUSR1, print)
        own_loop.remove_signal_handler(signal.SIGUSR1)
        assert current_wakeup_fd() == before != -1

    own_loop.run_until_complete(main())
    assert current_wakeup_fd() == -1


def test_a_handler_outlives_the_run(own_loop):
    async def main():
        own_loop.add_signal_handler(signal.SIGUSR1, own_loop.stop)

    own_loop.run_until_complete(main())
    assert current_wakeup_fd() != -1
    os.kill(os.getpid(), signal.SIGUSR1)
    own_loop.run_forever()
    own_loop.remove_signal_handler(signal.SIGUSR1)
    assert current_wakeup_fd() == -1


def in_child(function):
    """Calls it in a forked child; whether it came back without an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads beside a fork
        pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_that_was_forked_while_a_loop_runs_has_its_own():
    async def main():
        near, far = socket.socketpair()
        near.setblocking(False)
        with near, far:
            loop, heard = rasyncio.get_running_loop(), rasyncio.Event()
            loop.add_reader(near, heard.set)

            def child():
                with pytest.raises(RuntimeError):
                    rasyncio.get_running_loop()
                loop.remove_reader(near)  # the parent's poller must not hear of it
                near.close()
                assert rasyncio.run(rasyncio.wait_for(rasyncio.sleep(0, "slept"), 5)) == "slept"

            assert in_child(child)
            far.send(b"x")
            await rasyncio.wait_for(heard.wait(), 5)
            loop.remove_reader(near)
            assert current_wakeup_fd() != -1

    rasyncio.run(main())


def test_a_loop_that_nobody_runs_may_be_run_in_a_child(loop):
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        heard = []
        loop.add_reader(near, lambda: (heard.append(near.recv(9)), loop.stop()))
        loop.run_until_complete(rasyncio.sleep(0))

        def child():
            far.send(b"child")
            loop.run_forever()
            assert heard == [b"child"]
            loop.add_signal_handler(signal.SIGUSR1, loop.stop)
            signal.raise_signal(signal.SIGUSR1)
            loop.run_forever()
            thread = threading.Timer(0, loop.call_soon_threadsafe, (loop.stop,))
            thread.start()
            loop.run_forever()
            loop.close()

        assert in_child(child)
        far.send(b"parent")
        loop.run_forever()
        assert heard == [b"parent"]
        loop.remove_reader(near)


def test_a_forked_child_lets_the_parents_processes_live():
    async def main():
        process = await rasyncio.create_subprocess_exec("sleep", "600")

        def child():
            process._transport.close()

        assert in_child(child)
        assert process.returncode is None
        process.terminate()
        return await process.wait()

    assert rasyncio.run(main()) == -signal.SIGTERM


def test_closing_a_server_makes_no_call_that_a_watch_for_blocking_calls_sees(tmp_path, monkeypatch):
    """blockbuster replaces `os.stat` and `os.unlink`, and lets the standard library's by, by the names of its functions."""

    async def main():
        server = await rasyncio.get_running_loop().create_unix_server(
            rasyncio.Protocol, tmp_path / "socket", cleanup_socket=True
        )
        for name in ("stat", "unlink", "remove"):
            monkeypatch.setattr(os, name, lambda *arguments, name=name: pytest.fail(f"os.{name}() was called"))
        server.close()
        await server.wait_closed()
        monkeypatch.undo()
        assert not (tmp_path / "socket").exists()

    rasyncio.run(main())


@pytest.mark.parametrize("looks", [False, True])
def test_a_forked_child_that_runs_the_loop_wakes_itself_only(own_loop, looks):
    own_loop.run_until_complete(rasyncio.sleep(0))
    parent = os.fstat(own_loop._ssock.fileno()).st_ino if looks else None

    def child():
        own_loop.add_signal_handler(signal.SIGUSR1, own_loop.stop)
        thread = threading.Timer(0, own_loop.call_soon_threadsafe, [os.kill, os.getpid(), signal.SIGUSR1])
        own_loop.call_soon(thread.start)
        own_loop.run_forever()
        thread.join()
        assert own_loop._internal_fds == 1
        assert os.fstat(own_loop._ssock.fileno()).st_ino != parent
        own_loop.call_soon_threadsafe(int)
        own_loop.close()
        assert own_loop._ssock is own_loop._csock is None

    assert in_child(child)
    with pytest.raises(BlockingIOError):
        own_loop._ssock.recv(1)
    own_loop.call_soon_threadsafe(own_loop.stop)
    own_loop.run_forever()
    assert own_loop._internal_fds == 1


@pytest.mark.parametrize("failing", ["socketpair", "_add_reader"])
def test_a_look_that_fails_leaves_the_loop_as_it_was(own_loop, monkeypatch, failing):
    def fail(*_):
        raise OSError("no descriptors")

    with monkeypatch.context() as patch:
        patch.setattr(rasyncio.selector_events.socket if failing == "socketpair" else own_loop, failing, fail)
        for _ in range(2):
            with pytest.raises(OSError, match="no descriptors"):
                own_loop._csock  # noqa: B018
    thread = threading.Timer(0, own_loop.call_soon_threadsafe, [own_loop.stop])
    own_loop.call_soon(thread.start)
    own_loop.run_forever()
    thread.join()
    assert own_loop._csock.send(b"\0") == own_loop._internal_fds == 1


def test_signals_that_come_without_handlers_do_not_pile_up(own_loop):
    signal.signal(signal.SIGUSR1, lambda *_: None)
    heard = []

    async def main():
        for _ in range(1000):
            signal.raise_signal(signal.SIGUSR1)
        own_loop.add_signal_handler(signal.SIGUSR1, heard.append, 1)
        for count in range(300):
            signal.raise_signal(signal.SIGUSR1)
            while len(heard) <= count:
                await rasyncio.sleep(0)

    own_loop.run_until_complete(main())
    assert own_loop.remove_signal_handler(signal.SIGUSR1) and len(heard) == 300
