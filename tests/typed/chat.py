"""Streams: a chat server whose clients are counted, and the exceptions that a reader raises."""

import asyncio
import ssl
from typing import assert_type


class Chat:
    def __init__(self) -> None:
        self.members: dict[str, asyncio.StreamWriter] = {}
        self.conversations: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            name = (await reader.readline()).decode().strip()
            self.members[name] = writer
            async for line in reader:
                assert_type(line, bytes)
                await self.tell(name, line)
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError, ConnectionError) as error:
            print(f"a member left: {error}")
        finally:
            writer.close()
            await writer.wait_closed()

    async def tell(self, sender: str, line: bytes) -> None:
        for name, writer in self.members.items():
            if name != sender:
                writer.writelines([sender.encode(), b": ", line])
                await writer.drain()


async def talk(
    port: int, name: str, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=2**16, happy_eyeballs_delay=0.25)
    assert_type(reader, asyncio.StreamReader)
    assert_type(writer, asyncio.StreamWriter)
    writer.write(f"{name}\n".encode())
    await writer.drain()
    return reader, writer


async def main() -> None:
    chat = Chat()
    server = await asyncio.start_server(chat.serve, "127.0.0.1", 0, limit=2**16)
    assert_type(server.is_serving(), bool)
    port: int = server.sockets[0].getsockname()[1]
    async with server:
        reader, writer = await talk(port, "ann")
        while "ann" not in chat.members:
            await asyncio.sleep(0)
        _, other = await talk(port, "bob")
        other.write(b"hello\n")
        assert await reader.readuntil(b"\n") == b"bob: hello\n"
        assert_type(await reader.read(0), bytes)
        assert_type(reader.at_eof(), bool)
        transport: asyncio.WriteTransport = writer.transport
        assert not transport.is_closing()
        peer: tuple[str, int] = writer.get_extra_info("peername")
        assert peer[1] == port
        for each in (writer, other):
            each.write_eof()
            each.close()
            await each.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
