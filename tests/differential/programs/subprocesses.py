"""Child processes: what the protocol hears, errors, cancellation, communicate; exits and pipes come in an order that is set."""

import asyncio
import contextvars
import os
import re
import signal

from recorder import record

PLACE = contextvars.ContextVar("place", default="nowhere")


class Noting(asyncio.SubprocessProtocol):
    def __init__(self, failing=()):
        self.failing, self.changed = failing, asyncio.Event()
        self.heard, self.lost = set(), asyncio.get_running_loop().create_future()

    def note(self, event, *details):
        record("protocol", event, *details, "in", PLACE.get())
        self.heard.add(event)
        self.changed.set()
        if event in self.failing:
            raise ZeroDivisionError(event)

    def connection_made(self, transport):
        self.note("made", type(transport).__name__)

    def pipe_data_received(self, fd, data):
        self.note("data", fd, data)

    def pipe_connection_lost(self, fd, exc):
        self.note(f"lost {fd}", exc)

    def process_exited(self):
        self.note("exited")

    def connection_lost(self, exc):
        self.note("lost", exc)
        self.lost.set_result(None)

    async def until(self, event):
        while event not in self.heard:
            self.changed.clear()
            await self.changed.wait()


def plain(thing):
    return re.sub(r"pid=\d+|fd=\d+|<Process \d+>| at 0x\w+", "...", repr(thing))


async def start(*program, protocol=Noting, **keywords):
    loop = asyncio.get_running_loop()
    return await loop.subprocess_exec(protocol, *program, **keywords)


async def one_step_after_the_other():
    PLACE.set("start")
    near, far = os.pipe()
    transport, protocol = await start("sh", "-c", "cat; exec >&-; read line <&2", stderr=near)
    os.close(near)
    PLACE.set("later")
    record("made", plain(transport), transport.get_pipe_transport(2), transport.get_pipe_transport(7))
    record("kinds", [type(transport.get_pipe_transport(fd)).__name__ for fd in (0, 1)], transport.get_returncode())
    transport.get_pipe_transport(0).write(b"some")
    await protocol.until("data")
    transport.get_pipe_transport(0).close()
    await protocol.until("lost 0")
    await protocol.until("lost 1")
    os.close(far)
    await protocol.lost
    record("after", transport.get_returncode(), transport.is_closing(), transport.get_protocol())
    for method in (transport.kill, transport.terminate, lambda: transport.send_signal(signal.SIGTERM)):
        try:
            method()
        except ProcessLookupError as error:
            record("refused", error.args)
    transport.close()
    record("closed", transport.is_closing(), plain(transport))


async def exit_before_the_pipe():
    near, far = os.pipe()
    # The background process keeps the output open, until its own input ends.
    transport, protocol = await start("sh", "-c", "exec 3<&0; cat <&3 & exit 3", stdin=near, stderr=None)
    os.close(near)
    await protocol.until("exited")
    record("exited", transport.get_returncode(), "lost" in protocol.heard)
    os.close(far)
    await protocol.lost
    transport.close()


async def closed_early():
    transport, protocol = await start("sleep", "600", stdin=None, stdout=None, stderr=None)
    transport.close()
    transport.close()
    record("closing", transport.is_closing(), transport.get_returncode())
    record("waited", await transport._wait())
    await protocol.lost


async def callbacks_that_fail():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: record("reported", context["exception"], sorted(context)))
    protocol = Noting(failing={"made", "exited", "data"})
    near, far = os.pipe()
    program = "echo hello; exec >&-; read line"
    transport, _ = await start("sh", "-c", program, protocol=lambda: protocol, stdin=near, stderr=None)
    os.close(near)
    await protocol.until("lost 1")
    os.close(far)
    await protocol.lost
    transport.close()
    loop.set_exception_handler(None)


async def refusals():
    loop = asyncio.get_running_loop()
    for keywords in (
        {"universal_newlines": True},
        {"shell": True},
        {"bufsize": 1},
        {"text": True},
        {"encoding": "x"},
        {"errors": "x"},
    ):
        try:
            await loop.subprocess_exec(Noting, "true", **keywords)
        except ValueError as error:
            record("refused", keywords, error)
    for call in (lambda: asyncio.create_subprocess_shell(["true"]), lambda: asyncio.create_subprocess_exec("/nowhere")):
        try:
            await call()
        except (ValueError, OSError) as error:
            record("refused", type(error), error)
    try:
        await asyncio.create_subprocess_exec("true", nonsense=1)
    except TypeError as error:
        record("refused", re.sub(r"^\S+\.", "", str(error)))


async def streams():
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
    record(plain(process), process.returncode, process.stderr)
    record(await process.communicate(b"x" * 100_000) == (b"x" * 100_000, None), process.returncode)
    process = await asyncio.create_subprocess_shell("cat; echo err >&2; exit 7", stdin=pipe, stdout=pipe, stderr=pipe)
    process.stdin.write(b"in")
    process.stdin.close()
    await process.stdin.wait_closed()
    record(await process.stdout.read(), await process.stderr.readline(), await process.wait(), process.returncode)
    process = await asyncio.create_subprocess_exec("true", stdin=pipe)
    record(await process.communicate(b"x" * 1_000_000), process.returncode)
    process = await asyncio.create_subprocess_exec("sleep", "600", stdout=pipe)
    task = asyncio.create_task(process.communicate())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    record(await asyncio.gather(task, return_exceptions=True))
    process.terminate()
    record(await process.wait(), await process.stdout.read())


async def cancelled_starts():
    for turns in range(6):
        task = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "600", stdin=-1, stdout=-1))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            process = await task
            process.kill()
            await process.communicate()
        except asyncio.CancelledError:
            pass
    try:
        record("children", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        record("no children")


async def main():
    for part in (
        one_step_after_the_other,
        exit_before_the_pipe,
        closed_early,
        callbacks_that_fail,
        refusals,
        streams,
        cancelled_starts,
    ):
        record("part", part.__name__)
        await part()


asyncio.run(main())
