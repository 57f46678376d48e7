"""Transports of pipes, sockets and devices, and streams on them."""

import asyncio as stdlib
import gc
import os
import pty
import socket
import tty
import warnings

import pytest
import rasyncio as asyncio
from peers import Recorder, run


async def reading_end(factory=Recorder):
    """A transport and its protocol, and the number of the writing end."""
    near, far = os.pipe()
    transport, protocol = await asyncio.get_running_loop().connect_read_pipe(factory, open(near, "rb", 0))
    return transport, protocol, far


async def writing_end(factory=Recorder):
    """A transport and its protocol, and the number of the reading end."""
    near, far = os.pipe()
    os.set_blocking(near, False)
    transport, protocol = await asyncio.get_running_loop().connect_write_pipe(factory, open(far, "wb", 0))
    return transport, protocol, near


def drain(number):
    """What a non-blocking descriptor has; b"" at the end too."""
    pieces = []
    try:
        while piece := os.read(number, 1 << 16):
            pieces.append(piece)
    except BlockingIOError:
        pass
    return b"".join(pieces)


def test_bytes_come_and_then_the_end():
    async def main():
        transport, protocol, far = await reading_end()
        os.write(far, b"some")
        await protocol.until(lambda p: p.data == b"some")
        os.close(far)
        assert await protocol.lost is None
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert transport.is_closing() and transport.get_extra_info("pipe").closed

    run(main())


def test_reads_grow_with_what_comes():
    """Large reads take another way than small ones; a full one is followed by a larger."""

    async def main():
        transport, protocol, far = await reading_end()
        os.set_blocking(far, False)
        sent = b""
        for size in (1, 20_000, 65_536, 10, 65_536, 65_536, 1):
            piece = os.urandom(size)
            assert os.write(far, piece) == size
            sent = sent + piece
            await protocol.until(lambda p, sent=sent: p.data == sent)
        assert protocol.data == sent
        transport.close()
        await protocol.lost
        os.close(far)

    run(main())


def test_no_data_after_a_pause_not_even_within_data_received():
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        transport, protocol, far = await reading_end(Pausing)
        os.write(far, b"1")
        await protocol.until(lambda p: p.data)
        os.write(far, b"2")
        for _ in range(3):
            await asyncio.sleep(0)
        assert protocol.data == b"1" and not transport.is_reading()
        transport.resume_reading()
        await protocol.until(lambda p: len(p.data) == 2)
        transport.close()
        await protocol.lost
        os.close(far)

    run(main())


def test_a_protocol_that_pauses_at_once_gets_nothing():
    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        transport, protocol, far = await reading_end(Pausing)
        os.write(far, b"1")
        for _ in range(3):
            await asyncio.sleep(0)
        assert protocol.events == ["made"]
        transport.resume_reading()
        await protocol.until(lambda p: p.data)
        transport.close()
        await protocol.lost
        os.close(far)

    run(main())


def test_all_that_was_written_arrives_before_the_pipe_is_closed():
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, near = await writing_end()
        sent = os.urandom(1_000_000)
        view = bytearray(sent)
        transport.write(view)
        view[:] = bytes(len(view))  # what was given may be used again
        transport.close()
        assert transport.is_closing() and not protocol.lost.done()
        received = bytearray()
        ended = loop.create_future()

        def take():
            if piece := os.read(near, 1 << 16):
                received.extend(piece)
            else:
                ended.set_result(None)

        loop.add_reader(near, take)
        await ended
        loop.remove_reader(near)
        assert received == sent
        assert await protocol.lost is None
        assert protocol.events == ["made", "pause", "resume", "lost"]
        os.close(near)

    run(main())


def test_a_protocol_may_write_while_it_is_resumed():
    class Writing(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.write(b"more")

    async def main():
        transport, protocol, near = await writing_end(Writing)
        transport.write(b"x" * 200_000)
        count = 0
        while "resume" not in protocol.events:
            count += len(drain(near))
            await asyncio.sleep(0)
        assert count + len(drain(near)) == 200_004
        transport.close()
        await protocol.lost
        os.close(near)

    run(main())


def test_abort_within_resume_writing_loses_the_connection_once():
    class Aborting(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.abort()

    async def main():
        transport, protocol, near = await writing_end(Aborting)
        transport.write(b"x" * 200_000)
        while not protocol.lost.done():
            drain(near)
            await asyncio.sleep(0)
        transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)
        assert protocol.events == ["made", "pause", "resume", "lost"]
        os.close(near)

    run(main())


@pytest.mark.parametrize("waiting", [0, 200_000])
def test_a_reader_that_goes_is_noticed(waiting):
    async def main():
        transport, protocol, near = await writing_end()
        transport.write(b"x" * waiting)
        os.close(near)
        error = await protocol.lost
        assert isinstance(error, BrokenPipeError) if waiting else error is None
        assert transport.get_write_buffer_size() == 0
        transport.write(b"late")

    run(main())


@pytest.mark.parametrize("how", ["write", "close", "abort"])
@pytest.mark.usefixtures("without_debug")
def test_the_end_within_connection_made(how):
    """The look-out for the reader's end begins after connection_made, and not at all for a pipe that is closed by then."""

    class Ending(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            getattr(transport, how)(*[b"nobody reads"][: how == "write"])

    async def main():
        near, far = os.pipe()
        os.close(near)
        _, protocol = await asyncio.get_running_loop().connect_write_pipe(Ending, open(far, "wb", 0))
        error = await protocol.lost
        assert isinstance(error, BrokenPipeError) == (how == "write")
        assert protocol.events == ["made", "lost"]
        # The number is used again, and nobody watches it for the old one.
        left, right = os.pipe()
        heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(left, heard.set)
        os.write(right, b"x")
        await heard.wait()
        asyncio.get_running_loop().remove_reader(left)
        os.close(left)
        os.close(right)

    run(main())


def test_a_number_is_not_used_after_its_pipe_was_closed():
    async def main():
        transport, protocol, near = await writing_end()
        number = transport.get_extra_info("pipe").fileno()
        transport.get_extra_info("pipe").close()
        left, right = os.pipe()
        assert number in (left, right)
        stranger = os.dup2(right, number) if number == left else number
        listener = os.dup(left) if number == right else None
        transport.write(b"secret")
        error = await protocol.lost
        assert error.errno == 9
        os.set_blocking(right, False)
        if listener is not None:
            os.set_blocking(listener, False)
            assert drain(listener) == b""
            os.close(listener)
        for number in {left, right, stranger, near}:
            os.close(number)

    run(main())


def test_other_files_than_raw_ones():
    """Buffered files and sockets own descriptors too."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = os.pipe()
        reader, incoming = await loop.connect_read_pipe(Recorder, open(near, "rb"))
        writer, outgoing = await loop.connect_write_pipe(Recorder, open(far, "w"))
        writer.write(b"text")
        await incoming.until(lambda p: p.data == b"text")
        writer.close()
        await outgoing.lost
        await incoming.lost
        left, right = socket.socketpair()
        reader, incoming = await loop.connect_read_pipe(Recorder, left)
        writer, outgoing = await loop.connect_write_pipe(Recorder, right)
        writer.writelines([b"over ", b"a socket"])
        await incoming.until(lambda p: p.data == b"over a socket")
        reader.close()
        await outgoing.lost
        assert left.fileno() == right.fileno() == -1

    run(main())


def test_terminals():
    async def main():
        loop = asyncio.get_running_loop()
        leader, follower = pty.openpty()
        tty.setraw(follower)
        reader, incoming = await loop.connect_read_pipe(Recorder, open(leader, "rb", 0))
        writer, outgoing = await loop.connect_write_pipe(Recorder, open(follower, "wb", 0))
        writer.write(b"typed")
        await incoming.until(lambda p: p.data == b"typed")
        writer.close()
        await outgoing.lost
        # The end of a terminal is EIO.
        error = await incoming.lost
        assert error is None or error.errno == 5

    run(main())


@pytest.mark.parametrize("name", ["connect_read_pipe", "connect_write_pipe"])
def test_what_is_no_pipe_is_refused(name, tmp_path):
    async def main():
        texts = {
            "connect_read_pipe": "Pipe transport is for pipes/sockets only.",
            "connect_write_pipe": "Pipe transport is only for pipes, sockets and character devices",
        }
        with open(tmp_path / "file", "w+b") as file:
            with pytest.raises(ValueError) as info:
                await getattr(asyncio.get_running_loop(), name)(Recorder, file)
            assert str(info.value) == texts[name] and not file.closed

    run(main())


def test_a_cancelled_connect_closes_the_pipe():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = os.pipe()
        pipe = open(near, "rb", 0)
        task = loop.create_task(loop.connect_read_pipe(Recorder, pipe))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(3):
            await asyncio.sleep(0)
        assert pipe.closed
        os.close(far)

    run(main())


def test_an_unclosed_transport_warns_and_closes_its_pipe():
    async def main():
        transport, protocol, far = await reading_end()
        transport.pause_reading()
        protocol.transport = None
        pipe = transport.get_extra_info("pipe")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del transport
            gc.collect()
        assert [str(w.message).partition(" fd")[0] for w in warned] == ["unclosed transport <_UnixReadPipeTransport"]
        assert pipe.closed
        os.close(far)

    run(main())


@pytest.mark.parametrize("selector", [None, "SelectSelector"])
def test_streams_on_pipes(selector):
    import selectors

    async def main():
        loop = asyncio.get_running_loop()
        near, far = os.pipe()
        reader = asyncio.StreamReader(limit=1000)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(near, "rb", 0))
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, open(far, "wb", 0))
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        sent = os.urandom(500_000)
        task = asyncio.ensure_future(reader.readexactly(len(sent)))
        for at in range(0, len(sent), 7777):
            writer.write(sent[at : at + 7777])
            await writer.drain()
        assert await task == sent
        writer.write(b"line\nrest")
        writer.close()
        assert await reader.readline() == b"line\n"
        assert await reader.read() == b"rest"
        assert reader.at_eof()
        await asyncio.sleep(0)

    loop = asyncio.SelectorEventLoop(selector and getattr(selectors, selector)())
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(main(), 20))


def test_a_reader_of_ones_own_is_fed_by_its_own_method():
    class Reader(asyncio.StreamReader):
        def feed_data(self, data):
            super().feed_data(data.upper())

    async def main():
        near, far = os.pipe()
        reader = Reader()
        pipe = open(near, "rb", 0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        os.write(far, b"quiet")
        os.close(far)
        assert await reader.read() == b"QUIET"
        await asyncio.sleep(0)

    run(main())


def test_transports_are_of_the_standard_library_s_kinds():
    async def main():
        transport, protocol, far = await reading_end()
        assert isinstance(transport, stdlib.ReadTransport) and not isinstance(transport, stdlib.WriteTransport)
        assert transport.__class__.__name__ == "_UnixReadPipeTransport"
        transport.close()
        await protocol.lost
        os.close(far)
        transport, protocol, near = await writing_end()
        assert isinstance(transport, stdlib.WriteTransport)
        with pytest.raises(NotImplementedError):
            transport.pause_reading()
        transport.abort()
        await protocol.lost
        os.close(near)

    run(main())


def test_transports_in_cycles_are_collected():
    async def main():
        transport, protocol, far = await reading_end()
        os.close(far)
        await protocol.lost
        transport.itself = transport
        before = len(gc.get_objects())
        del transport, protocol
        gc.collect()
        assert len(gc.get_objects()) < before

    run(main())


def test_patched_system_calls_are_used(monkeypatch):
    calls = []

    def noting(name):
        original = getattr(os, name)

        def call(number, what):
            calls.append(name)
            return original(number, what)

        return call

    async def main():
        for name in ("read", "write"):
            monkeypatch.setattr(os, name, noting(name))
        loop = asyncio.get_running_loop()
        near, far = os.pipe()
        reader, incoming = await loop.connect_read_pipe(Recorder, open(near, "rb", 0))
        writer, outgoing = await loop.connect_write_pipe(Recorder, open(far, "wb", 0))
        writer.write(b"x" * 100_000)
        await incoming.until(lambda p: len(p.data) == 100_000)
        assert calls.count("write") >= 2 and calls.count("read") >= 2
        writer.close()
        await incoming.lost

    run(main())


def test_exits_leave_the_loop():
    class Leaving(Recorder):
        def data_received(self, data):
            raise SystemExit(3)

        def connection_lost(self, exc):
            self.note("lost")

    async def main():
        transport, protocol, far = await reading_end(Leaving)
        os.write(far, b"go")
        os.close(far)
        try:
            await protocol.until(lambda p: "lost" in p.events)
        finally:
            transport.close()
            for _ in range(2):
                await asyncio.sleep(0)
            assert protocol.events == ["made", "lost"]

    with pytest.raises(SystemExit):
        run(main())
