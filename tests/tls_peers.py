"""What tests of TLS share: servers, clients, and a far end by hand."""

import contextlib
import socket
import ssl

import certificates
import rasyncio as asyncio
from peers import Recorder

BIG = bytes(range(256)) * 4096  # a megabyte


class Buffered(asyncio.BufferedProtocol, Recorder):
    """Notes what comes, in pieces of `room` bytes."""

    room, memory_type = 1000, bytearray

    def __init__(self):
        Recorder.__init__(self)
        self.memory = bytearray(self.room)

    def get_buffer(self, sizehint):
        return self.memory_type(self.memory) if self.memory_type is memoryview else self.memory

    def buffer_updated(self, nbytes):
        self.data += self.memory[:nbytes]
        self.note("data")


class Echo(Recorder):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


@contextlib.asynccontextmanager
async def served(factory=Echo, *, context=None, **options):
    """A TLS server on loopback: its port, and the protocols of its connections."""
    made = []

    def make():
        made.append(factory())
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context or certificates.server(), **options)
    try:
        yield server.sockets[0].getsockname()[1], made
    finally:
        server.close()
        await server.wait_closed()


async def connect(port, factory=Recorder, *, context=None, name="localhost", **options):
    context = context or certificates.client()
    loop = asyncio.get_running_loop()
    return await loop.create_connection(factory, "127.0.0.1", port, ssl=context, server_hostname=name, **options)


async def settled(*protocols):
    for protocol in protocols:
        await protocol.lost


def details(contexts):
    """What the exception handler of the running loop is called with from now on."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: contexts.append(context))
    return contexts


class Far:
    """The other end, by hand: an SSLObject on a plain socket."""

    def __init__(self, sock, context, server_side=True):
        self.sock, self.come, self.go = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.go, server_side=server_side)

    async def do(self, function, *args):
        loop = asyncio.get_running_loop()
        while True:
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                data = await loop.sock_recv(self.sock, 1 << 16)
                self.come.write(data) if data else self.come.write_eof()
            finally:
                await self.flush()

    async def flush(self):
        if data := self.go.read():
            await asyncio.get_running_loop().sock_sendall(self.sock, data)


@contextlib.asynccontextmanager
async def tls_and_socket(factory=Recorder, **options):
    """A client's transport and protocol, and the far end by hand."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    options = {"ssl_shutdown_timeout": 0.05, **options}
    connecting = loop.create_task(connect(listener.getsockname()[1], factory, **options))
    sock, _ = await loop.sock_accept(listener)
    far = Far(sock, certificates.server())
    await far.do(far.tls.do_handshake)
    transport, protocol = await connecting
    with listener, sock:
        yield transport, protocol, far
    transport.abort()
    await protocol.lost


def unnamed_client():
    context = certificates.client()
    context.check_hostname = False
    return context
