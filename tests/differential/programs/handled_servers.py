"""What is being handled where servers, clients and processes call a program, and what they raise themselves."""

import asyncio
import functools
import socket

from handling import each_part, fail, handled, links, turns
from recorder import record


async def servers(loop):
    def factory():
        record("factory", handled())
        fail("factory")

    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    with socket.create_connection(address):
        await turns(40)
    server.close()

    def client(reader, writer):
        record("client", handled())
        writer.close()
        fail("client")

    async def client_task(reader, writer):
        try:
            client(reader, writer)
        finally:
            record("client's end", handled())

    for connected in client, client_task:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await turns(40)
        writer.close()
        server.close()
        await turns(40)
    try:
        raise KeyError("outer")
    except KeyError:
        for connect in loop.create_connection, asyncio.open_connection:
            arguments = [asyncio.Protocol] if connect == loop.create_connection else []
            try:
                await connect(*arguments, "127.0.0.1", address[1])
            except OSError as error:
                record("refused", [link[0] for link in links(error)])
        with socket.socket() as sock:
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
            except OSError as error:
                record("refused", [link[0] for link in links(error)])


async def processes(loop):
    class Ends(asyncio.SubprocessProtocol):
        def __init__(self, fails):
            self.fails, self.over, self.ended = fails, loop.create_future(), loop.create_future()

        def event(self, name):
            record("protocol", name, handled())
            if name in self.fails:
                fail(name)

        def connection_made(self, transport):
            self.event("made")

        def pipe_data_received(self, fd, data):
            self.event("data")

        def pipe_connection_lost(self, fd, error):
            if fd == 1:
                self.ended.set_result(None)
                self.event("pipe lost")

        def process_exited(self):
            self.event("exited")

        def connection_lost(self, error):
            self.over.set_result(None)
            self.event("lost")

    for fails in "", "data", "pipe lost", "exited", "lost":
        record("process", fails)
        transport, protocol = await loop.subprocess_exec(
            functools.partial(Ends, [fails]), "sh", "-c", "echo out; exec >&-; read x", stderr=None
        )
        await protocol.ended
        await turns()
        transport.get_pipe_transport(0).write(b"go on\n")
        await asyncio.wait([protocol.over])
        transport.close()
        await turns()
    try:
        raise KeyError("outer")
    except KeyError:
        try:
            await asyncio.create_subprocess_exec("/no/such/program")
        except OSError as error:
            record("no program", links(error))


each_part(servers, processes)
