"""The recipes of docs/frameworks.md: frameworks on rasyncio's loop only, and with rasyncio in asyncio's place."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

APPLICATION = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    text = f"{asyncio.__name__} {type(asyncio.get_running_loop()).__module__} {type(asyncio.current_task()).__module__}"
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
"""
WORKERS = """
from uvicorn.workers import UvicornWorker

class RasyncioWorker(UvicornWorker):
    CONFIG_KWARGS = {"loop": "rasyncio:new_event_loop", "http": "auto"}
"""


def run(folder, *arguments, **options):
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(folder, announcement, *arguments):
    """What a server says to one request; it tells its port in a text like `announcement`."""
    (folder / "application.py").write_text(APPLICATION)
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as server:
        try:
            said = []
            for line in server.stdout:
                said.append(line)
                if found := re.search(announcement, line):
                    break
            else:
                pytest.fail("".join(said))
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
            while True:
                try:
                    connection.connect()
                    break
                except ConnectionRefusedError:  # uvicorn's parent says that it runs before one of its workers listens
                    time.sleep(0.02)
            connection.request("GET", "/")
            answer = connection.getresponse().read().decode()
            connection.close()
            return answer.split()
        finally:
            server.send_signal(signal.SIGTERM)


UVICORN = r"running on http://127\.0\.0\.1:(\d+)"
LOOP_ONLY, ALL = ["asyncio", "rasyncio.unix_events", "_asyncio"], ["rasyncio", "rasyncio.unix_events", "rasyncio.tasks"]


def test_uvicorn_on_the_loop_only(tmp_path):
    pytest.importorskip("uvicorn")
    arguments = ["-m", "uvicorn", "--loop", "rasyncio:new_event_loop", "--port", "0", "application:app"]
    assert ask(tmp_path, UVICORN, *arguments) == LOOP_ONLY


def test_uvicorn_with_all_of_it(tmp_path):
    pytest.importorskip("uvicorn")
    arguments = ["-m", "rasyncio", "-m", "uvicorn", "--loop", "asyncio", "--port", "0", "application:app"]
    assert ask(tmp_path, UVICORN, *arguments) == ALL


def test_uvicorns_workers_with_all_of_it(tmp_path):
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    arguments = ["-m", "rasyncio", "-m", "uvicorn", "--loop", "asyncio", "--workers", "2", "--port", port, "application:app"]
    assert ask(tmp_path, UVICORN, *arguments) == ALL


def test_gunicorn_with_uvicorns_worker(tmp_path):
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn")
    (tmp_path / "workers.py").write_text(WORKERS)
    arguments = ["-m", "gunicorn", "--worker-class", "workers.RasyncioWorker", "--bind", "127.0.0.1:0", "application:app"]
    assert ask(tmp_path, r"Listening at: http://127\.0\.0\.1:(\d+)", *arguments) == LOOP_ONLY


def test_anyio(tmp_path):
    pytest.importorskip("anyio")
    run(
        tmp_path,
        "-c",
        """
import asyncio, anyio, rasyncio

async def main():
    assert type(asyncio.get_running_loop()) is rasyncio.EventLoop and type(asyncio.current_task()) is asyncio.Task
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(anyio.sleep, 0)
    with anyio.move_on_after(0) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await anyio.to_thread.run_sync(int) == 0

anyio.run(main, backend_options={"loop_factory": rasyncio.new_event_loop})
""",
    )


def test_anyios_pytest_plugin(tmp_path):
    pytest.importorskip("anyio")
    (tmp_path / "test_it.py").write_text("""
import asyncio, pytest, rasyncio

@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": rasyncio.new_event_loop}

@pytest.mark.anyio
async def test_it():
    assert type(asyncio.get_running_loop()) is rasyncio.EventLoop
""")
    assert "1 passed" in run(tmp_path, "-m", "pytest", "-p", "no:cacheprovider")


@pytest.mark.parametrize(
    ("launcher", "conftest"),
    [
        (["-m", "rasyncio"], ""),
        (
            [],
            "import rasyncio\ndef pytest_asyncio_loop_factories(config, item):\n    return {'rasyncio': rasyncio.new_event_loop}\n",
        ),
    ],
    ids=["all", "loop"],
)
def test_pytest_asyncio(tmp_path, launcher, conftest):
    plugin = pytest.importorskip("pytest_asyncio")
    if conftest and [int(part) for part in plugin.__version__.split(".")[:2]] < [1, 5]:
        pytest.skip(f"pytest-asyncio {plugin.__version__} takes no loop factories")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text("""
import asyncio, pytest, rasyncio

@pytest.mark.asyncio
async def test_it():
    assert type(asyncio.get_running_loop()) is rasyncio.EventLoop
    assert asyncio.current_task() is rasyncio.current_task()
""")
    assert "1 passed" in run(tmp_path, *launcher, "-m", "pytest", "-p", "no:cacheprovider")


def test_aiohttp_on_the_loop_only(tmp_path):
    pytest.importorskip("aiohttp")
    run(
        tmp_path,
        "-c",
        """
import asyncio, rasyncio
from aiohttp import ClientSession, web

async def hello(request):
    assert type(asyncio.get_running_loop()) is rasyncio.EventLoop
    return web.Response(text=await request.text())

async def main():
    application = web.Application()
    application.router.add_post("/", hello)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with ClientSession() as session, session.post(f"http://127.0.0.1:{port}/", data="x" * 100_000) as response:
        assert await response.text() == "x" * 100_000
    await runner.cleanup()

loop = rasyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
    )


NESTED = """
import asyncio, nest_asyncio

nest_asyncio.apply()

async def deep(levels):
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        return asyncio.run(deep(levels - 1)) + 1 if levels else 0

async def main():
    task, other = asyncio.current_task(), asyncio.create_task(deep(1))
    assert asyncio.run(deep(5)) == 5
    assert asyncio.current_task() is task and await other == 1
    assert await asyncio.gather(deep(2), asyncio.to_thread(int)) == [2, 0]
    assert asyncio.current_task() is task
    return type(task).__module__, type(asyncio.get_running_loop()).__module__

print(*asyncio.run(main()))
assert asyncio.new_event_loop().run_until_complete(main())
"""
NESTED_BEFORE = {
    "installed": "import rasyncio; rasyncio.install()",
    "installed late": "import asyncio, warnings; warnings.simplefilter('ignore'); import rasyncio; rasyncio.install()",
    "loop": "import asyncio, rasyncio, warnings; warnings.simplefilter('ignore')\n"
    "asyncio.set_event_loop_policy(rasyncio.EventLoopPolicy())",
}


@pytest.mark.parametrize("before", NESTED_BEFORE)
def test_loops_in_loops_by_nest_asyncio(tmp_path, before):
    pytest.importorskip("nest_asyncio")
    if before == "loop" and sys.version_info >= (3, 14):
        pytest.skip("asyncio's own tasks cannot be nested there, on any loop")
    task, loop = run(tmp_path, "-c", NESTED_BEFORE[before] + NESTED).split()
    assert loop.startswith("rasyncio")
    assert task == ("asyncio.tasks" if before == "loop" else "rasyncio.tasks")
