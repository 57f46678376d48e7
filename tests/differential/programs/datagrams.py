"""Datagrams: endpoints of all kinds, what they refuse, errors of the kernel, flow control, contexts, and the sock_* calls."""

import asyncio
import contextvars
import logging
import os
import socket
import tempfile

from recorder import record, record_outcome

logging.getLogger("asyncio").addHandler(logging.NullHandler())
logging.getLogger("asyncio").propagate = False
variable = contextvars.ContextVar("variable", default="unset")


class Noting(asyncio.DatagramProtocol):
    def __init__(self, name="p"):
        self.name, self.lost = name, asyncio.get_running_loop().create_future()
        self.received, self.failed = asyncio.Queue(), asyncio.Queue()

    def connection_made(self, transport):
        record(self.name, "made", variable.get())
        variable.set("in connection_made")

    def datagram_received(self, data, addr):
        record(self.name, "received", data.decode(), type(addr).__name__, variable.get())
        self.received.put_nowait((data, addr))
        if data == b"raise":
            raise ValueError("raised by datagram_received")

    def error_received(self, exc):
        record(self.name, "error", type(exc).__name__, exc.errno, variable.get())
        self.failed.put_nowait(exc)

    def pause_writing(self):
        record(self.name, "paused", variable.get())

    def resume_writing(self):
        record(self.name, "resumed", variable.get())

    def connection_lost(self, exc):
        record(self.name, "lost", exc, variable.get())
        self.lost.set_result(None)


def attempt(name, function, *args, **kwargs):
    try:
        record(name, function(*args, **kwargs))
    except Exception as error:
        record(name, error)


async def opened(name="p", *args, **options):
    loop = asyncio.get_running_loop()
    return await loop.create_datagram_endpoint(lambda: Noting(name), *args, **options)


async def closed(transport, protocol):
    transport.close()
    await protocol.lost


def bound():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


async def refused():
    loop = asyncio.get_running_loop()
    stream, plain = socket.socket(), bound()
    attempts = {
        "nothing": {},
        "string": {"local_addr": "127.0.0.1"},
        "long": {"local_addr": ("127.0.0.1", 0, 0)},
        "list": {"remote_addr": ["127.0.0.1", 1]},
        "unix tuple": {"family": socket.AF_UNIX, "local_addr": ("a", 1)},
        "unix bytes": {"family": socket.AF_UNIX, "remote_addr": b"a"},
        "no such path": {"family": socket.AF_UNIX, "remote_addr": "/nonexistent/socket"},
        "families": {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 1)},
        "sock and more": {
            "sock": plain, "local_addr": ("a", 1), "family": 2, "reuse_port": True, "allow_broadcast": 1, "proto": 0,
        },
        "broadcast not allowed": {"remote_addr": ("255.255.255.255", 9)},
    }  # fmt: skip
    for name, options in attempts.items():
        await record_outcome(name, loop.create_datagram_endpoint(Noting, **options))
    try:
        await loop.create_datagram_endpoint(Noting, sock=stream)
    except ValueError as error:
        record("stream", "socket was expected, got <socket.socket" in str(error).lower())
    record("still open", plain.fileno() >= 0, stream.fileno() >= 0)
    stream.close()

    def fails():
        raise KeyError("factory")

    await record_outcome("factory", loop.create_datagram_endpoint(fails, sock=plain))
    record("still open", plain.fileno() >= 0)
    plain.close()


async def exchanged():
    here, near = await opened("near", ("127.0.0.1", 0))
    there, far = await opened("far", ("127.0.0.1", 0))
    record(isinstance(here, asyncio.Transport))
    record(type(here).__name__, here.__class__.__name__, here.max_size, here.get_write_buffer_limits())
    record(here.is_closing(), here.is_reading(), here.get_write_buffer_size(), here.get_extra_info("peername", 5))
    address = there.get_extra_info("sockname")
    for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), memoryview(b"w-i-d-e-").cast("H")):
        here.sendto(data, address)
        data, sender = await far.received.get()
        record(sender == here.get_extra_info("sockname"), isinstance(sender, tuple), len(sender))
    here.sendto(b"host", ("localhost", address[1]))
    await far.received.get()
    here.sendto(b"raise", address)
    await far.received.get()
    here.sendto(b"", address)
    here.sendto(b"after", addr=address)
    while (await far.received.get())[0] != b"after":
        pass
    for data in ("text", None, 5, [b"x"]):
        attempt("sendto", here.sendto, data, address)
    attempt("nothing", here.sendto)
    for method in ("write", "writelines"):
        attempt(method, getattr(here, method), [b"x"])
    there.pause_reading()
    there.pause_reading()
    record(there.is_reading())
    here.sendto(b"paused", address)
    for _ in range(5):
        await asyncio.sleep(0)
    variable.set("resumer")
    there.resume_reading()
    await far.received.get()
    variable.set("unset")
    there.set_protocol(other := Noting("other"))
    record(there.get_protocol() is other)
    here.sendto(b"to another", address)
    await other.received.get()
    await closed(here, near)
    await closed(there, other)


async def errors():
    gone = bound()
    address = gone.getsockname()
    gone.close()
    transport, protocol = await opened("connected", remote_addr=address)
    transport.sendto(b"x")
    await protocol.failed.get()
    try:
        transport.sendto(b"x", ("127.0.0.1", 1))
    except ValueError as error:
        record(str(error) == f"Invalid address: must be None or {address}")
    transport.sendto(b"x", address)
    await protocol.failed.get()
    await closed(transport, protocol)
    for _ in range(3):
        attempt("after the end", transport.sendto, b"x")
    transport, protocol = await opened("unconnected", ("127.0.0.1", 0))
    transport.sendto(b"x" * 70_000, address)
    transport.sendto(b"x", ("::1", 1))
    await closed(transport, protocol)
    for to in (None, "a", ("127.0.0.1",), ("127.0.0.1", 70_000), ("127.0.0.1", "1"), (1, 1), 5):
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context, to=reported: to.append(context))
        transport, protocol = await opened("bad", ("127.0.0.1", 0))
        attempt(f"to {to}", transport.sendto, b"x", to)
        record([(context["message"], repr(context["exception"]), sorted(context)) for context in reported])
        await closed(transport, protocol)
    asyncio.get_running_loop().set_exception_handler(None)


async def closed_behind():
    for how in ("close", "detach"):
        sock, stranger = bound(), bound()
        transport, protocol = await opened("behind", sock=sock)
        number = sock.fileno()
        if how == "close":
            sock.close()
        else:
            socket.socket(fileno=sock.detach()).close()
        again = bound()
        record("the number is used again", again.fileno() == number)
        transport.sendto(b"secret", stranger.getsockname())
        attempt("a stranger hears", stranger.recv, 100)
        transport.abort()
        await protocol.lost
        again.close()
        stranger.close()


async def waiting():
    """A Unix socket whose receiver has not kept up does block."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "far")
        far = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        far.setblocking(False)
        far.bind(path)
        for way in ("sent", "closed", "aborted"):
            transport, protocol = await opened(way, remote_addr=path, family=socket.AF_UNIX)
            record(transport.get_extra_info("peername") == path, transport.get_extra_info("sockname"))
            transport.set_write_buffer_limits(high=1000, low=100)
            variable.set("sender")
            count = 0
            while not transport.get_write_buffer_size():
                transport.sendto(b"x" * 600)
                count += 1
            variable.set("unset")
            record("waits", transport.get_write_buffer_size())
            transport.sendto(bytearray(b"y" * 600))
            transport.sendto(b"z" * 600)
            record("waits", transport.get_write_buffer_size())
            if way == "closed":
                transport.close()
            elif way == "aborted":
                transport.abort()
                record("aborted", transport.get_write_buffer_size())
                await protocol.lost
                record("after the end", transport.get_write_buffer_size())
            received = []
            while True:
                try:
                    received.append(far.recv(1000)[:1])
                except BlockingIOError:
                    if way == "aborted" or b"z" in received:
                        break
                    await asyncio.sleep(0)
            record("received", len(received) - count, b"".join(received[-3:]).decode())
            await closed(transport, protocol)
        far.close()


async def unix():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "near")
        stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        stale.bind(path)
        stale.close()
        transport, protocol = await opened("path", path, family=socket.AF_UNIX)
        for name in (None, os.path.join(folder, "far"), f"\0rasyncio-{os.getpid()}"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
                if name:
                    far.bind(name)
                far.sendto(b"hello", path)
                _, sender = await protocol.received.get()
                expected = name and (name if name.startswith("/") else name.encode())
                record("sender", sender == expected, type(sender).__name__)
                if name:
                    transport.sendto(b"answer", sender)
                    record(far.recv(100).decode())
        transport.sendto(b"gone", os.path.join(folder, "nowhere"))
        await closed(transport, protocol)
        occupied = os.path.join(folder, "file")
        open(occupied, "w").close()
        await record_outcome("a file", opened("file", occupied, family=socket.AF_UNIX))
        transport, protocol = await opened("unbound", family=socket.AF_UNIX)
        await closed(transport, protocol)


async def options():
    transport, protocol = await opened("options", ("127.0.0.1", 0), reuse_port=True, allow_broadcast=True)
    shown = transport.get_extra_info("socket")
    record([shown.getsockopt(socket.SOL_SOCKET, name) for name in (socket.SO_REUSEPORT, socket.SO_BROADCAST)])
    try:
        asyncio.get_running_loop().add_reader(shown.fileno(), print)
    except RuntimeError as error:
        record(str(error).replace(str(shown.fileno()), "N"))
    await closed(transport, protocol)
    far = bound()
    address = far.getsockname()
    transport, protocol = await opened("broadcast", remote_addr=address, allow_broadcast=True)
    record(transport.get_extra_info("peername"))
    transport.sendto(b"to the only address")
    record(far.recv(100).decode())
    transport.close()
    transport.close()
    transport.abort()
    record(transport.is_closing(), transport.get_extra_info("sockname") is not None)
    await protocol.lost
    record(transport.get_protocol())
    far.close()


async def socket_calls():
    loop = asyncio.get_running_loop()
    near, far = bound(), bound()
    buffer = bytearray(10)
    record(await loop.sock_sendto(near, b"now", far.getsockname()))
    data, sender = await loop.sock_recvfrom(far, 100)
    record(data.decode(), sender == near.getsockname())
    waits = asyncio.create_task(loop.sock_recvfrom(far, 2))
    await asyncio.sleep(0)
    near.sendto(b"later", far.getsockname())
    record((await waits)[0].decode())
    waits = asyncio.create_task(loop.sock_recvfrom_into(far, buffer))
    await asyncio.sleep(0)
    near.sendto(b"into", far.getsockname())
    count, sender = await waits
    record(count, buffer[:count].decode(), sender == near.getsockname())
    near.sendto(b"into", far.getsockname())
    record((await loop.sock_recvfrom_into(far, buffer, 2))[0])
    await record_outcome("no address", loop.sock_sendto(near, b"x", None))
    await record_outcome("a bad size", loop.sock_recvfrom(near, -1))
    loop.set_debug(True)
    near.setblocking(True)
    await record_outcome("blocking", loop.sock_recvfrom(near, 1))
    await record_outcome("blocking", loop.sock_recvfrom_into(near, buffer))
    await record_outcome("blocking", loop.sock_sendto(near, b"x", far.getsockname()))
    loop.set_debug(False)
    near.close()
    far.close()


async def main():
    for part in (refused, exchanged, errors, closed_behind, waiting, unix, options, socket_calls):
        record(part.__name__)
        await part()


asyncio.run(main())
