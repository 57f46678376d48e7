"""Protocols: callbacks in place of coroutines.  Plain, buffered, and datagrams."""

import asyncio


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Counter(asyncio.Protocol):
    """Sends a message, and is done when as much has come back."""

    def __init__(self, message):
        self.message, self.received = message, b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.message)

    def data_received(self, data):
        self.received += data
        if len(self.received) == len(self.message):
            self.transport.close()

    def connection_lost(self, exc):
        self.done.set_result(self.received)


class Filling(asyncio.BufferedProtocol):
    """The transport reads straight into this protocol's memory."""

    def __init__(self, size):
        self.memory, self.filled = bytearray(size), 0
        self.done = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint):
        return memoryview(self.memory)[self.filled :]

    def buffer_updated(self, count):
        self.filled += count
        if self.filled == len(self.memory):
            self.done.set_result(bytes(self.memory))


class Ping(asyncio.DatagramProtocol):
    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, address):
        self.answer.set_result(data)


class Pong(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data[::-1], address)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async with server:
        message = bytes(range(256)) * 1000
        _, counter = await loop.create_connection(lambda: Counter(message), *address)
        assert await counter.done == message

        transport, filling = await loop.create_connection(lambda: Filling(1000), *address)
        transport.writelines([b"a" * 400, b"b" * 600])
        assert await filling.done == b"a" * 400 + b"b" * 600
        assert transport.get_extra_info("peername") == address
        transport.close()

    there, _ = await loop.create_datagram_endpoint(Pong, local_addr=("127.0.0.1", 0))
    here, ping = await loop.create_datagram_endpoint(Ping, remote_addr=there.get_extra_info("sockname"))
    here.sendto(b"stressed")
    assert await ping.answer == b"desserts"
    here.close()
    there.close()
    print(len(message), "bytes there and back, and a datagram")


asyncio.run(main())
