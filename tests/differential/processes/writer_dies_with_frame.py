"""A handler that forgets to close its writer, in debug mode: the writer dies with the frame of the handler's coroutine."""

import asyncio
import sys


async def handle(reader, writer):
    pass


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    print(await reader.read())
    writer.close()
    server.close()
    print("fine")


# asyncio itself waits for ever before 3.13.
if sys.version_info >= (3, 13) or not asyncio.run.__module__.startswith("asyncio"):
    asyncio.run(main(), debug=True)
else:
    print(b"")
    print("fine")
