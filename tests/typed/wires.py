"""Protocols and transports, buffered ones and datagrams, servers, and what a loop has beside them."""

import asyncio
import signal
import socket
from typing import Any, assert_type, cast


class Echo(asyncio.Protocol):
    def __init__(self, done: asyncio.Future[bytes] | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = bytearray()
        self.done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self.done:
            self.transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.received += data
        assert self.transport is not None
        if self.done is None:
            self.transport.write(data)
        elif len(self.received) == 5:
            self.transport.close()

    def eof_received(self) -> bool | None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done and not self.done.done():
            self.done.set_result(bytes(self.received))


class Filled(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(100)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        print(nbytes)


class Pong(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.transport.sendto(data, addr)


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    loop.default_exception_handler(context)


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(report)
    loop.set_debug(False)
    if hasattr(signal, "SIGUSR1"):
        loop.add_signal_handler(signal.SIGUSR1, print, "a signal")
        assert_type(loop.remove_signal_handler(signal.SIGUSR1), bool)

    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    done: asyncio.Future[bytes] = loop.create_future()
    transport, protocol = await loop.create_connection(lambda: Echo(done), "127.0.0.1", port)
    assert_type(protocol, Echo)
    transport.set_write_buffer_limits(high=2**16)
    assert await done == b"hello"
    server.close()
    await server.wait_closed()

    datagrams, pong = await loop.create_datagram_endpoint(Pong, local_addr=("127.0.0.1", 0))
    assert_type(pong, Pong)
    datagrams.close()

    left, right = socket.socketpair()
    for each in (left, right):
        each.setblocking(False)
    loop.add_reader(left, print, "readable")
    loop.remove_reader(left)
    await loop.sock_sendall(left, b"x")
    assert_type(await loop.sock_recv(right, 10), bytes)
    filled, _ = await loop.create_connection(Filled, sock=left)
    filled.abort()
    right.close()


if __name__ == "__main__":
    asyncio.run(main())
