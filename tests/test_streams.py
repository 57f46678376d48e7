"""Streams: readers fed by hand, readers and writers over real sockets, flow control."""

import gc
import inspect
import os
import socket
import sys
import weakref

import pytest
import rasyncio as asyncio

LIMIT = 20  # seconds; only a test that fails waits so long


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


def fed(*pieces, limit=65536, eof=True):
    reader = asyncio.StreamReader(limit)
    for piece in pieces:
        reader.feed_data(piece)
    if eof:
        reader.feed_eof()
    return reader


class Pausable:
    """A transport as far as a reader knows it."""

    def __init__(self):
        self.calls = []

    def pause_reading(self):
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")


async def pair(limit=65536):
    """Two pairs of reader and writer that are connected with each other."""
    left, right = socket.socketpair()
    return await asyncio.open_connection(sock=left, limit=limit), await asyncio.open_connection(sock=right, limit=limit)


async def close(*writers):
    for writer in writers:
        writer.close()
    for writer in writers:
        await writer.wait_closed()


def test_the_coroutines_are_coroutine_functions():
    for function in (
        asyncio.open_connection,
        asyncio.start_server,
        *(getattr(asyncio.StreamReader, name) for name in ("read", "readline", "readexactly", "readuntil", "__anext__")),
        *(getattr(asyncio.StreamWriter, name) for name in ("drain", "wait_closed", "start_tls")),
    ):
        assert inspect.iscoroutinefunction(function), function


def test_the_ways_to_read():
    async def main():
        reader = fed(b"line\nabcdef", b"gh;rest")
        assert await reader.readline() == b"line\n"
        assert await reader.readexactly(3) == b"abc"
        assert await reader.readexactly(0) == b"" and await reader.read(0) == b""
        assert await reader.readuntil(b"h;") == b"defgh;"
        assert await reader.read(2) == b"re"
        assert not reader.at_eof()
        assert await reader.read() == b"st"
        assert reader.at_eof() and await reader.read() == await reader.read(5) == await reader.readline() == b""

    run(main())


def test_reading_line_by_line():
    async def main():
        assert [line async for line in fed(b"one\ntwo\n\nlast")] == [b"one\n", b"two\n", b"\n", b"last"]

    run(main())


def test_the_end_comes_too_early():
    async def main():
        for read, expected in [
            (lambda reader: reader.readexactly(10), 10),
            (lambda reader: reader.readuntil(b"\n"), None),
        ]:
            reader = fed(b"part")
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await read(reader)
            assert (caught.value.partial, caught.value.expected) == (b"part", expected)
            assert reader.at_eof()

    run(main())


def test_wrong_arguments():
    async def main():
        reader = fed(b"x")
        with pytest.raises(ValueError, match="readexactly size can not be less than zero"):
            await reader.readexactly(-1)
        with pytest.raises(ValueError, match="Separator should be at least one-byte string"):
            await reader.readuntil(b"")
        if sys.version_info >= (3, 13):
            with pytest.raises(ValueError, match="Separator should contain at least one element"):
                await reader.readuntil(())
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            asyncio.StreamReader(0)
        with pytest.raises(AssertionError, match="feed_data after feed_eof"):
            reader.feed_data(b"x")

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="several separators came with Python 3.13")
def test_several_separators_end_at_the_first_end():
    async def main():
        reader = fed(b"a\r\nb\nc\r", eof=False)
        assert await reader.readuntil((b"\r\n", b"\n")) == b"a\r\n"
        assert await reader.readuntil((b"\r\n", b"\n")) == b"b\n"
        reading = asyncio.create_task(reader.readuntil((b"\r\n", b"\n")))
        await asyncio.sleep(0)
        reader.feed_data(b"\nd")
        assert await reading == b"c\r\n"

    run(main())


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_separator_that_comes_in_pieces(cut):
    async def main():
        reader = asyncio.StreamReader()
        reading = asyncio.create_task(reader.readuntil(b"--end--"))
        for piece in (b"data-" + b"--end--"[:cut], b"--end--"[cut:] + b"rest"):
            await asyncio.sleep(0)
            reader.feed_data(piece)
        assert await reading == b"data---end--"
        reader.feed_eof()
        assert await reader.read() == b"rest"

    run(main())


def test_the_limit():
    async def main():
        reader = fed(b"x" * 10 + b"\n" + b"next\n", limit=5)
        with pytest.raises(asyncio.LimitOverrunError, match="Separator is found, but chunk is longer than limit") as caught:
            await reader.readuntil()
        assert caught.value.consumed == 10
        with pytest.raises(ValueError, match="Separator is found, but chunk is longer than limit"):
            await reader.readline()
        assert await reader.readline() == b"next\n"
        reader = fed(b"x" * 10, limit=5, eof=False)
        with pytest.raises(asyncio.LimitOverrunError, match="Separator is not found, and chunk exceed the limit"):
            await reader.readuntil()
        assert await reader.readexactly(3) == b"xxx"
        with pytest.raises(ValueError, match="Separator is not found, and chunk exceed the limit"):
            await reader.readline()
        reader.feed_eof()
        assert await reader.read() == b""

    run(main())


def test_one_read_at_a_time():
    async def main():
        reader = asyncio.StreamReader()
        first = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        for read, name in [(reader.readline(), "readuntil"), (reader.readexactly(1), "readexactly")]:
            with pytest.raises(RuntimeError, match=rf"{name}\(\) called while another coroutine is already waiting"):
                await read
        reader.feed_data(b"x")
        assert await first == b"x"

    run(main())


def test_a_cancelled_read_loses_nothing():
    async def main():
        reader = asyncio.StreamReader()
        for read in (reader.read, lambda: reader.readexactly(5), reader.readline):
            task = asyncio.create_task(read())
            await asyncio.sleep(0)
            reader.feed_data(b"ab")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert reader._waiter is None
        assert await reader.readexactly(6) == b"ababab"

    run(main())


def test_an_exception_reaches_who_waits_and_all_later_reads():
    async def main():
        reader = asyncio.StreamReader()
        task = asyncio.create_task(reader.readexactly(5))
        await asyncio.sleep(0)
        reader.feed_data(b"abc")
        error = ConnectionResetError("gone")
        reader.set_exception(error)
        with pytest.raises(ConnectionResetError) as caught:
            await task
        assert caught.value is error is reader.exception()
        for read in (reader.read(), reader.read(1), reader.readexactly(1), reader.readline(), reader.readuntil()):
            with pytest.raises(ConnectionResetError, match="gone"):
                await read

    run(main())


def test_a_reader_pauses_and_resumes_its_transport():
    async def main():
        reader, transport = asyncio.StreamReader(10), Pausable()
        reader.set_transport(transport)
        with pytest.raises(AssertionError, match="Transport already set"):
            reader.set_transport(transport)
        reader.feed_data(b"x" * 20)
        assert transport.calls == []
        reader.feed_data(b"x")
        reader.feed_data(b"x")
        assert transport.calls == ["pause"] and "paused" in repr(reader)
        await reader.read(11)
        assert transport.calls == ["pause"]
        await reader.read(1)
        assert transport.calls == ["pause", "resume"]
        reader.feed_data(b"x" * 20)
        reading = asyncio.create_task(reader.readexactly(100))
        await asyncio.sleep(0)
        assert transport.calls == ["pause", "resume", "pause", "resume"]
        reader.feed_data(b"y" * 70)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transport.calls[4:] == ["pause", "resume"] * (len(transport.calls) // 2 - 2)
        reader.feed_eof()
        assert len(await reading) == 100

    run(main())


def test_the_buffer_is_live():
    async def main():
        reader = fed(b"one\n", eof=False)
        buffer = reader._buffer
        assert type(buffer) is bytearray and buffer == b"one\n" and reader._buffer is buffer
        reader.feed_data(b"two\n")
        assert buffer == b"one\ntwo\n"
        buffer += b"three"
        assert await reader.readline() == b"one\n"
        del buffer[:4]
        assert await reader.readexactly(5) == b"three" and buffer == b"" and not reader.at_eof()
        reader._buffer = bytearray(b"replaced")
        assert "8 bytes" in repr(reader)
        reader.feed_eof()
        assert await reader.read() == b"replaced" and reader.at_eof()

    run(main())


def test_the_buffer_is_live_over_a_socket():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        assert far_reader._buffer == b""
        for size in (10, 100_000):
            writer.write(b"z" * size)
            assert await far_reader.readexactly(size) == b"z" * size
        await close(writer, far_writer)

    run(main())


def test_a_derived_reader_hears_of_its_data():
    class Reader(asyncio.StreamReader):
        pieces = 0

        def feed_data(self, data):
            self.pieces += 1
            super().feed_data(data)

    async def main():
        near, far = socket.socketpair()
        reader = Reader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=near)
        far.send(b"x")
        far.close()
        assert await reader.read() == b"x" and reader.pieces == 1
        transport.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run(main())


def test_megabytes_arrive_and_memory_is_bounded():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair(limit=1000)
        data = os.urandom(4 << 20)

        async def send():
            for at in range(0, len(data), 100_000):
                writer.write(data[at : at + 100_000])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        received, most = bytearray(), 0
        while piece := await far_reader.read(500):
            received += piece
            most = max(most, len(piece))
            assert far_reader._limit == 1000
        await sending
        assert received == data and most == 500
        await close(writer, far_writer)

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 200_000])
def test_readexactly_of_any_size(size):
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        data = os.urandom(size * 3)
        sending = asyncio.create_task(write_all(writer, data))
        for at in range(0, len(data), size):
            assert await far_reader.readexactly(size) == data[at : at + size]
        await sending
        await close(writer, far_writer)

    async def write_all(writer, data):
        writer.writelines([data[: len(data) // 2], data[len(data) // 2 :]])
        await writer.drain()

    run(main())


def test_drain_waits_while_the_buffer_is_full():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        await writer.drain()
        writer.write(b"x" * (4 << 20))
        draining = [asyncio.create_task(writer.drain()) for _ in range(3)]
        cancelled = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cancelled.cancel()
        assert not any(task.done() for task in draining)
        await far_reader.readexactly(4 << 20)
        await asyncio.gather(*draining)
        await close(writer, far_writer)

    run(main())


def test_drain_raises_when_the_connection_is_lost():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        writer.write(b"x" * (4 << 20))
        draining = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        far_writer.transport.abort()
        with pytest.raises(ConnectionError):
            await draining
        with pytest.raises(ConnectionError):
            await writer.drain()
        with pytest.raises(ConnectionError):
            await close(writer)
        await close(far_writer)

    run(main())


def test_write_eof_and_the_other_direction():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        assert writer.can_write_eof()
        writer.write(b"question")
        writer.write_eof()
        assert await far_reader.read() == b"question"
        far_writer.write(b"answer")
        far_writer.close()
        assert await reader.read() == b"answer"
        assert reader.at_eof() and not writer.is_closing() and far_writer.is_closing()
        await close(writer, far_writer)

    run(main())


def test_a_server_of_streams():
    async def main():
        async def shout(reader, writer):
            async for line in reader:
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()

            async def client(number):
                reader, writer = await asyncio.open_connection(*address)
                assert writer.get_extra_info("peername") == address
                for turn in range(20):
                    writer.write(b"line %d of %d\n" % (turn, number))
                    assert await reader.readline() == b"LINE %d OF %d\n" % (turn, number)
                await close(writer)

            await asyncio.gather(*map(client, range(50)))

    run(main())


def test_a_plain_function_serves_too():
    async def main():
        def greet(reader, writer):
            writer.write(b"hello")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b"hello"
            await close(writer)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio 3.11 leaves it to the task")
def test_a_server_s_task_that_raises_is_reported_and_its_connection_closed():
    async def main():
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))

        async def broken(reader, writer):
            raise ZeroDivisionError

        async with await asyncio.start_server(broken, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            await close(writer)
        (report,) = reports
        assert report["message"] == "Unhandled exception in client_connected_cb"
        assert isinstance(report["exception"], ZeroDivisionError)

    run(main())


def test_a_reset_is_raised_by_reads():
    async def main():
        async with await asyncio.start_server(lambda r, w: w.transport.abort(), "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            try:
                await reader.read()
                writer.write(b"x")
                await reader.read()
            except ConnectionError:
                pass
            try:
                await close(writer)
            except ConnectionError:
                pass

    run(main())


def test_a_closed_stream_leaves_nothing_behind():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        writer.write(b"x")
        await far_reader.read(1)
        await close(writer, far_writer)
        references = [weakref.ref(item) for item in (reader, writer, far_reader, far_writer, writer.transport)]
        del reader, writer, far_reader, far_writer
        await asyncio.sleep(0)
        gc.collect()
        assert [reference() for reference in references] == [None] * 5

    run(main())


def test_an_unclosed_writer_warns_and_closes():
    async def main():
        (reader, writer), (far_reader, far_writer) = await pair()
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del writer
            gc.collect()
        assert await far_reader.read() == b""
        await close(far_writer)
        await asyncio.sleep(0)

    run(main())


def test_the_reprs():
    async def main():
        reader = asyncio.StreamReader(5)
        assert repr(reader) == "<StreamReader limit=5>"
        reader.feed_data(b"abc")
        reader.feed_eof()
        assert repr(reader) == "<StreamReader 3 bytes eof limit=5>"
        (reader, writer), (_, far_writer) = await pair()
        assert repr(writer).startswith("<StreamWriter transport=<_SelectorSocketTransport fd=")
        assert f"reader={reader!r}" in repr(writer)
        await close(writer, far_writer)

    run(main())
