"""Stream readers: what they take, how they end, and in which order data and exceptions come."""

import asyncio
import sys

from recorder import record, record_outcome

Data = ConnectionResetError


async def woken_then_failed():
    """Data that has woken a read is not lost to an exception that comes after it."""
    reads = {
        "line": lambda reader: reader.readline(),
        "some": lambda reader: reader.read(10),
        "exactly": lambda reader: reader.readexactly(3),
        "until": lambda reader: reader.readuntil(b"\n"),
        "all": lambda reader: reader.read(),
    }
    for name, read in reads.items():
        reader = asyncio.StreamReader()
        task = asyncio.ensure_future(read(reader))
        await asyncio.sleep(0)
        reader.feed_data(b"ab\n")
        reader.set_exception(ConnectionResetError("reset"))
        await record_outcome(name, task)
        await record_outcome(f"{name}, again", read(reader))


async def separators():
    orders = [b"\n", b""]
    if sys.version_info >= (3, 13):  # before, several are rasyncio's only
        orders += [(b"\r\n", b"\n"), (b"\n", b"\r\n"), [b"\n"], (), (b"a", b"")]
    for order in orders:
        reader = asyncio.StreamReader(limit=4)
        reader.feed_data(b"abcd\r")
        reader.feed_data(b"\nef")
        await record_outcome(f"until {order!r}", reader.readuntil(order))


async def overlong():
    reader = asyncio.StreamReader(limit=4)
    reader.feed_data(b"abcdefgh\nij\n")
    try:
        await reader.readline()
    except ValueError as error:
        record("overlong", error, "context", error.__context__)
    await record_outcome("next", reader.readline())


async def fed():
    for data in (b"", None, "", 0, [1, 2], bytearray(b"xy"), memoryview(b"zz"), "text", 5, [300]):
        reader = asyncio.StreamReader()
        try:
            record("fed", reader.feed_data(data))
        except Exception as error:
            record("refused", error)
        reader.feed_eof()
        await record_outcome("read", reader.read())


async def sizes():
    for size in (0, -1, 1, 2**70, -(2**70), None, "x"):
        for method in ("read", "readexactly"):
            reader = asyncio.StreamReader()
            reader.feed_data(b"data")
            reader.feed_eof()
            try:
                record(method, str(size), await getattr(reader, method)(size))
            except asyncio.IncompleteReadError as error:
                record(method, str(size), "incomplete", error.partial)
            except Exception as error:
                record(method, str(size), error)
    for limit in (1, 1.5, 0, -1, True, "x", 2**70):
        try:
            record("limit", str(limit), "limit=" + repr(asyncio.StreamReader(limit)).partition("limit=")[2])
        except Exception as error:
            record("limit", str(limit), error)


async def no_exceptions():
    for wrong in (5, ValueError, ValueError("once")):
        reader = asyncio.StreamReader()
        try:
            reader.set_exception(wrong)
        except Exception as error:
            record("refused", error)
        await record_outcome("read", reader.read(1))


async def main():
    for part in (woken_then_failed, separators, overlong, fed, sizes, no_exceptions):
        record(part.__name__)
        await part()


asyncio.run(main())
