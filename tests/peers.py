"""What tests of connections share: a protocol that records, pairs of transport and socket, a run with a limit."""

import socket
import struct

import rasyncio as asyncio

LIMIT = 20  # seconds; only a test that fails waits so long


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


class Recorder(asyncio.Protocol):
    """Notes everything that a transport calls, and can be waited for."""

    def __init__(self, keep_open=False):
        self.events, self.data, self.keep_open, self.transport = [], bytearray(), keep_open, None
        self.changed, self.lost = asyncio.Event(), asyncio.get_running_loop().create_future()

    def note(self, event):
        self.events.append(event)
        self.changed.set()

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.note("data")

    def eof_received(self):
        self.note("eof")
        return self.keep_open

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost")
        self.lost.set_result(exc)

    async def until(self, condition):
        while not condition(self):
            self.changed.clear()
            await self.changed.wait()


async def pair(factory=Recorder):
    """A transport and its protocol, and a plain non-blocking socket at the other end."""
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=near)
    return transport, protocol, far


async def receive(sock, count):
    """Exactly count bytes, or fewer if the end comes before."""
    loop, data = asyncio.get_running_loop(), bytearray()
    while len(data) < count and (piece := await loop.sock_recv(sock, 1 << 16)):
        data += piece
    return bytes(data)


def reset_on_close(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def tcp_pair(factory=Recorder):
    """As pair(), over TCP."""
    listener = socket.create_server(("127.0.0.1", 0))
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, *listener.getsockname())
    far, _ = listener.accept()
    far.setblocking(False)
    listener.close()
    return transport, protocol, far


def fill(transport):
    """Writes until the kernel takes no more; answers how many bytes that were."""
    written = 0
    while transport.get_write_buffer_size() == 0:
        transport.write(b"x" * 65536)
        written += 65536
    return written
