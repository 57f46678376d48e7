"""Socket transports over real sockets on the loopback interface."""

import contextvars
import errno
import gc
import os
import socket
import sys
import weakref

import pytest
import rasyncio as asyncio
from peers import LIMIT, Recorder, fill, pair, receive, reset_on_close, run, tcp_pair

variable = contextvars.ContextVar("variable", default="unset")


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
        protocol = None
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
            with pytest.raises(TypeError, match="data argument must be a bytes.* object, not"):
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


def test_protocols_are_called_in_the_contexts_of_the_running_version():
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
        later = "creator" if sys.version_info >= (3, 15) else "somebody else"
        assert protocol.events == [("made", "creator"), *[(event, later) for event in ("data", "eof", "lost")]]
        far.close()

    run(main())


def test_each_connection_of_a_server_has_a_context_of_its_own():
    seen = []

    class Setting(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            seen.append(variable.get())
            variable.set(str(len(seen)))
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


@pytest.mark.parametrize("name", ["reader", "writer"])
def test_a_socket_that_was_closed_first_can_still_be_removed(name):
    async def main():
        loop, (near, far) = asyncio.get_running_loop(), socket.socketpair()
        add, remove = getattr(loop, f"add_{name}"), getattr(loop, f"remove_{name}")
        number = near.fileno()
        add(near, lambda: None)
        near.close()
        assert remove(near) is True
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            remove(near)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            add(near, lambda: None)
        assert remove(number) is False
        far.close()

    run(main())
