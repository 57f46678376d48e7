"""Socket transports, servers and the sock_* calls, over real sockets on the loopback interface."""

import contextvars
import errno
import gc
import os
import resource
import socket
import struct
import sys
import weakref

import pytest
import rasyncio as asyncio

LIMIT = 20  # seconds; only a test that fails waits so long
variable = contextvars.ContextVar("variable", default="unset")


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


class Recorder(asyncio.Protocol):
    """Notes everything that a transport calls, and can be waited for."""

    def __init__(self, keep_open=False):
        self.events, self.data, self.keep_open, self.transport = [], bytearray(), keep_open, None
        self.changed, self.lost = asyncio.Event(), asyncio.get_running_loop().create_future()

    def note(self, event):
        self.events.append(event)
        self.changed.set()

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.note("data")

    def eof_received(self):
        self.note("eof")
        return self.keep_open

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(exc)

    async def until(self, condition):
        while not condition(self):
            self.changed.clear()
            await self.changed.wait()


async def pair(factory=Recorder):
    """A transport and its protocol, and a plain non-blocking socket at the other end."""
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=near)
    return transport, protocol, far


async def receive(sock, count):
    """Exactly count bytes, or fewer if the end comes before."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < count and (piece := await loop.sock_recv(sock, 1 << 16)):
        data += piece
    return bytes(data)


def reset_on_close(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def tcp_pair(factory=Recorder):
    """As pair(), over TCP."""
    listener = socket.create_server(("127.0.0.1", 0))
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, *listener.getsockname())
    far, _ = listener.accept()
    far.setblocking(False)
    listener.close()
    return transport, protocol, far


def fill(transport):
    """Writes until the kernel takes no more; answers how many bytes that were."""
    written = 0
    while transport.get_write_buffer_size() == 0:
        transport.write(b"x" * 65536)
        written += 65536
    return written


def test_a_transport_is_an_asyncio_transport_and_tells_of_itself():
    async def main():
        transport, protocol, far = await tcp_pair()
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_protocol() is protocol
        assert transport.get_extra_info("peername") == far.getsockname()
        assert transport.get_extra_info("sockname") == far.getpeername()
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert transport.get_extra_info("nothing", 1) == 1
        assert transport.get_write_buffer_limits() == (16384, 65536)
        assert transport.can_write_eof() and transport.is_reading() and not transport.is_closing()
        assert "read=polling write=<idle, bufsize=0>" in repr(transport)
        assert weakref.ref(transport)() is transport
        transport.anything = 1
        transport.close()
        far.close()
        await protocol.lost
        assert "closed" in repr(transport)

    run(main())


@pytest.mark.parametrize("keep_open", [True, False, None])
def test_half_close_by_the_peer(keep_open):
    async def main():
        transport, protocol, far = await pair(lambda: Recorder(keep_open))
        far.shutdown(socket.SHUT_WR)
        await protocol.until(lambda p: "eof" in p.events)
        assert transport.is_closing() is (not keep_open)
        if keep_open:
            transport.write(b"still here")
            assert await receive(far, 10) == b"still here"
            transport.close()
        assert await protocol.lost is None
        assert protocol.events == ["made", "eof", "lost"]
        far.close()

    run(main())


def test_write_eof_comes_after_what_is_buffered_and_ends_writing():
    async def main():
        transport, protocol, far = await pair(lambda: Recorder(True))
        written = fill(transport)
        transport.write_eof()
        transport.write_eof()
        for method, argument in [(transport.write, b"late"), (transport.writelines, [b"late"])]:
            with pytest.raises(RuntimeError, match=r"Cannot call write(lines)?\(\) after write_eof\(\)"):
                method(argument)
        assert await receive(far, written + 1) == b"x" * written
        far.send(b"the other direction is open")
        await protocol.until(lambda p: p.data)
        transport.close()
        assert await protocol.lost is None
        far.close()

    run(main())


def test_close_sends_what_is_buffered():
    async def main():
        transport, protocol, far = await tcp_pair()
        data = os.urandom(8 << 20)
        transport.write(data)
        transport.close()
        transport.close()
        assert transport.is_closing() and "lost" not in protocol.events
        assert await receive(far, len(data) + 1) == data
        assert await protocol.lost is None
        assert protocol.events == ["made", "pause", "resume", "lost"]
        far.close()

    run(main())


def test_abort_drops_what_is_buffered_and_calls_connection_lost_later_and_once():
    async def main():
        transport, protocol, far = await pair()
        written = fill(transport) + (8 << 20)
        transport.write(b"x" * (8 << 20))
        transport.abort()
        transport.abort()
        transport.close()
        assert "lost" not in protocol.events and transport.get_write_buffer_size() == 0
        assert await protocol.lost is None
        assert protocol.events.count("lost") == 1
        assert len(await receive(far, written)) < written
        assert transport._sock is None and transport.get_extra_info("socket").fileno() == -1
        far.close()

    run(main())


def test_closed_transports_let_go_of_their_protocol():
    async def main():
        transport, protocol, far = await pair()
        transport.close()
        await protocol.lost
        reference = weakref.ref(protocol)
        assert transport.get_protocol() is None
        protocol = None  # noqa: F841
        gc.collect()
        assert reference() is None
        far.close()

    run(main())


def test_pause_inside_data_received_is_immediate():
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            self.transport.pause_reading()

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, far = await pair(Pausing)
        far.send(b"one")
        await protocol.until(lambda p: p.data)
        far.send(b"two")
        for _ in range(10):
            await asyncio.sleep(0)
        assert protocol.data == b"one" and not transport.is_reading()
        transport.resume_reading()
        transport.resume_reading()
        await protocol.until(lambda p: len(p.data) > 3)
        assert protocol.data == b"onetwo"
        transport.close()
        transport.resume_reading()
        await protocol.lost
        far.close()
        assert loop.is_running()

    run(main())


def test_reading_paused_in_connection_made_does_not_begin():
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        near, far = socket.socketpair()
        far.send(b"early")
        transport, protocol = await asyncio.get_running_loop().create_connection(Paused, sock=near)
        for _ in range(10):
            await asyncio.sleep(0)
        assert protocol.events == ["made"]
        transport.resume_reading()
        await protocol.until(lambda p: p.data)
        transport.close()
        await protocol.lost
        far.close()

    run(main())


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_an_exception_in_a_callback_is_reported_and_given_to_connection_lost(method):
    class Broken(Recorder):
        pass

    def fail(self, *args):
        raise ZeroDivisionError("broken")

    setattr(Broken, method, fail)

    async def main():
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        transport, protocol, far = await pair(Broken)
        far.send(b"x")
        far.shutdown(socket.SHUT_WR)
        assert isinstance(await protocol.lost, ZeroDivisionError)
        (report,) = reports
        assert report["message"] == f"Fatal error: protocol.{method}() call failed."
        assert report["transport"] is transport and report["protocol"] is protocol
        far.close()

    run(main())


def test_exceptions_in_connection_made_and_connection_lost_are_reported():
    class Broken(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ZeroDivisionError

        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise ZeroDivisionError

    async def main():
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context["exception"]))
        transport, protocol, far = await pair(Broken)
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        assert [type(report) for report in reports] == [ZeroDivisionError] * 2
        assert transport.get_extra_info("socket").fileno() == -1
        far.close()

    run(main())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("method", ["data_received", "eof_received", "connection_lost"])
def test_exits_leave_the_loop(kind, method):
    class Broken(Recorder):
        pass

    def fail(self, *args):
        raise kind

    setattr(Broken, method, fail)
    loop = asyncio.new_event_loop()
    transport, _, far = loop.run_until_complete(pair(Broken))
    far.send(b"x")
    if method == "eof_received":
        far.shutdown(socket.SHUT_WR)
    if method == "connection_lost":
        transport.close()
    with pytest.raises(kind):
        loop.run_forever()
    transport.abort()
    try:
        loop.run_until_complete(asyncio.sleep(0))
    except kind:
        pass
    far.close()
    loop.close()


def test_a_write_is_a_snapshot():
    async def main():
        transport, protocol, far = await pair()
        before = fill(transport)
        buffers = bytearray(b"a" * 100_000), bytearray(b"b" * 100_000)
        transport.write(buffers[0])
        transport.writelines([memoryview(buffers[1]), b""])
        for buffer in buffers:
            buffer[:] = b"?" * len(buffer)
            buffer.clear()  # BufferError if somebody holds it
        data = await receive(far, before + 200_000)
        assert data[before:] == b"a" * 100_000 + b"b" * 100_000
        transport.close()
        await protocol.lost
        far.close()

    run(main())


def test_what_can_be_written():
    async def main():
        transport, protocol, far = await pair()
        transport.write(b"")
        transport.write(memoryview(b"abcd").cast("B", (2, 2)))
        transport.write(memoryview(bytes(8)).cast("I"))
        transport.writelines([])
        transport.writelines(piece for piece in (b"", bytearray(b"e"), memoryview(b"f")))
        assert await receive(far, 14) == b"abcd" + bytes(8) + b"ef"
        for wrong in ("text", 5, None, [1]):
            with pytest.raises(TypeError, match="data argument must be a bytes, bytearray, or memoryview object, not"):
                transport.write(wrong)
            with pytest.raises(TypeError):
                transport.writelines([wrong])
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.lost
        transport.write(b"too late")
        far.close()

    run(main())


def test_many_lines_leave_in_order():
    async def main():
        transport, protocol, far = await pair()
        lines = [b"%d\n" % number for number in range(200_000)]
        transport.writelines(lines)
        expected = b"".join(lines)
        assert await receive(far, len(expected)) == expected
        transport.close()
        await protocol.lost
        far.close()

    run(main())


def test_flow_control_pauses_and_resumes_once_per_crossing():
    async def main():
        transport, protocol, far = await pair()
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        for _ in range(2):
            before = fill(transport)
            transport.write(b"y" * 2000)
            transport.write(b"y" * 2000)
            await receive(far, before + 4000)
            await protocol.until(lambda p: p.events[-1] == "resume")
        assert protocol.events == ["made", "pause", "resume", "pause", "resume"]
        transport.close()
        await protocol.lost
        far.close()

    run(main())


def test_the_limits_of_flow_control():
    async def main():
        transport, protocol, far = await pair()
        for given, marks in [
            ({}, (16384, 65536)),
            ({"high": 100}, (25, 100)),
            ({"low": 100}, (100, 400)),
            ({"high": 0}, (0, 0)),
        ]:
            transport.set_write_buffer_limits(**given)
            assert transport.get_write_buffer_limits() == marks
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(1, 2)
        transport.close()
        await protocol.lost
        far.close()

    run(main())


def test_a_protocol_may_write_when_it_is_resumed():
    class Refilling(Recorder):
        refills = 3

        def resume_writing(self):
            super().resume_writing()
            if self.refills:
                self.refills -= 1
                self.transport.write(b"r" * 200_000)

    async def main():
        transport, protocol, far = await pair(Refilling)
        before = fill(transport)
        transport.write(b"x" * 200_000)
        total = before + 4 * 200_000
        assert len(await receive(far, total)) == total
        await protocol.until(lambda p: p.events.count("resume") == 4)
        assert protocol.events.count("pause") == 4
        transport.close()
        await protocol.lost
        far.close()

    run(main())


def test_a_protocol_that_aborts_when_it_is_resumed_is_lost_once():
    class Aborting(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.abort()

    async def main():
        transport, protocol, far = await pair(Aborting)
        total = fill(transport) + 200_000
        transport.write(b"x" * 200_000)
        transport.close()
        await receive(far, total)
        assert await protocol.lost is None
        await asyncio.sleep(0)
        assert protocol.events.count("lost") == 1
        far.close()

    run(main())


def test_a_reset_by_the_peer_is_given_to_connection_lost():
    async def main():
        transport, protocol, far = await tcp_pair()
        reset_on_close(far)
        far.close()
        error = await protocol.lost
        assert isinstance(error, ConnectionResetError) and error.errno == errno.ECONNRESET
        assert os.strerror(errno.ECONNRESET) in str(error)

    run(main())


def test_a_broken_pipe_is_given_to_connection_lost():
    async def main():
        transport, protocol, far = await pair()
        transport.pause_reading()
        far.close()
        transport.write(b"x")
        error = await protocol.lost
        assert isinstance(error, BrokenPipeError) and error.errno == errno.EPIPE
        transport.write(b"x")  # nothing but a count

    run(main())


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, size):
        self.buffer, self.data, self.failure = bytearray(size), bytearray(), None
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        if self.failure:
            raise self.failure
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]

    def connection_lost(self, exc):
        self.lost.set_result(exc)


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_buffered_protocols(size):
    async def main():
        transport, protocol, far = await pair(lambda: Buffered(size))
        far.send(b"0123456789" * 10)
        far.shutdown(socket.SHUT_WR)
        assert await protocol.lost is None
        assert protocol.data == b"0123456789" * 10
        far.close()

    run(main())


def test_buffered_protocols_that_give_no_buffer():
    async def main():
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context["message"]))
        for size, failure, kind in [(0, None, RuntimeError), (1, ZeroDivisionError(), ZeroDivisionError)]:
            transport, protocol, far = await pair(lambda size=size: Buffered(size))
            protocol.failure = failure
            far.send(b"x")
            assert isinstance(await protocol.lost, kind)
            far.close()
        assert reports == ["Fatal error: protocol.get_buffer() call failed."] * 2

    run(main())


def test_protocols_are_changed_in_flight():
    async def main():
        transport, first, far = await pair()
        second = Buffered(100)
        far.send(b"one")
        await first.until(lambda p: p.data)
        transport.set_protocol(second)
        far.send(b"two")
        far.shutdown(socket.SHUT_WR)
        await second.lost
        assert (first.data, second.data) == (b"one", b"two") and "lost" not in first.events
        far.close()

    run(main())


def test_protocols_are_called_in_the_context_of_creation():
    class Noting(Recorder):
        def note(self, event):
            super().note((event, variable.get()))

    async def main():
        variable.set("creator")
        transport, protocol, far = await pair(Noting)

        async def somebody_else():
            variable.set("somebody else")
            transport.pause_reading()
            transport.resume_reading()
            far.send(b"x")
            await protocol.until(lambda p: p.data)

        await asyncio.create_task(somebody_else())
        far.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert protocol.events == [(event, "creator") for event in ("made", "data", "eof", "lost")]
        far.close()

    run(main())


def test_each_connection_of_a_server_has_a_context_of_its_own():
    seen = []

    class Setting(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            seen.append(variable.get())
            variable.set("%d" % len(seen))
            self.transport.write(b"x")

    async def main():
        variable.set("server")
        server = await asyncio.get_running_loop().create_server(Setting, "127.0.0.1", 0)
        clients = [await asyncio.open_connection(*server.sockets[0].getsockname()) for _ in range(2)]
        for reader, writer in clients * 2:
            writer.write(b"x")
            assert await reader.read(1) == b"x"
        for _, writer in clients:
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
        assert seen == ["server", "server", "1", "2"]

    run(main())


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


def test_what_is_not_there_yet_says_so():
    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError):
            await loop.create_connection(Recorder, "127.0.0.1", 1, ssl=True)
        with pytest.raises(NotImplementedError):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        with pytest.raises(NotImplementedError):
            await loop.create_unix_server(Recorder, "nowhere")

    run(main())


def test_transports_on_a_selectors_object():
    import selectors

    async def main():
        transport, protocol, far = await tcp_pair()
        data = os.urandom(4 << 20)
        transport.write(data)
        far.send(b"hello")
        assert await receive(far, len(data)) == data
        await protocol.until(lambda p: p.data)
        transport.pause_reading()
        far.send(b"again")
        for _ in range(5):
            await asyncio.sleep(0)
        assert protocol.data == b"hello"
        transport.resume_reading()
        await protocol.until(lambda p: len(p.data) == 10)
        transport.close()
        await protocol.lost
        far.close()

    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        loop.run_until_complete(asyncio.wait_for(main(), LIMIT))
    finally:
        loop.close()


def test_a_forgotten_transport_warns_and_closes_its_socket():
    loop = asyncio.new_event_loop()
    transport, protocol, far = loop.run_until_complete(pair())
    loop.close()
    protocol.transport = None
    protocol.lost.cancel()
    with pytest.warns(ResourceWarning, match="unclosed transport <_SelectorSocketTransport"):
        transport = None  # noqa: F841
        gc.collect()
    far.setblocking(True)
    assert far.recv(1) == b""
    far.close()
