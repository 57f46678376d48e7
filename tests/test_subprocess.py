"""Child processes as users have them: every way to start one, its ends, who notices the exit, and what is left behind: nothing."""

import asyncio as stdlib
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest
import rasyncio as asyncio
import stress_subprocess
from peers import run
from rasyncio import unix_events

PYTHON = sys.executable
ROOT = os.getuid() == 0


def no_children():
    gc.collect()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def output_of(*program, **keywords):
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, **keywords)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


def python(code, **keywords):
    return run(output_of(PYTHON, "-S", "-c", code, **keywords)).decode()


def test_streams_and_the_exit_code():
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        assert repr(process) == f"<Process {process.pid}>" and process.stderr is None and process.returncode is None
        process.stdin.write(b"one\ntwo\n")
        await process.stdin.drain()
        assert await process.stdout.readline() == b"one\n"
        process.stdin.close()
        await process.stdin.wait_closed()
        assert await process.stdout.read() == b"two\n"
        assert await process.wait() == 0 == process.returncode
        process = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 3", stdout=-1, stderr=-1)
        assert await process.communicate() == (b"out\n", b"err\n") and process.returncode == 3
        process = await asyncio.create_subprocess_shell(b"echo err >&2", stdout=-1, stderr=asyncio.subprocess.STDOUT)
        assert await process.communicate() == (b"err\n", None)

    run(main())
    no_children()


def test_a_megabyte_both_ways_and_a_reader_that_stops_early():
    async def main():
        data = os.urandom(1 << 20)
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1, limit=1 << 14)
        assert await process.communicate(data) == (data, None)
        process = await asyncio.create_subprocess_exec("true", stdin=-1)
        assert await process.communicate(data) == (None, None) and process.returncode == 0

    run(main())


def test_other_ends(tmp_path):
    path = tmp_path / "file"

    async def main():
        with path.open("wb") as file:
            process = await asyncio.create_subprocess_exec("echo", "file", stdout=file)
            assert await process.wait() == 0 and process.stdout is None
        with path.open("rb") as file:
            assert await output_of("cat", stdin=file.fileno()) == b"file\n"
        assert await output_of("cat", stdin=asyncio.subprocess.DEVNULL) == b""

    run(main())


def test_arguments_of_popen(tmp_path):
    assert python("import os; print(os.getcwd())", cwd=tmp_path) == f"{tmp_path}\n"
    assert python("import os; print(os.environ['OWN'])", env={"OWN": "1"}) == "1\n"
    assert python("import os; print(oct(os.umask(0)))", umask=0o27) == "0o27\n"
    assert python("import os; print(os.getsid(0) == os.getpid())", start_new_session=True) == "True\n"
    assert python("import os; print(os.getpgid(0) == os.getpid())", process_group=0) == "True\n"
    assert python("import os; print(os.nice(0) - 3)", preexec_fn=lambda: os.nice(3)) == f"{os.nice(0)}\n"
    near, far = os.pipe()
    with open(near, "rb"), open(far, "wb"):
        code = f"import os; print(os.fstat({far}).st_size)"
        assert python(code, pass_fds=[far]) == "0\n"
        os.set_inheritable(far, True)
        assert python(code, close_fds=False) == "0\n"
    code = "import signal; print(signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN)"
    assert [python(f"import sys; sys.modules; {code}", restore_signals=restores) for restores in (True, False)] == [
        "True\n"
    ] * 2
    code = "import fcntl; print(fcntl.fcntl(1, 1032))"  # F_GETPIPE_SZ
    assert python(code, pipesize=1 << 17) == f"{1 << 17}\n"


@pytest.mark.skipif(not ROOT, reason="only root may become somebody else")
def test_arguments_of_popen_that_ask_for_root():
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
    # -S and -E: what root reads, others may not.
    assert run(output_of("sh", "-c", "id -u; id -g; id -G", user=12345, group=23456, extra_groups=[34567])).split() == [
        b"12345",
        b"23456",
        b"23456",
        b"34567",
    ], code


def in_thread(function):
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


async def three_ways():
    process = await asyncio.create_subprocess_exec("sh", "-c", "exit 6")
    killed = await asyncio.create_subprocess_exec("sleep", "600")
    killed.terminate()
    assert await output_of("echo", "hello") == b"hello\n"
    return await process.wait(), await killed.wait()


@pytest.mark.parametrize("has_descriptors", [True, False])
@pytest.mark.parametrize("where", [lambda f: f(), in_thread], ids=["main", "thread"])
def test_exits_are_noticed_on_any_thread(monkeypatch, has_descriptors, where):
    if not has_descriptors:
        monkeypatch.setattr(unix_events, "can_use_pidfd", lambda: False)
    assert where(lambda: run(three_ways())) == (6, -signal.SIGTERM)
    no_children()


def test_exits_are_noticed_where_a_selector_was_asked_for():
    async def main():
        loop = asyncio.get_running_loop()
        process = await asyncio.create_subprocess_exec("sleep", "600")
        assert loop._selector.get_map()
        process.kill()
        return await process.wait(), await three_ways()

    assert run(main()) == (-9, (6, -signal.SIGTERM))


def test_no_thread_and_no_signal_handler_is_needed():
    async def main():
        assert await three_ways() == (6, -signal.SIGTERM)
        assert threading.active_count() == threads and signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL

    threads = threading.active_count()
    run(main())


def test_an_exit_code_that_somebody_else_has_read(caplog):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "600")
        process.kill()
        os.waitpid(process.pid, 0)
        return await process.wait()

    with caplog.at_level(logging.WARNING, "asyncio"):
        assert run(main()) == 255
    assert "exit status already read:  will report returncode 255" in caplog.text


def test_a_process_that_somebody_else_reaps_at_once(caplog, monkeypatch):
    """A thread that waits for any child may be there before the loop has a descriptor of it."""

    class Robbed(subprocess.Popen):
        def __init__(self, *args, **keywords):
            super().__init__(*args, **keywords)
            os.waitpid(self.pid, 0)

    async def main():
        process = await asyncio.create_subprocess_exec("echo", "out", stdout=subprocess.PIPE)
        process.kill()
        return await process.communicate(), process.returncode

    monkeypatch.setattr(subprocess, "Popen", Robbed)
    with caplog.at_level(logging.WARNING, "asyncio"):
        assert run(main()) == ((b"out\n", None), 255)
    assert "will report returncode 255" in caplog.text


def test_popen_may_know_the_exit_code_first(caplog):
    async def main():
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 8")
        assert process._transport.get_extra_info("subprocess").wait() == 8
        return await process.wait()

    assert run(main()) == 8 and not caplog.records


def test_sigchld_ignored():
    async def main():
        process = await asyncio.create_subprocess_exec("sh", "-c", "echo out; exit 3", stdout=-1)
        output = await process.communicate()
        return output, process.returncode

    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run(main()) == ((b"out\n", None), 255)  # the kernel keeps no exit code
    finally:
        signal.signal(signal.SIGCHLD, old)


@pytest.mark.parametrize("turns", range(8))
def test_a_cancelled_start_leaves_nothing(turns):
    async def main():
        task = asyncio.ensure_future(asyncio.create_subprocess_exec("sleep", "600", stdin=-1, stdout=-1, stderr=-1))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            process = await task
        except asyncio.CancelledError:
            return
        process.kill()
        await process.communicate()

    run(main())
    no_children()


def test_a_loop_that_is_closed_leaves_no_zombie():
    async def main():
        running = await asyncio.create_subprocess_exec("sleep", "600")
        ended = await asyncio.create_subprocess_exec("sh", "-c", "read line; exit 7", stdin=near, stdout=-1)
        killed = await asyncio.create_subprocess_exec("sleep", "600")
        killed._transport.close()
        return running, ended, killed

    near, far = os.pipe()
    loop = asyncio.new_event_loop()
    processes = loop.run_until_complete(main())
    os.close(near)
    os.close(far)
    os.waitid(os.P_PID, processes[1].pid, os.WEXITED | os.WNOWAIT)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        loop.close()
        codes = [process._transport.get_extra_info("subprocess").returncode for process in processes]
        del processes
        gc.collect()
    assert codes == [None, 7, -9]
    assert "unclosed transport" in {str(item.message).partition(" <")[0] for item in warned}
    no_children()


def test_descriptors_that_run_out_are_no_reason_to_lose_a_process(monkeypatch):
    """A thread waits where the kernel gives no descriptor of the process."""
    import resource

    async def main():
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        popen = subprocess.Popen

        def start(*args, **keywords):
            try:
                return popen(*args, **keywords)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (used, limits[1]))
                held.extend(fill())

        held = []
        monkeypatch.setattr(subprocess, "Popen", start)
        try:
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for number in held:
                os.close(number)
        assert process._transport._child is not None
        return await process.wait()

    def fill():
        while True:
            try:
                yield os.open("/dev/null", os.O_RDONLY)
            except OSError:
                return

    assert run(main()) == 5
    no_children()


def test_a_derived_process():
    class Own(asyncio.subprocess.Process):
        async def _read_stream(self, fd):
            return (await super()._read_stream(fd)).upper()

    async def main():
        loop = asyncio.get_running_loop()
        protocol = asyncio.subprocess.SubprocessStreamProtocol(limit=1000, loop=loop)
        transport, _ = await loop.subprocess_exec(lambda: protocol, "echo", "hello", stdin=None, stderr=None)
        return await Own(transport, protocol, loop).communicate()

    assert run(main()) == (b"HELLO\n", None)


def test_debug_mode_says_what_standard_asyncio_says(caplog):
    import re

    said = []
    for package in (stdlib, asyncio):

        async def main(package=package):
            process = await package.create_subprocess_exec("cat", stdin=-1, stdout=-1, stderr=package.subprocess.STDOUT)
            await process.communicate(b"some")

        caplog.clear()
        with caplog.at_level(logging.DEBUG, "asyncio"):
            package.run(main(), debug=True)
        texts = [re.sub(r"<(\w+) [^>]*>|\d+", r"\1", record.getMessage()) for record in caplog.records]
        said.append({text for text in texts if re.match("execute|process|.*communicate|.*exited", text)})
    assert said[0] == said[1]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers left with 3.14")
@pytest.mark.parametrize("name", ["Safe", "Fast", "MultiLoop", "Threaded", "Pidfd"])
def test_a_watcher_of_the_users_is_asked(name):
    async def main():
        return await three_ways()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = asyncio.new_event_loop()
        watcher = getattr(asyncio, f"{name}ChildWatcher")()
        asyncio.set_child_watcher(watcher)
        try:
            watcher.attach_loop(loop)
            assert loop.run_until_complete(main()) == (6, -signal.SIGTERM)
        finally:
            asyncio.set_child_watcher(None)
            watcher.close()
            loop.close()
    no_children()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="loops have no watcher")
@pytest.mark.parametrize("name", ["_PidfdChildWatcher", "_ThreadedChildWatcher"])
def test_the_loops_watcher_is_asked(name):
    async def main():
        loop = asyncio.get_running_loop()
        assert type(loop._watcher) is unix_events._PidfdChildWatcher
        loop._watcher = getattr(unix_events, name)()
        return await three_ways()

    assert run(main()) == (6, -signal.SIGTERM)
    no_children()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers left with 3.14")
def test_watchers_are_deprecated_by_3_12():
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        asyncio.get_child_watcher()
        asyncio.SafeChildWatcher()
        asyncio.set_child_watcher(None)
        type("Own", (asyncio.AbstractChildWatcher,), {})
    names = ["get_child_watcher", "SafeChildWatcher", "set_child_watcher", "AbstractChildWatcher"]
    texts = [f"'{name}' is deprecated as of Python 3.12 and will be removed in Python 3.14." for name in names]
    assert [str(item.message) for item in warned] == (texts if sys.version_info >= (3, 12) else [])
    assert {item.filename for item in warned} <= {__file__}


@pytest.mark.parametrize("disturb", [False, True])
def test_many_children(disturb):
    assert stress_subprocess.check(60, 30, disturb) > 0
