"""Child processes are on rasyncio where `python -m rasyncio` or `install(children=True)` says so, and nowhere else.

What carries it over is a line of rasyncio_install.pth, in the environment's folder of packages: see `_install`.
"""

import os
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TELL = "import asyncio; print(asyncio.__name__)"
LAUNCHERS = {
    "python -m rasyncio": (["-m", "rasyncio"], ""),
    "install(children=True)": ([], "import rasyncio; rasyncio.install(children=True)\n"),
}
CARRYING = [pytest.param(*launcher, "rasyncio", id=name) for name, launcher in LAUNCHERS.items()]
ALL = [*CARRYING, pytest.param([], "", "asyncio", id="neither")]


@pytest.fixture(autouse=True)
def not_carried_already(monkeypatch):
    monkeypatch.delenv("RASYNCIO_INSTALL", raising=False)


def run(launcher, arguments, **more):
    done = subprocess.run([sys.executable, *launcher, *arguments], capture_output=True, text=True, **more)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


def test_the_line_is_in_the_environment():
    line = Path(sysconfig.get_path("purelib"), "rasyncio_install.pth").read_text()
    assert line.count("\n") == 1 and line.startswith("import os; ")
    assert line == Path(__file__).parents[1].joinpath("python/data/purelib/rasyncio_install.pth").read_text()


def test_python_starts_as_ever_without_the_variable():
    code = "import sys; print([name for name in sys.modules if 'asyncio' in name])"
    assert run([], ["-c", code]) == "[]\n"
    assert run([], ["-c", code], env={**os.environ, "RASYNCIO_INSTALL": ""}) == "[]\n"
    assert run([], ["-c", code], env={**os.environ, "RASYNCIO_INSTALL": "0"}) == "[]\n"


@pytest.mark.parametrize("launcher, first, expected", ALL)
def test_python_itself(tmp_path, launcher, first, expected):
    program = tmp_path / "program.py"
    program.write_text(f"""{first}import subprocess, sys
for option in "-c", "-Ec", "-Ic", "-sPOc":
    print(subprocess.check_output([sys.executable, option, {TELL!r}], text=True), end="")""")
    assert run(launcher, [program]) == f"{expected}\n" * 4


def test_children_of_children(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"""import subprocess, sys
if sys.argv[1] == "0":
    {TELL}
else:
    number = str(int(sys.argv[1]) - 1)
    print(subprocess.check_output([sys.executable, "-I", __file__, number], text=True), end="")""")
    assert run(["-m", "rasyncio"], [program, "3"]) == "rasyncio\n"


def test_python_m_asyncio():
    environment = {**os.environ, "RASYNCIO_INSTALL": "1"}
    assert run([], ["-m", "asyncio", "--version"], env=environment).startswith("rasyncio ")


def test_taking_the_variable_away(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"""import os, subprocess, sys
del os.environ["RASYNCIO_INSTALL"]
print(subprocess.check_output([sys.executable, "-c", {TELL!r}], text=True), end="")""")
    assert run(["-m", "rasyncio"], [program]) == "asyncio\n"


def test_uninstalling_takes_the_variable_away(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(f"""import os, rasyncio, subprocess, sys
rasyncio.install()
assert "RASYNCIO_INSTALL" not in os.environ
rasyncio.install(children=True)
assert os.environ["RASYNCIO_INSTALL"] == "1"
rasyncio.uninstall()
assert "RASYNCIO_INSTALL" not in os.environ
print(subprocess.check_output([sys.executable, "-c", {TELL!r}], text=True), end="")""")
    assert run([], [program]) == "asyncio\n"


PASS = "pass\n"
SPAWNING = """
import multiprocessing, sys

def tell(queue):
    import asyncio
    queue.put((asyncio.__name__, __name__))

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    process = context.Process(target=tell, args=(queue,))
    process.start()
    print(*queue.get())
    process.join()
    raise SystemExit(process.exitcode)
"""
POOL = """
import concurrent.futures, multiprocessing, sys

async def two():
    import asyncio
    return await asyncio.sleep(0, 2)

def work():
    import asyncio
    return asyncio.__name__, asyncio.run(two()), asyncio.Task.__module__

async def main():
    import asyncio
    context = multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

if __name__ == "__main__":
    import asyncio
    print(*asyncio.run(main()))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("launcher, first, expected", ALL)
def test_multiprocessing(tmp_path, launcher, first, expected, method):
    program = tmp_path / "program.py"
    # What comes before the guard is run by the children too: only the parent says that it installs.
    program.write_text(SPAWNING.replace("    context =", f"    {first or PASS}    context =", 1))
    assert run(launcher, [program, method]) == f"{expected} __{'mp_' if method != 'fork' else ''}main__\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("launcher, first, expected", ALL)
def test_process_pools(tmp_path, launcher, first, expected, method):
    program = tmp_path / "program.py"
    program.write_text(POOL.replace("    import asyncio\n    print", f"    {first or PASS}    import asyncio\n    print"))
    task = "rasyncio.tasks" if expected == "rasyncio" else "_asyncio"
    assert run(launcher, [program, method]) == f"{expected} 2 {task}\n"


APPLICATION = """
import asyncio, os

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        loop = type(asyncio.get_running_loop()).__module__
        await send({"type": "http.response.body", "body": f"WORD {asyncio.__name__} {loop} {os.getpid()}".encode()})
"""


class Uvicorn:
    """A server in a process of its own, on a socket that listens before it is started."""

    def __init__(self, folder, *options):
        pytest.importorskip("uvicorn")
        self.application, self.address = folder / "application.py", str(folder / "socket")
        self.application.write_text(APPLICATION)
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.address)
            listening.listen()
            number = listening.fileno()
            server = ["-m", "uvicorn", "--loop", "asyncio", "--fd", str(number), *options, "application:app"]
            command = [sys.executable, "-m", "rasyncio", *server]
            self.process = subprocess.Popen(
                command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment, pass_fds=[number]
            )

    def until(self, text):
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if text in line:
                return
        raise AssertionError(f"the end, and no {text!r}: {''.join(lines)}")

    def ask(self):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(self.address)
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while data := connection.recv(4096):
                answer += data
        return answer.rpartition(b"\r\n\r\n")[2].decode().split()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=30)


def test_uvicorn_workers(tmp_path):
    with Uvicorn(tmp_path, "--workers", "2") as server:
        server.until("Application startup complete")
        word, name, loop, process = server.ask()
        assert (word, name, loop) == ("WORD", "rasyncio", "rasyncio.unix_events")
        assert int(process) != server.process.pid


def test_uvicorn_reloads(tmp_path):
    with Uvicorn(tmp_path, "--reload", "--reload-delay", "0.05") as server:
        server.until("Application startup complete")
        first = server.ask()
        assert first[:3] == ["WORD", "rasyncio", "rasyncio.unix_events"]
        server.application.write_text(APPLICATION.replace("WORD", "CHANGED"))
        server.until("Application startup complete")
        second = server.ask()
        assert second[:3] == ["CHANGED", "rasyncio", "rasyncio.unix_events"]
        assert len({first[3], second[3], str(server.process.pid)}) == 3
