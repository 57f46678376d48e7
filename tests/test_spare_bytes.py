"""What a protocol is given stays as it was given: the loop uses the memory again only when nobody has it any more."""

import asyncio as stdlib
import random
import socket

import pytest
import rasyncio as asyncio

SIZES = [1, 479, 480, 512, 700, 1024, 1024, 1024, 2048, 4000, 16 * 1024, 16 * 1024 + 1]


def content(number, size):
    return number.to_bytes(4, "big").ljust(size, bytes([number % 251]))[:size]


class Keeper:
    """Does with what it is given what programs do: lets it go, keeps it, or keeps something that shows it."""

    def __init__(self, sizes, seed):
        self.random, self.sizes, self.kept, self.done = random.Random(seed), sizes, [], None
        self.count, self.same = 0, 0
        self.last = None

    def take(self, data):
        expected = content(self.count, self.sizes[self.count])
        assert type(data) is bytes and data == expected and len(data) == len(expected)
        what = self.random.randrange(8)
        if what == 0:
            self.kept.append((data, expected))
        elif what == 1:
            self.kept.append((memoryview(data), expected))
        elif what == 2:
            self.kept.append((data[:], expected))
        elif what == 3:
            self.kept.append(({data: expected}, expected))
        elif what == 4:
            assert hash(data) == hash(bytes(bytearray(expected))), "of its own, not of what stood there before"
        self.same += id(data) == self.last
        self.last = id(data)
        self.count += 1
        if self.count == len(self.sizes):
            self.done.set_result(None)

    def check(self):
        for kept, expected in self.kept:
            if isinstance(kept, dict):
                assert kept[bytes(bytearray(expected))] is expected
            else:
                assert kept == expected
        assert self.same > 10, "the memory was never used again"


class Stream(Keeper, asyncio.Protocol):
    def data_received(self, data):
        self.take(data)
        self.answered.set()


class Datagrams(Keeper, asyncio.DatagramProtocol):
    def datagram_received(self, data, address):
        self.take(data)
        self.answered.set()


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_what_a_protocol_keeps_does_not_change(kind):
    chosen = random.Random(kind)
    sizes = [chosen.choice(SIZES) if i % 3 else 1024 for i in range(600)]

    async def main():
        near, far = socket.socketpair(type=socket.SOCK_STREAM if kind == "stream" else socket.SOCK_DGRAM)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        loop = asyncio.get_running_loop()
        protocol = (Stream if kind == "stream" else Datagrams)(sizes, 7)
        protocol.done, protocol.answered = loop.create_future(), asyncio.Event()
        make = loop.create_connection if kind == "stream" else loop.create_datagram_endpoint
        transport, _ = await make(lambda: protocol, sock=near)
        for number, size in enumerate(sizes):
            protocol.answered.clear()
            far.send(content(number, size))
            async with asyncio.timeout(20):
                await protocol.answered.wait()
        await protocol.done
        protocol.check()
        transport.abort()
        far.close()

    asyncio.run(main())


def test_bytes_in_the_hands_of_a_suspended_coroutine_do_not_change():
    """As they are where `data_received` starts a task, or raises and its traceback is kept."""

    async def main():
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        seen, errors, gate = [], [], asyncio.Event()
        loop.set_exception_handler(lambda loop, context: errors.append(context))

        async def later(data):
            await gate.wait()
            seen.append(bytes(bytearray(data)))

        class Protocol(asyncio.Protocol):
            tasks = []

            def data_received(self, data):
                self.tasks.append(loop.create_task(later(data)))
                arrived.set()

        arrived = asyncio.Event()
        transport, protocol = await loop.create_connection(Protocol, sock=near)
        sent = [content(number, 1024) for number in range(20)]
        for data in sent:
            arrived.clear()
            far.send(data)
            await arrived.wait()
        gate.set()
        await asyncio.gather(*protocol.tasks)
        assert seen == sent and not errors
        transport.abort()
        far.close()

    asyncio.run(main())


def test_it_is_bytes_as_asyncio_gives_them():
    async def main(package):
        near, far = socket.socketpair()
        loop = package.get_running_loop()
        got, arrived = [], package.Event()

        class Protocol(package.Protocol):
            def data_received(self, data):
                got.append((type(data), len(data), hash(data) == hash(bytes(bytearray(data))), data.isascii(), data[-1:]))
                arrived.set()

        transport, _ = await loop.create_connection(Protocol, sock=near)
        for size in (1024, 1000, 600, 1024, 512):
            arrived.clear()
            far.send(b"a" * size)
            await arrived.wait()
        transport.abort()
        far.close()
        return got

    assert asyncio.run(main(asyncio)) == stdlib.run(main(stdlib))
