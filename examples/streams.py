"""Streams: a server and its clients over TCP, and over a Unix socket."""

import asyncio
import tempfile
from pathlib import Path


async def answer(reader, writer):
    """A protocol of lines: each is answered in capitals."""
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()  # waits if the client does not read
    writer.close()
    await writer.wait_closed()


async def converse(reader, writer):
    writer.writelines([b"hello\n", b"world\n"])
    await writer.drain()
    assert await reader.readline() == b"HELLO\n"
    assert await reader.readexactly(6) == b"WORLD\n"

    writer.write(b"one;two;\n")
    assert await reader.readuntil(b";") == b"ONE;"
    assert await reader.readuntil(b";") == b"TWO;"

    writer.write_eof()  # no more from here; the other side may go on
    assert await reader.read() == b"\n"
    assert reader.at_eof()
    writer.close()
    await writer.wait_closed()


async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(converse(*await asyncio.open_connection(host, port)))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        async with await asyncio.start_unix_server(answer, path):
            await converse(*await asyncio.open_unix_connection(path))

    # What a peer does wrong are exceptions of the reader.
    reader = asyncio.StreamReader(limit=8)
    reader.feed_data(b"far too long a line\n")
    try:
        await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        assert error.consumed == 19
    reader = asyncio.StreamReader()
    reader.feed_data(b"half")
    reader.feed_eof()
    try:
        await reader.readexactly(8)
    except asyncio.IncompleteReadError as error:
        assert (error.partial, error.expected) == (b"half", 8)
    print("11 conversations")


asyncio.run(main())
