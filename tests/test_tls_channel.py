"""The channel under TLS: records that OpenSSL itself decrypts and encrypts, beside an SSLObject that anybody may use too."""

import _ssl
import contextlib
import gc
import os
import socket
import ssl
import subprocess
import sys

import certificates
import pytest
import rasyncio as asyncio
from peers import run
from rasyncio import sslproto
from tls_peers import Buffered, Echo, Far, connect, details, served, settled, tls_and_socket, unnamed_client

POSSIBLE = hasattr(_ssl, "__file__") and ssl.OPENSSL_VERSION.startswith("OpenSSL ")
needed = pytest.mark.skipif(not POSSIBLE, reason="_ssl keeps its OpenSSL to itself")


def has_channel(transport):
    return transport._ssl_protocol._has_channel


def test_there_is_one_where_there_can_be(tls_way):
    async def main():
        async with tls_and_socket() as (transport, protocol, _):
            assert has_channel(transport) is (POSSIBLE and tls_way == "channel")

    run(main())


@pytest.mark.parametrize("part", ["_sslobj", "_incoming", "_outgoing"])
def test_none_is_used_beside_what_somebody_put_in(part):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            tls = transport._ssl_protocol
            setattr(tls, part, getattr(tls, part))
            assert not has_channel(transport)
            transport.write(b"there")
            assert await far.do(far.tls.read, 100) == b"there"
            await far.do(far.tls.write, b"back")
            await protocol.until(lambda p: p.data == b"back")

    run(main())


def test_flow_control_hears_of_each_write_once(tls_way):
    """Where both marks are zero it tells at each of them the opposite of the last time."""

    async def main():
        async with tls_and_socket() as (transport, protocol, _):
            transport.set_write_buffer_limits(high=0)
            assert protocol.events[1:] == ["pause"]
            for number, pieces in enumerate(([], [b"a"], [b"a", bytearray(b"b")], [memoryview(b"c")])):
                transport.writelines(pieces)
                assert protocol.events[-1] == ("pause" if number % 2 else "resume")
                assert len(protocol.events) == 3 + number
            transport.write(b"d")
            assert protocol.events[-1] == "resume" and len(protocol.events) == 7

    run(main())


@needed
def test_none_where_messages_are_listened_to():
    async def main():
        context, heard = certificates.client(), []
        context._msg_callback = lambda *message: heard.append(message)
        async with served() as (port, made):
            transport, protocol = await connect(port, context=context)
            assert not has_channel(transport)
            transport.write(b"x")
            await protocol.until(lambda p: p.data == b"x")
            assert heard
            transport.close()
            await settled(protocol, *made)

    run(main())


@needed
def test_none_where_keys_are_written_to_a_file(tmp_path):
    async def main():
        context = certificates.client()
        context.keylog_filename = tmp_path / "keys"
        async with served() as (port, made):
            transport, protocol = await connect(port, context=context)
            assert not has_channel(transport)
            transport.write(b"x")
            await protocol.until(lambda p: p.data == b"x")
            transport.close()
            await settled(protocol, *made)
        assert "TRAFFIC_SECRET" in (tmp_path / "keys").read_text()

    run(main())


CHANNEL = """
import _ssl, ssl, sys
sys.path.insert(0, sys.argv[1])
{}
import rasyncio
from tls_peers import connect, served, settled

async def main():
    async with served() as (port, made):
        transport, protocol = await connect(port)
        transport.write(b"x")
        await protocol.until(lambda p: p.data == b"x")
        print(transport._ssl_protocol._has_channel)
        transport.close()
        await settled(protocol, *made)

rasyncio.run(main())
"""


@needed
@pytest.mark.parametrize(
    "change, answer",
    [
        ("", b"True"),
        ("_ssl.OPENSSL_VERSION = 'OpenSSL 3.0.0 7 sep 2021'", b"False"),
        ("_ssl.OPENSSL_VERSION = 3", b"False"),
        ("_ssl.__file__ = None", b"False"),
        ("del _ssl._SSLSocket", b"False"),
        ("del _ssl._SSLContext", b"False"),
        (r"_ssl.__file__ = '\udcff\ud800'", b"UnicodeEncodeError"),
        ("_ssl.__file__ = sys.executable + chr(0)", b"False"),
    ],
)
def test_none_where_it_is_not_certain_which_openssl_is_meant(change, answer):
    program = [sys.executable, "-c", CHANNEL.format(change), os.path.dirname(__file__)]
    done = subprocess.run(program, capture_output=True, timeout=60)
    assert answer in (done.stdout or done.stderr)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is not asked for before 3.12")
@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_what_the_memory_of_a_program_raises_is_raised(tls_way, error):
    class Once(bytearray):
        asked = 0

        def __buffer__(self, flags):
            self.asked += 1
            if self.asked == 1:
                raise error("not yet")
            return super().__buffer__(flags)

    async def main():
        contexts = details([])
        async with tls_and_socket() as (transport, protocol, far):
            with contextlib.ExitStack() as stack:
                if error is KeyboardInterrupt:
                    stack.enter_context(pytest.raises(error, match="not yet"))
                transport.writelines([b"before", Once(b"x"), b"after"])
            if error is KeyError:
                assert isinstance(await protocol.lost, KeyError) and len(contexts) == 1
            else:
                transport.write(b"later")
                got = b""
                while not got.endswith(b"later"):
                    got += await far.do(far.tls.read, 100)
                assert got == b"beforelater"

    run(main())


def test_what_others_write_by_the_object_keeps_its_place(tls_way):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            written = transport.get_extra_info("ssl_object").write
            transport.write(b"a")
            written(b"b")
            assert transport.get_write_buffer_size() > 0
            transport.write(b"c" * 20_000)
            transport.writelines([b"d", bytearray(b"e"), memoryview(b"f")])
            written(b"g")
            transport.write(bytearray(b"h"))
            expected, got = b"ab" + b"c" * 20_000 + b"defgh", b""
            while len(got) < len(expected):
                got += await far.do(far.tls.read, 100_000)
            assert got == expected and transport.get_write_buffer_size() == 0

    run(main())


def test_a_transport_below_whose_write_is_somebodys_own_gets_all_by_it(tls_way):
    async def main():
        async with tls_and_socket() as (transport, _, far):
            below, sent = transport._ssl_protocol._transport, []
            write = below.write
            below.write = sent.append
            transport.write(b"a")
            transport.writelines([b"b", b"c"])
            assert 2 <= len(sent) <= 3
            write(b"".join(sent))
            got = b""
            while len(got) < 3:
                got += await far.do(far.tls.read, 100)
            assert got == b"abc"

    run(main())


def test_an_error_of_a_later_piece_keeps_the_earlier_ones_from_being_sent(tls_way):
    async def main():
        contexts = details([])
        async with tls_and_socket() as (transport, protocol, far):
            transport.writelines([b"before", memoryview(b"abcd")[::2]])
            assert isinstance(await protocol.lost, BufferError) and len(contexts) == 1
            # A reset, if the far end's tickets were not read yet.
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.get_running_loop().sock_recv(far.sock, 100) == b""

    run(main())


def test_what_comes_after_the_end_is_left_where_it_is(tls_way):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            tls = transport._ssl_protocol
            with contextlib.suppress(ssl.SSLWantReadError):
                far.tls.unwrap()
            await asyncio.get_running_loop().sock_sendall(far.sock, far.go.read() + b"after")
            await protocol.until(lambda p: "eof" in p.events)
            assert tls._incoming.read() == b"after"

    run(main())


def test_others_read_by_the_object_what_is_not_handed_on(tls_way):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            read, pending = (getattr(transport.get_extra_info("ssl_object"), name) for name in ("read", "pending"))
            transport.pause_reading()
            await far.do(far.tls.write, b"first")
            got = b""
            while not got:
                # Tickets come before.
                with contextlib.suppress(ssl.SSLWantReadError):
                    got = read(2)
                await asyncio.sleep(0)
            assert got == b"fi" and pending() == 3
            await far.do(far.tls.write, b" and second")
            transport.resume_reading()
            await protocol.until(lambda p: p.data == b"rst and second")
            with pytest.raises(ssl.SSLWantReadError):
                read(1)

    run(main())


def test_records_in_pieces_into_a_small_buffer(tls_way):
    async def main():
        sent = bytes(range(256)) * 300
        async with tls_and_socket(Buffered) as (transport, protocol, far):
            far.tls.write(sent)
            records = far.go.read()
            loop = asyncio.get_running_loop()
            for start in range(0, len(records), 7000):
                await loop.sock_sendall(far.sock, records[start : start + 7000])
                await asyncio.sleep(0)
            await protocol.until(lambda p: len(p.data) == len(sent))
            assert protocol.data == sent

    run(main())


def test_the_object_outlives_the_connection(tls_way):
    async def main():
        async with served(Echo) as (port, made):
            transport, protocol = await connect(port)
            transport.write(b"x")
            await protocol.until(lambda p: p.data == b"x")
            kept = transport.get_extra_info("ssl_object")
            transport.abort()
            await settled(protocol, *made)
        return kept

    kept = run(main())
    gc.collect()
    assert kept.version() == "TLSv1.3" and kept.pending() == 0
    with pytest.raises(ssl.SSLWantReadError):
        kept.read()
    assert kept.write(b"y") == 1
    del kept
    gc.collect()


def test_what_goes_wrong_in_a_later_handshake_is_noticed_at_once(tls_way):
    """A client's certificate is asked for, and its answer comes in two records, of which the second is broken."""

    async def main():
        context, asked = certificates.server(), unnamed_client()
        context.verify_mode = ssl.CERT_OPTIONAL
        context.post_handshake_auth = asked.post_handshake_auth = True
        async with served(Echo, context=context) as (port, made):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.setblocking(False)
                far = Far(sock, asked, server_side=False)
                await far.do(far.tls.do_handshake)
                await far.do(far.tls.write, b"x")
                assert await far.do(far.tls.read, 100) == b"x"
                made[0].transport.get_extra_info("ssl_object").verify_client_post_handshake()
                made[0].transport.write(b"answer")
                loop, got = asyncio.get_running_loop(), b""
                while not got:
                    far.come.write(await loop.sock_recv(sock, 1 << 16))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        got = far.tls.read(100)
                answer = bytearray(far.go.read())
                assert answer[3] * 256 + answer[4] + 5 < len(answer)
                answer[-1] ^= 1
                await loop.sock_sendall(sock, answer)
                assert isinstance(await made[0].lost, ssl.SSLError)
            assert made[0].events == ["made", "data", "lost"]

    run(main())


def test_tickets_are_taken_in(tls_way):
    async def main():
        context = certificates.server()
        context.num_tickets = 7
        async with served(Echo, context=context) as (port, made):
            transport, protocol = await connect(port)
            transport.write(b"x" * 100_000)
            await protocol.until(lambda p: len(p.data) == 100_000)
            assert transport.get_extra_info("ssl_object").session.has_ticket
            transport.close()
            await settled(protocol, *made)

    run(main())


def test_the_switch_is_read_when_a_handshake_ends(monkeypatch):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            before = has_channel(transport)
            monkeypatch.setattr(sslproto, "_channels", False)
            assert has_channel(transport) is before is POSSIBLE
            await far.do(far.tls.write, b"x")
            await protocol.until(lambda p: p.data == b"x")

    run(main())
