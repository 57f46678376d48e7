"""Ctrl-C as the operating system delivers it, and what a Runner leaves behind, compared with the standard library's.

Each program runs in an interpreter of its own, on both implementations.  It says on its standard output how far it has come,
so that a signal comes when it should; "asleep" is asked of the kernel.
"""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import rasyncio
import stress_interrupt

PACKAGES = ("asyncio", "rasyncio")
HEAD = """import PACKAGE as asyncio, os, signal, sys, threading
def say(text):
    os.write(1, text.encode() + b"\\n")
async def for_ever():
    await asyncio.Event().wait()
"""


class Program:
    """A running program, and what it has said."""

    def __init__(self, package, code):
        code = (HEAD + textwrap.dedent(code)).replace("PACKAGE", package)
        # A parent that ignores SIGINT, as a background job does, would hand that down.
        own = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        finally:
            signal.signal(signal.SIGINT, own)

    def wait_for(self, text):
        line = self.process.stdout.readline().rstrip()
        assert line == text, line + self.process.stderr.read()

    def wait_until_asleep(self):
        while True:
            with open(f"/proc/{self.process.pid}/stat") as stat:
                state = stat.read().rpartition(")")[2].split()[0]
            assert state != "Z", self.process.stderr.read()
            if state == "S":
                return

    def send(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def end(self):
        """The exit status, what it said last, and the last line of its complaints."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err.strip().rpartition("\n")[2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def on_both(code, play):
    """Plays a program on both implementations; what it ended with must be the same, and is answered."""
    ends = []
    for package in PACKAGES:
        with Program(package, code) as program:
            play(program)
            ends.append(program.end())
    assert ends[1] == ends[0]
    return ends[0]


def once_asleep(program):
    program.wait_for("ready")
    program.wait_until_asleep()
    program.send()


def test_an_idle_loop_is_interrupted():
    code = """
        async def main():
            say("ready")
            try:
                await for_ever()
            except asyncio.CancelledError:
                say("cancelled")
                raise
        asyncio.run(main())
    """
    assert on_both(code, once_asleep) == (-signal.SIGINT, "cancelled\n", "KeyboardInterrupt")


def test_an_interrupted_task_may_answer_all_the_same():
    code = """
        async def main():
            say("ready")
            try:
                await for_ever()
            except asyncio.CancelledError:
                return "answer"
        say(asyncio.run(main()))
    """
    assert on_both(code, once_asleep) == (0, "answer\n", "")


def test_a_loop_busy_with_tasks_is_interrupted():
    code = """
        async def main():
            say("ready")
            while True:
                await asyncio.sleep(0)
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say("interrupted")
    """

    def play(program):
        program.wait_for("ready")
        program.send()

    assert on_both(code, play) == (0, "interrupted\n", "")


def test_the_second_interruption_of_an_idle_loop_raises_at_once():
    code = """
        async def main():
            say("ready")
            try:
                await for_ever()
            except asyncio.CancelledError:
                say("first")
                await for_ever()
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            say("second")
            raise
    """

    def play(program):
        once_asleep(program)
        program.wait_for("first")
        program.wait_until_asleep()
        program.send()

    assert on_both(code, play) == (-signal.SIGINT, "second\n", "KeyboardInterrupt")


def test_the_second_interruption_of_python_code_raises_at_once():
    code = """
        async def main():
            task = asyncio.current_task()
            say("ready")
            while not task.cancelling():
                pass
            say("first")
            while True:
                pass
        asyncio.run(main())
    """

    def play(program):
        program.wait_for("ready")
        program.send()
        program.wait_for("first")
        program.send()

    assert on_both(code, play) == (-signal.SIGINT, "", "KeyboardInterrupt")


def test_a_loop_without_a_runner_is_interrupted_in_its_sleep():
    code = """
        loop = asyncio.new_event_loop()
        loop.call_soon(say, "ready")
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            say("interrupted")
        loop.close()
    """
    assert on_both(code, once_asleep) == (0, "interrupted\n", "")


@pytest.mark.parametrize("delay", ["None", "1000"], ids=["no timer", "a timer"])
def test_any_handler_of_a_signal_runs_while_the_loop_sleeps(delay):
    code = f"""
        async def main():
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(done.set_result, "woken"))
            say("ready")
            say(await asyncio.wait_for(done, {delay}))
        asyncio.run(main())
    """

    def play(program):
        program.wait_for("ready")
        program.wait_until_asleep()
        program.send(signal.SIGUSR1)

    assert on_both(code, play) == (0, "woken\n", "")


def test_a_handler_may_end_the_program():
    code = """
        def leave(*_):
            raise SystemExit(3)
        signal.signal(signal.SIGTERM, leave)
        async def main():
            say("ready")
            try:
                await for_ever()
            finally:
                say("left")
        asyncio.run(main())
    """

    def play(program):
        program.wait_for("ready")
        program.wait_until_asleep()
        program.send(signal.SIGTERM)

    assert on_both(code, play) == (3, "left\n", "")


def test_a_handler_of_the_programs_own_is_left_in_place():
    code = """
        def own(*_):
            say("own")
        signal.signal(signal.SIGINT, own)
        async def main():
            assert signal.getsignal(signal.SIGINT) is own
        asyncio.run(main())
        assert signal.getsignal(signal.SIGINT) is own
    """
    assert on_both(code, lambda program: None) == (0, "", "")


def test_the_default_handler_comes_back():
    async def main():
        return signal.getsignal(signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert rasyncio.run(main()) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("package", [asyncio, rasyncio])
def test_an_error_on_the_way_out_tells_of_the_programs_own(package):
    class Loop(package.SelectorEventLoop):
        def close(self):
            super().close()
            raise OSError("closing")

    async def main():
        raise ValueError("running")

    # The factories of 3.11 come through Runner only.
    with pytest.raises(OSError, match="closing") as info:
        with package.Runner(loop_factory=Loop) as runner:
            runner.run(main())
    assert repr(info.value.__context__) == "ValueError('running')"
    if sys.version_info >= (3, 12):
        with pytest.raises(OSError, match="closing") as info:
            package.run(main(), loop_factory=Loop)
        assert repr(info.value.__context__) == "ValueError('running')"


def test_two_loops_in_two_threads():
    """Each thread's loop sends numbers to the other's; both must hear all of them."""
    meeting = threading.Barrier(2)
    loops, answers = [None, None], [None, None]

    async def main(own):
        heard = rasyncio.Queue()
        loops[own] = rasyncio.get_running_loop(), heard
        meeting.wait()
        loop, queue = loops[1 - own]
        for number in range(1000):
            loop.call_soon_threadsafe(queue.put_nowait, number)
        numbers = [await heard.get() for _ in range(1000)]
        # Neither loop may close before the other has sent everything.
        await rasyncio.to_thread(meeting.wait)
        return numbers, rasyncio.get_running_loop() is loops[own][0]

    def run(own):
        answers[own] = rasyncio.run(main(own))

    threads = [threading.Thread(target=run, args=(own,)) for own in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loops.clear()
    assert answers == [(list(range(1000)), True)] * 2


def test_a_runner_leaves_nothing_behind():
    async def main():
        rasyncio.get_running_loop().create_task(rasyncio.Event().wait())
        return "answer"

    with rasyncio.Runner() as runner:
        assert runner.run(main()) == "answer"
        loop = runner.get_loop()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="Runner is closed"):
        runner.get_loop()


@pytest.mark.parametrize("program", stress_interrupt.PROGRAMS)
def test_a_real_interrupt_at_any_moment(program):
    ends, _ = stress_interrupt.check(program, 3)
    assert ends == {stress_interrupt.ENDS[program]: 3}
