"""Large reads of exactly so many bytes, which the kernel writes into what the read answers: in any pieces, and disturbed."""

import contextlib
import errno
import os
import socket
import sys

import pytest
import rasyncio as asyncio

LIMIT = 20  # seconds; only a test that fails waits so long


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


SIZE = 100_000


@contextlib.asynccontextmanager
async def halfway(sent, before=b""):
    """A reader on whose readexactly(SIZE) a task waits, with `sent` received since; and the other end."""
    near, far = socket.socketpair()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZE)
    near.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=near)
    with far:
        far.send(before)
        while before and f" {len(before)} bytes" not in repr(reader):
            await asyncio.sleep(0)
        task = asyncio.create_task(reader.readexactly(SIZE))
        await asyncio.sleep(0)
        far.send(sent)
        while sent and not task.done() and f" {len(before) + len(sent)} bytes" not in repr(reader):
            await asyncio.sleep(0)
        yield reader, task, far
        task.cancel()
        await asyncio.wait([task])
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("before", (b"", b"<begin>"))
def test_what_a_large_read_waits_for_may_come_in_any_pieces(before):
    data = os.urandom(SIZE - len(before))

    async def main():
        async with halfway(data[:1], before) as (reader, task, far):
            far.send(data[1:70_000])
            await asyncio.sleep(0)
            far.send(data[70_000:] + b"and more")
            assert await task == before + data
            assert await reader.readexactly(8) == b"and more"
            far.send(b"x" * SIZE + b"y" * SIZE)
            assert (await reader.readexactly(SIZE), await reader.readexactly(SIZE)) == (b"x" * SIZE, b"y" * SIZE)

    run(main())


@pytest.mark.parametrize("streams", (False, True))
def test_sizes_that_repeat_and_then_do_not(streams):
    sizes = [SIZE] * 4 + [SIZE + 1, SIZE, SIZE, SIZE - 1, SIZE - 1, SIZE - 1, 3 * SIZE, 3 * SIZE, 3 * SIZE, 17, SIZE, SIZE]
    sizes += [256 * 1024] * 4 + [257 * 1024] * 3 + [16 * 1024] * 3 + [16 * 1024 + 1, 1]

    class Receiver(asyncio.Protocol):
        def __init__(self):
            self.pieces, self.came = [], asyncio.Event()

        def data_received(self, data):
            assert len(data) <= 256 * 1024, "no more at once than asyncio reads"
            self.pieces.append(data)
            self.came.set()

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        for end in near, far:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        if streams:
            reader, writer = await asyncio.open_connection(sock=near)
        else:
            writer, receiver = await loop.create_connection(Receiver, sock=near)
        kept = []
        with far:
            for number, size in enumerate(sizes):
                data = bytes([number]) * (size - 1) + b"!"
                sending = loop.create_task(loop.sock_sendall(far, data))
                got = b""
                while len(got) < size:
                    if streams:
                        got += (piece := await reader.read(1 << 20))
                        kept.append((piece, piece[0]))
                    else:
                        await receiver.came.wait()
                        receiver.came.clear()
                        got += b"".join(receiver.pieces)
                        kept += [(piece, piece[0]) for piece in receiver.pieces]
                        receiver.pieces.clear()
                assert got == data
                await sending
        assert all(piece.rstrip(b"!") == bytes([first]) * len(piece.rstrip(b"!")) for piece, first in kept if len(piece) > 1)
        writer.close()

    run(main())


def test_a_read_that_takes_more_than_others_do_may_follow_reads_of_one_size():
    async def main():
        near, far = socket.socketpair()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        near.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=near, limit=1 << 20)
        with far:
            for _ in range(3):
                far.sendall(bytes(SIZE))
                assert len(await reader.read(2 * SIZE)) == SIZE
            whole = asyncio.create_task(reader.readexactly(700_000))
            await asyncio.sleep(0)
            far.setblocking(False)
            sent = far.send(bytes(700_000))
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(far, bytes(700_000 - sent)))
            assert len(await whole) == 700_000
            await sending
            far.send(b"next")
            assert await reader.readexactly(4) == b"next"
        writer.close()

    run(main())


def cancelled(reader, task, far):
    task.cancel()


def looked_at(reader, task, far):
    assert bytes(reader._buffer) == b"half"


def fed_by_hand(reader, task, far):
    reader.feed_data(b"")


@pytest.mark.parametrize("disturb", (cancelled, looked_at, fed_by_hand))
def test_no_byte_of_a_large_read_is_lost(disturb):
    async def main():
        async with halfway(b"half") as (reader, task, far):
            disturb(reader, task, far)
            far.send(b"z" * (SIZE - 4))
            if disturb is cancelled:
                await asyncio.wait([task])
                assert task.cancelled() and await reader.read(4) == b"half"
                assert await reader.readexactly(SIZE - 4) == b"z" * (SIZE - 4)
            else:
                assert await task == b"half" + b"z" * (SIZE - 4)

    run(main())


def test_data_fed_by_hand_comes_after_what_a_large_read_has():
    async def main():
        async with halfway(b"half") as (reader, task, far):
            reader.feed_data(b"fed")
            far.send(b"z" * (SIZE - 7))
            assert await task == b"halffed" + b"z" * (SIZE - 7)

    run(main())


def test_the_end_within_a_large_read():
    async def main():
        async with halfway(b"half") as (reader, task, far):
            far.shutdown(socket.SHUT_WR)
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await task
            assert (caught.value.partial, caught.value.expected) == (b"half", SIZE)
            assert reader.at_eof()

    run(main())


def test_an_exception_within_a_large_read_leaves_its_bytes():
    async def main():
        async with halfway(b"half") as (reader, task, far):
            reader.set_exception(ValueError("enough"))
            with pytest.raises(ValueError, match="enough"):
                await task
            assert bytes(reader._buffer) == b"half"

    run(main())


def test_a_buffer_put_in_place_within_a_large_read_is_the_buffer():
    async def main():
        async with halfway(b"half") as (reader, task, far):
            reader._buffer = bytearray(b"other")
            far.send(b"z" * (SIZE - 5))
            assert await task == b"other" + b"z" * (SIZE - 5)

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no class written in Python lends memory")
def test_memory_lent_by_code_that_closes_the_socket_gets_nothing_of_another():
    class Lender:
        """Closes the connection's socket when it is asked for its memory, and has another get the number."""

        def __init__(self, sock):
            self.sock, self.number, self.others = sock, sock.fileno(), None

        def __len__(self):
            return 100

        def __buffer__(self, flags):
            if self.others is None:
                self.sock.close()
                self.others = socket.socketpair()
                assert self.others[0].fileno() == self.number, "the lowest that is free"
                self.others[1].send(b"for somebody else")
            return memoryview(bytearray(100))

    class Protocol(asyncio.BufferedProtocol):
        def __init__(self):
            self.events, self.lost = [], asyncio.get_running_loop().create_future()

        def get_buffer(self, hint):
            return lender

        def buffer_updated(self, count):
            self.events.append(count)

        def connection_lost(self, error):
            self.lost.set_result(error)

    async def main():
        nonlocal lender
        near, far = socket.socketpair()
        lender = Lender(near)
        _, protocol = await asyncio.get_running_loop().create_connection(Protocol, sock=near)
        far.send(b"x")
        error = await protocol.lost
        assert error.errno == errno.EBADF and not protocol.events
        assert lender.others[0].recv(100) == b"for somebody else"
        for sock in (far, *lender.others):
            sock.close()

    lender = None
    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no class written in Python lends memory")
def test_ctrl_c_while_memory_is_lent_leaves_the_loop():
    class Lender:
        interrupted = False

        def __len__(self):
            return 100

        def __buffer__(self, flags):
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return memoryview(bytearray(100))

    class Protocol(asyncio.BufferedProtocol):
        updates = 0

        def get_buffer(self, hint):
            return lender

        def buffer_updated(self, count):
            self.updates += 1
            loop.stop()

    lender = Lender()
    loop = asyncio.new_event_loop()
    near, far = socket.socketpair()
    try:
        transport, protocol = loop.run_until_complete(loop.create_connection(Protocol, sock=near))
        far.send(b"x")
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert lender.interrupted and not protocol.updates
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
        far.close()
