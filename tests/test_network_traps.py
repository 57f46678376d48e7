"""Where loops go wrong with connections, and the tests that fail when this one does.

- half-close, write_eof with data pending:
  test_selector_events half_close_by_the_peer, write_eof_comes_after_what_is_buffered
- no data after pause_reading, also inside data_received:
  test_selector_events pause_inside_data_received, test_pipes no_data_after_a_pause
- close sends megabytes, abort drops them: close_sends_megabytes_and_abort_drops_them
- connection_lost once, and later: the_end_comes_once_and_later
- exceptions, SystemExit, KeyboardInterrupt from every callback:
  differential/programs/exits.py, nothing_is_watched_after_an_exit
- a descriptor with a new owner:
  test_connections and test_datagrams a_descriptor_that_is_used_again, a_number_that_another_got
- descriptors of transports are off limits: test_connections descriptors_of_transports, test_datagrams sockets_of_transports
- a cancelled connect leaves nothing:
  test_connections a_cancelled_connection, who_loses_the_race_is_closed, a_cancelled_sock_connect
- a cancelled receive or accept loses nothing: test_sock, a_cancelled_accept_loses_no_connection
- level-triggered watching; what cannot be watched is refused: differential/programs/readers.py, files_are_refused
- accepting survives EMFILE: test_connections accepting_survives_running_out_of_descriptors
- a write is a snapshot; no chunk is lost: test_selector_events a_write_is_a_snapshot, differential/test_network.py
- pause and resume once per crossing; a write inside resume:
  test_selector_events flow_control, a_protocol_may_write_when_it_is_resumed
- wait_closed, sockets, the file of a Unix server:
  test_connections the_life_of_a_server, test_unix_events a_server_s_file
- contexts: test_selector_events contexts, differential/programs/contexts.py
- errors keep class and number: test_selector_events a_reset_by_the_peer, test_datagrams what_a_socket_raises
- a child of fork leaves the parent's connections alone: a_child_of_fork
- callbacks that pull the rug from under their caller: a_callback_that, buffers_that_change
- nothing of the process is changed: nothing_of_the_process_is_changed
- nothing is left: test_soak.py, connections_leave_no_object
"""

import asyncio as stdlib
import errno
import gc
import os
import select
import socket
import subprocess
import sys
import weakref

import pytest
import rasyncio as asyncio
from peers import Recorder, fill, pair, receive, run, tcp_pair


async def turns(count=10):
    for _ in range(count):
        await asyncio.sleep(0)


async def received_until_reset(sock):
    try:
        return len(await receive(sock, 1 << 30))
    except ConnectionResetError:
        return 0


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("make", [pair, tcp_pair], ids=["unix", "tcp"])
def test_close_sends_megabytes_and_abort_drops_them(make, end):
    async def main():
        data = os.urandom(8 << 20)
        transport, protocol, far = await make()
        transport.write(data[: 5 << 20])
        transport.writelines([data[5 << 20 :], b"end"])
        assert transport.get_write_buffer_size() > 1 << 20
        getattr(transport, end)()
        assert transport.is_closing() and protocol.events[-1] != "lost"
        if end == "close":
            assert await receive(far, 1 << 30) == data + b"end"
        assert await protocol.lost is None
        if end == "abort":
            assert await received_until_reset(far) < len(data)
        far.close()

    run(main())


class Hostile(Recorder):
    """Ends its connection in one of its callbacks, in one of the ways, several times."""

    def __init__(self, place, ways):
        super().__init__()
        self.place, self.ways, self.inside, self.ended = place, ways, False, False

    def note(self, event):
        assert not self.inside, f"{event} was called inside {self.place}"
        super().note(event)
        if event == self.place and not self.ended:
            self.ended = self.inside = True
            for way in self.ways:
                getattr(self.transport, way)()
            self.inside = False


@pytest.mark.parametrize("ways", [["close"] * 3, ["abort"] * 3, ["close", "abort", "close"]], ids="-".join)
@pytest.mark.parametrize("place", ["made", "data", "eof", "pause", "resume", "lost"])
def test_the_end_comes_once_and_later(place, ways):
    async def main():
        transport, protocol, far = await pair(lambda: Hostile(place, ways))
        await turns(3)
        if place != "made":
            far.send(b"x")
        await turns(3)
        if place in ("pause", "resume"):
            transport.set_write_buffer_limits(0)
            transport.write(b"x" * (4 << 20))
            await turns(3)
            far.setblocking(False)
            while transport.get_write_buffer_size():
                try:
                    far.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
        far.close()
        await protocol.lost
        await turns()
        assert protocol.events.count("lost") == 1 and protocol.events[-1] == "lost"
        assert place in protocol.events

    run(main())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_nothing_is_watched_after_an_exit(kind):
    class Leaving(Recorder):
        def resume_writing(self):
            raise kind

    loop = asyncio.new_event_loop()
    transport, _, far = loop.run_until_complete(pair(Leaving))
    transport.set_write_buffer_limits(0)
    fill(transport)
    far.setblocking(True)
    with pytest.raises(kind):
        while True:
            loop.run_until_complete(asyncio.sleep(0))
            if select.select([far], [], [], 0)[0]:
                far.recv(1 << 20)
    assert transport.get_write_buffer_size() == 0
    loop.run_until_complete(turns())
    # Otherwise each turn would find that it can be written, and end at once.
    assert "write=<idle" in repr(transport)
    transport.close()
    loop.run_until_complete(turns())
    far.close()
    loop.close()


def test_a_number_that_another_got_is_left_alone():
    """A socket closed behind its transport; the number's new owner gets all its events, the old one hears of an error."""

    async def main():
        near, far = socket.socketpair()
        number = near.fileno()
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        fill(transport)
        transport.close()
        near.close()
        other, peer = socket.socketpair()
        if other.fileno() != number:
            other, peer = peer, other
        assert other.fileno() == number
        peer.setblocking(False)
        owner, owners = await loop.create_connection(Recorder, sock=other)
        written = fill(owner)
        assert isinstance(await protocol.lost, OSError)
        await turns()
        peer.send(b"hello")
        await owners.until(lambda p: p.data == b"hello")
        assert len(await receive(peer, written)) == written
        owner.close()
        await owners.lost
        peer.close()
        far.close()

    run(main())


def test_a_watcher_that_took_a_receive_s_place_in_the_same_turn_stays():
    async def main():
        loop = asyncio.get_running_loop()
        (first, first_peer), (second, second_peer) = socket.socketpair(), socket.socketpair()
        seen = []
        for sock in (first, second):
            sock.setblocking(False)
        receiving = asyncio.create_task(loop.sock_recv(second, 10))

        def replace():
            loop.remove_reader(first)
            loop.add_reader(second, lambda: seen.append(second.recv(10)))

        loop.add_reader(first, replace)
        await turns(2)
        first_peer.send(b"1")
        second_peer.send(b"2")
        await turns()
        # asyncio's call has lost its place too, and waits for ever.
        assert seen == [b"2"] and not receiving.done()
        second_peer.send(b"3")
        await turns()
        assert seen == [b"2", b"3"]
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert loop.remove_reader(second)
        for sock in (first, first_peer, second, second_peer):
            sock.close()

    run(main())


def test_who_loses_the_race_is_closed():
    """Happy eyeballs: the attempt that is still under way when another has won."""

    async def main():
        loop = asyncio.get_running_loop()
        slow, quick = socket.create_server(("127.0.0.1", 0), backlog=0), socket.create_server(("127.0.0.1", 0))
        waiting = []
        for _ in range(4):  # a full queue: the next connection has to wait
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(slow.getsockname())
            waiting.append(sock)
        tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")

        async def getaddrinfo(host, port, **options):
            return [(socket.AF_INET, *tcp, slow.getsockname()), (socket.AF_INET, *tcp, quick.getsockname())]

        loop.getaddrinfo = getaddrinfo
        before = len(os.listdir("/proc/self/fd"))
        transport, protocol = await loop.create_connection(Recorder, "somewhere.invalid", 1, happy_eyeballs_delay=0.01)
        assert transport.get_extra_info("peername") == quick.getsockname()
        await turns()
        assert len(os.listdir("/proc/self/fd")) == before + 1
        transport.close()
        await protocol.lost
        for sock in (slow, quick, *waiting):
            sock.close()

    run(main())


@pytest.mark.parametrize("patience", range(6))
def test_a_cancelled_accept_loses_no_connection(patience):
    async def main():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        accepting = asyncio.create_task(loop.sock_accept(listener))
        await turns(2)
        client = socket.create_connection(listener.getsockname())
        await turns(patience)
        if accepting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await accepting
            accepted, _ = await loop.sock_accept(listener)
        else:
            accepted, _ = await accepting
        assert accepted.getpeername() == client.getsockname()
        assert not loop.remove_reader(listener)
        for sock in (listener, client, accepted):
            sock.close()

    run(main())


def test_a_cancelled_sock_connect_watches_no_more():
    async def main():
        loop = asyncio.get_running_loop()
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        waiting = [socket.socket() for _ in range(5)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        sock = socket.socket()
        sock.setblocking(False)
        connecting = asyncio.create_task(loop.sock_connect(sock, full.getsockname()))
        await turns()
        assert connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert not loop.remove_writer(sock)
        for opened in (full, sock, *waiting):
            opened.close()

    run(main())


def test_files_are_refused(tmp_path):
    loop = asyncio.new_event_loop()
    with open(tmp_path / "file", "wb") as file:
        for what in (file, file.fileno()):
            with pytest.raises(PermissionError):
                loop.add_reader(what, print)
        assert not loop.remove_reader(file)
    loop.close()


def test_a_child_of_fork_leaves_the_parent_s_connections_alone():
    """The child has a copy of the epoll descriptor, through which it could end the parent's watching."""

    def child(read, write):
        os.read(read, 1)
        status = 1
        try:
            gc.collect()
            asyncio.run(asyncio.sleep(0))
            status = 0
        finally:
            os.write(write, b"x")
            os._exit(status)

    async def main(keep):
        transport, protocol, far = await pair()
        keep.append(weakref.ref(transport))
        (read, go), (done, write) = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            del transport, protocol
            raise Child(read, write)
        os.write(go, b"x")
        os.read(done, 1)
        assert os.waitpid(pid, 0)[1] == 0
        for fd in (read, go, done, write):
            os.close(fd)
        far.send(b"hello")
        await protocol.until(lambda p: p.data == b"hello")
        transport.close()
        await protocol.lost
        far.close()

    class Child(BaseException):
        pass

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main([]), 20))
    except Child as error:
        pipes = error.args
        del loop, error
        child(*pipes)
    loop.close()


class Meddler(Recorder):
    """Does something to its own transport in data_received."""

    def __init__(self, meddle):
        super().__init__()
        self.meddle = meddle

    def data_received(self, data):
        super().data_received(data)
        self.meddle(self)


def close_the_socket(protocol):
    protocol.transport.get_extra_info("socket")._sock.close()


def close_the_number(protocol):
    protocol.transport.get_extra_info("socket")._sock.detach()


@pytest.mark.parametrize("notice", ["write", "writelines", "close"])
@pytest.mark.parametrize("take", [close_the_socket, close_the_number], ids=["closed", "detached"])
def test_a_socket_that_goes_while_something_waits_to_be_sent(take, notice):
    """asyncio does not notice, and waits for ever."""

    async def main():
        transport, protocol, far = await pair()
        number = transport.get_extra_info("socket").fileno()
        transport.write(b"x" * (8 << 20))
        take(protocol)
        getattr(transport, notice)(*{"write": [b"more"], "writelines": [[b"more"]], "close": []}[notice])
        assert transport.is_closing() and transport.get_write_buffer_size() == 0 and protocol.events[-1] != "lost"
        error = await asyncio.wait_for(protocol.lost, 10)
        assert isinstance(error, OSError) and error.errno == errno.EBADF
        if take is close_the_number:
            os.close(number)
        far.close()

    run(main())


def drop_everything(protocol):
    protocol.transport.abort()
    protocol.transport = None
    gc.collect()


def look_at_the_selector(protocol):
    assert asyncio.get_running_loop()._selector is not None


def write_and_collect(protocol):
    protocol.transport.write(b"x" * (1 << 20))
    protocol.transport.set_protocol(stdlib.Protocol())
    gc.collect()
    protocol.transport.set_protocol(protocol)


@pytest.mark.parametrize(
    "meddle", [close_the_socket, drop_everything, look_at_the_selector, write_and_collect], ids=lambda f: f.__name__
)
def test_a_callback_that_pulls_the_rug(meddle):
    async def main():
        transport, protocol, far = await pair(lambda: Meddler(meddle))
        far.send(b"x" * 1000)
        await protocol.until(lambda p: p.data)
        await turns()
        if not transport.is_closing():
            transport.write(b"more")
            await turns()
        transport.abort()
        await protocol.lost
        far.close()

    run(main())


def test_buffers_that_change_while_they_are_used():
    """A buffered protocol that resizes what it has given, and gives another buffer, or none, each time."""

    class Changing(asyncio.BufferedProtocol, Recorder):
        connection_made, connection_lost = Recorder.connection_made, Recorder.connection_lost

        def __init__(self):
            super().__init__()
            self.buffer, self.sizes = bytearray(10), iter([1, 100_000, 7, 3] * 1000)

        def get_buffer(self, hint):
            self.buffer.clear()
            self.buffer += bytes(next(self.sizes))
            return memoryview(self.buffer) if len(self.buffer) % 2 else self.buffer

        def buffer_updated(self, count):
            self.data += self.buffer[:count]
            try:
                self.buffer.clear()
            except BufferError:
                self.buffer = bytearray()
            gc.collect(0)
            self.changed.set()

    async def main():
        data = os.urandom(200_000)
        transport, protocol, far = await pair(Changing)
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(far, data))
        await protocol.until(lambda p: len(p.data) == len(data))
        assert protocol.data == data
        await sending
        transport.close()
        await protocol.lost
        far.close()

    run(main())


def test_a_datagram_transport_asked_for_more_memory_than_there_is(complaints):
    async def main():
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        class Noting(asyncio.DatagramProtocol):
            def connection_lost(self, error):
                lost.set_result(error)

        transport, _ = await loop.create_datagram_endpoint(Noting, local_addr=("127.0.0.1", 0))
        transport.max_size = 1 << 62
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        assert isinstance(await lost, MemoryError)

    run(main())
    assert "Fatal read error on datagram transport" in "".join(complaints.take())


PROCESS = """
import asyncio, gc, resource, signal, socket, ssl, sys, threading
def state():
    signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
    return resource.getrlimit(resource.RLIMIT_NOFILE), signals, ssl.SSLContext, asyncio.open_connection, \
        asyncio.Future, socket.socket, socket.getaddrinfo, threading.active_count(), gc.get_threshold()
before = state()
import rasyncio
async def main():
    server = await rasyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await rasyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
rasyncio.run(main())
assert state() == before
"""


def test_nothing_of_the_process_is_changed():
    subprocess.run([sys.executable, "-c", PROCESS], check=True, timeout=60)


async def a_protocol():
    transport, protocol, far = await pair()
    far.send(b"x")
    await protocol.until(lambda p: p.data)
    transport.write(b"x")
    transport.close()
    await protocol.lost
    far.close()


async def an_aborted_protocol():
    transport, protocol, far = await pair()
    fill(transport)
    transport.abort()
    await protocol.lost
    far.close()


async def a_stream():
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    far.send(b"line\n")
    assert await reader.readline() == b"line\n"
    writer.write(b"x")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    far.close()


async def a_server():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def a_datagram():
    loop = asyncio.get_running_loop()
    got = loop.create_future()

    class Noting(asyncio.DatagramProtocol):
        def datagram_received(self, data, address):
            got.set_result(data)

    transport, _ = await loop.create_datagram_endpoint(Noting, local_addr=("127.0.0.1", 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    await got
    transport.close()
    await turns(2)


async def some_sock_calls():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    receiving = asyncio.create_task(loop.sock_recv(near, 10))
    cancelled = asyncio.create_task(loop.sock_recv(far, 10))
    await loop.sock_sendall(far, b"x")
    await receiving
    cancelled.cancel()
    await asyncio.wait([cancelled])
    near.close()
    far.close()


@pytest.mark.parametrize(
    "primitive",
    [a_protocol, an_aborted_protocol, a_stream, a_server, a_datagram, some_sock_calls],
    ids=lambda primitive: primitive.__name__,
)
def test_connections_leave_no_object(primitive):
    async def main():
        counts = []
        for rounds in (20, 20, 200):
            for _ in range(rounds):
                await primitive()
            await turns()
            gc.collect()
            counts.append((len(gc.get_objects()), len(os.listdir("/proc/self/fd"))))
        # A round that left one object would leave two hundred.
        assert counts[2][0] - counts[1][0] < 50
        assert counts[2][1] == counts[1][1]

    asyncio.run(main())
