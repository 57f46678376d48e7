"""The socket calls of a loop, sock_recv and its kin, where they wait, are cancelled, or fail; what add_reader takes."""

import asyncio as stdlib
import gc
import os
import resource
import socket
import weakref

import pytest
import rasyncio as asyncio
from peers import LIMIT, run


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


def test_a_socket_under_the_number_of_a_closed_one_is_heard():
    """The poller keeps on watching a socket from call to call; a number that was handed out anew is another socket."""

    async def main():
        loop = asyncio.get_running_loop()
        numbers = set()
        for round in range(50):
            near, far = pair()
            with near, far:
                numbers.add(near.fileno())
                for part in range(3):
                    receiving = loop.create_task(loop.sock_recv(near, 100))
                    await asyncio.sleep(0)
                    message = b"%d %d" % (round, part)
                    await loop.sock_sendall(far, message)
                    assert await asyncio.wait_for(receiving, 10) == message
                if round % 2:
                    # Left behind with something unread, which nobody is told of.
                    await loop.sock_sendall(far, b"unread")
                    await asyncio.sleep(0)
        return numbers

    numbers = run(main())
    assert len(numbers) < 50, "no number was used again"


def test_a_reader_on_a_socket_that_was_received_from_hears_again_and_again():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            receiving = loop.create_task(loop.sock_recv(near, 100))
            await asyncio.sleep(0)
            far.send(b"first")
            assert await receiving == b"first"
            far.send(b"second")
            done, heard = loop.create_future(), []

            def hear():
                heard.append(len(heard))
                if len(heard) == 5:
                    done.set_result(None)

            loop.add_reader(near, hear)
            await asyncio.wait_for(done, 10)
            # A call takes the reader's place, as it does in asyncio.
            assert await loop.sock_recv(near, 100) == b"second"
            receiving = loop.create_task(loop.sock_recv(near, 100))
            await asyncio.sleep(0)
            assert not loop.remove_writer(near)
            far.send(b"third")
            assert await asyncio.wait_for(receiving, 10) == b"third"
            assert not loop.remove_reader(near)
            far.send(b"fourth")
            receiving = loop.create_task(loop.sock_recv(near, 100))
            assert await asyncio.wait_for(receiving, 10) == b"fourth"

    run(main())


def test_receiving_and_sending_on_one_socket_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            load = bytes(range(256)) * 8192
            for _ in range(3):
                receiving = loop.create_task(loop.sock_recv(near, 100))
                sending = loop.create_task(loop.sock_sendall(near, load))
                await asyncio.sleep(0)
                assert not sending.done()
                await loop.sock_sendall(far, b"answer")
                assert await asyncio.wait_for(receiving, 10) == b"answer"
                got = bytearray()
                while len(got) < len(load):
                    got += await asyncio.wait_for(loop.sock_recv(far, 1 << 16), 10)
                await sending
                assert got == load

    run(main())


def test_patched_methods_of_sockets_are_called(monkeypatch):
    calls = []

    def recv(self, count):
        calls.append(count)
        return super(socket.socket, self).recv(count)

    async def main():
        loop = asyncio.get_running_loop()
        near, far = pair()
        with near, far:
            far.send(b"plain")
            assert await loop.sock_recv(near, 10) == b"plain"
            monkeypatch.setattr(socket.socket, "recv", recv, raising=False)
            far.send(b"patched")
            assert await loop.sock_recv(near, 11) == b"patched"

    run(main())
    assert calls == [11]


@pytest.mark.parametrize("package", [stdlib, asyncio], ids=["asyncio", "rasyncio"])
def test_a_socket_that_only_the_loop_knows_stays_open(package):
    """A program may begin to watch a socket and keep no reference of its own."""

    def begin(loop, heard):
        near, far = socket.socketpair()
        loop.add_reader(near, heard.set)
        return near.fileno(), weakref.ref(near), far

    async def main(exposed):
        loop, heard = package.get_running_loop(), package.Event()
        number, near, far = begin(loop, heard)
        if exposed:
            # From now on the loop has a selectors object.
            assert loop._selector
        gc.collect()
        far.send(b"x")
        await package.wait_for(heard.wait(), LIMIT)
        assert loop.remove_reader(near())
        for _ in range(3):
            # The events of the last turn have it, too.
            await package.sleep(0)
        gc.collect()
        with pytest.raises(OSError):
            os.fstat(number)
        far.close()

    for exposed in (False, True):
        with pytest.warns(ResourceWarning):
            package.run(main(exposed))


@pytest.mark.parametrize("package", [stdlib, asyncio], ids=["asyncio", "rasyncio"])
def test_a_socket_that_was_closed_is_known_by_its_object(package):
    async def main():
        loop = package.get_running_loop()
        near, far = socket.socketpair()
        loop.add_reader(near, print)
        near.close()
        assert loop.remove_reader(near) is True
        for call in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
                call(near)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            loop.add_reader(near, print)
        far.close()

    package.run(main())


class Numbered:
    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number


@pytest.mark.parametrize("package", [stdlib, asyncio], ids=["asyncio", "rasyncio"])
def test_what_fileno_may_answer(package):
    class Integral:
        def __init__(self, number):
            self.number = number

        def __int__(self):
            return self.number

    async def main():
        loop = package.get_running_loop()
        near, far = socket.socketpair()
        number = near.fileno()
        for answer in (number, float(number), str(number), Integral(number)):
            loop.add_reader(Numbered(answer), print)
            assert loop.remove_reader(number) is True
        for answer in (None, "x", 1j, float("nan")):
            with pytest.raises(ValueError, match="Invalid file object"):
                loop.add_reader(Numbered(answer), print)
        for huge in (1 << 31, 1 << 70):
            with pytest.raises(OverflowError, match="Python int too large to convert to C int"):
                loop.add_reader(huge, print)
            assert loop.remove_reader(huge) is loop.remove_writer(Numbered(huge)) is False
        near.close()
        far.close()

    package.run(main())


@pytest.mark.parametrize("package", [stdlib, asyncio], ids=["asyncio", "rasyncio"])
def test_a_number_without_bounds_costs_no_memory(package):
    """Whatever a socket object says, no table is made up to that number."""

    class Liar(socket.socket):
        said = 0

        def fileno(self):
            return self.said or super().fileno()

    async def main():
        loop = package.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(type(context["exception"])))
        reported = []
        near, far = socket.socketpair(socket.AF_UNIX)
        liar = Liar(fileno=near.detach())
        liar.setblocking(False)
        liar.said = (1 << 31) - 1
        transport = loop._make_socket_transport(liar, package.Protocol())
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(liar.said, print)
        await package.sleep(0)
        await package.sleep(0)
        assert reported == [OSError], "no such descriptor"
        liar.said = 0
        transport.abort()
        await package.sleep(0)
        far.close()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    package.run(main())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (1 << 20), "KiB"
