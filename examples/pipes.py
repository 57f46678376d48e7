"""Pipes of one's own as streams: the loop reads and writes any pipe, socket or terminal."""

import asyncio
import os


async def main():
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()

    reader = asyncio.StreamReader()
    read_transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb"))
    write_transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb"))

    write_transport.write(b"a line\nand the rest")
    assert await reader.readline() == b"a line\n"
    write_transport.close()
    rest = await reader.read()
    assert rest == b"and the rest"
    read_transport.close()
    print(rest.decode())


asyncio.run(main())
