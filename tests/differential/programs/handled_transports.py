"""What is being handled where transports call protocols, and where they report what those raise."""

import asyncio
import functools
import os
import socket
import ssl

import trustme
from handling import each_part, fail, handled, links, turns
from recorder import record


class Protocol(asyncio.Protocol):
    def __init__(self, fails):
        self.fails = fails

    def connection_made(self, transport):
        self.transport = transport
        self.event("made")

    def data_received(self, data):
        self.event("data")

    def eof_received(self):
        self.event("eof")

    def pause_writing(self):
        self.event("pause")

    def resume_writing(self):
        self.event("resume")

    def connection_lost(self, error):
        record("lost with", links(error))
        self.event("lost")

    def event(self, name):
        record("protocol", name, handled())
        if name in self.fails:
            fail(name)


class Buffered(Protocol, asyncio.BufferedProtocol):
    data_received = None

    def get_buffer(self, sizehint):
        self.event("get_buffer")
        return bytearray(10) if "size" not in self.fails else bytearray()

    def buffer_updated(self, count):
        self.event("updated")


async def transports(loop):
    for kind, fails in [
        (Protocol, ""),
        (Protocol, "made"),
        (Protocol, "data"),
        (Protocol, "eof"),
        (Protocol, "lost"),
        (Protocol, "pause"),
        (Protocol, "resume"),
        (Buffered, ""),
        (Buffered, "get_buffer"),
        (Buffered, "updated"),
        (Buffered, "size"),
        (Buffered, "eof"),
    ]:
        for ends in "closed", "reset", "written":
            record("connection", kind.__name__, fails, ends)
            near, far = socket.socketpair()
            near.setblocking(False)
            far.setblocking(False)
            transport, protocol = await loop.connect_accepted_socket(functools.partial(kind, [fails]), near)
            await turns(4)
            transport.set_write_buffer_limits(1000)
            far.send(b"data")
            await turns(4)
            if ends == "written":
                transport.write(b"x" * 3_000_000)
                await turns(4)
                for _ in range(20):
                    try:
                        while far.recv(1 << 20):
                            pass
                    except OSError:
                        pass
                    await turns(2)
            elif ends == "reset":
                transport.write(b"x" * 3_000_000)
                far.close()
                await turns(6)
                transport.write(b"more")
            far.close()
            await turns(6)
            transport.abort()
            await turns(6)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, fails):
        self.fails = fails

    def connection_made(self, transport):
        Protocol.event(self, "made")

    def datagram_received(self, data, address):
        Protocol.event(self, "data")

    def error_received(self, error):
        record("error", links(error))
        Protocol.event(self, "error")

    def connection_lost(self, error):
        record("lost with", links(error))
        Protocol.event(self, "lost")


async def datagrams(loop):
    for fails in "", "made", "data", "error", "lost":
        record("datagrams", fails)
        closed = socket.socket(type=socket.SOCK_DGRAM)
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
        closed.close()
        transport, _ = await loop.create_datagram_endpoint(functools.partial(Datagrams, [fails]), remote_addr=address)
        await turns(4)
        for _ in range(3):
            transport.sendto(b"nobody hears")
            await turns(4)
        transport.close()
        await turns(4)
        transport, _ = await loop.create_datagram_endpoint(
            functools.partial(Datagrams, [fails]), local_addr=("127.0.0.1", 0)
        )
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.sendto(b"data", transport.get_extra_info("sockname"))
        await turns(4)
        try:
            transport.sendto(b"x" * 100_000, address)
        except Exception as error:
            record("too long", links(error))
        await turns(4)
        transport.close()
        await turns(4)


async def pipes(loop):
    for fails in "", "made", "data", "eof", "lost":
        record("pipes", fails)
        ends = os.pipe()
        reader, _ = await loop.connect_read_pipe(functools.partial(Protocol, [fails]), os.fdopen(ends[0], "rb"))
        writer, _ = await loop.connect_write_pipe(functools.partial(Protocol, [fails]), os.fdopen(ends[1], "wb"))
        writer.write(b"data")
        await turns(6)
        writer.close()
        await turns(6)
        reader.close()
        await turns(6)
        ends = os.pipe()
        writer, _ = await loop.connect_write_pipe(functools.partial(Protocol, [fails]), os.fdopen(ends[1], "wb"))
        os.close(ends[0])
        writer.write(b"nobody reads")
        await turns(6)
        writer.close()
        await turns(6)


AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)


CERTIFICATE = AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)


async def tls(loop):
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(serving)
    trusting, strict = ssl.create_default_context(), ssl.create_default_context()
    AUTHORITY.configure_trust(trusting)
    for kind, fails, context in [
        (Protocol, "", trusting),
        (Protocol, "", strict),
        (Protocol, "made", trusting),
        (Protocol, "data", trusting),
        (Protocol, "eof", trusting),
        (Protocol, "lost", trusting),
        (Protocol, "pause", trusting),
        (Protocol, "resume", trusting),
        (Buffered, "get_buffer", trusting),
        (Buffered, "updated", trusting),
        (Buffered, "size", trusting),
    ]:
        record("tls", kind.__name__, fails, context is strict)
        near, far = socket.socketpair()
        accepted = loop.create_task(loop.connect_accepted_socket(functools.partial(kind, [fails]), near, ssl=serving))
        connecting = loop.create_connection(asyncio.Protocol, sock=far, ssl=context, server_hostname="localhost")
        ends = await asyncio.gather(connecting, accepted, return_exceptions=True)
        record([type(end).__name__ for end in ends])
        if isinstance(ends[1], tuple):
            transport = ends[1][0]
            transport.set_write_buffer_limits(1000)
            if not isinstance(ends[0], Exception):
                ends[0][0].write(b"data")
                await turns(20)
                if "e" in fails or not fails:
                    transport.write(b"x" * 3_000_000)
                    await turns(100)
                ends[0][0].close()
            await turns(20)
            transport.abort()
        await turns(20)


each_part(transports, datagrams, pipes, tls, twice=[transports])
