"""Unix sockets: connections, servers, the file of a server, and the texts of what is refused."""

import asyncio
import logging
import os
import pathlib
import socket
import sys
import tempfile

from recorder import record, record_outcome


class Recording(logging.Handler):
    def emit(self, logged):
        record("logged", logged.levelname, logged.getMessage().replace(os.getcwd(), "..."))


logging.getLogger("asyncio").addHandler(Recording())
logging.getLogger("asyncio").propagate = False


class Noting(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        record("made", transport.get_extra_info("sockname"), transport.get_extra_info("peername"))

    def data_received(self, data):
        record("data", data)

    def eof_received(self):
        record("eof")

    def connection_lost(self, error):
        record("lost", error)
        self.lost.set_result(None)


async def echo(reader, writer):
    writer.write(b"you said " + await reader.readline())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def streams():
    for path in ("text", b"bytes", pathlib.Path("path"), f"\0rasyncio-abstract-{os.getpid()}"):
        async with await asyncio.start_unix_server(echo, path) as server:
            record(len(server.sockets), server.sockets[0].family.name, server.is_serving())
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hello\n")
            record(await reader.read())
            writer.close()
            await writer.wait_closed()
            record(sorted(os.listdir()))
        record(sorted(os.listdir()))
        for left in os.listdir():
            os.remove(left)


async def given():
    """Sockets that the program made."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("given")
        server = await loop.create_unix_server(Noting, sock=listener)
        client = socket.socket(socket.AF_UNIX)
        client.connect("given")
        transport, protocol = await loop.create_unix_connection(Noting, sock=client)
        record(client.getblocking())
        transport.write(b"by hand")
        await asyncio.sleep(0)
        transport.close()
        await protocol.lost
        server.close()
        await server.wait_closed()
    if os.path.exists("given"):
        os.remove("given")
    near, far = socket.socketpair()
    transport, protocol = await loop.create_unix_connection(Noting, sock=near)
    far.close()
    await protocol.lost


async def files():
    loop = asyncio.get_running_loop()

    async def serve(*args, **options):
        server = await loop.create_unix_server(Noting, *args, **options)
        record("serving", server.is_serving(), sorted(os.listdir()))
        return server

    def attempt_bind(name):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(name)

    attempt_bind("here")
    server = await serve("here")
    server.close()
    record("closed", sorted(os.listdir()))
    server = await serve("here", start_serving=False)
    os.remove("here")
    server.close()
    record("gone before", sorted(os.listdir()))
    server = await serve("here", start_serving=False)
    os.remove("here")
    open("here", "w").close()
    server.close()
    record("another one", sorted(os.listdir()))
    await record_outcome("in the way", loop.create_unix_server(Noting, "here"))
    os.remove("here")
    os.mkdir("folder")
    await record_outcome("a folder", loop.create_unix_server(Noting, "folder"))
    await record_outcome("no folder", loop.create_unix_server(Noting, "nowhere/here"))
    await record_outcome("too long", loop.create_unix_server(Noting, "x" * 200))
    await record_outcome("not a folder", loop.create_unix_server(Noting, __file__ + "/here"))
    os.rmdir("folder")
    if sys.version_info >= (3, 13):
        server = await serve("kept", cleanup_socket=False)
        server.close()
        record("kept", sorted(os.listdir()))
        os.remove("kept")


async def refused():
    loop = asyncio.get_running_loop()
    connect, serve = loop.create_unix_connection, loop.create_unix_server
    with (
        socket.socket() as internet,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as good,
    ):
        wrong = [
            {},
            {"path": "x", "sock": good},
            {"ssl_handshake_timeout": 1, "path": "x"},
            {"ssl_shutdown_timeout": 1, "path": "x"},
            {"path": 5},
            {"path": ""},
            {"path": b"a\0b"},
            {"backlog": 5},
        ]
        for options in wrong:
            await record_outcome("server", serve(Noting, **options))
            if "backlog" not in options:
                await record_outcome("connection", connect(Noting, **options))
        await record_outcome("server with ssl", serve(Noting, "x", ssl=True))
        await record_outcome("connection with a name", connect(Noting, "x", server_hostname="name"))
        await record_outcome("connection with ssl", connect(Noting, "x", ssl=True))
        await record_outcome("connection with a number", connect(Noting, "x", server_hostname=5))
        for sock in (internet, datagrams):
            for call in (serve, connect):
                try:
                    await call(Noting, sock=sock)
                except ValueError as error:
                    record(str(error).partition(" fd=")[0])
        await record_outcome("nobody there", connect(Noting, "nobody"))
        await record_outcome("not connected", connect(Noting, sock=good))

    def no_factory():
        raise ZeroDivisionError("factory")

    server = await serve(Noting, "here")
    await record_outcome("factory", connect(no_factory, "here"))
    server.close()


async def main():
    for part in (streams, given, files, refused):
        record(part.__name__)
        await part()


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    asyncio.run(main())
    os.chdir("/")
