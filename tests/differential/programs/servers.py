"""Servers: create_server's checks and options, serving and closing as the running version has it, being out of descriptors."""

import asyncio
import errno
import gc
import inspect
import logging
import re
import resource
import socket
import sys

from recorder import record

# What early patch releases of 3.11 and 3.12 tell in other words.
LATER = {"not of this host": {"host": "192.0.2.1", "port": 0}, "hosts are none": {"host": [], "port": 0}}
if sys.version_info < (3, 13):
    LATER = {}


class Recording(logging.Handler):
    def emit(self, logged):
        record("logged", logged.levelname, plainly(logged.getMessage()))


logging.getLogger("asyncio").addHandler(Recording())
logging.getLogger("asyncio").propagate = False


def plainly(text):
    # Patch releases of 3.11 and 3.12 have the system's words without the number.
    text = re.sub(r"\[errno \d+\] ", "", text)
    text = re.sub(r"fd=\d+", "fd=N", text)
    text = re.sub(r"\('(127\.0\.0\.\d|::1?)', \d+", r"('\1', PORT", text)
    return re.sub(r"0x[0-9a-f]+", "0xN", text)


class Noting(asyncio.Protocol):
    made = None

    def connection_made(self, transport):
        self.transport = transport
        record("made")
        if self.made is not None:
            self.made.set_result(self)

    def data_received(self, data):
        record("data", data.decode())

    def eof_received(self):
        record("eof")

    def connection_lost(self, error):
        record("lost", error)


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


async def outcome(name, awaitable):
    try:
        return await awaitable
    except BaseException as error:
        record(name, type(error).__name__, getattr(error, "errno", None), plainly(str(error)))


async def refused():
    loop = asyncio.get_running_loop()
    stream, datagram, taken = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    for name, given in {
        "nothing": {},
        "host and sock": {"host": "127.0.0.1", "sock": stream},
        "port and sock": {"port": 1, "sock": stream},
        "datagram socket": {"sock": datagram},
        "tls as a bool": {"host": "127.0.0.1", "port": 0, "ssl": True},
        "handshake without tls": {"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1},
        "shutdown without tls": {"host": "127.0.0.1", "port": 0, "ssl_shutdown_timeout": 1},
        "taken": {"host": "127.0.0.1", "port": taken.getsockname()[1]},
        "one of two taken": {"host": ["127.0.0.2", "127.0.0.1"], "port": taken.getsockname()[1]},
        "another family": {"host": "127.0.0.1", "port": 0, "family": socket.AF_INET6},
        "host is no text": {"host": 5, "port": 0},
        "huge port": {"host": "127.0.0.1", "port": 70000},
        **LATER,
    }.items():
        server = await outcome(name, loop.create_server(Noting, **given))
        if server is not None:
            record(name, "no error", len(server.sockets))
            server.close()
    for sock in stream, datagram, taken:
        sock.close()
    parameters = inspect.signature(asyncio.BaseEventLoop.create_server).parameters.values()
    # What newer versions added is there on all.
    record(
        [
            [one.name, one.kind.name, repr(one.default + 0 if isinstance(one.default, int) else one.default)]
            for one in parameters
            if one.name != "keep_alive"
        ]
    )


async def options():
    loop = asyncio.get_running_loop()
    flags = {"SO_REUSEADDR": socket.SO_REUSEADDR, "SO_REUSEPORT": socket.SO_REUSEPORT, "SO_KEEPALIVE": socket.SO_KEEPALIVE}
    every = [{}, {"reuse_address": False}, {"reuse_address": True}, {"reuse_port": True}]
    if sys.version_info >= (3, 13):
        every.append({"keep_alive": True})
    for given in every:
        server = await loop.create_server(Noting, "127.0.0.1", 0, **given)
        sock = server.sockets[0]
        record(given, {name: bool(sock.getsockopt(socket.SOL_SOCKET, flag)) for name, flag in flags.items()})
        record(type(sock).__name__, sock.gettimeout(), sock.get_inheritable(), type(server.sockets).__name__)
        server.close()
    server = await loop.create_server(Noting, None, 0)
    record("every address", sorted(sock.family.name for sock in server.sockets))
    v6 = [sock for sock in server.sockets if sock.family == socket.AF_INET6]
    record("only v6", [sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) for sock in v6])
    server.close()
    server = await loop.create_server(Noting, "", 0, family=socket.AF_INET)
    record("empty host", [sock.getsockname()[0] for sock in server.sockets])
    server.close()
    server = await loop.create_server(Noting, ["127.0.0.1", "127.0.0.2", "127.0.0.1"], 0)
    record("hosts", sorted(sock.getsockname()[0] for sock in server.sockets))
    server.close()


async def states():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Noting, "127.0.0.1", 0, start_serving=False)
    record("made", server.is_serving(), len(server.sockets), server.get_loop() is loop, plainly(repr(server)))
    await server.start_serving()
    record("started", server.is_serving())
    await server.start_serving()
    task = asyncio.create_task(server.serve_forever())
    await turns()
    await outcome("serve_forever twice", server.serve_forever())
    task.cancel()
    await outcome("cancelled", task)
    record("then", server.is_serving(), server.sockets, plainly(repr(server)))
    server.close()
    await outcome("start when closed", server.start_serving())
    await outcome("serve when closed", server.serve_forever())
    await outcome("wait when closed", server.wait_closed())
    async with await loop.create_server(Noting, "127.0.0.1", 0) as server:
        record("inside", server.is_serving())
    record("outside", server.is_serving(), server.sockets)
    server = await loop.create_server(Noting, "127.0.0.1", 0)
    task = asyncio.create_task(server.serve_forever())
    await turns()
    server.close()
    await outcome("closed while serving", task)
    server = await loop.create_server(Noting, "127.0.0.1", 0)
    waiting = asyncio.create_task(server.wait_closed())
    await turns()
    record("wait_closed before close", waiting.done())
    server.close()
    await turns()
    record("and after", waiting.done())
    await waiting


async def connection(server):
    """A connection to the server: the far socket and the protocol."""
    loop = asyncio.get_running_loop()
    Noting.made = loop.create_future()
    far = socket.socket()
    far.setblocking(False)
    await loop.sock_connect(far, server.sockets[0].getsockname())
    return far, await Noting.made


async def closing():
    """Connections outlive the server; wait_closed() waits for them from 3.12 on."""
    loop = asyncio.get_running_loop()
    ways = ["close", "abort"]
    if sys.version_info >= (3, 13):
        ways += ["close_clients", "abort_clients"]
    for way in ways:
        server = await loop.create_server(Noting, "127.0.0.1", 0)
        far, protocol = await connection(server)
        server.close()
        waiting = asyncio.create_task(server.wait_closed())
        await turns()
        record(way, "open", waiting.done(), protocol.transport.is_closing())
        if way.endswith("clients"):
            getattr(server, way)()
        else:
            getattr(protocol.transport, way)()
        record("closing", protocol.transport.is_closing())
        await waiting
        await turns()
        await outcome("far", loop.sock_recv(far, 10))
        far.close()
    server = await loop.create_server(Noting, "127.0.0.1", 0)
    far, protocol = await connection(server)
    task = asyncio.create_task(server.serve_forever())
    await turns()
    task.cancel()
    await turns()
    record("cancelled with a connection", task.done(), protocol.transport.is_closing())
    protocol.transport.abort()
    await outcome("then", task)
    await turns()
    far.close()


async def descriptors():
    """accept() without a descriptor to spare: told, and tried again after a while."""
    loop = asyncio.get_running_loop()
    asyncio.constants.ACCEPT_RETRY_DELAY = 0.01
    told = loop.create_future()

    def handle(_, details):
        error = details.pop("exception")
        record(
            "told",
            details.pop("message"),
            error.errno == errno.EMFILE,
            {name: type(it).__name__ for name, it in details.items()},
        )
        if not told.done():
            told.set_result(None)

    loop.set_exception_handler(handle)
    # asyncio tells of it once for each connection that the backlog has room for, and one; rasyncio once.
    backlog = 0 if sys.version_info >= (3, 13) else 1
    server = await loop.create_server(Noting, "127.0.0.1", 0, backlog=backlog)
    Noting.made = loop.create_future()
    far = socket.socket()
    far.setblocking(False)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = max(far.fileno(), *(sock.fileno() for sock in server.sockets)) + 1
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        while True:
            fillers.append(socket.socket())
    except OSError:
        pass
    await loop.sock_connect(far, server.sockets[0].getsockname())
    await told
    loop.set_exception_handler(lambda *_: None)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for filler in fillers:
        filler.close()
    protocol = await Noting.made
    loop.set_exception_handler(None)
    record("accepted in the end")
    protocol.transport.abort()
    await turns()
    server.close()
    far.close()


async def failing():
    """A factory or connection_made() that raises takes its own connection down, and nothing else."""
    loop = asyncio.get_running_loop()
    for debug in (False, True):
        loop.set_debug(debug)
        told = []

        def handle(_, details, told=told):
            # The exception itself would keep the socket open that asyncio leaves to the collector.
            name = type(details["exception"]).__name__
            told.append((details["message"].partition(" created at")[0], name, sorted(set(details) - {"source_traceback"})))

        loop.set_exception_handler(handle)
        level = logging.getLogger("asyncio").level
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)

        def raising():
            raise ZeroDivisionError("factory")

        server = await loop.create_server(raising, "127.0.0.1", 0)
        far = socket.socket()
        far.setblocking(False)
        await loop.sock_connect(far, server.sockets[0].getsockname())
        await turns()
        gc.collect()
        await outcome("far", loop.sock_recv(far, 10))
        record(debug, [[plainly(message)[:60], error, keys] for message, error, keys in told])
        server.close()
        far.close()
        logging.getLogger("asyncio").setLevel(level)
    loop.set_debug(False)
    loop.set_exception_handler(None)


async def main():
    for part in (refused, options, states, closing, failing, descriptors):
        record(part.__name__)
        await part()


asyncio.run(main())
