"""Socket transports: what they take, what they refuse, and what becomes of a socket that somebody closed behind them."""

import asyncio
import logging
import socket

from recorder import record

logging.getLogger("asyncio").addHandler(logging.NullHandler())
logging.getLogger("asyncio").propagate = False


class Noting(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def pause_writing(self):
        record("paused")

    def resume_writing(self):
        record("resumed")

    def connection_lost(self, error):
        record("lost", error)
        self.lost.set_result(None)


async def connected():
    near, far = socket.socketpair()
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Noting, sock=near)
    return near, far, transport, protocol


def attempt(name, function, *args, **kwargs):
    try:
        record(name, function(*args, **kwargs))
    except Exception as error:
        record(name, error)


async def closed_behind():
    for how in ("close", "detach"):
        near, far, transport, protocol = await connected()
        number = near.fileno()
        if how == "close":
            near.close()
        else:
            socket.socket(fileno=near.detach()).close()
        stranger, listener = socket.socketpair()
        record("the number is used again", number in (stranger.fileno(), listener.fileno()))
        listener.setblocking(False)
        stranger.setblocking(False)
        transport.write(b"secret")
        await protocol.lost
        for end in (listener, stranger):
            attempt("a stranger hears", end.recv, 100)
            end.close()
        far.close()


async def written():
    released = memoryview(b"xy")
    released.release()
    for data in (
        memoryview(b"abcdef")[::2],
        "text",
        None,
        5,
        bytearray(b"xy"),
        memoryview(b"abcd").cast("H"),
        b"",
        released,
    ):
        near, far, transport, protocol = await connected()
        attempt("write", transport.write, data)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        attempt("received", far.recv, 100)
        transport.close()
        await protocol.lost
        far.close()


async def keywords():
    near, far, transport, protocol = await connected()
    attempt("write", transport.write, data=b"a")
    attempt("writelines", transport.writelines, list_of_data=[b"b", bytearray(b"c"), memoryview(b"d")])
    attempt("writelines of nothing", transport.writelines, [])
    attempt("set_protocol", transport.set_protocol, protocol=protocol)
    attempt("received", far.recv, 100)
    record("class", type(transport).__name__, transport.max_size)
    transport.close()
    await protocol.lost
    far.close()


async def limits():
    near, far, transport, protocol = await connected()
    record("usual", transport.get_write_buffer_limits())
    marks = [
        {"high": 100}, {"low": 10}, {"high": 100, "low": 10}, {"high": 1.5}, {"high": 0}, {"high": 10, "low": 20},
        {"high": -1}, {"high": float("inf")}, {"high": "a"}, {"low": "a", "high": 3}, {"high": 2**80}, {"high": True},
    ]  # fmt: skip
    for given in marks:
        attempt(f"limits {given}", transport.set_write_buffer_limits, **given)
        record("are", [str(mark) for mark in transport.get_write_buffer_limits()])
    transport.abort()
    await protocol.lost
    far.close()


async def filled():
    """What waits is sent by the next writelines(), if it can be, without a turn of the loop."""
    near, far, transport, protocol = await connected()
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 65536)
    transport.write(b"y" * 100_000)
    received = 0
    while True:
        try:
            received += len(far.recv(1 << 20))
        except BlockingIOError:
            break
    transport.writelines([b"z" * 10, b"z" * 10])
    record("left", transport.get_write_buffer_size())
    transport.close()
    far.setblocking(False)
    await protocol.lost
    far.close()


async def main():
    for part in (closed_behind, written, keywords, limits, filled):
        record(part.__name__)
        await part()


asyncio.run(main())
