"""An echo server in one of the styles in which people write servers; network.py starts it in a process of its own.

    python echo_server.py asyncio protocols 1024          (for rasyncio: python -m rasyncio echo_server.py rasyncio ...)
    python echo_server.py asyncio tls-read 1024 CERTIFICATE

It prints the address that it serves (a port, or a path), and serves until its standard input ends.
"""

import asyncio
import gc
import importlib
import socket
import sys
import tempfile
from pathlib import Path

FACTORIES = {"uvloop": "uvloop", "rloop": "rloop", "blazio": "blazio"}


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = memoryview(bytearray(256 * 1024))

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, count):
        self.transport.write(self.buffer[:count])


class DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


def streams(read):
    async def serve(reader, writer):
        try:
            while data := await read(reader):
                writer.write(data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    return serve


async def serve_socket(loop, connection):
    with connection:
        try:
            while data := await loop.sock_recv(connection, 256 * 1024):
                await loop.sock_sendall(connection, data)
        except ConnectionError:
            pass


async def accept_sockets(loop, listener):
    tasks = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = loop.create_task(serve_socket(loop, connection))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def readers(size):
    return {
        "read": lambda reader: reader.read(256 * 1024),
        "readexactly": lambda reader: reader.readexactly(size),
        "readline": lambda reader: reader.readline(),
    }


PROTOCOLS = {"protocols": Echo, "shake": Echo, "resume": Echo, "connect": Echo, "idle": Echo, "buffered": BufferedEcho}
READERS = {"connect-streams": "read", "idle-streams": "read"}


def tls(style, certificate):
    """The style without its "tls-", and the context, None without TLS."""
    if not style.startswith("tls-"):
        return style, None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return style.removeprefix("tls-"), context


async def serve(loop, style, size, certificate=None):
    """Answers what must live on while it is served, and the address."""
    style, context = tls(style, certificate)
    if style == "unix":
        path = str(Path(tempfile.mkdtemp()) / "socket")
        return await loop.create_unix_server(Echo, path), path
    if style == "datagrams":
        transport, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
        return transport, transport.get_extra_info("sockname")[1]
    # As create_server(host, port) makes it: asyncio sets TCP_NODELAY only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    listener.setblocking(False)
    if style == "sockets":
        serving = loop.create_task(accept_sockets(loop, listener))
    elif style in PROTOCOLS:
        serving = await loop.create_server(PROTOCOLS[style], sock=listener, backlog=1024, ssl=context)
    else:
        serve = streams(readers(size)[READERS.get(style, style)])
        serving = await asyncio.start_server(serve, sock=listener, limit=1 << 20, backlog=1024, ssl=context)
    return serving, listener.getsockname()[1]


async def main(style, size, certificate=None):
    loop = asyncio.get_running_loop()
    serving, address = await serve(loop, style, size, certificate)
    print(address, flush=True)
    done = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: done.done() or done.set_result(None))
    gc.collect()
    await done
    del serving


def run(implementation, coroutine):
    if implementation in FACTORIES:
        factory = importlib.import_module(FACTORIES[implementation]).new_event_loop
        asyncio.Runner(loop_factory=factory).run(coroutine)
    else:
        asyncio.run(coroutine)


if __name__ == "__main__":
    implementation, style, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if implementation == "rasyncio" and asyncio is not importlib.import_module("rasyncio"):
        raise SystemExit("rasyncio is not in asyncio's place")
    # The process is ended with its connections open; what that would have it say interests nobody.
    try:
        run(implementation, main(style, size, *sys.argv[4:]))
    finally:
        sys.stdout.flush()
        importlib.import_module("os")._exit(0)
