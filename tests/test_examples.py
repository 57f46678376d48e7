"""The example programs, as a person runs them, and that the file server's clients do notice a wrong byte.

Each example asserts what it shows, says nothing on its standard error, and does the same on asyncio.
"""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def serve_files():
    spec = importlib.util.spec_from_file_location("serve_files", EXAMPLES / "serve_files.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def launch(launcher, *arguments, program="serve_files.py"):
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, *launcher, str(EXAMPLES / program), *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "serve_files.py"))
def test_asserts_what_it_shows(program, tmp_path):
    arguments = []
    if program == "encrypted.py":
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        parts = [certificate.private_key_pem, *certificate.cert_chain_pems, authority.cert_pem]
        (tmp_path / "localhost.pem").write_bytes(b"".join(part.bytes() for part in parts))
        arguments = [tmp_path / "localhost.pem"]
    printed = set()
    for launcher in ([], ["-m", "rasyncio"]):
        done = launch(launcher, *arguments, program=program)
        assert (done.returncode, done.stderr) == (0, "")
        printed.add(done.stdout)
    # Addresses of objects, and how much fits into the kernel's buffers, are nobody's promise.
    assert len(printed) == 1 or program in ("call_graphs.py", "transports.py")


def test_every_byte_arrives(tmp_path, request):
    for size in (0, 1, 16 * 1024, 16 * 1024 + 1, 60_000):
        (tmp_path / f"{size} bytes").write_bytes(os.urandom(size))
    launcher = request.config.getoption("--launcher").split()
    done = launch(launcher, "--directory", tmp_path, "--clients", 20, "--rounds", 2, "--json", "-")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["files"], result["responses"], result["differing"]) == (5, 200, 0)
    if launcher == ["-m", "rasyncio"]:
        assert result["loop"].startswith("rasyncio.")


def test_a_wrong_byte_is_noticed(serve_files, monkeypatch, tmp_path, capfd):
    (tmp_path / "file").write_bytes(b"right")
    collected = serve_files.collect(tmp_path, 1000)
    collected["/file"].content = b"wrong"
    monkeypatch.setattr(serve_files, "collect", lambda directory, largest: collected)
    monkeypatch.setattr(sys, "argv", ["serve_files.py", "--directory", str(tmp_path), "--clients", "3", "--rounds", "1"])
    result = asyncio.run(serve_files.main(serve_files.parse()))
    assert (result["responses"], result["differing"]) == (3, 3)


def test_unknown_files_and_methods_are_refused(serve_files):
    class Writer:
        def __init__(self):
            self.sent = b""

        def write(self, data):
            self.sent += data

    server = serve_files.Server({})
    for start, status in (
        ("GET /x HTTP/1.1", b"404"),
        ("PUT /x HTTP/1.1", b"405"),
        ("GET /x HTTP/0.9", b"400"),
        ("", b"400"),
    ):
        writer = Writer()
        server.respond(writer, start, keep=False)
        assert writer.sent.startswith(b"HTTP/1.1 " + status)
        assert b"Connection: close" in writer.sent
