"""TLS: what a program is told, in which order, from the handshake to the end, when all goes well and when it does not."""

import asyncio
import logging
import re
import socket
import ssl

import trustme
from recorder import record, record_outcome

AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
CERTIFICATE = AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    return context


def client_context():
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Lines(logging.Handler):
    """The log without what differs between two runs: objects and times."""

    def emit(self, record_):
        text = re.sub(r"<.*?object at 0x[0-9a-f]+>", "<object>", record_.getMessage())
        text = re.sub(r"<_SelectorSocketTransport.*?>+", "<transport>", text)
        if "SSL" in text or "ssl" in text:
            record("logged", record_.levelname, re.sub(r"[0-9.]+ ms", "N ms", text).replace("rasyncio", "asyncio"))


class Noting(asyncio.Protocol):
    def __init__(self, name, raises=(), answers=b""):
        self.name, self.raises, self.answers = name, raises, answers
        self.lost = asyncio.get_running_loop().create_future()

    def note(self, event, *what):
        record(self.name, event, *what)
        if event in self.raises:
            raise self.raises[event]

    def connection_made(self, transport):
        self.transport = transport
        self.note("made", transport.get_extra_info("ssl_object") is not None, transport.is_closing())

    def data_received(self, data):
        if self.answers:
            self.transport.write(self.answers)
        self.note("data", len(data))

    def eof_received(self):
        self.note("eof", self.transport.is_closing())

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, error):
        if not self.lost.done():
            self.lost.set_result(None)
        self.note("lost", error)


def handler(_, context):
    record("handler", context["message"], context.get("exception"), sorted(context))


async def pair(near, far, client=None, server=None, **options):
    """Two protocols on the two ends of a socket pair; the outcomes of both sides."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    connecting = loop.create_connection(
        lambda: near, sock=left, ssl=client or client_context(), server_hostname="localhost", **options
    )
    accepting = loop.connect_accepted_socket(lambda: far, right, ssl=server or server_context())
    tasks = [loop.create_task(connecting), loop.create_task(accepting)]
    await asyncio.wait(tasks)
    for side, task in zip(("client", "server"), tasks, strict=True):
        record(side, task.exception())
    return left, right


async def quiet(turns=30):
    for _ in range(turns):
        await asyncio.sleep(0)


async def orderly():
    for closer in ("near", "far"):
        near, far = Noting("near"), Noting("far", answers=b"answer")
        await pair(near, far)
        near.transport.write(b"x" * 40_000)
        near.transport.writelines([b"abc", bytearray(b"de"), memoryview(b"f")])
        await quiet()
        (near if closer == "near" else far).transport.close()
        await near.lost
        await far.lost
        await quiet()
        record("closing", near.transport.is_closing(), near.transport.get_write_buffer_size())
        near.transport.write(b"after the end")


async def odd_writes():
    for chunks in ([b"ab", "cd"], 7, [memoryview(b"abcdef")[::2]], (b"x" for _ in range(3)), [b"", b""]):
        near, far = Noting("near"), Noting("far")
        await pair(near, far)
        try:
            record("writelines", near.transport.writelines(chunks))
        except Exception as error:
            record("writelines", error)
        await quiet()
        if not near.transport.is_closing():
            near.transport.close()
        await near.lost
        await far.lost
        await quiet()
    near, far = Noting("near"), Noting("far")
    await pair(near, far)
    near.transport.write(memoryview(b"abcdef")[::2])
    await near.lost
    await far.lost


async def aborted():
    near, far = Noting("near"), Noting("far")
    await pair(near, far)
    near.transport.write(b"x" * 100)
    near.transport.abort()
    record("closing", near.transport.is_closing())
    await near.lost
    await far.lost


async def raising():
    for event in ("data", "eof", "lost"):
        near, far = Noting("near", {event: LookupError(event)}), Noting("far")
        await pair(near, far)
        far.transport.write(b"x")
        await quiet()
        far.transport.close()
        await quiet(60)


async def refused():
    near, far = Noting("near"), Noting("far")
    await pair(near, far, client=ssl.create_default_context())
    await quiet()
    server = server_context()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client = client_context()
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    near, far = Noting("near"), Noting("far")
    await pair(near, far, client=client, server=server)
    await quiet()


async def arguments():
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    context = client_context()
    for options in (
        {"ssl": context},
        {"server_hostname": "x"},
        {"ssl_handshake_timeout": 1},
        {"ssl_shutdown_timeout": 1},
        {"ssl": context, "server_hostname": "x", "ssl_handshake_timeout": 0},
        {"ssl": context, "server_hostname": "x", "ssl_shutdown_timeout": -1.5},
        {"ssl": context, "server_hostname": "x", "ssl_handshake_timeout": "1"},
        {"ssl": 5, "server_hostname": "x"},
    ):
        await record_outcome(list(options), loop.create_connection(asyncio.Protocol, sock=left, **options))
    if left.fileno() < 0:
        left, right = socket.socketpair()
    transport, protocol = await loop.create_connection(asyncio.Protocol, sock=left)
    await record_outcome("no context", loop.start_tls(transport, protocol, None))
    await record_outcome("no transport", loop.start_tls(None, protocol, context))
    for options in ({"ssl": True}, {"ssl_handshake_timeout": 1}, {"ssl_shutdown_timeout": 1}):
        await record_outcome(list(options), loop.create_server(asyncio.Protocol, "127.0.0.1", 0, **options))
    transport.abort()
    right.close()


async def started():
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    near, far = Noting("near"), Noting("far", answers=b"answer")
    transports = [(await loop.create_connection(lambda: near, sock=left))[0]]
    transports.append((await loop.create_connection(lambda: far, sock=right))[0])
    near_tls, far_tls = await asyncio.gather(
        loop.start_tls(transports[0], near, client_context(), server_hostname="localhost"),
        loop.start_tls(transports[1], far, server_context(), server_side=True),
    )
    record("made anew", near_tls is near.transport)
    near.transport, far.transport = near_tls, far_tls
    near_tls.write(b"hello")
    await quiet()
    inner = await asyncio.gather(
        loop.start_tls(near_tls, near, client_context(), server_hostname="localhost"),
        loop.start_tls(far_tls, far, server_context(), server_side=True),
    )
    near.transport, far.transport = inner
    inner[0].write(b"deeper")
    await quiet()
    inner[0].close()
    await near.lost
    await far.lost
    await quiet()


async def late():
    near, far = Noting("near"), Noting("far")
    left, right = socket.socketpair()
    options = {"ssl": client_context(), "server_hostname": "localhost", "ssl_handshake_timeout": 0.01}
    loop = asyncio.get_running_loop()
    await record_outcome("nobody shakes hands", loop.create_connection(lambda: near, sock=left, **options))
    right.close()
    near = Noting("near")
    await pair(near, far, ssl_shutdown_timeout=0.01)
    far.transport._ssl_protocol._transport.pause_reading()
    near.transport.close()
    await near.lost
    far.transport.abort()
    await far.lost


async def main():
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(handler)
    for part in (orderly, odd_writes, aborted, raising, refused, arguments, started, late):
        record(part.__name__)
        await part()
        await quiet()
    loop.set_debug(True)
    record("debug mode")
    for part in (aborted, refused):
        await part()
        await quiet()


logger = logging.getLogger("asyncio")
logger.setLevel(logging.DEBUG)
logger.propagate = False
logger.addHandler(Lines())
asyncio.run(main())
