"""The socket calls of a loop: sock_recv, sock_sendall and their kin, where they wait, are cancelled, or fail."""

import gc
import os
import socket

import pytest
import rasyncio as asyncio
from peers import run


def pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


async def started(awaitable):
    """A task that has begun and waits."""
    task = asyncio.ensure_future(awaitable)
    for _ in range(2):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def test_what_is_sent_is_received():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            data = os.urandom(3_000_000)
            sending = asyncio.create_task(loop.sock_sendall(near, data))
            received = bytearray()
            while len(received) < len(data):
                received += await loop.sock_recv(far, 100_000)
            assert await sending is None and received == data
            near.shutdown(socket.SHUT_WR)
            assert await loop.sock_recv(far, 10) == b""

    run(main())


@pytest.mark.parametrize("size", [1, 1000, 2 << 20])
def test_a_cancelled_receive_has_taken_nothing(size):
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            task = await started(loop.sock_recv(near, size))
            far.send(b"x")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await loop.sock_recv(near, size) == b"x"
            assert not loop.remove_reader(near)

    run(main())


def test_a_receive_that_is_cancelled_when_data_is_there_has_taken_nothing():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            task = await started(loop.sock_recv(near, 10))
            far.send(b"x")
            # The watcher's entry and the future's callback: then the task is about to run.
            loop.add_reader(far, print)
            loop.remove_reader(far)
            await asyncio.sleep(0)
            task.cancel()
            taken = b""
            try:
                taken = await task
            except asyncio.CancelledError:
                taken = await loop.sock_recv(near, 10)
            assert taken == b"x"

    run(main())


def test_a_receive_that_is_let_go_of_watches_no_more():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            call = loop.sock_recv(near, 10)
            call.send(None)
            del call
            gc.collect()
            assert not loop.remove_reader(near)

    run(main())


def test_somebody_elses_watcher_stays():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            task = await started(loop.sock_recv(near, 10))
            loop.add_reader(near, print)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(near)

    run(main())


def test_a_socket_under_a_transport_is_refused():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(near, 10)
        transport.close()
        await asyncio.sleep(0)
        far.close()

    run(main())


def test_a_socket_that_is_closed_before_the_call_is_awaited():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        receive, send = loop.sock_recv(near, 10), loop.sock_sendall(near, b"secret")
        number = near.fileno()
        near.close()
        stranger, listener = pair()
        assert number in (stranger.fileno(), listener.fileno())
        for call in (receive, send):
            with pytest.raises(OSError, match="Bad file descriptor"):
                await call
        for end in (stranger, listener):
            with pytest.raises(BlockingIOError):
                end.recv(10)
        for end in (stranger, listener, far):
            end.close()

    run(main())


def test_two_loops_in_turn_and_calls_that_are_not_plain():
    near, far = pair()

    async def main():
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(near, bytearray(b"abc"))
        await loop.sock_sendall(near, memoryview(b"def"))
        assert await loop.sock_recv(sock=far, n=10) == b"abcdef"
        loop.set_debug(True)
        await loop.sock_sendall(near, b"ghi")
        assert await loop.sock_recv(far, 10) == b"ghi"
        near.setblocking(True)
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_recv(near, 10)
        near.setblocking(False)

    with near, far:
        for _ in range(2):
            run(main())
