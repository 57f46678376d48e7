"""The permissions of a Unix server's file: `mode` of create_unix_server() and start_unix_server(), which came with 3.16.

Python 3.16 is not here to be asked; what its documentation and its changelog say is tested (gh-94984).
"""

import os
import pathlib
import socket
import stat

import pytest
import rasyncio


def permissions(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    assert os.umask(before) == 0o022, "the umask is the whole process's: nothing changes it, for a moment neither"


@pytest.mark.parametrize("kind", [os.fspath, os.fsencode, pathlib.Path])
@pytest.mark.parametrize("mode", [None, 0, 0o600, 0o666, 0o777, 0o1770, True])
def test_the_permissions_of_a_server_s_file(tmp_path, umask, kind, mode):
    """`mode` came with 3.16."""

    async def serve(reader, writer):
        writer.close()

    async def main():
        loop = rasyncio.get_running_loop()
        path = tmp_path / "socket"
        wanted = 0o755 if mode is None else mode
        for create, what in ((loop.create_unix_server, rasyncio.Protocol), (rasyncio.start_unix_server, serve)):
            server = await create(what, kind(path), mode=mode, cleanup_socket=True)
            assert permissions(path) == wanted
            if os.access(path, os.W_OK):
                reader, writer = await rasyncio.open_unix_connection(path)
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
            assert not path.exists()
        server = await loop.create_unix_server(rasyncio.Protocol, kind(path), mode=mode, start_serving=False)
        assert permissions(path) == wanted
        server.close()

    rasyncio.run(main())


def test_a_stale_socket_s_permissions_go_with_it(tmp_path, umask):
    async def main():
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(os.fspath(tmp_path / "socket"))
        os.chmod(tmp_path / "socket", 0o444)
        server = await rasyncio.start_unix_server(rasyncio.Protocol, tmp_path / "socket", mode=0o660)
        assert permissions(tmp_path / "socket") == 0o660
        server.close()
        await server.wait_closed()
        (tmp_path / "file").touch(0o600)
        with pytest.raises(OSError, match="already in use"):
            await rasyncio.start_unix_server(rasyncio.Protocol, tmp_path / "file", mode=0o777)
        assert permissions(tmp_path / "file") == 0o600

    rasyncio.run(main())


def test_no_connection_is_accepted_before_the_permissions_are_set(tmp_path, monkeypatch):
    refused = []

    def chmod(path, mode):
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(path)
        refused.append((path, mode))

    async def main():
        monkeypatch.setattr(os, "chmod", chmod)
        server = await rasyncio.start_unix_server(rasyncio.Protocol, tmp_path / "socket", mode=0o600)
        server.close()
        await server.wait_closed()

    rasyncio.run(main())
    assert refused == [(os.fspath(tmp_path / "socket"), 0o600)]


@pytest.mark.parametrize(
    "mode, error", [("600", TypeError), (6.0, TypeError), (1 << 70, OverflowError), (object(), TypeError)], ids=repr
)
def test_permissions_that_cannot_be_set_leave_nothing(tmp_path, mode, error):
    """No file; and no descriptor, which the fixture `clean` looks for."""

    async def main():
        with pytest.raises(error):
            await rasyncio.start_unix_server(rasyncio.Protocol, tmp_path / "socket", mode=mode)
        assert not list(tmp_path.iterdir()) and not rasyncio.get_running_loop()._unix_server_sockets

    rasyncio.run(main())


def test_permissions_are_for_files_that_are_made_here(tmp_path):
    async def main():
        loop = rasyncio.get_running_loop()
        for abstract in ("\0rasyncio-mode", b"\0rasyncio-mode"):
            with pytest.raises(ValueError, match="abstract"):
                await loop.create_unix_server(rasyncio.Protocol, abstract, mode=0o600)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.fspath(tmp_path / "socket"))
            with pytest.raises(ValueError, match="mode and sock"):
                await loop.create_unix_server(rasyncio.Protocol, sock=bound, mode=0o600)
            with pytest.raises(ValueError, match="path and sock"):
                await loop.create_unix_server(rasyncio.Protocol, "path", sock=bound, mode=0o600)
            assert bound.fileno() >= 0
        with pytest.raises(ValueError, match="path was not specified"):
            await loop.create_unix_server(rasyncio.Protocol, mode=0o600)
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(rasyncio.Protocol, tmp_path / "none" / "socket", mode=0o600)

    rasyncio.run(main())
