"""The transport of child processes: the order of its calls, hooks of derived classes, signals, the end."""

import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest
import rasyncio as asyncio
from peers import run
from rasyncio import base_subprocess


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self):
        self.events, self.data, self.lost = [], {1: b"", 2: b""}, asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.events.append("made")

    def pipe_data_received(self, fd, data):
        self.data[fd] += data

    def pipe_connection_lost(self, fd, exc):
        self.events.append(f"pipe {fd} lost")

    def process_exited(self):
        self.events.append("exited")

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


async def start(*program, **keywords):
    return await asyncio.get_running_loop().subprocess_exec(Recorder, *program, **keywords)


def test_the_end_comes_after_the_exit_and_all_pipes():
    async def main():
        transport, protocol = await start("sh", "-c", "echo out; echo err >&2; exit 5")
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert protocol.events[0] == "made"
        assert await protocol.lost is None
        assert protocol.data == {1: b"out\n", 2: b"err\n"}
        assert sorted(protocol.events[1:-1]) == ["exited", "pipe 0 lost", "pipe 1 lost", "pipe 2 lost"]
        assert protocol.events[-1] == "lost"
        assert transport.get_returncode() == 5
        assert [transport._proc, transport._protocol, transport._loop] == [None] * 3
        with pytest.raises(ProcessLookupError):
            transport.kill()
        transport.close()

    run(main())


def test_a_grandchild_that_keeps_the_pipe_delays_the_end_only():
    async def main():
        near, far = os.pipe()
        # The grandchild lives until it is told to end, and has the pipe of the output.
        ends = {"stdin": None, "stderr": None, "pass_fds": [near]}
        code = f"import os; os._exit(4) if os.fork() else os.read({near}, 1)"
        transport, protocol = await start(sys.executable, "-S", "-c", code, **ends)
        os.close(near)
        while transport.get_returncode() is None:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport.get_returncode() == 4 and "exited" in protocol.events and "lost" not in protocol.events
        if sys.version_info >= (3, 12):
            assert await transport._wait() == 4
        os.close(far)
        await protocol.lost
        transport.close()

    run(main())


def test_a_derived_class_starts_the_process_and_hears_of_its_end():
    class Own(base_subprocess.BaseSubprocessTransport):
        def _start(self, args, shell, stdin, stdout, stderr, bufsize, **kwargs):
            assert (args, shell, stdin, stdout, stderr, bufsize, kwargs) == (
                ["true"],
                False,
                None,
                -1,
                None,
                0,
                {"cwd": "/"},
            )
            self._proc = subprocess.Popen(args, stdout=stdout, **kwargs)

        def _process_exited(self, code):
            self.hooked = code
            super()._process_exited(code)

    async def main():
        loop = asyncio.get_running_loop()
        waiter, protocol = loop.create_future(), Recorder()
        transport = Own(loop, protocol, ["true"], False, None, -1, None, 0, waiter=waiter, extra={"own": 1}, cwd="/")
        assert transport.get_extra_info("own") == 1 and transport.get_extra_info("subprocess") is transport._proc
        assert repr(transport) == f"<Own pid={transport.get_pid()} running>"
        await waiter
        transport._process_exited(transport._proc.wait())
        await protocol.lost
        assert transport.hooked == 0 == await transport._wait()
        assert repr(transport).startswith(f"<Own pid={transport.get_pid()} returncode=0 stdout=")
        reference = weakref.ref(transport)
        transport.close()
        return reference

    reference = run(main())
    gc.collect()
    assert reference() is None


def test_a_start_that_fails_leaves_nothing():
    async def main():
        with pytest.raises(FileNotFoundError):
            await start("/nowhere/to/be/found")

    run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, int(signal.SIGUSR1), signal.SIGRTMIN])
def test_signals_arrive(number):
    async def main():
        transport, protocol = await start("sleep", "600", stdin=None, stdout=None, stderr=None)
        transport.send_signal(number)
        assert await transport._wait() == -number
        await protocol.lost
        transport.close()

    run(main())


def test_a_signal_never_reaches_another_process_of_the_same_number(monkeypatch):
    async def main():
        transport, protocol = await start("sleep", "600", stdin=None, stdout=None, stderr=None)

        def no_number(*_):
            raise AssertionError("a process was signalled by its number")

        monkeypatch.setattr(os, "kill", no_number)
        os.close(os.open("/dev/null", os.O_RDONLY))
        transport.terminate()
        os.waitpid(transport.get_pid(), 0)  # reaped behind the transport's back: the number is free
        transport.kill()
        monkeypatch.undo()
        return await transport._wait(), transport.close()

    assert run(main())[0] == 255


def test_close_kills_and_the_exit_code_is_not_lost():
    async def main():
        transport, protocol = await start("sleep", "600")
        transport.close()
        assert transport.is_closing()
        assert await transport._wait() == -signal.SIGKILL
        await protocol.lost
        near, far = os.pipe()
        transport, protocol = await start("sh", "-c", "read line; exit 9", stdin=near)
        os.close(near)
        os.close(far)
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)
        transport.close()  # it has ended, and nobody knows yet
        assert await transport._wait() == 9
        await protocol.lost

    run(main())


def test_bad_arguments_are_those_of_the_standard_library(complaints):
    import asyncio as stdlib

    texts = []
    for package in (stdlib, asyncio):
        said = []

        async def main(package=package, said=said):
            loop = package.get_running_loop()
            for keywords in (
                {"universal_newlines": True},
                {"bufsize": 1},
                {"text": True},
                {"encoding": "utf-8"},
                {"errors": "strict"},
            ):
                for method, command in ((loop.subprocess_exec, "true"), (loop.subprocess_shell, "true")):
                    with pytest.raises(ValueError) as info:
                        await method(package.SubprocessProtocol, command, **keywords)
                    said.append(str(info.value))
            for method, command, shell in ((loop.subprocess_exec, "true", True), (loop.subprocess_shell, "true", False)):
                with pytest.raises(ValueError) as info:
                    await method(package.SubprocessProtocol, command, shell=shell)
                said.append(str(info.value))
            with pytest.raises(ValueError) as info:
                await loop.subprocess_shell(package.SubprocessProtocol, ["true"])
            said.append(str(info.value))

        package.run(main())
        texts.append(said)
    assert texts[0] == texts[1]


def test_an_unclosed_transport_warns_and_kills():
    async def main():
        transport, protocol = await start("sleep", "600")
        pid = transport.get_pid()
        with pytest.warns(ResourceWarning, match="unclosed transport <_UnixSubprocessTransport pid="):
            transport.__del__()
        await protocol.lost
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    run(main())
