"""Making connections and servers, and the sock_* calls, over real sockets on the loopback interface."""

import errno
import gc
import os
import resource
import socket
import sys

import pytest
import rasyncio as asyncio
from peers import Recorder, pair, run


def test_descriptors_of_transports_are_off_limits():
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, far = await pair()
        shown = transport.get_extra_info("socket")
        for call in (loop.add_reader, loop.add_writer):
            for fd in (shown.fileno(), shown):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call(fd, print)
        for call in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                call(shown)
        transport.close()
        await protocol.lost
        far.close()

    run(main())


@pytest.mark.parametrize("protocol", [0, socket.IPPROTO_TCP])
def test_small_packets_are_sent_at_once_however_the_listening_socket_was_made(protocol):
    """Servers that bind their sockets themselves, as uvicorn does for its workers, give no protocol."""

    async def main():
        accepted = asyncio.get_running_loop().create_future()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
        listener.bind(("127.0.0.1", 0))

        class Near(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.set_result(transport)

        server = await asyncio.get_running_loop().create_server(Near, sock=listener)
        with socket.create_connection(listener.getsockname()):
            transport = await accepted
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            transport.close()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_descriptor_that_is_used_again_belongs_to_its_new_owner():
    async def main():
        seen = []
        for number in range(200):
            transport, protocol, far = await pair()
            seen.append(transport.get_extra_info("socket").fileno())
            far.send(b"%d" % number)
            if number % 2:
                await protocol.until(lambda p: p.data)
                assert protocol.data == b"%d" % number
            transport.abort()
            await protocol.lost
            far.close()
        assert len(set(seen)) < 20

    run(main())


def test_a_cancelled_sock_recv_loses_nothing_and_unregisters():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        for _ in range(20):
            task = asyncio.create_task(loop.sock_recv(near, 10))
            await asyncio.sleep(0)
            far.send(b"x")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await loop.sock_recv(near, 10) == b"x"
        assert loop.remove_reader(near) is False
        near.close()
        far.close()

    run(main())


def test_a_cancelled_sock_recv_leaves_its_successor_alone():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        near.setblocking(False)
        first = asyncio.create_task(loop.sock_recv(near, 10))
        await asyncio.sleep(0)
        second = asyncio.create_task(loop.sock_recv(near, 10))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        far.send(b"x")
        assert await second == b"x"
        near.close()
        far.close()

    run(main())


def test_the_sock_calls():
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        near = socket.socket()
        near.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await loop.sock_connect(near, listener.getsockname())
        far, address = await accepting
        assert address == near.getsockname() and far.gettimeout() == 0
        data = os.urandom(4 << 20)
        sending = asyncio.create_task(loop.sock_sendall(near, data))
        received, buffer = bytearray(), bytearray(50_000)
        while len(received) < len(data):
            received += buffer[: await loop.sock_recv_into(far, buffer)]
        assert received == data and await sending is None
        for sock in (listener, near, far):
            sock.close()

    run(main())


def test_sock_connect_that_is_refused():
    async def main():
        loop = asyncio.get_running_loop()
        closed = socket.create_server(("127.0.0.1", 0))
        address = closed.getsockname()
        closed.close()
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(sock, address)

    run(main())


def test_accepting_survives_running_out_of_descriptors(monkeypatch):
    monkeypatch.setattr("rasyncio.constants.ACCEPT_RETRY_DELAY", 0.01)

    async def main():
        loop = asyncio.get_running_loop()
        reports, failed = [], asyncio.Event()

        def report(loop, context):
            reports.append(context)
            failed.set()

        loop.set_exception_handler(report)
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = socket.socket()
        client.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, hard))
        try:
            while True:
                try:
                    fillers.append(os.dup(0))
                except OSError:
                    break
            await loop.sock_connect(client, address)
            await failed.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        assert reports[0]["message"] == "socket.accept() out of system resource"
        assert reports[0]["exception"].errno == errno.EMFILE
        reader, writer = await asyncio.open_connection(*address)
        writer.close()
        await writer.wait_closed()
        client.close()
        server.close()
        server.close_clients()
        await server.wait_closed()

    run(main())


@pytest.mark.usefixtures("without_debug")
def test_a_factory_that_raises_closes_the_connection(complaints):
    async def main():
        loop = asyncio.get_running_loop()

        def broken():
            raise ZeroDivisionError

        server = await loop.create_server(broken, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionResetError:
            pass
        with pytest.raises(ZeroDivisionError):
            await loop.create_connection(broken, *server.sockets[0].getsockname())
        server.close()
        await server.wait_closed()

    run(main())


def test_a_cancelled_connection_leaves_no_descriptor():
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        for turns in range(12):
            task = asyncio.create_task(loop.create_connection(Recorder, *listener.getsockname()))
            for _ in range(turns):
                await asyncio.sleep(0)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                transport, protocol = await task
                transport.abort()
                await protocol.lost
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        listener.close()

    run(main())


def test_connections_that_fail_tell_why():
    async def main():
        loop = asyncio.get_running_loop()
        closed = socket.create_server(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            await loop.create_connection(Recorder, "127.0.0.1", port)
        with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
            await loop.create_connection(Recorder, "127.0.0.1", port, all_errors=True)
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]
        with pytest.raises(OSError, match="no matching local address"):
            await loop.create_connection(Recorder, "127.0.0.1", port, local_addr=("::1", 0))

    run(main())


@pytest.mark.parametrize("arguments", [{}, {"happy_eyeballs_delay": 0.2}, {"interleave": 1}])
def test_the_first_address_that_answers_is_taken(arguments):
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        closed = socket.create_server(("127.0.0.1", 0))
        refused = closed.getsockname()
        closed.close()
        tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")

        async def getaddrinfo(host, port, **options):
            return [(socket.AF_INET, *tcp, refused), (socket.AF_INET, *tcp, listener.getsockname())]

        loop.getaddrinfo = getaddrinfo
        transport, protocol = await loop.create_connection(Recorder, "somewhere.invalid", 1, **arguments)
        assert transport.get_extra_info("peername") == listener.getsockname()
        transport.close()
        await protocol.lost
        listener.close()

    run(main())


def test_a_local_address_is_bound():
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        address = listener.getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address, local_addr=("127.0.0.1", 0))
        far, peer = listener.accept()
        assert transport.get_extra_info("sockname") == peer
        transport.close()
        await protocol.lost
        far.close()
        listener.close()

    run(main())


def test_the_life_of_a_server():
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving() and server.get_loop() is loop
        async with server:
            assert type(server.sockets) is tuple and len(server.sockets) == 1
            await server.start_serving()
            assert server.is_serving()
            serving = asyncio.create_task(server.serve_forever())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="already being awaited on serve_forever"):
                await server.serve_forever()
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
        assert server.sockets == () and not server.is_serving()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(main())


@pytest.mark.parametrize("way", ["close_clients", "abort_clients"])
def test_wait_closed_waits_for_connections(way):
    async def main():
        made = asyncio.Event()

        class Noting(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.set()

        server = await asyncio.get_running_loop().create_server(Noting, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await made.wait()
        server.close()
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # Until 3.12 a closed server is not waited for, whatever its connections do.
        assert waiting.done() is (sys.version_info < (3, 12))
        getattr(server, way)()
        await waiting
        client.close()

    run(main())


def test_several_hosts_and_an_address_in_use():
    async def main():
        loop = asyncio.get_running_loop()
        async with await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.1"], 0, keep_alive=True) as server:
            (shown,) = server.sockets
            assert shown.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert shown.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
                await loop.create_server(Recorder, *shown.getsockname())
            assert caught.value.errno == errno.EADDRINUSE

    run(main())


def test_an_accepted_socket_gets_a_transport():
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
        client.sendall(b"hello")
        client.close()
        await protocol.lost
        assert protocol.events == ["made", "data", "eof", "lost"]
        listener.close()

    run(main())


def test_wrong_arguments():
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as stream:
            for call in (loop.create_connection, loop.create_server):
                with pytest.raises(ValueError, match="A Stream Socket was expected"):
                    await call(Recorder, sock=datagrams)
                with pytest.raises(ValueError, match="host/port and sock can not be specified at the same time"):
                    await call(Recorder, "127.0.0.1", 1, sock=stream)
                with pytest.raises(ValueError, match="only meaningful with ssl"):
                    await call(Recorder, "127.0.0.1", 1, ssl_handshake_timeout=1)
            with pytest.raises(ValueError, match="host and port was not specified and no sock specified"):
                await loop.create_connection(Recorder)
            with pytest.raises(ValueError, match="Neither host/port nor sock were specified"):
                await loop.create_server(Recorder)
            with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
                await loop.create_server(Recorder, "127.0.0.1", 0, ssl=True)

    run(main())


def test_a_second_init_of_a_loop_lets_go_of_watchers_safely():
    loop = asyncio.new_event_loop()
    left, right = socket.socketpair()
    added = []

    class Adding:
        def __del__(self):
            added.append(loop.add_reader(right, print))

    loop.add_reader(left, print, Adding())
    loop.__init__()
    gc.collect()
    assert len(added) == 1 and loop.remove_reader(right)
    loop.close()
    left.close()
    right.close()


def test_a_chain_of_pending_tasks_is_written_no_deeper_than_in_python():
    async def wait(future):
        return await future

    async def main():
        future = last = asyncio.get_running_loop().create_future()
        for _ in range(2000):
            last = asyncio.create_task(wait(last))
        await asyncio.sleep(0)
        with pytest.raises(RecursionError):
            repr(last)
        future.set_result(1)
        assert await last == 1

    run(main())


def test_a_transport_made_by_its_class_is_the_native_one():
    from rasyncio.selector_events import _SelectorDatagramTransport, _SelectorSocketTransport, _SelectorTransport

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            lost = loop.create_future()
            made = []

            class Answering(asyncio.Protocol):
                def connection_made(self, transport):
                    made.append(transport)

                def data_received(self, data):
                    made[0].write(data + b"!")

                def connection_lost(self, exc):
                    lost.set_result(exc)

            transport = _SelectorSocketTransport(loop, ours, Answering())
            assert isinstance(transport, _SelectorSocketTransport) and isinstance(transport, _SelectorTransport)
            assert not isinstance(transport, _SelectorDatagramTransport)
            theirs.setblocking(False)
            await loop.sock_sendall(theirs, b"hello")
            assert await loop.sock_recv(theirs, 100) == b"hello!"
            transport.close()
            assert await lost is None and made == [transport]

    run(main())


def test_a_transport_is_made_for_a_loop_of_rasyncio_only():
    from rasyncio.selector_events import _SelectorDatagramTransport, _SelectorSocketTransport, _SelectorTransport

    for made in _SelectorSocketTransport, _SelectorDatagramTransport:
        with pytest.raises(TypeError, match="made for a BaseSelectorEventLoop of rasyncio"):
            made(object(), None, asyncio.Protocol())
    with pytest.raises(NotImplementedError, match="transports are _SelectorSocketTransport"):
        _SelectorTransport(object(), None, asyncio.Protocol())


def test_a_listener_that_an_eager_connection_closes_accepts_no_more():
    """Another listener has its number by then; what waits there is not the server's."""
    reports, served = [], []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        loop.set_exception_handler(lambda loop, details: reports.append(details["exception"]))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        number, address = listener.fileno(), listener.getsockname()
        stranger = socket.create_server(("127.0.0.1", 0))
        visitor = socket.create_connection(stranger.getsockname())
        clients = [socket.create_connection(address) for _ in range(2)]

        def factory():
            listener.close()
            moved = stranger.detach()
            os.dup2(moved, number)
            os.close(moved)
            served.append(socket.socket(fileno=number))
            return asyncio.Protocol()

        server = await loop.create_server(factory, sock=listener)
        while not reports:
            await asyncio.sleep(0)
        [error] = reports
        assert isinstance(error, OSError) and error.errno == errno.EBADF
        # The stranger's visitor is still waiting for the stranger.
        [stranger] = served
        connection, _ = stranger.accept()
        for one in (connection, stranger, visitor, *clients):
            one.close()
        with pytest.raises(ValueError, match="Invalid file descriptor"):
            server.close()
        server.close_clients()
        for _ in range(3):
            await asyncio.sleep(0)

    run(main())
