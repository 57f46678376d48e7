"""An echo server in one of the styles in which people write servers; network.py starts it in a process of its own.

    python echo_server.py asyncio protocols 1024          (for rasyncio: python -m rasyncio echo_server.py rasyncio ...)

It prints the address that it serves, and serves until its standard input ends.
"""

import asyncio
import gc
import importlib
import socket
import sys

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


async def main(style, size):
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    if style == "sockets":
        serving = loop.create_task(accept_sockets(loop, listener))
    elif style in ("protocols", "buffered"):
        serving = await loop.create_server(Echo if style == "protocols" else BufferedEcho, sock=listener)
    else:
        serving = await asyncio.start_server(streams(readers(size)[style]), sock=listener, limit=1 << 20)
    print(listener.getsockname()[1], flush=True)
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
        run(implementation, main(style, size))
    finally:
        sys.stdout.flush()
        importlib.import_module("os")._exit(0)
