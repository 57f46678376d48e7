"""Server.close_clients() and abort_clients() (3.13), create_server(keep_alive=), create_unix_server(cleanup_socket=)."""

import asyncio
import os
import socket
import tempfile

from recorder import record, record_outcome

SINCE = (3, 13)


class Noting(asyncio.Protocol):
    def __init__(self, made):
        self.made = made

    def connection_made(self, transport):
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()
        self.made.set_result(self)

    def connection_lost(self, error):
        self.lost.set_result(type(error).__name__ if error else None)


async def connected(**options):
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    server = await loop.create_server(lambda: Noting(made), "127.0.0.1", 0, **options)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    return server, await made, reader, writer


async def ended(reader, writer):
    try:
        record("client read", (await reader.read()).decode())
    except ConnectionError as error:
        record("client", type(error).__name__)
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError as error:
        record("client closed", type(error).__name__)


async def ends(way):
    server, connection, reader, writer = await connected()
    connection.transport.write(b"last words")
    record("clients", len(server._clients))
    server.close()
    record("serving", server.is_serving(), connection.transport.is_closing())
    waiting = asyncio.create_task(server.wait_closed())
    record(way, getattr(server, way)())
    record("closing", connection.transport.is_closing())
    record("lost", await connection.lost)
    await waiting
    await ended(reader, writer)
    record("clients", len(server._clients), getattr(server, way)())


async def without_clients():
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    record("nothing", server.close_clients(), server.abort_clients(), server.is_serving())
    server.close()
    await record_outcome("closed", server.wait_closed())
    await record_outcome("closed again", server.wait_closed())


async def alive():
    for given in (True, False, None):
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, keep_alive=given)
        record("keep_alive", given, bool(server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)))
        server.close()
        await server.wait_closed()


async def files():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for path in ("text", b"bytes", "./dotted"):
            for cleanup in (True, False):
                server = await loop.create_unix_server(asyncio.Protocol, path, cleanup_socket=cleanup)
                record("file", os.fsdecode(path), cleanup, os.path.exists(path), len(loop._unix_server_sockets))
                server.close()
                await server.wait_closed()
                record("left", os.path.exists(path), len(loop._unix_server_sockets))
        bound = socket.socket(socket.AF_UNIX)
        bound.bind("own")
        server = await loop.create_unix_server(asyncio.Protocol, sock=bound, cleanup_socket=True)
        server.close()
        await server.wait_closed()
        record("a bound socket's", os.path.exists("own"))
        server = await loop.create_unix_server(asyncio.Protocol, "gone", cleanup_socket=True)
        os.unlink("gone")
        server.close()
        await server.wait_closed()
        record("gone already", os.path.exists("gone"))
        server = await loop.create_unix_server(asyncio.Protocol, "another", cleanup_socket=True)
        os.rename("another", "moved")
        open("another", "w").close()
        server.close()
        await server.wait_closed()
        record("replaced", os.path.exists("another"))
        server = await loop.create_unix_server(asyncio.Protocol, "\0abstract", cleanup_socket=True)
        record("abstract", len(loop._unix_server_sockets))
        server.close()
        await server.wait_closed()
        os.chdir("/")


async def main():
    for way in ("close_clients", "abort_clients"):
        await ends(way)
    await without_clients()
    await alive()
    await files()


asyncio.run(main())
