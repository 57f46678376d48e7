"""Threads, processes, pipes, signals, plain sockets, descriptors, and loops from their making to their end."""

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from garbage.counting import Holding, Token, begin, cancelled, expected, program, turns, whole

PIPE, NOWHERE = subprocess.PIPE, subprocess.DEVNULL


def fail(*_):
    raise ValueError(Token())


@program
async def to_thread():
    await asyncio.to_thread(Token)
    with expected():
        await asyncio.to_thread(fail)
    with expected():
        await begin(asyncio.to_thread(fail, Token()))


@program
async def run_in_executor():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, Token)
    with expected():
        await loop.run_in_executor(None, fail)
    await asyncio.gather(*(loop.run_in_executor(None, fail, Token()) for _ in range(3)), return_exceptions=True)


@program
async def run_in_an_executor_of_ours():
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        await loop.run_in_executor(pool, Token)
        with expected():
            await loop.run_in_executor(pool, fail)
    with contextlib.suppress(RuntimeError):
        await loop.run_in_executor(pool, Token)


@program
async def run_in_executor_cancelled():
    go = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        loop = asyncio.get_running_loop()
        first = loop.run_in_executor(pool, go.wait)
        await cancelled(loop.run_in_executor(pool, fail, Token()))
        await cancelled(first)
        go.set()


@program
async def wrap_future():
    loop = asyncio.get_running_loop()
    done = concurrent.futures.Future()
    loop.call_soon(done.set_result, Token())
    await asyncio.wrap_future(done)
    failing = concurrent.futures.Future()
    failing.set_exception(ValueError(Token()))
    with expected():
        await asyncio.wrap_future(failing)
    del done, failing
    dropped = concurrent.futures.Future()
    await cancelled(asyncio.wrap_future(dropped))
    waited = concurrent.futures.Future()
    wrapped = asyncio.wrap_future(waited)
    waited.cancel()
    waited.set_running_or_notify_cancel()
    with expected():
        await wrapped


async def value():
    await asyncio.sleep(0)
    return Token()


async def wrong():
    await asyncio.sleep(0)
    raise ValueError(Token())


@program
async def run_coroutine_threadsafe():
    loop = asyncio.get_running_loop()

    def ask(coroutine):
        asyncio.run_coroutine_threadsafe(coroutine(), loop).result()

    await asyncio.to_thread(ask, value)
    with expected():
        await asyncio.to_thread(ask, wrong)


@program
async def run_coroutine_threadsafe_cancelled():
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    async def wait():
        started.set()
        await asyncio.Event().wait()

    def ask():
        future = asyncio.run_coroutine_threadsafe(wait(), loop)
        asyncio.run_coroutine_threadsafe(started.wait(), loop).result()
        future.cancel()
        with contextlib.suppress(concurrent.futures.CancelledError):
            future.result()

    await asyncio.to_thread(ask)
    await turns(3)


@program
async def call_soon_threadsafe():
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def call():
        loop.call_soon_threadsafe(fail, Token())
        loop.call_soon_threadsafe(print, Token()).cancel()
        loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=call)
    thread.start()
    await done.wait()
    thread.join()


@program
async def sockets():
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    near = socket.socket()
    near.setblocking(False)
    accepting = begin(loop.sock_accept(listener))
    await loop.sock_connect(near, listener.getsockname())
    far, _ = await accepting
    buffer = bytearray(10)
    await loop.sock_sendall(near, b"some bytes")
    await loop.sock_recv(far, 4)
    await loop.sock_recv_into(far, buffer)
    receiving = begin(loop.sock_recv(far, 4))
    await turns(2)
    await loop.sock_sendall(near, b"x")
    await receiving
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 1000)
        file.seek(0)
        await loop.sock_sendfile(near, file)
    near.close(), far.close(), listener.close()


@program
async def sockets_cancelled():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False), far.setblocking(False)
    await cancelled(loop.sock_recv(near, 1))
    await cancelled(loop.sock_recv_into(near, bytearray(1)))
    await cancelled(loop.sock_recvfrom(near, 1))
    await cancelled(loop.sock_sendall(near, b"x" * 3_000_000))
    with expected():
        await asyncio.wait_for(loop.sock_recv(near, 1), 1e-6)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        await cancelled(loop.sock_accept(listener))
    near.close(), far.close()


@program
async def sockets_that_fail():
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            await loop.sock_connect(sock, address)
        with contextlib.suppress(OSError):
            await begin(loop.sock_connect(sock, address))
        with contextlib.suppress(OSError):
            await loop.sock_recv(sock, 1)
        with contextlib.suppress(OSError):
            await loop.sock_sendall(sock, b"x")
    near, far = socket.socketpair()
    near.setblocking(False)
    receiving = begin(loop.sock_sendall(near, b"x" * 3_000_000))
    await turns(2)
    far.close()
    with contextlib.suppress(OSError):
        await receiving
    near.close()
    with contextlib.suppress(OSError):
        await loop.sock_recv(near, 1)


@program
async def readers_and_writers():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False)
    called = asyncio.Event()

    def note(token, fails):
        called.set()
        loop.remove_writer(near)
        loop.remove_reader(near)
        if fails:
            fail()

    for fails in (False, True):
        loop.add_writer(near, note, Token(), fails)
        await called.wait()
        called.clear()
        loop.add_reader(near, print, Token())
        loop.add_reader(near, note, Token(), fails)
        far.send(b"x")
        await called.wait()
        called.clear()
    loop.add_reader(near, print, Token())
    loop.remove_reader(near)
    near.close(), far.close()


@program
async def signals():
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, called.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await called.wait()
    loop.add_signal_handler(signal.SIGUSR1, lambda token: (called.set(), fail()), Token())
    called.clear()
    os.kill(os.getpid(), signal.SIGUSR1)
    await called.wait()
    loop.remove_signal_handler(signal.SIGUSR1)
    with contextlib.suppress(OSError, RuntimeError):
        loop.add_signal_handler(signal.SIGKILL, print, Token())


class Piped(asyncio.Protocol):
    def __init__(self):
        self.token, self.arrived, self.lost = Token(), asyncio.Event(), asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.arrived.set()

    def connection_lost(self, error):
        self.lost.set_result(None)


@program
async def pipes():
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    reading, reader = await loop.connect_read_pipe(Piped, open(read, "rb", 0))
    writing, writer = await loop.connect_write_pipe(Piped, open(write, "wb", 0))
    writing.write(b"some")
    await reader.arrived.wait()
    repr(reading), repr(writing), reading.get_extra_info("pipe")
    writing.close()
    await reader.lost
    await writer.lost


@program
async def pipes_broken():
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    writing, writer = await loop.connect_write_pipe(Piped, open(write, "wb", 0))
    writing.write(b"x" * 300_000)
    os.close(read)
    await writer.lost
    read, write = os.pipe()
    reading, reader = await loop.connect_read_pipe(Piped, open(read, "rb", 0))
    reading.close()
    await reader.lost
    os.close(write)
    with tempfile.TemporaryFile() as file, expected():
        await loop.connect_read_pipe(Piped, file)
    read, write = os.pipe()
    with open(read, "rb", 0) as file, expected():
        await loop.connect_read_pipe(fail, file)
    os.close(write)


@program
async def processes():
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
    await process.communicate(b"some")
    process = await asyncio.create_subprocess_shell("echo some; exit 3", stdout=PIPE)
    repr(process)
    await process.stdout.readline()
    await process.wait()
    await process.wait()


@program
async def processes_killed():
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    await cancelled(process.wait())
    await cancelled(process.stdout.read())
    process.kill()
    await process.communicate()
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=NOWHERE)
    process.terminate()
    await process.wait()
    with contextlib.suppress(ProcessLookupError):
        process.kill()


@program
async def processes_whose_communication_is_cancelled():
    process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
    await cancelled(process.communicate(), 5)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@program
async def processes_that_cannot_start():
    with contextlib.suppress(FileNotFoundError):
        await asyncio.create_subprocess_exec("/no/such/program")
    with contextlib.suppress(FileNotFoundError):
        await begin(asyncio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE))
    with expected():
        await asyncio.create_subprocess_exec("true", universal_newlines=True)
    with expected(TypeError):
        await asyncio.create_subprocess_exec("true", b"\0")


class Child(asyncio.SubprocessProtocol):
    def __init__(self):
        self.token, self.lost = Token(), asyncio.get_running_loop().create_future()

    def connection_lost(self, error):
        self.lost.set_result(None)


@program
async def processes_by_protocol():
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Child, "cat")
    transport.get_pipe_transport(0).write(b"some"), transport.get_pid(), repr(transport)
    transport.get_pipe_transport(0).close()
    await protocol.lost
    transport, protocol = await loop.subprocess_shell(Child, "exec cat")
    transport.close()
    await protocol.lost
    with expected():
        await loop.subprocess_exec(fail, "true")


@whole
def loops():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(value())
    with expected():
        loop.run_until_complete(wrong())
    loop.call_soon(loop.stop)
    loop.run_forever()
    repr(loop)
    loop.close()
    with contextlib.suppress(RuntimeError):
        loop.run_until_complete(asyncio.sleep(0))
    with contextlib.suppress(RuntimeError):
        loop.call_soon(print, Token())


@whole
def loops_that_never_ran():
    asyncio.new_event_loop().close()
    loop = asyncio.new_event_loop()
    loop.call_soon(print, Token())
    loop.call_later(1, print, Token())
    loop.create_future().add_done_callback(Holding(id))
    loop.close()


@whole
def loops_stopped_early():
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with contextlib.suppress(RuntimeError):
        loop.run_until_complete(future)
    loop.call_later(1000, print, Token())
    loop.call_soon(loop.stop)
    loop.call_soon(lambda: loop.call_soon(print, Token()))
    loop.run_forever()
    loop.close()


@whole
def loops_left_by_an_error():
    for error in (KeyboardInterrupt, SystemExit):
        loop = asyncio.new_event_loop()

        async def leave(error=error):
            raise error(Token())

        def leave_at_once(error=error):
            raise error(Token())

        with contextlib.suppress(error):
            loop.run_until_complete(leave())
        loop.call_soon(leave_at_once)
        with contextlib.suppress(error):
            loop.run_forever()
        loop.close()


@whole
def runners():
    with asyncio.Runner() as runner:
        runner.run(value())
        with expected():
            runner.run(wrong())
        runner.get_loop()
    with contextlib.suppress(RuntimeError):
        runner.run(value())
    with asyncio.Runner(debug=True) as runner:
        runner.run(value())
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner, expected():
        runner.run(wrong())


@whole
def runners_interrupted():
    async def main():
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(1000)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


@whole
def generators_left_open():
    async def numbers():
        token = Token()
        try:
            for number in range(3):
                yield number
        finally:
            await asyncio.sleep(0)
            del token

    kept = []

    async def main():
        generator = numbers()
        kept.append(generator)
        await anext(generator)

    asyncio.run(main())
    kept.clear()


@whole
def executors_left_to_run():
    async def main():
        asyncio.get_running_loop().run_in_executor(None, Token)
        asyncio.get_running_loop().run_in_executor(None, fail)
        await asyncio.sleep(0)

    asyncio.run(main())


@whole
def threads_with_loops():
    async def main():
        await asyncio.gather(value(), wrong(), return_exceptions=True)

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@whole
def loops_run_inside_a_loop():
    async def main():
        coroutine = value()
        with contextlib.suppress(RuntimeError):
            asyncio.run(coroutine)
        with contextlib.suppress(RuntimeError):
            asyncio.new_event_loop().run_until_complete(coroutine)
        coroutine.close()

    asyncio.run(main())


if sys.version_info >= (3, 12):

    @whole
    def loops_of_eager_tasks():
        with asyncio.Runner() as runner:
            runner.get_loop().set_task_factory(asyncio.eager_task_factory)
            runner.run(value())
            with expected():
                runner.run(wrong())
