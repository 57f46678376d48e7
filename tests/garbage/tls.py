"""Connections under TLS, from the start or later: handshakes and connections that end well, by an error, by a cancellation."""

import asyncio
import contextlib
import socket
import ssl

import certificates
from garbage.connections import Buffered, Plain, echo, gone, pair, talk
from garbage.counting import begin, cancelled, program, turns

SERVER, CLIENT, STRANGER = certificates.server(), certificates.client(), ssl.create_default_context()


@program
async def streams_echo_over_tls():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=SERVER)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address, ssl=CLIENT, server_hostname="localhost")
    await talk(reader, writer)
    await gone(server)


@program
async def streams_upgraded_to_tls():
    done = asyncio.Event()

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(SERVER)
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"start\n")
    await reader.readline()
    await writer.start_tls(CLIENT, server_hostname="localhost")
    writer.write(b"hidden\n")
    await reader.readline()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    await done.wait()
    await gone(server)


async def tls_pair(client=Plain, server=Plain, context=CLIENT, name="localhost", **options):
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def factory():
        protocol = server()
        accepted.set_result(protocol)
        return protocol

    listening = await loop.create_server(factory, "127.0.0.1", 0, ssl=SERVER)
    address = listening.sockets[0].getsockname()
    try:
        transport, protocol = await loop.create_connection(client, *address, ssl=context, server_hostname=name, **options)
        far = await accepted
        while far.transport is None:
            await asyncio.sleep(0)
        return transport, protocol, far
    finally:
        listening.close()


@program
async def tls():
    for kind in (Plain, Buffered):
        transport, protocol, far = await tls_pair(kind)
        transport.write(b"x" * 100_000)
        await far.arrived.wait()
        far.transport.write(b"back")
        await protocol.arrived.wait()
        transport.get_extra_info("cipher"), transport.get_extra_info("ssl_object"), repr(transport)
        transport.pause_reading(), transport.resume_reading()
        transport.close()
        await protocol.lost
        await far.lost


@program
async def tls_aborted():
    transport, protocol, far = await tls_pair()
    transport.write(b"x" * 1_000_000)
    transport.abort()
    await protocol.lost
    await far.lost


@program
async def tls_refused():
    with contextlib.suppress(ssl.SSLError):
        await tls_pair(context=STRANGER)
    with contextlib.suppress(ssl.SSLError):
        await tls_pair(name="elsewhere")
    with contextlib.suppress(ssl.SSLError):
        await begin(tls_pair(context=STRANGER))
    await turns(5)


@program
async def tls_without_an_answer():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for sent in (None, b"no TLS at all\n", b""):
            connecting = begin(
                loop.create_connection(
                    Plain, *listener.getsockname(), ssl=CLIENT, server_hostname="localhost", ssl_handshake_timeout=0.01
                )
            )
            await turns(3)
            far, _ = listener.accept()
            if sent is not None:
                far.send(sent)
                far.shutdown(socket.SHUT_WR)
            await asyncio.wait([connecting])
            connecting.exception()
            far.close()
            del connecting
    await turns(5)


@program
async def tls_cancelled():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        await cancelled(loop.create_connection(Plain, *address, ssl=CLIENT, server_hostname="localhost"), 6)
        listener.accept()[0].close()
    await turns(5)


@program
async def tls_whose_protocol_fails():
    for kind in (Plain, Buffered):
        for event in ("made", "data", "eof", "lost", "get_buffer"):
            transport, protocol, far = await tls_pair(server=lambda kind=kind, event=event: kind([event]))
            transport.write(b"some")
            await turns(5)
            transport.close()
            await protocol.lost
            await far.lost


@program
async def tls_started_later():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    client, server = Plain(), Plain()
    transport, _ = await loop.create_connection(lambda: client, sock=near)
    other, _ = await loop.create_connection(lambda: server, sock=far)
    upgraded, answering = await asyncio.gather(
        loop.start_tls(transport, client, CLIENT, server_hostname="localhost"),
        loop.start_tls(other, server, SERVER, server_side=True),
    )
    upgraded.write(b"some")
    await server.arrived.wait()
    upgraded.close(), answering.close()
    await client.lost
    await server.lost


@program
async def tls_started_later_that_fails():
    loop = asyncio.get_running_loop()
    transport, protocol, far = await pair()
    far.send(b"no TLS at all\n")
    far.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        await loop.start_tls(transport, protocol, CLIENT, server_hostname="localhost")
    far.close()
    transport, protocol, far = await pair()
    with contextlib.suppress(OSError):
        await loop.start_tls(transport, protocol, CLIENT, server_hostname="localhost", ssl_handshake_timeout=0.01)
    far.close()
    await turns(5)
