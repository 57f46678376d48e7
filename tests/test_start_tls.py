"""TLS on connections that are there already, inside TLS, and on any transport."""

import contextlib
import ssl

import certificates
import pytest
import rasyncio as asyncio
from peers import Recorder, run, tcp_pair
from rasyncio import sslproto
from tls_peers import BIG, Echo, Far, connect, served, settled, unnamed_client

pytestmark = pytest.mark.usefixtures("tls_way")


@pytest.mark.parametrize("side", ["client", "server"])
def test_start_tls(side):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, sock = await tcp_pair()
        server_side = side == "server"
        context = certificates.server() if server_side else certificates.client()
        name = None if server_side else "localhost"
        far = Far(sock, certificates.server() if not server_side else unnamed_client(), not server_side)
        upgrading = loop.start_tls(transport, protocol, context, server_side=server_side, server_hostname=name)
        upgraded, _ = await asyncio.gather(upgrading, far.do(far.tls.do_handshake))
        assert upgraded.get_protocol() is protocol and protocol.events == ["made"]
        upgraded.write(b"there")
        assert await far.do(far.tls.read, 100) == b"there"
        await far.do(far.tls.write, b"back")
        await protocol.until(lambda p: p.data == b"back")
        upgraded.close()
        with contextlib.suppress(ssl.SSLError):
            await far.do(far.tls.unwrap)
        await protocol.lost
        assert protocol.events[-1] == "lost"
        sock.close()

    run(main())


def test_start_tls_given_up_closes_the_transport():
    async def main():
        transport, protocol, sock = await tcp_pair()
        starting = asyncio.get_running_loop().start_tls(transport, protocol, certificates.client(), server_hostname="x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(starting, 0.01)
        assert transport.is_closing()
        sock.close()
        for _ in range(5):
            await asyncio.sleep(0)

    run(main())


def test_start_tls_of_streams_with_bytes_that_were_read_already():
    seen = []

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        # The client did not wait: what it sent is in the reader, and is the beginning of the handshake.
        await asyncio.sleep(0.05)
        await writer.start_tls(certificates.server())
        assert reader._transport is writer.transport
        seen.append(await reader.readline())
        writer.write(b"welcome\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        await writer.start_tls(certificates.client(), server_hostname="localhost")
        writer.write(b"hello\n")
        assert await reader.readline() == b"welcome\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())
    assert seen == [b"hello\n"]


def test_tls_inside_tls():
    async def main():
        loop = asyncio.get_running_loop()
        async with served() as (port, made):
            transport, protocol = await connect(port)
            await asyncio.sleep(0)
            while not made:
                await asyncio.sleep(0)
            far = made[0]
            await far.until(lambda p: p.transport)
            far_in = loop.start_tls(far.transport, far, certificates.server("inside"), server_side=True)
            near_in = loop.start_tls(transport, protocol, certificates.client(), server_hostname="inside")
            near, far.transport = await asyncio.gather(near_in, far_in)
            near.write(BIG)
            await protocol.until(lambda p: len(p.data) == len(BIG))
            assert protocol.data == BIG
            names = near.get_extra_info("peercert")["subjectAltName"]
            assert names == (("DNS", "inside"),)
            near.close()
            await settled(protocol, far)
            transport.close()

    run(main())


def test_any_transport_will_do():
    """SSLProtocol as the BufferedProtocol that a transport written in Python sees."""

    class Wire(asyncio.Transport):
        def __init__(self):
            super().__init__()
            self.protocol, self.calls = None, []

        def write(self, data):
            loop.call_soon(self.other.bring, bytes(data))

        def bring(self, data):
            while data and self.protocol is not None:
                memory = self.protocol.get_buffer(-1)
                count = min(len(memory), len(data), 700)
                memory[:count] = data[:count]
                self.protocol.buffer_updated(count)
                data = data[count:]

        def is_closing(self):
            return "close" in self.calls

        def close(self):
            self.calls.append("close")
            loop.call_soon(self.lose, None)

        def lose(self, exc):
            if self.protocol is not None:
                self.protocol.connection_lost(exc)
                self.protocol = None

        _force_close = lose

        def pause_reading(self):
            self.calls.append("pause_reading")

        def resume_reading(self):
            self.calls.append("resume_reading")

    async def main():
        nonlocal loop
        loop = asyncio.get_running_loop()
        near, far, wires = Recorder(), Echo(), (Wire(), Wire())
        wires[0].other, wires[1].other = wires[1], wires[0]
        waiters = loop.create_future(), loop.create_future()
        wires[0].protocol = sslproto.SSLProtocol(loop, near, certificates.client(), waiters[0], False, "localhost")
        wires[1].protocol = sslproto.SSLProtocol(loop, far, certificates.server(), waiters[1], True)
        for wire in wires:
            wire.protocol.connection_made(wire)
        await asyncio.gather(*waiters)
        near.transport.write(BIG)
        await near.until(lambda p: len(p.data) == len(BIG))
        assert near.data == BIG and near.transport.get_extra_info("missing", 3) == 3
        near.transport.close()
        await settled(near, far)

    loop = None
    run(main())


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_a_class_of_ones_own_is_asked_for_its_memory(method, monkeypatch):
    asked = []

    class Own(sslproto.SSLProtocol):
        pass

    def asking(self, *args):
        asked.append(args)
        return getattr(super(Own, self), method)(*args)

    setattr(Own, method, asking)
    monkeypatch.setattr(sslproto, "SSLProtocol", Own)

    async def main():
        async with served() as (port, made):
            transport, protocol = await connect(port)
            transport.write(b"x")
            await protocol.until(lambda p: p.data)
            transport.close()
            await settled(protocol, *made)

    run(main())
    assert asked
