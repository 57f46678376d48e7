"""Transports: flow control, pausing, and sending a file without reading it into Python."""

import asyncio
import os
import tempfile


class Sink(asyncio.Protocol):
    """Reads nothing until it is told to, then counts."""

    def __init__(self):
        self.count = 0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.pause_reading()

    def data_received(self, data):
        self.count += len(data)

    def connection_lost(self, exc):
        self.done.set_result(self.count)


class Source(asyncio.Protocol):
    """Told when to stop writing, and when to go on."""

    def __init__(self):
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.pauses = 0

    def pause_writing(self):
        self.pauses += 1
        self.may_write.clear()

    def resume_writing(self):
        self.may_write.set()


async def main():
    loop = asyncio.get_running_loop()
    sinks = asyncio.Queue()

    def sink():
        sinks.put_nowait(made := Sink())
        return made

    server = await loop.create_server(sink, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()

    transport, source = await loop.create_connection(Source, *address)
    transport.set_write_buffer_limits(high=1000, low=100)
    receiver = await sinks.get()
    sent = 0
    while not source.pauses:  # until the kernel's buffers are full, and ours
        transport.write(bytes(100_000))
        sent += 100_000
    assert transport.get_write_buffer_size() > 1000
    receiver.transport.resume_reading()
    await source.may_write.wait()
    transport.close()  # what was written is sent first
    assert await receiver.done == sent

    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(300_000))
        file.seek(0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        receiver = await sinks.get()
        receiver.transport.resume_reading()
        assert await loop.sendfile(transport, file) == 300_000
        transport.close()
        assert await receiver.done == 300_000

    # abort() loses what was not sent.
    transport, _ = await loop.create_connection(asyncio.Protocol, *address)
    receiver = await sinks.get()
    transport.abort()
    receiver.transport.resume_reading()
    await receiver.done
    server.close()
    await server.wait_closed()
    print(sent, "bytes with a pause, 300000 of a file")


asyncio.run(main())
