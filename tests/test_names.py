"""Every name of asyncio's modules is there, is of the same kind, and takes the same arguments: the running Python's.

`compare_names.py` says what is compared, and finds the differences, in an interpreter of its own.  Each must be listed in
names.toml, with the reason; one that is listed and not found is an error too.
"""

import fnmatch
import json
import platform
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WHAT = {"module", "missing", "kind", "signature", "bases", "value", "all"}


@pytest.fixture(scope="module")
def comparison():
    command = [sys.executable, "-W", "ignore", str(HERE / "compare_names.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def is_for(versions):
    """Whether one of the versions, `3.13` or `3.13.15`, is the running one."""
    return any(f"{platform.python_version()}.".startswith(f"{version}.") for version in versions)


def listed():
    """(what, pattern, reason) of each difference that is expected here."""
    for entry in tomllib.loads((HERE / "names.toml").read_text())["difference"]:
        assert set(entry) <= {"what", "name", "versions", "reason"} and entry["reason"] and entry["what"] in WHAT, entry
        if is_for(entry.get("versions", ["3"])):
            names = entry["name"] if isinstance(entry["name"], list) else [entry["name"]]
            yield from ((entry["what"], name, entry["reason"]) for name in names)


def test_no_difference_is_unknown(comparison):
    known = list(listed())
    unknown = [
        (what, name, detail)
        for what, name, detail in comparison["differences"]
        if not any(what == other and fnmatch.fnmatchcase(name, pattern) for other, pattern, _ in known)
    ]
    assert not unknown, "\n".join(f"{what} {name}: {detail}" for what, name, detail in unknown)


def test_no_listed_difference_is_gone(comparison):
    found = [(what, name) for what, name, _ in comparison["differences"]]
    gone = [
        (what, pattern)
        for what, pattern, _ in listed()
        if not any(what == other and fnmatch.fnmatchcase(name, pattern) for other, name in found)
    ]
    assert not gone, gone


def test_no_module_is_left_out(comparison):
    assert {"base_events", "events", "futures", "graph", "tasks", "windows_events"} - {"graph"} <= set(comparison["modules"])
    faces = {path.stem for path in (HERE.parent / "python" / "rasyncio").glob("[a-z]*.py")}
    assert set(comparison["modules"]) <= faces


def test_the_comparison_sees_differences():
    """It is no use if it finds nothing: two modules that differ in each way."""
    code = '''
import sys, types, json
sys.path.insert(0, sys.argv[1])
import compare_names
def module(name, text):
    made = sys.modules[name] = types.ModuleType(name)
    exec(text, vars(made))
    return made
module("asyncio.x", """__all__ = ('a', 'b')
a = 1
b = 2
def f(x, y=1): pass
async def g(): pass
class C(dict):
    def m(self): pass""")
module("rasyncio.x", """__all__ = ('a',)
a = 2
def f(x, y=2): pass
def g(): pass
class C: pass""")
compare_names.compare_modules("x")
print(json.dumps(sorted([what, name] for what, name, _ in compare_names.found)))
'''
    done = subprocess.run([sys.executable, "-c", code, str(HERE)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [
        ["all", "x.b"],
        ["bases", "x.C"],
        ["kind", "x.g"],
        ["missing", "x.C.m"],
        ["missing", "x.b"],
        ["signature", "x.f"],
        ["value", "x.a"],
    ]


def test_hooks_take_their_arguments_by_name():
    """The private ones too that derived classes call, of which the signature alone would prove nothing."""
    import os
    import socket

    import rasyncio as asyncio

    called = []

    class Kept(asyncio.Queue):
        def _put(self, item):
            called.append(item)
            super()._put(item=item)

        def _init(self, maxsize):
            super()._init(maxsize=maxsize)

    class Server(asyncio.Protocol):
        def connection_made(self, transport):
            called.append("connection")
            transport.close()

    async def main():
        loop = asyncio.get_running_loop()
        queue = Kept(2)
        queue.put_nowait(1)
        assert queue.get_nowait() == 1
        queue._wakeup_next(waiters=queue._getters)
        loop._check_callback(callback=print, method="call_soon")
        handle = loop._call_soon(callback=called.append, args=("soon",), context=None)
        loop._add_callback(handle=loop.call_soon(called.append, "twice"))
        receiving, sending = os.pipe()
        readable = loop.create_future()
        loop._add_reader(fd=receiving, callback=lambda: readable.done() or readable.set_result(None))
        os.write(sending, b"x")
        await readable
        assert loop._remove_reader(fd=receiving) and not loop._remove_writer(fd=receiving)
        os.close(receiving)
        os.close(sending)
        loop._ensure_fd_no_transport(fd=receiving)
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        loop._start_serving(protocol_factory=Server, sock=listening, backlog=1)
        transport, _ = await loop.create_connection(asyncio.Protocol, *listening.getsockname())
        while "connection" not in called:
            await asyncio.sleep(0)
        transport.close()
        loop._stop_serving(sock=listening)
        assert handle.cancelled() is False

    asyncio.run(main())
    assert called == [1, "soon", "twice", "twice", "connection"]
