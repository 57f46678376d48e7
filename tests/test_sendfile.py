"""Sending files: by the kernel, by reading them, over sockets and over transports."""

import io
import os
import socket
import sys

import pytest
import rasyncio as asyncio
from peers import Recorder, fill, pair, receive, run, tcp_pair
from rasyncio.base_events import _SendfileFallbackProtocol

DATA = os.urandom((1 << 20) + 1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with open(path, "rb") as opened:
        yield opened


class Unseekable:
    """A source of bytes that only reads."""

    def __init__(self, data):
        self.readinto = io.BytesIO(data).readinto


def sockets():
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


async def sent_over_socket(source, *args, **options):
    """What sock_sendfile() answers, and what came out at the other end."""
    near, far = sockets()
    with near, far:
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendfile(near, source, *args, **options))
        sending.add_done_callback(lambda _: near.shutdown(socket.SHUT_WR))
        data = await receive(far, len(DATA) + 1)
        return await sending, data


@pytest.mark.parametrize("source", ["file", "memory"])
@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, None), (0, 2000), (1000, 600_000), (5, 1 << 70)])
def test_sock_sendfile(file, source, offset, count):
    async def main():
        expected = DATA[offset:] if count is None else DATA[offset : offset + count]
        chosen = file if source == "file" else io.BytesIO(DATA)
        sent, data = await sent_over_socket(chosen, offset, count)
        assert (sent, data) == (len(expected), expected)
        assert chosen.tell() == offset + len(expected)

    run(main())


def test_what_cannot_be_sought_is_read_from_where_it_is():
    async def main():
        assert await sent_over_socket(Unseekable(DATA)) == (len(DATA), DATA)

    run(main())


def test_an_empty_file_is_sent_at_once(tmp_path):
    async def main():
        near, far = sockets()
        with near, far, open(tmp_path / "empty", "w+b") as empty:
            assert await asyncio.get_running_loop().sock_sendfile(near, empty) == 0

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before, an offset of zero meant where the file is")
def test_offset_zero_is_the_beginning_of_the_file():
    async def main():
        source = io.BytesIO(DATA)
        source.seek(77)
        assert await sent_over_socket(source, 0, 10) == (10, DATA[:10])

    run(main())


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((0, "all"), TypeError, "count must be a positive integer (got 'all')"),
        ((0, 0), ValueError, "count must be a positive integer (got 0)"),
        ((0, -1), ValueError, "count must be a positive integer (got -1)"),
        (("0",), TypeError, "offset must be a non-negative integer (got '0')"),
        ((-1,), ValueError, "offset must be a non-negative integer (got -1)"),
        (("0", 0), ValueError, "count must be a positive integer (got 0)"),
    ],
)
def test_arguments_are_checked(file, args, error, text):
    async def main():
        near, far = sockets()
        with near, far, pytest.raises(error) as raised:
            await asyncio.get_running_loop().sock_sendfile(near, file, *args)
        assert str(raised.value) == text

    run(main())


def test_the_file_and_the_socket_are_checked(file, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = sockets()
        with near, far:
            with open(file.name) as text, pytest.raises(ValueError, match="binary mode"):
                await loop.sock_sendfile(near, text)
            loop.set_debug(True)
            near.setblocking(True)
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                await loop.sock_sendfile(near, file)
            loop.set_debug(False)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                await loop.sock_sendfile(datagrams, file)

    run(main())


def test_without_fallback_only_files_are_sent():
    async def main():
        with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
            await sent_over_socket(io.BytesIO(DATA), fallback=False)

    run(main())


def test_overridden_ways_are_taken(file):
    class Loop(asyncio.SelectorEventLoop):
        async def _sock_sendfile_native(self, sock, file, offset, count):
            raise asyncio.SendfileNotAvailableError("not today")

        async def _sock_sendfile_fallback(self, sock, file, offset, count):
            return "by socket", offset, count

        async def _sendfile_fallback(self, transp, file, offset, count):
            return "by transport", offset, count

    async def main():
        loop = asyncio.get_running_loop()
        near, far = sockets()
        with near, far:
            assert await loop.sock_sendfile(near, file, 3, 4) == ("by socket", 3, 4)
            with pytest.raises(asyncio.SendfileNotAvailableError, match="not today"):
                await loop.sock_sendfile(near, file, fallback=False)
        transport, protocol, far = await pair()
        assert await loop.sendfile(transport, file, 3, 4) == ("by transport", 3, 4)

        async def native(transp, file, offset, count):
            return "by instance"

        loop._sendfile_native = native
        assert await loop.sendfile(transport, file) == "by instance"
        transport.close()
        await protocol.lost
        far.close()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


def test_a_cancelled_sock_sendfile_leaves_the_socket_alone(file):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = sockets()
        with near, far:
            sending = asyncio.create_task(loop.sock_sendfile(near, file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await turns(2)
            assert not loop.remove_writer(near)
            near.shutdown(socket.SHUT_WR)
            data = await receive(far, len(DATA))
            assert 0 < len(data) < len(DATA) and DATA.startswith(data)

    run(main())


def test_a_peer_that_goes_away_is_an_error(file):
    async def main():
        near, far = sockets()
        with near:
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendfile(near, file))
            await turns()
            far.close()
            with pytest.raises(ConnectionError):
                await sending
            assert 0 < file.tell() < len(DATA)

    run(main())


async def sent_over_transport(source, *args, **options):
    """What came out at the other end, with what was written before and after."""
    transport, protocol, far = await tcp_pair(lambda: Recorder(True))
    with far:
        transport.write(b"before")
        sending = asyncio.create_task(asyncio.get_running_loop().sendfile(transport, source, *args, **options))
        far.send(b"meanwhile")
        await turns(3)
        # A part for which the sockets have room may be through by then.
        assert sending.done() or (not transport.is_reading() and not protocol.data)
        receiving = asyncio.create_task(receive(far, len(DATA) + 100))
        sent = await sending
        assert transport.is_reading() and transport.get_protocol() is protocol
        transport.write(b"after")
        transport.write_eof()
        data = await receiving
        await protocol.until(lambda p: p.data)
        assert protocol.data == b"meanwhile"
        transport.close()
        await protocol.lost
    return sent, data


@pytest.mark.parametrize("make", [lambda file: file, lambda file: io.BytesIO(DATA), lambda file: Unseekable(DATA)])
def test_sendfile_over_a_transport(file, make):
    async def main():
        assert await sent_over_transport(make(file)) == (len(DATA), b"before" + DATA + b"after")

    run(main())


def test_sendfile_of_a_part(file):
    async def main():
        for source in (file, io.BytesIO(DATA)):
            sent, data = await sent_over_transport(source, 1000, 70_000)
            assert (sent, data) == (70_000, b"before" + DATA[1000:71_000] + b"after")
            assert source.tell() == 71_000

    run(main())


def test_writes_are_refused_while_the_kernel_sends(file):
    async def main():
        transport, protocol, far = await pair()
        sending = asyncio.create_task(asyncio.get_running_loop().sendfile(transport, file))
        await turns(3)
        for write in (transport.write, lambda data: transport.writelines([data])):
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                write(b"data")
        assert await receive(far, len(DATA)) == DATA
        assert await sending == len(DATA)
        transport.close()
        await protocol.lost
        far.close()

    run(main())


@pytest.mark.parametrize("full", [False, True], ids=["being sent", "before it is sent"])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_cancelled_sendfile_gives_the_transport_back(file, full, by_kernel):
    async def main():
        transport, protocol, far = await pair()
        loop = asyncio.get_running_loop()
        before = fill(transport) if full else 0
        source = file if by_kernel else io.BytesIO(DATA)
        sending = asyncio.create_task(loop.sendfile(transport, source))
        await turns()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert transport.is_reading() and transport.get_protocol() is protocol
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(transport.get_extra_info("socket").fileno(), print)
        transport.write(b"after")
        transport.close()
        data = await receive(far, before + len(DATA) + 10)
        assert data.endswith(b"after") and DATA.startswith(data[before:-5])
        assert await protocol.lost is None
        far.close()

    run(main())


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_connection_lost_in_the_middle(file, by_kernel):
    async def main():
        transport, protocol, far = await pair()
        source = file if by_kernel else io.BytesIO(DATA)
        sending = asyncio.create_task(asyncio.get_running_loop().sendfile(transport, source))
        await receive(far, 1000)
        far.close()
        with pytest.raises(ConnectionError):
            await sending
        await protocol.lost
        assert 0 < source.tell() < len(DATA)
        assert protocol.events[-1] == "lost"

    run(main())


def test_an_aborted_transport_ends_the_fallback(file):
    async def main():
        transport, protocol, far = await pair()
        sending = asyncio.create_task(asyncio.get_running_loop().sendfile(transport, io.BytesIO(DATA)))
        while not transport._protocol_paused:
            await asyncio.sleep(0)
        transport.abort()
        with pytest.raises(ConnectionError, match="Connection (is )?closed by peer"):
            await sending
        assert await protocol.lost is None
        far.close()

    run(main())


def test_transports_that_cannot(file):
    class Alien(asyncio.Transport):
        mode = None

        def is_closing(self):
            return False

        def __repr__(self):
            return "<alien>"

        @property
        def _sendfile_compatible(self):
            if self.mode is None:
                raise AttributeError
            return self.mode

    async def main():
        loop = asyncio.get_running_loop()
        alien = Alien()
        with pytest.raises(RuntimeError, match="^sendfile is not supported for transport <alien>$"):
            await loop.sendfile(alien, file)
        alien.mode = asyncio.constants._SendfileMode.FALLBACK
        text = "^fallback is disabled and native sendfile is not supported for transport <alien>$"
        with pytest.raises(RuntimeError, match=text):
            await loop.sendfile(alien, file, fallback=False)
        with pytest.raises(TypeError, match="transport should be _FlowControlMixin instance"):
            await loop.sendfile(alien, file)
        transport, protocol, far = await pair()
        transport.close()
        with pytest.raises(RuntimeError, match="^Transport is closing$"):
            await loop.sendfile(transport, file)
        await protocol.lost
        far.close()

    run(main())


def test_the_protocol_that_stands_in():
    async def main():
        transport, protocol, far = await pair()
        fill(transport)
        transport.write(b"x" * 100_000)
        assert transport._protocol_paused
        standing_in = _SendfileFallbackProtocol(transport)
        assert isinstance(standing_in, asyncio.Protocol) and transport.get_protocol() is standing_in
        for method, argument in [("data_received", [b"x"]), ("eof_received", []), ("connection_made", [transport])]:
            with pytest.raises(RuntimeError, match="Invalid state: "):
                getattr(standing_in, method)(*argument)
        waiting = asyncio.create_task(standing_in.drain())
        await turns(2)
        assert not waiting.done()
        while not waiting.done():
            await receive(far, 1000)
        await standing_in.drain()
        await standing_in.restore()
        assert transport.get_protocol() is protocol and protocol.events == ["made", "pause", "resume"]
        transport.abort()
        with pytest.raises(ConnectionError, match="Connection closed by peer"):
            await standing_in.drain()
        await protocol.lost
        far.close()

    run(main())
