"""Daemon threads that still run when the interpreter ends: the process ends with status 0 and prints nothing.

CPython 3.11 to 3.13 ends such a thread at the moment when it asks for the GIL, in the middle of whatever it does; newer versions
stop it for ever.  Each program here has threads in the middle of something that goes through native code when its main thread
ends, and an object whose `__del__` lets go of the GIL while the interpreter finalizes, so that every one of them asks for it.
How long that takes is no condition of the test: a thread that has not asked by then runs on, and the process ends all the same.

`RASYNCIO_DAEMON_RUNS` says how often each program runs (default: 3); every third run is in debug mode.
"""

import os
import platform
import subprocess
import sys
import textwrap

import certificates
import pytest

RUNS = int(os.environ.get("RASYNCIO_DAEMON_RUNS", "3"))

MODES = {
    "all": "",
    "install": "import rasyncio; rasyncio.install()",
    "loop": "import asyncio, rasyncio; asyncio.set_event_loop_policy(rasyncio.EventLoopPolicy())",
}

PRELUDE = """
import asyncio, logging, sys, threading, time, weakref, zlib

logging.getLogger("asyncio").setLevel(logging.ERROR)  # debug mode says which callbacks were slow
begun = threading.Semaphore(0)


def let_go():
    # Without the GIL, and not in OpenSSL: exit() takes its locks away from threads that are still in it, with asyncio too.
    zlib.crc32(bytes(1 << 18))


def let_go_for_ever(*_):
    begun.release()
    while True:
        let_go()


async def job():
    try:
        await asyncio.to_thread(let_go)
    except RuntimeError:
        await asyncio.sleep(1000)  # the executor takes no more jobs


def daemon(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()


def loop_in_a_daemon(main, *args):
    daemon(lambda: asyncio.run(main(*args)))


class Last:
    def __del__(self, sleep=time.sleep):
        sleep(0.05)


last = Last()
"""

END = """
assert begun.acquire(timeout=30)
print("end")
"""

PROGRAMS = {
    "busy": """
        async def main():
            begun.release()
            while True:
                let_go()
                await asyncio.sleep(0)

        loop_in_a_daemon(main)
    """,
    "busy in a callback": """
        def again(loop):
            begun.release()
            let_go()
            loop.call_soon(again, loop)

        async def main():
            loop = asyncio.get_running_loop()
            loop.call_soon(again, loop)
            await loop.create_future()

        loop_in_a_daemon(main)
    """,
    "sleeping": """
        async def nap():
            begun.release()
            while True:
                await asyncio.sleep(0.001)

        async def main():
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(nap())
                group.create_task(asyncio.sleep(1000))

        loop_in_a_daemon(main)
    """,
    "queues": """
        async def put(queue):
            while True:
                await queue.put(let_go())

        async def main():
            queue = asyncio.Queue(3)
            putting = [asyncio.create_task(put(queue)) for _ in range(3)]
            while True:
                await queue.get()
                begun.release()

        loop_in_a_daemon(main)
    """,
    "waits that nest": """
        async def main():
            async def waiting():
                async with asyncio.timeout(100), asyncio.Lock(), asyncio.Condition():
                    await asyncio.wait_for(asyncio.shield(asyncio.gather(asyncio.sleep(0), job())), 100)
            while True:
                await asyncio.wait([asyncio.create_task(waiting()) for _ in range(3)])
                begun.release()

        loop_in_a_daemon(main)
    """,
    "errors": """
        async def main():
            queue, loop = asyncio.Queue(), asyncio.get_running_loop()
            future = loop.create_future()
            async def failing():
                let_go()
                raise ValueError
            while True:
                for call in (queue.get_nowait, future.result, lambda: loop.run_until_complete(future), loop.close):
                    try:
                        call()
                    except (asyncio.QueueEmpty, asyncio.InvalidStateError, RuntimeError):
                        pass
                try:
                    await asyncio.wait_for(asyncio.sleep(10), 0.001)
                except TimeoutError:
                    pass
                await asyncio.gather(failing(), failing(), return_exceptions=True)
                waiting = asyncio.create_task(asyncio.sleep(10))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
                begun.release()

        loop_in_a_daemon(main)
    """,
    "streams": """
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            while True:
                writer.write(b"x" * 50)
                await reader.readexactly(50)
                let_go()
                begun.release()

        loop_in_a_daemon(main)
    """,
    "TLS": """
        import ssl

        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()

        async def main(kept):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(sys.argv[1])
            trusting = ssl.create_default_context(cafile=sys.argv[2])
            server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address, ssl=trusting, server_hostname="localhost")
            while True:
                writer.write(b"x" * 50)
                await reader.readexactly(50)
                let_go()
                begun.release()

        loop_in_a_daemon(main, None)
    """,
    "datagrams": """
        class Back(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                let_go()
                begun.release()
                self.transport.sendto(data, address)

        async def main():
            loop = asyncio.get_running_loop()
            first, _ = await loop.create_datagram_endpoint(Back, local_addr=("127.0.0.1", 0))
            second, _ = await loop.create_datagram_endpoint(Back, local_addr=("127.0.0.1", 0))
            for _ in range(3):
                first.sendto(b"x", second.get_extra_info("sockname"))
            await loop.create_future()

        loop_in_a_daemon(main)
    """,
    "children": """
        async def main():
            while True:
                try:
                    child = await asyncio.create_subprocess_exec("/bin/cat", stdin=-1, stdout=-1)
                except RuntimeError:
                    await asyncio.sleep(1000)  # no more children are started
                assert await child.communicate(b"x") == (b"x", None)
                begun.release()

        loop_in_a_daemon(main)
    """,
    "executors": """
        async def jobs():
            while True:
                await job()
                begun.release()

        async def main():
            await asyncio.gather(jobs(), jobs(), jobs())

        loop_in_a_daemon(main)
    """,
    "callbacks from other threads": """
        def send(loop):
            while True:
                loop.call_soon_threadsafe(begun.release)

        async def main():
            daemon(send, asyncio.get_running_loop())
            daemon(send, asyncio.get_running_loop())
            await asyncio.get_running_loop().create_future()

        loop_in_a_daemon(main)
    """,
    "coroutines from other threads": """
        async def answer():
            let_go()
            return 1

        def ask(loop):
            while True:
                assert asyncio.run_coroutine_threadsafe(answer(), loop).result() == 1
                begun.release()

        async def main():
            daemon(ask, asyncio.get_running_loop())
            await asyncio.get_running_loop().create_future()

        loop_in_a_daemon(main)
    """,
    "three at once": """
        async def main(wait):
            begun.release()
            while True:
                let_go()
                await asyncio.sleep(wait)

        for wait in (0, 0.001, 0):
            loop_in_a_daemon(main, wait)
        begun.acquire()
        begun.acquire()
    """,
    "loops of one run": """
        async def main():
            await asyncio.sleep(0)

        def runs():
            while True:
                asyncio.run(main())
                begun.release()

        daemon(runs)
        daemon(runs)
    """,
    # Threads that run no loop: each is in its first call of anything native when it is ended.
    "a repr": """
        class Value:
            __repr__ = let_go_for_ever

        future = asyncio.Future(loop=asyncio.new_event_loop())
        future.set_result(Value())
        daemon(repr, future)
    """,
    "an exception handler": """
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(let_go_for_ever)
        daemon(loop.call_exception_handler, {})
    """,
    "a step by hand": """
        loop = asyncio.new_event_loop()
        loop.call_soon(let_go_for_ever)
        daemon(lambda: (loop.call_soon(loop.stop), loop._run_once()))
    """,
    "a coroutine that is resumed": """
        coroutine = asyncio.Condition().wait_for(let_go_for_ever)
        daemon(coroutine.send, None)
    """,
    "an object that is freed": """
        class Value:
            __del__ = let_go_for_ever

        futures = []
        for _ in range(3):
            futures.append(asyncio.Future(loop=asyncio.new_event_loop()))
            futures[-1].set_result(Value())
        futures = [futures]
        daemon(futures.clear)
    """,
    "a chain that is freed": """
        class Value:
            __del__ = let_go_for_ever

        loop = asyncio.new_event_loop()
        chain = [Value()]
        for _ in range(1000):
            future = loop.create_future()
            future.set_result(chain.pop())
            chain.append(future)
        del future
        daemon(chain.clear)
    """,
    "a weak reference's callback": """
        future = asyncio.Future(loop=asyncio.new_event_loop())
        reference = weakref.ref(future, let_go_for_ever)
        futures = [future]
        del future
        daemon(futures.clear)
    """,
    "a task that is never done": """
        import gc

        async def waiting():
            await loop.create_future()

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(let_go_for_ever)
        tasks = [loop.create_task(waiting())]
        loop.run_until_complete(asyncio.sleep(0))
        daemon(lambda: (tasks.clear(), gc.collect()))
    """,
    "a coroutine that is never awaited": """
        import warnings
        warnings.simplefilter("always")
        warnings.showwarning = let_go_for_ever
        coroutines = [asyncio.Event().wait()]
        daemon(coroutines.clear)
    """,
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    certificates.certificate("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    certificates.authority().cert_pem.write_to_path(folder / "authority.pem")
    return [str(folder / "own.pem"), str(folder / "authority.pem")]


# The same code runs after install(), so two programs are enough there.
CASES = [
    *((name, "all") for name in PROGRAMS),
    *((name, "loop") for name in PROGRAMS if "loop_in_a_daemon(" in PROGRAMS[name]),
    ("busy", "install"),
    ("three at once", "install"),
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_process_ends_in_peace(name, mode, keys, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(MODES[mode] + PRELUDE + textwrap.dedent(PROGRAMS[name]) + END)
    launcher = ["-m", "rasyncio"] if mode == "all" else []
    plain, debug = dict(os.environ), dict(os.environ, PYTHONASYNCIODEBUG="1")
    for start in range(0, RUNS, 3):
        runs = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", *launcher, program, *keys],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for environment in (plain, debug, plain)[: RUNS - start]
        ]
        ended = [(*run.communicate(timeout=60), run.returncode) for run in runs]
        assert ended == [("end\n", "", 0)] * len(runs)


ENDED_BY_ITS_HOST = """
import asyncio, ctypes, os, threading, time

threads = []

async def main():
    await asyncio.sleep(0)
    threads.append(threading.get_native_id())
    ctypes.CDLL(None).pthread_exit(None)

for end in ("once", "and again"):
    threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    while not threads or os.path.exists(f"/proc/self/task/{threads[0]}"):
        time.sleep(0.001)
    print(end, threads.clear())

async def other():
    await asyncio.sleep(0)
    print("runs")

asyncio.run(other())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere pthread_exit() does not unwind the stack")
@pytest.mark.parametrize("mode", MODES)
def test_a_thread_that_its_host_ends(mode, tmp_path):
    """pthread_exit() in the middle of a callback, as an embedding program may call it: the thread is gone, and nothing else."""
    program = tmp_path / "program.py"
    program.write_text(MODES[mode] + ENDED_BY_ITS_HOST)
    launcher = ["-m", "rasyncio"] if mode == "all" else []
    command = [sys.executable, "-W", "ignore", *launcher, program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("once None\nand again None\nruns\n", "", 0)
