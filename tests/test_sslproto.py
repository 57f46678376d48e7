import contextlib
import gc
import logging
import socket
import ssl
import sys
import weakref

import certificates
import pytest
import rasyncio as asyncio
from peers import Recorder, receive, run, tcp_pair
from rasyncio import sslproto
from tls_peers import BIG, Buffered, Echo, connect, details, served, settled, tls_and_socket

pytestmark = pytest.mark.usefixtures("tls_way")


@pytest.mark.parametrize("factory", [Recorder, Buffered, type("Views", (Buffered,), {"memory_type": memoryview})])
@pytest.mark.parametrize("data", [b"hello", BIG])
def test_what_is_written_comes_back(factory, data):
    async def main():
        async with served() as (port, made):
            transport, protocol = await connect(port, factory)
            transport.write(data)
            await protocol.until(lambda p: len(p.data) == len(data))
            assert protocol.data == data
            transport.close()
            await settled(protocol, *made)
            assert await protocol.lost is None
            assert set(protocol.events) <= {"made", "data", "eof", "lost", "pause", "resume"}
            assert protocol.events[0] == "made" and protocol.events[-1] == "lost"

    run(main())


def test_streams():
    async def handle(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=certificates.server())
        port = server.sockets[0].getsockname()[1]
        options = {"ssl": certificates.client(), "server_hostname": "localhost"}
        reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
        for line in (b"one\n", b"two\n" * 1, b"x" * 60000 + b"\n"):
            writer.write(line)
            assert await reader.readline() == line.upper()
        writer.writelines([b"a", b"", bytearray(b"b"), memoryview(b"c\n")])
        assert await reader.readline() == b"ABC\n"
        assert not writer.can_write_eof()
        with pytest.raises(NotImplementedError):
            writer.write_eof()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_what_a_transport_knows():
    async def main():
        async with served() as (port, made):
            transport, protocol = await connect(port)
            know = transport.get_extra_info
            assert isinstance(transport, asyncio.Transport) and isinstance(transport, sslproto._SSLProtocolTransport)
            tls = know("ssl_object")
            assert type(tls) is ssl.SSLObject and tls.version() == "TLSv1.3"
            assert tls.getpeercert() == know("peercert") and ("DNS", "localhost") in know("peercert")["subjectAltName"]
            assert tls.cipher() == know("cipher") and know("compression", "none") is None
            assert isinstance(know("sslcontext"), ssl.SSLContext) and know("peername") == ("127.0.0.1", port)
            assert know("socket").fileno() > 0 and know("nothing", 5) == 5
            assert transport.get_protocol() is protocol and transport.is_reading() and not transport.is_closing()
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
            assert transport.get_write_buffer_size() == transport.get_read_buffer_size() == 0
            below = transport._ssl_protocol
            assert isinstance(below, asyncio.BufferedProtocol) and below._state is sslproto.SSLProtocolState.WRAPPED
            assert below._app_state is sslproto.AppProtocolState.STATE_CON_MADE
            transport.close()
            assert transport.is_closing()
            await settled(protocol, *made)
            assert know("peercert") == tls.getpeercert() and know("socket") is None
            assert below._state is sslproto.SSLProtocolState.UNWRAPPED
            transport.close()
            assert know("peercert", 7) == 7 and transport.get_protocol() is None
            transport.write(b"to nobody")

    run(main())


def test_the_marks():
    async def main():
        async with served() as (port, made):
            transport, protocol = await connect(port)
            transport.set_write_buffer_limits(low=10)
            assert transport.get_write_buffer_limits() == (10, 40)
            transport.set_read_buffer_limits(high=100)
            assert transport.get_read_buffer_limits() == (25, 100)
            with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
                transport.set_write_buffer_limits(1, 2)
            assert sslproto.add_flowcontrol_defaults(None, None, 3) == (3072, 768)
            transport.close()
            await settled(protocol, *made)

    run(main())


@pytest.mark.usefixtures("without_debug")
def test_a_certificate_that_is_not_trusted():
    async def main():
        contexts = details([])
        async with served() as (port, made):
            with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
                await connect(port, context=ssl.create_default_context())
            with pytest.raises(ssl.SSLCertVerificationError, match="certificate is not valid for 'elsewhere'"):
                await connect(port, name="elsewhere")
        assert contexts == [] and [protocol.events for protocol in made] in ([[], []], [["made", "lost"]] * 2)

    run(main())


@pytest.mark.usefixtures("without_debug")
def test_a_peer_that_speaks_no_tls():
    async def main():
        contexts = details([])
        async with served() as (port, made):
            loop = asyncio.get_running_loop()
            with socket.socket() as stranger:
                stranger.setblocking(False)
                await loop.sock_connect(stranger, ("127.0.0.1", port))
                await loop.sock_sendall(stranger, b"GET / HTTP/1.0\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    assert await receive(stranger, 1 << 20) == b""
        assert contexts == [] and made[0].events == []

    run(main())


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01"])
def test_a_peer_that_goes_away_in_the_handshake(sent):
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        connecting = loop.create_task(connect(listener.getsockname()[1]))
        far, _ = await loop.sock_accept(listener)
        await loop.sock_recv(far, 1 << 16)
        await loop.sock_sendall(far, sent)
        far.close()
        listener.close()
        with pytest.raises(ConnectionResetError):
            await connecting

    run(main())


def test_time_limits():
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        text = "SSL handshake is taking longer than 0.01 seconds: aborting the connection"
        with pytest.raises(ConnectionAbortedError, match=text):
            await connect(listener.getsockname()[1], ssl_handshake_timeout=0.01)
        listener.close()
        for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            with pytest.raises(ValueError, match=f"{name} should be a positive number, got -1"):
                sslproto.SSLProtocol(None, None, certificates.client(), None, **{name: -1})
            with pytest.raises(ValueError, match=f"{name} is only meaningful with ssl"):
                await asyncio.get_running_loop().create_connection(Recorder, "127.0.0.1", 1, **{name: 1})

    run(main())


def test_a_peer_that_does_not_answer_the_end():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            far.do_not_answer = True
            transport.close()
            error = await protocol.lost
            assert isinstance(error, TimeoutError) and str(error) == "SSL shutdown timed out"

    run(main())


def test_close_notify_from_the_peer():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            await far.do(far.tls.write, b"last words")
            await far.do(far.tls.unwrap)
            await protocol.lost
            assert protocol.events == ["made", "data", "eof", "lost"] and protocol.data == b"last words"

    run(main())


def test_an_end_without_close_notify_is_no_error():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            await far.do(far.tls.write, b"cut short")
            far.sock.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.events == ["made", "data", "eof", "lost"]

    run(main())


def test_close_sends_what_is_written_first():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            transport.write(BIG)
            transport.close()
            got = bytearray()
            while piece := await far.do(far.tls.read, 1 << 16):
                got += piece
            assert got == BIG
            await far.do(far.tls.unwrap)
            assert await protocol.lost is None

    run(main())


def test_garbage_after_the_handshake():
    async def main():
        contexts = details([])
        async with tls_and_socket() as (transport, protocol, far):
            await asyncio.get_running_loop().sock_sendall(far.sock, b"\x17\x03\x03\x00\x20" + b"x" * 32)
            error = await protocol.lost
            assert type(error) is ssl.SSLError
            assert contexts == [] and protocol.events == ["made", "lost"]

    run(main())


def test_true_from_eof_received_only_warns(caplog):
    async def main():
        async with tls_and_socket(lambda: Recorder(keep_open=True)) as (transport, protocol, far):
            await far.do(far.tls.unwrap)
            await protocol.lost

    run(main())
    assert "returning true from eof_received() has no effect when using ssl" in caplog.text


@pytest.mark.parametrize("method", ["data_received", "eof_received", "pause_writing"])
def test_what_a_protocol_raises(method):
    def raises(self, *args):
        raise LookupError(method)

    async def main():
        contexts = details([])
        async with served() as (port, made):
            transport, protocol = await connect(port, type("Raising", (Recorder,), {method: raises}))
            if method == "pause_writing":
                transport.set_write_buffer_limits(0, 0)
                transport.abort()
            elif method == "data_received":
                transport.write(b"x")
            else:
                await made[0].until(lambda p: p.transport)
                made[0].transport.close()
            await settled(protocol, *made)
        message = {
            "data_received": "Fatal error on SSL protocol",
            "eof_received": "Error calling eof_received()",
            "pause_writing": "protocol.pause_writing() failed",
        }[method]
        assert [c["message"] for c in contexts] == [message] and isinstance(contexts[0]["exception"], LookupError)

    run(main())


def test_names_and_contexts_that_are_refused():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="You must set server_hostname when using ssl without a host"):
            await loop.create_connection(Recorder, sock=None, port=1, ssl=True)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_connection(Recorder, "127.0.0.1", 1, server_hostname="x")
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)
        with pytest.raises(ValueError, match="Server side SSL needs a valid SSLContext"):
            sslproto._create_transport_context(True, "")
        assert not sslproto._create_transport_context(False, "").check_hostname
        transport, protocol, far = await tcp_pair()
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance of ssl.SSLContext, got 5"):
            await loop.start_tls(transport, protocol, 5)
        with pytest.raises(TypeError, match="transport 5 is not supported by start_tls"):
            await loop.start_tls(5, protocol, certificates.client())
        if sys.version_info >= (3, 14):  # the ssl module asks for it
            with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
                await loop.start_tls(transport, protocol, certificates.client())
        transport.abort()
        await protocol.lost
        far.close()

    run(main())


def test_protocols_are_agreed_on_and_names_told():
    async def main():
        server, other = certificates.server(), certificates.server("elsewhere")
        names = []

        def choose(tls, name, context):
            names.append(name)
            if name == "elsewhere":
                tls.context = other

        server.sni_callback = choose
        for context in (server, other):
            context.set_alpn_protocols(["h2", "http/1.1"])
        client = certificates.client()
        client.set_alpn_protocols(["http/1.1"])
        async with served(context=server) as (port, made):
            for name in ("localhost", "elsewhere"):
                transport, protocol = await connect(port, context=client, name=name)
                assert transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
                transport.close()
                await settled(protocol)
            await settled(*made)
        assert names == ["localhost", "elsewhere"]

    run(main())


def test_certificates_of_clients():
    async def main():
        server = certificates.server()
        server.verify_mode = ssl.CERT_REQUIRED
        certificates.authority().configure_trust(server)
        client = certificates.client()
        certificates.certificate("me@example.org").configure_cert(client)
        async with served(context=server) as (port, made):
            transport, protocol = await connect(port, context=client)
            transport.write(b"x")
            await protocol.until(lambda p: p.data)
            names = made[0].transport.get_extra_info("peercert")["subjectAltName"]
            assert names == (("email", "me@example.org"),)
            transport.close()
            await settled(protocol, *made)

    run(main())


def test_sessions_are_resumed():
    class Resuming(ssl.SSLObject):
        session_to_use = None

        @classmethod
        def _create(cls, *args, **kwargs):
            kwargs["session"] = cls.session_to_use
            return super()._create(*args, **kwargs)

    async def main():
        client = certificates.client()
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.sslobject_class = Resuming
        async with served() as (port, made):
            for resumed in (False, True):
                transport, protocol = await connect(port, context=client)
                tls = transport.get_extra_info("ssl_object")
                assert type(tls) is Resuming and tls.session_reused is resumed
                transport.write(BIG)
                await protocol.until(lambda p: len(p.data) == len(BIG))
                Resuming.session_to_use = tls.session
                transport.close()
                await settled(protocol)
            await settled(*made)

    run(main())


def test_a_patched_ssl_object_is_asked(monkeypatch):
    asked = []
    for name in ("read", "write"):
        method = getattr(ssl.SSLObject, name)
        monkeypatch.setattr(ssl.SSLObject, name, lambda *args, name=name, method=method: asked.append(name) or method(*args))

    async def main():
        async with served() as (port, made):
            transport, protocol = await connect(port)
            transport.write(b"x")
            await protocol.until(lambda p: p.data == b"x")
            transport.close()
            await settled(protocol, *made)

    run(main())
    assert {"read", "write"} == set(asked)


@pytest.mark.parametrize("data", ["text", 5, None])
def test_what_is_no_bytes_is_refused(data):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            with pytest.raises(TypeError, match=f"data: expecting a bytes-like instance, got {type(data).__name__}"):
                transport.write(data)

    run(main())


def test_writes_after_the_end_are_counted(caplog):
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            transport.abort()
            await protocol.lost
            for _ in range(6):
                transport.write(b"to nobody")

    run(main())
    assert caplog.text.count("SSL connection is closed") == 2


def test_abort_tells_the_program_later_and_once():
    async def main():
        async with served() as (port, made):
            transport, protocol = await connect(port)
            transport.write(BIG)
            transport.abort()
            transport.abort()
            assert protocol.events == ["made"]
            assert await protocol.lost is None
            await settled(*made)
            assert protocol.events == ["made", "lost"]

    run(main())


def test_unix_sockets(tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        path = str(tmp_path / "socket")
        server = await loop.create_unix_server(Echo, path, ssl=certificates.server())
        with pytest.raises(ValueError, match="you have to pass server_hostname when using ssl"):
            await loop.create_unix_connection(Recorder, path, ssl=certificates.client())
        options = {"ssl": certificates.client(), "server_hostname": "localhost"}
        transport, protocol = await loop.create_unix_connection(Recorder, path, **options)
        transport.write(b"over a file")
        await protocol.until(lambda p: p.data == b"over a file")
        transport.close()
        await protocol.lost
        server.close()
        await server.wait_closed()

    run(main())


def test_an_accepted_socket():
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        connecting = loop.create_task(connect(listener.getsockname()[1]))
        sock, _ = await loop.sock_accept(listener)
        accepting = loop.connect_accepted_socket(Echo, sock, ssl=certificates.server())
        (far, echo), (transport, protocol) = await asyncio.gather(accepting, connecting)
        transport.write(b"x")
        await protocol.until(lambda p: p.data == b"x")
        transport.close()
        await settled(protocol, echo)
        listener.close()

    run(main())


def test_a_file_is_read_and_sent(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BIG)

    async def main():
        loop = asyncio.get_running_loop()
        async with served(Recorder) as (port, made):
            transport, protocol = await connect(port)
            with open(path, "rb") as file:
                assert await loop.sendfile(transport, file) == len(BIG)
            with open(path, "rb") as file, pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)
            await made[0].until(lambda p: len(p.data) == len(BIG))
            assert made[0].data == BIG
            transport.close()
            await settled(protocol, *made)

    run(main())


def test_an_open_transport_that_is_collected_warns():
    async def main():
        transport, protocol, sock = await tcp_pair()
        tls = sslproto.SSLProtocol(asyncio.get_running_loop(), protocol, certificates.client(), None, False, "x")
        with pytest.warns(ResourceWarning, match="unclosed transport <asyncio._SSLProtocolTransport object>"):
            del tls
            gc.collect()
        transport.abort()
        await protocol.lost
        sock.close()

    run(main())


def test_the_log_of_debug_mode(caplog):
    caplog.set_level(logging.DEBUG, "asyncio")

    async def main():
        asyncio.get_running_loop().set_debug(True)
        async with tls_and_socket() as (transport, protocol, far):
            await asyncio.get_running_loop().sock_sendall(far.sock, b"\x17\x03\x03\x00\x20" + b"x" * 32)
            await protocol.lost

    run(main())
    for text in ("starts SSL handshake", ": SSL handshake took ", "Fatal error on SSL protocol"):
        assert text in caplog.text


def test_connections_leave_nothing_behind():
    async def main():
        async with served() as (port, made):
            context = certificates.client()
            seen = weakref.WeakSet()
            for _ in range(30):
                transport, protocol = await connect(port, context=context)
                seen.update([transport, transport._ssl_protocol, protocol, transport._ssl_protocol._transport])
                transport.write(b"x" * 100000)
                await protocol.until(lambda p: len(p.data) == 100000)
                transport.close()
                await settled(protocol)
            await settled(*made)
            del transport, protocol
            made.clear()
            await asyncio.sleep(0)
            gc.collect()
            assert not list(seen)

    run(main())
