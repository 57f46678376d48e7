"""create_connection: what it refuses and in which words, which addresses it tries, in which order, and how it fails."""

import asyncio
import contextlib
import errno
import inspect
import re
import socket
import sys

from recorder import record, record_outcome

# A port at which nobody listens, and the port of the server, in texts.
NAMES = {}


class Noting(asyncio.Protocol):
    def connection_lost(self, error):
        record("lost", error)


def named(text):
    for number, name in NAMES.items():
        text = re.sub(rf"\b{number}\b", name, text)
    # Patch releases of 3.11 and 3.12 have the system's words without the number.
    text = re.sub(r"\[errno \d+\] ", "", text)
    return re.sub(r"fd=\d+", "fd=N", text)


def told(error):
    """An error without what differs from run to run: ports, descriptors."""
    inner = [told(one) for one in error.exceptions] if isinstance(error, BaseExceptionGroup) else None
    return [type(error).__name__, getattr(error, "errno", None), named(str(error)), inner]


async def outcome(name, awaitable):
    try:
        transport, protocol = await awaitable
    except BaseException as error:
        record(name, told(error))
        return
    family = transport.get_extra_info("socket").family.name
    record(name, "connected", family, transport.get_extra_info("peername")[0])
    transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def info(address, port, family=socket.AF_INET):
    address = (address, port) if family == socket.AF_INET else (address, port, 0, 0)
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address


class Answering:
    """The loop's getaddrinfo() answers with the given lists, by host, and records that it was asked."""

    def __init__(self, **answers):
        self.answers = answers

    def __enter__(self):
        loop = asyncio.get_running_loop()

        async def getaddrinfo(host, port, **keywords):
            record("asked", host, named(str(port)), {name: int(value) for name, value in keywords.items()})
            answer = self.answers[host]
            if isinstance(answer, Exception):
                raise answer
            return answer

        loop.getaddrinfo = getaddrinfo

    def __exit__(self, *_):
        del asyncio.get_running_loop().getaddrinfo


@contextlib.contextmanager
def tried():
    """Records the addresses that sockets are connected to."""
    loop = asyncio.get_running_loop()
    before = loop.sock_connect

    async def sock_connect(sock, address):
        record("tried", sock.family.name, address[0], named(str(address[1])))
        return await before(sock, address)

    loop.sock_connect = sock_connect
    try:
        yield
    finally:
        del loop.sock_connect


async def refused(free):
    loop = asyncio.get_running_loop()
    stream, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    for name, given in {
        "nothing": {},
        "only host": {"host": "127.0.0.1"},
        "host and sock": {"host": "127.0.0.1", "port": 1, "sock": stream},
        "datagram socket": {"sock": datagram},
        "name without tls": {"host": "127.0.0.1", "port": 1, "server_hostname": "a"},
        "handshake without tls": {"host": "127.0.0.1", "port": 1, "ssl_handshake_timeout": 1},
        "shutdown without tls": {"host": "127.0.0.1", "port": 1, "ssl_shutdown_timeout": 1},
        "tls on a socket without a name": {"sock": stream, "ssl": True},
        "tls without a name": {"ssl": True, "host": None, "port": 1},
        "no port": {"host": "127.0.0.1", "port": "no-such-service"},
        "another family": {"host": "127.0.0.1", "port": 1, "family": socket.AF_INET6},
        "huge port": {"host": "127.0.0.1", "port": 70000},
        "port of bytes": {"host": "127.0.0.1", "port": b"x"},
        "unknown": {"what": 1},
    }.items():
        try:
            coroutine = loop.create_connection(Noting, **given)
        except TypeError as error:
            record(name, re.sub(r"\S*create_connection", "create_connection", str(error)))
            continue
        try:
            await coroutine
        except socket.gaierror as error:
            record(name, "gaierror", error.errno)
        except BaseException as error:
            record(name, type(error).__name__, re.sub(r"fd=\d+", "fd=N", str(error)))
        else:
            record(name, "no error")
    stream.close()
    datagram.close()
    parameters = inspect.signature(asyncio.BaseEventLoop.create_connection).parameters.values()
    # What newer versions added is there on all.
    record([[one.name, one.kind.name, repr(one.default)] for one in parameters if one.name != "all_errors"])


async def several(server, free):
    """More than one address, and how the errors are told."""
    loop = asyncio.get_running_loop()
    v6 = socket.AF_INET6
    lists = {
        "first works": [info("127.0.0.1", server), info("127.0.0.2", free)],
        "second works": [info("127.0.0.2", free), info("127.0.0.1", server)],
        "same errors": [info("127.0.0.2", free), info("127.0.0.2", free)],
        "other errors": [info("127.0.0.2", free), info("127.0.0.3", free)],
        "one": [info("127.0.0.2", free)],
        "none": [],
        "both families": [
            info("127.0.0.2", free),
            info("127.0.0.3", free),
            info("::1", free, v6),
            info("127.0.0.1", server),
        ],
    }
    every = [{}]
    if sys.version_info >= (3, 12):
        every.append({"all_errors": True})
    every += [{"interleave": 1}, {"interleave": 2}, {"happy_eyeballs_delay": 0.001, "interleave": 1}]
    for name, answer in lists.items():
        for given in every:
            with Answering(host=answer), contextlib.ExitStack() as stack:
                if "happy_eyeballs_delay" not in given:
                    stack.enter_context(tried())
                await outcome(f"{name} {given}", loop.create_connection(Noting, "host", 80, **given))
    with Answering(host=OSError(errno.EIO, "no resolver")):
        await outcome("error of getaddrinfo", loop.create_connection(Noting, "host", 80))
    with Answering(host=ZeroDivisionError()):
        await outcome("another error of getaddrinfo", loop.create_connection(Noting, "host", 80))


async def from_here(server, free):
    """local_addr."""
    loop = asyncio.get_running_loop()
    v6 = socket.AF_INET6
    with socket.socket() as taken:
        taken.bind(("127.0.0.4", 0))
        taken.listen()
        NAMES[taken.getsockname()[1]] = "TAKEN"
        for name, local in {
            "numeric": ("127.0.0.1", 0),
            "taken": taken.getsockname(),
            "not of this host": ("192.0.2.1", 0),
            "no pair": ("127.0.0.1",),
            "text": "127.0.0.1",
        }.items():
            await outcome(name, loop.create_connection(Noting, "127.0.0.1", server, local_addr=local))
        remote = [info("127.0.0.1", server)]
        for name, here in {
            "only the other family": [info("::1", 0, v6)],
            "the other family first": [info("::1", 0, v6), info("127.0.0.1", 0)],
            "the second can be bound": [info("192.0.2.1", 0), info("127.0.0.1", 0)],
            "none can be bound": [info("192.0.2.1", 0), info("192.0.2.2", 0)],
            "none": [],
        }.items():
            with Answering(host=remote, local=here):
                await outcome(name, loop.create_connection(Noting, "host", 80, local_addr=("local", 0)))


async def fails_later(server):
    """What becomes of the socket when no transport is made, and when connection_made() raises."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, details: record("told", details["message"].partition(" at 0x")[0], details["exception"])
    )
    near, far = socket.socketpair()

    def no_protocol():
        raise ZeroDivisionError("no protocol")

    await outcome("factory raises", loop.create_connection(no_protocol, sock=near))
    record("closed", near.fileno() == -1)
    near.close()
    far.close()

    class Raising(Noting):
        def connection_made(self, transport):
            raise ZeroDivisionError("made")

    await outcome("connection_made raises", loop.create_connection(Raising, "127.0.0.1", server))
    loop.set_exception_handler(None)


async def accepted():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    for name, sock, given in (
        ("datagram", datagram, {}),
        ("handshake without tls", near, {"ssl_handshake_timeout": 1}),
        ("shutdown without tls", near, {"ssl_shutdown_timeout": 1}),
        ("good", near, {}),
    ):
        try:
            transport, protocol = await loop.connect_accepted_socket(Noting, sock, **given)
        except BaseException as error:
            record(name, told(error))
        else:
            record(name, type(protocol).__name__)
            transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    datagram.close()
    far.close()


async def resolved():
    """getaddrinfo() and getnameinfo(), and that they are asked of the socket module."""
    loop = asyncio.get_running_loop()
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    await record_outcome("name of", loop.getnameinfo(("127.0.0.1", 80), numeric))
    await record_outcome("name of v6", loop.getnameinfo(("::1", 80, 0, 0), numeric))
    await record_outcome("keyword", loop.getnameinfo(sockaddr=("127.0.0.1", 80), flags=numeric))
    await record_outcome("no address", loop.getnameinfo("127.0.0.1", numeric))
    infos = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    record("infos", [[int(part) for part in one[:3]] + [one[3], one[4]] for one in infos])
    before = socket.getaddrinfo
    socket.getaddrinfo = lambda *given, **keywords: record("asked", given, keywords) or [info("127.0.0.1", 9)]
    try:
        await loop.getaddrinfo("some.host", "http", family=socket.AF_INET, type=socket.SOCK_STREAM, proto=6, flags=0)
        await loop.getaddrinfo("some.host", None)
        with tried():
            await outcome("numeric host", loop.create_connection(Noting, "127.0.0.2", next(iter(NAMES))))
            await outcome("numeric host and port", loop.create_connection(Noting, "127.0.0.2", str(next(iter(NAMES)))))
    finally:
        socket.getaddrinfo = before


async def main():
    loop = asyncio.get_running_loop()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
        NAMES[free] = "FREE"
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        NAMES[port] = "SERVER"
        for part, given in (
            (refused, (free,)),
            (several, (port, free)),
            (from_here, (port, free)),
            (fails_later, (port,)),
            (accepted, ()),
            (resolved, ()),
        ):
            record(part.__name__)
            await part(*given)
        server.close()


asyncio.run(main())
