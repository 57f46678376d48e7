"""Pipe transports: what they take, the order and contexts of their calls, flow control, and how each end learns of the end."""

import asyncio
import contextvars
import logging
import os
import re
import socket
import tempfile
import warnings

from recorder import record

PLACE = contextvars.ContextVar("place", default="nowhere")


class Recording(logging.Handler):
    def emit(self, logged):
        text = re.sub(r"<[\w.]+ object at 0x\w+>|fd=\d+| \d+ (?=connected)", "...", logged.getMessage())
        lines = [line for line in text.splitlines() if not line.startswith(" ") and "traceback" not in line]
        lines = [re.sub(r" created at [^>]*", "", line) for line in lines]
        if not text.startswith("Using selector"):
            record("logged", logged.levelname, lines, logged.exc_info[1] if logged.exc_info else None)


logger = logging.getLogger("asyncio")
logger.addHandler(Recording())
logger.setLevel(logging.DEBUG)
logger.propagate = False


class Noting(asyncio.Protocol):
    def __init__(self, name="", failing=()):
        self.name, self.failing = name, failing
        self.lost, self.changed = asyncio.get_running_loop().create_future(), asyncio.Event()

    def note(self, event, *details):
        record(self.name, event, *details, "in", PLACE.get())
        self.changed.set()
        if event in self.failing:
            raise ZeroDivisionError(event)

    def connection_made(self, transport):
        PLACE.set(PLACE.get() + "+made")
        self.note("made", type(transport).__name__)

    def data_received(self, data):
        self.note("data", data.decode() if len(data) < 20 else len(data))

    def eof_received(self):
        self.note("eof")
        return True

    def pause_writing(self):
        self.note("paused")

    def resume_writing(self):
        self.note("resumed")

    def connection_lost(self, error):
        self.lost.set_result(None)
        self.note("lost", error)

    async def next(self):
        self.changed.clear()
        await self.changed.wait()


async def ends(failing=()):
    """Both ends of a pipe under protocols, as (reading transport, protocol), (writing transport, protocol)."""
    loop = asyncio.get_running_loop()
    near, far = os.pipe()
    PLACE.set("creation")
    reading = await loop.connect_read_pipe(lambda: Noting("reader", failing), open(near, "rb", 0))
    writing = await loop.connect_write_pipe(lambda: Noting("writer", failing), open(far, "wb", 0))
    PLACE.set("program")
    return reading, writing


def attempt(name, function, *args, **kwargs):
    try:
        record(name, function(*args, **kwargs))
    except Exception as error:
        record(name, error)


def text(transport):
    return re.sub(r"fd=\d+", "fd", repr(transport))


async def said():
    (reader, incoming), (writer, outgoing) = await ends()
    record(text(reader), text(writer))
    record([isinstance(reader, kind) for kind in (asyncio.ReadTransport, asyncio.WriteTransport, asyncio.Transport)])
    record([isinstance(writer, kind) for kind in (asyncio.ReadTransport, asyncio.WriteTransport, asyncio.Transport)])
    record(reader.get_extra_info("pipe") is reader._pipe, reader.get_extra_info("socket", default=5), reader.max_size)
    record(writer.can_write_eof(), writer.get_write_buffer_limits(), writer.get_write_buffer_size())
    writer.write(b"one")
    await incoming.next()
    writer.writelines([b"two", bytearray(b"three"), memoryview(b"four")])
    await incoming.next()
    reader.pause_reading()
    reader.pause_reading()
    record(reader.is_reading(), text(reader))
    writer.write(data=b"five")
    for _ in range(3):
        await asyncio.sleep(0)
    PLACE.set("resumer")
    reader.resume_reading()
    reader.resume_reading()
    await incoming.next()
    for wrong in ("pause_reading", "resume_reading", "is_reading"):
        attempt(wrong, getattr(writer, wrong))
    PLACE.set("closer")
    writer.close()
    writer.close()
    writer.write(b"late")
    record(writer.is_closing(), reader.is_closing(), text(writer))
    PLACE.set("program")
    await outgoing.lost
    await incoming.lost
    record(text(reader), text(writer), reader.is_closing(), reader.is_reading())
    for transport in (reader, writer):
        attempt("close again", transport.close)
        attempt("protocol", transport.get_protocol)


async def wrong():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryFile() as file:
        for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
            try:
                await connect(lambda: Noting("file"), file)
            except ValueError as error:
                record(error)
    (reader, incoming), (writer, outgoing) = await ends()
    for data in ("text", None, 5, b"", bytearray(), memoryview(b"abcdef"), bytearray(b"xy")):
        attempt("write", writer.write, data)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    marks = [{"high": 100}, {"low": 10}, {"high": 0}, {"high": 10, "low": 20}, {"high": -1}, {"high": "a"}]
    for given in marks:
        attempt(f"limits {given}", writer.set_write_buffer_limits, **given)
        record("are", writer.get_write_buffer_limits())
    writer.write(memoryview(b"abcdef")[::2])
    await outgoing.lost
    await incoming.lost


async def full():
    (reader, incoming), (writer, outgoing) = await ends()
    reader.pause_reading()
    writer.set_write_buffer_limits(high=1000, low=100)
    PLACE.set("blocked writer")
    writer.write(b"x" * 65536)
    writer.write(b"y" * 1000)
    record("before", writer.get_write_buffer_size(), text(writer))
    PLACE.set("second writer")
    writer.write(b"z" * 1000)
    record("after", writer.get_write_buffer_size())
    attempt("not contiguous", writer.write, memoryview(b"abcdef")[::2])
    PLACE.set("program")
    reader.resume_reading()
    while writer.get_write_buffer_size():
        await outgoing.next()
    writer.write(b"w" * 100_000)
    PLACE.set("closer")
    writer.close()
    record("closing", text(writer))
    await outgoing.lost
    await incoming.lost


async def deserted():
    """The reader goes: while nothing waits, and while something does."""
    for waiting in (b"", b"x" * 200_000):
        (reader, incoming), (writer, outgoing) = await ends()
        reader.pause_reading()
        writer.write(waiting)
        reader.close()
        await incoming.lost
        await outgoing.lost
        for _ in range(8):
            writer.write(b"late")
        record(writer._conn_lost)


async def aborted():
    (reader, incoming), (writer, outgoing) = await ends()
    reader.pause_reading()
    writer.write(b"x" * 200_000)
    PLACE.set("aborter")
    writer.abort()
    record(writer.is_closing(), writer.get_write_buffer_size())
    await outgoing.lost
    reader.resume_reading()
    await incoming.lost


async def failing():
    for event in ("made", "data", "eof", "paused", "resumed", "lost"):
        record(event)
        (reader, incoming), (writer, outgoing) = await ends((event,))
        reader.pause_reading()
        writer.write(b"x" * 65536)
        writer.write(b"x" * 65537)
        reader.resume_reading()
        while writer.get_write_buffer_size():
            await incoming.next()
        writer.write_eof()
        await outgoing.lost
        await incoming.lost
        await asyncio.sleep(0)


async def others():
    """Sockets, and a device that is no pipe."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    writer, outgoing = await loop.connect_write_pipe(lambda: Noting("writer"), near)
    reader, incoming = await loop.connect_read_pipe(lambda: Noting("reader"), far)
    writer.write(b"over a socket")
    await incoming.next()
    reader.close()
    await incoming.lost
    await outgoing.lost
    record(near.fileno(), far.fileno())
    null, protocol = await loop.connect_write_pipe(lambda: Noting("null"), open(os.devnull, "wb", 0))
    null.write(b"x" * 100_000)
    record(null.get_write_buffer_size())
    null.close()
    await protocol.lost


async def closed_behind():
    for end in ("reader", "writer"):
        (reader, incoming), (writer, outgoing) = await ends()
        if end == "writer":
            writer._pipe.close()
            writer.write(b"nowhere")
        else:
            writer.write(b"unread")
            await incoming.next()
            descriptor = reader._pipe.fileno()
            reader._pipe.close()
            record("closed", descriptor == reader._fileno)
            reader.close()
        await incoming.lost
        if end == "reader":
            writer.close()
        await outgoing.lost


async def streams():
    loop = asyncio.get_running_loop()
    near, far = os.pipe()
    reader = asyncio.StreamReader(limit=1000)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), open(near, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, open(far, "wb", 0))
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    writer.write(b"first\nsecond\n")
    record(await reader.readline(), await reader.readexactly(6))
    task = asyncio.ensure_future(reader.readexactly(300_001))
    writer.write(b"x" * 300_000)
    await writer.drain()
    writer.write(b"\n")
    await writer.drain()
    record(len(await task))
    writer.write(b"rest")
    writer.close()
    record(await reader.read(), reader.at_eof())


async def hooks():
    loop = asyncio.get_running_loop()
    made = loop._make_read_pipe_transport

    def make(pipe, protocol, waiter=None, extra=None):
        record("made by the hook", extra)
        return made(pipe, protocol, waiter, {"colour": "red"})

    loop._make_read_pipe_transport = make
    (reader, incoming), (writer, outgoing) = await ends()
    record(reader.get_extra_info("colour"), reader.get_extra_info("pipe") is reader._pipe)
    del loop._make_read_pipe_transport
    reader.set_protocol(other := Noting("other"))
    record(reader.get_protocol() is other)
    writer.write(b"to the other")
    await other.next()
    reader._close = lambda error: record("own close", error)
    reader.close()
    del reader._close
    writer.close()
    await outgoing.lost
    await other.lost
    incoming.lost.cancel()


async def unclosed():
    (reader, incoming), (writer, outgoing) = await ends()
    reader.pause_reading()
    pipe = reader.get_extra_info("pipe")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del reader
        asyncio.get_running_loop().set_debug(False)
    record([re.sub(r"fd=\d+", "fd", str(item.message)) for item in warned], pipe.closed)
    await outgoing.lost


async def main():
    for debug in (False, True):
        asyncio.get_running_loop().set_debug(debug)
        asyncio.get_running_loop().slow_callback_duration = 1000
        for part in (said, wrong, full, deserted, aborted, failing, others, closed_behind, streams, hooks, unclosed):
            record(part.__name__)
            await part()
            PLACE.set("nowhere")


asyncio.run(main())
