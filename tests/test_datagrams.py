"""Datagram endpoints over real sockets on the loopback interface: what a trace against asyncio does not show."""

import asyncio as stdlib
import gc
import os
import random
import socket
import sys
import weakref

import pytest
import rasyncio as asyncio
from peers import run


class Noting(asyncio.DatagramProtocol):
    def __init__(self):
        self.transport, self.lost = None, asyncio.get_running_loop().create_future()
        self.received, self.errors, self.events = asyncio.Queue(), asyncio.Queue(), []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.received.put_nowait((data, addr))

    def error_received(self, exc):
        self.errors.put_nowait((exc, sys.exc_info()[1]))

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def endpoint(*args, **options):
    return await asyncio.get_running_loop().create_datagram_endpoint(Noting, *args, **options)


async def close(*transports):
    for transport in transports:
        protocol = transport.get_protocol()
        transport.close()
        await protocol.lost


def bound(host="127.0.0.1", cls=socket.socket):
    sock = cls(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    return sock


def has_ipv6():
    try:
        bound("::1").close()
    except OSError:
        return False
    return True


HOSTS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6"))]


@pytest.mark.parametrize("host", HOSTS)
def test_addresses_are_those_of_the_socket_module(host):
    async def main():
        here, near = await endpoint((host, 0))
        assert isinstance(here, asyncio.DatagramTransport) and isinstance(here, stdlib.DatagramTransport)
        address = here.get_extra_info("sockname")
        with bound(host) as far, bound(host) as other:
            for sock in (far, far, other, far):
                sock.sendto(b"question", address)
                data, sender = await near.received.get()
                assert (data, sender) == (b"question", sock.getsockname())
                assert [type(item) for item in sender] == [type(item) for item in sock.getsockname()]
                for to in (sender, sender[:2], (*sender[:2], 0, 0)[: len(sender)]):
                    here.sendto(b"answer", to)
                    here.sendto(b"answer", to)
                    assert [sock.recvfrom(99) for _ in range(2)] == [(b"answer", address)] * 2
        await close(here)

    run(main())


@pytest.mark.parametrize("host", ("127.0.0.1", "::1"))
def test_many_senders_are_told_apart_and_answered(host):
    if host == "::1" and not has_ipv6():
        pytest.skip("no IPv6 here")

    async def main():
        transport, protocol = await endpoint(local_addr=(host, 0))
        sockets = [bound(host) for _ in range(100)]
        if host == "127.0.0.1":
            sockets += [bound(f"127.0.0.{last}") for last in range(2, 6)]
        address, chance = transport.get_extra_info("sockname"), random.Random(1)
        for sock in chance.choices(sockets, k=600):
            sock.sendto(b"who am I?", address)
            data, sender = await protocol.received.get()
            assert type(sender) is tuple and sender == sock.getsockname()
            transport.sendto(repr(sender).encode(), sender)
            assert sock.recv(200) == repr(sock.getsockname()).encode()
        await close(transport)
        for sock in sockets:
            sock.close()

    run(main())


def test_an_address_of_a_class_of_its_own_is_for_the_socket_module():
    async def main():
        here, _ = await endpoint(("127.0.0.1", 0))

        class Address(tuple):
            pass

        with bound() as far:
            here.sendto(b"a", Address(far.getsockname()))
            assert far.recv(9) == b"a"
        await close(here)

    run(main())


def test_large_and_truncated_and_empty_datagrams():
    async def main():
        here, near = await endpoint(("127.0.0.1", 0))
        address = here.get_extra_info("sockname")
        with bound() as far:
            largest = os.urandom(65507)
            for sent in (largest, b""):
                far.sendto(sent, address)
                assert (await near.received.get())[0] == sent
            here.sendto(largest, far.getsockname())
            assert far.recv(1 << 17) == largest
            here.max_size = 3
            far.sendto(b"four", address)
            assert (await near.received.get())[0] == b"fou"
        await close(here)

    run(main())


def test_a_socket_of_another_class_is_asked():
    class Asked(socket.socket):
        calls = ()

        def recvfrom(self, size):
            self.calls += ("recvfrom",)
            return super().recvfrom(size)

        def sendto(self, *args):
            self.calls += ("sendto",)
            return super().sendto(*args)

    async def main():
        sock = bound(cls=Asked)
        here, near = await endpoint(sock=sock)
        here.sendto(b"to itself", here.get_extra_info("sockname"))
        assert await near.received.get() == (b"to itself", here.get_extra_info("sockname"))
        assert sock.calls == ("sendto", "recvfrom")
        await close(here)

    run(main())


@pytest.mark.parametrize("error", [ValueError("recvfrom"), OSError(5, "recvfrom"), KeyboardInterrupt()])
def test_what_a_socket_raises(error):
    class Failing(socket.socket):
        def recvfrom(self, size):
            super().recvfrom(size)
            raise error

    async def main():
        reported = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        here, near = await endpoint(sock=bound(cls=Failing))
        here.sendto(b"x", here.get_extra_info("sockname"))
        if isinstance(error, OSError):
            assert await near.errors.get() == (error, error) and not reported
            await close(here)
            return
        try:
            assert await near.lost is error
        finally:
            here.abort()
        assert [context["message"] for context in reported] == ["Fatal read error on datagram transport"]

    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            run(main())
    else:
        run(main())


def test_the_kernel_s_error_is_being_handled_while_the_protocol_hears_of_it():
    async def main():
        with bound() as gone:
            address = gone.getsockname()
        here, near = await endpoint(remote_addr=address)
        here.sendto(b"x")
        error, handled = await near.errors.get()
        assert isinstance(error, ConnectionRefusedError) and handled is error
        assert not here.is_closing()
        await close(here)

    run(main())


def test_flow_control_counts_headers_where_the_version_does():
    header = 8 if sys.version_info >= (3, 13) else 0

    async def main():
        path = f"\0rasyncio-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
            far.setblocking(False)
            far.bind(path)
            here, protocol = await endpoint(remote_addr=path, family=socket.AF_UNIX)
            sent = 0
            while not here.get_write_buffer_size():
                here.sendto(b"x" * 100)
                sent += 1
            assert here.get_write_buffer_size() == 100 + header
            here.set_write_buffer_limits(high=250 + 2 * header, low=0)
            buffer = bytearray(b"y" * 100)
            here.sendto(buffer)
            assert protocol.events == []
            here.sendto(memoryview(buffer).cast("H"))
            buffer[:] = b"n" * 100
            assert protocol.events == ["pause"] and here.get_write_buffer_size() == 300 + 3 * header
            here.close()
            assert here.is_closing() and not protocol.lost.done()
            received = []
            while not protocol.lost.done():
                try:
                    received.append(far.recv(200))
                except BlockingIOError:
                    await asyncio.sleep(0)
            while len(received) < sent + 2:
                received.append(far.recv(200))
            assert received[sent:] == [b"y" * 100] * 2
            assert protocol.events == ["pause", "resume"]
        assert await protocol.lost is None

    run(main())


def test_sending_after_the_end_is_counted_and_warned_of(caplog):
    async def main():
        here, near = await endpoint(("127.0.0.1", 0))
        address = here.get_extra_info("sockname")
        await close(here)
        for _ in range(7):
            here.sendto(b"x", address)

    run(main())
    assert [record.getMessage() for record in caplog.records] == ["socket.send() raised exception."] * 3


def test_a_transport_that_nobody_closed_warns():
    async def main():
        here, near = await endpoint(("127.0.0.1", 0))
        return repr(here), near

    loop = asyncio.new_event_loop()
    text, near = loop.run_until_complete(main())
    assert "<_SelectorDatagramTransport fd=" in text and "read=polling write=<idle, bufsize=0>" in text
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport <_SelectorDatagramTransport fd="):
        near.transport = None
        gc.collect()


def test_a_closed_transport_lets_everything_go():
    async def main():
        here, near = await endpoint(("127.0.0.1", 0))
        here.sendto(b"x", here.get_extra_info("sockname"))
        await near.received.get()
        await close(here)
        assert "closed" in repr(here) and here.get_protocol() is None
        near.transport = None
        held = weakref.ref(here), weakref.ref(near)
        del here, near
        await asyncio.sleep(0)
        gc.collect()
        assert [ref() for ref in held] == [None, None]

    run(main())


def test_a_cycle_through_an_open_transport_is_collected():
    async def main():
        here, near = await endpoint(("127.0.0.1", 0))
        near.self = near
        here.abort()
        await near.lost
        return weakref.ref(near)

    held = run(main())
    gc.collect()
    assert held() is None


def test_a_failing_factory_leaves_no_socket_and_no_watcher():
    async def main():
        def fails():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await asyncio.get_running_loop().create_datagram_endpoint(fails, ("127.0.0.1", 0))

    run(main())


def test_cancelled_while_it_resolves_or_waits():
    async def main():
        loop = asyncio.get_running_loop()
        for rounds in range(6):
            making = asyncio.create_task(endpoint(("localhost", 0)))
            for _ in range(rounds):
                await asyncio.sleep(0)
            making.cancel()
            await asyncio.wait([making])
            if not making.cancelled():
                await close(making.result()[0])
        making = asyncio.create_task(endpoint(("127.0.0.1", 0)))
        await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        for _ in range(3):
            await asyncio.sleep(0)
        assert not [transport for transport in loop._transports.values() if not transport.is_closing()]

    run(main())


def test_an_overridden_transport_factory_and_connect_are_honoured():
    class Loop(asyncio.SelectorEventLoop):
        made = connected = None

        def _make_datagram_transport(self, sock, protocol, address=None, waiter=None, extra=None):
            self.made = address
            return super()._make_datagram_transport(sock, protocol, address, waiter, extra={"more": 1})

        async def sock_connect(self, sock, address):
            self.connected = address
            await super().sock_connect(sock, address)

    async def main():
        loop = asyncio.get_running_loop()
        with bound() as far:
            here, _ = await endpoint(remote_addr=far.getsockname())
            assert loop.made == loop.connected == far.getsockname() == here.get_extra_info("peername")
            assert here.get_extra_info("more") == 1
            await close(here)
            here, _ = await endpoint(("127.0.0.1", 0), far.getsockname())
            here.sendto(b"x")
            assert far.recvfrom(9) == (b"x", here.get_extra_info("sockname"))
            await close(here)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


def test_a_descriptor_that_is_used_again_belongs_to_its_new_owner():
    async def main():
        seen = set()
        for number in range(100):
            here, near = await endpoint(("127.0.0.1", 0))
            seen.add(here.get_extra_info("socket").fileno())
            here.sendto(b"%d" % number, here.get_extra_info("sockname"))
            if number % 2:
                assert (await near.received.get())[0] == b"%d" % number
            here.abort()
            await near.lost
            assert near.received.empty()
        assert len(seen) < 5

    run(main())


def test_hooks_hear_of_what_is_sent():
    heard = []
    armed = [True]

    def hook(event, arguments):
        if armed and event == "socket.sendto":
            heard.append(arguments[1])

    sys.addaudithook(hook)

    async def main():
        here, near = await endpoint(("127.0.0.1", 0))
        address = here.get_extra_info("sockname")
        here.sendto(b"x", address)
        await near.received.get()
        await close(here)
        return address

    assert heard == [run(main())]
    armed.clear()


def test_cancelled_socket_calls_lose_nothing():
    async def main():
        loop = asyncio.get_running_loop()
        near, far = bound(), bound()
        buffer = bytearray(9)
        for receive in (lambda: loop.sock_recvfrom(near, 9), lambda: loop.sock_recvfrom_into(near, buffer)):
            for _ in range(10):
                waits = asyncio.create_task(receive())
                await asyncio.sleep(0)
                far.sendto(b"x", near.getsockname())
                waits.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waits
                data, sender = await receive()
                assert data in (b"x", 1) and sender == far.getsockname()
        assert loop.remove_reader(near) is False and loop.remove_writer(near) is False
        near.close()
        far.close()

    run(main())


def test_sock_sendto_waits_until_there_is_room():
    async def main():
        loop = asyncio.get_running_loop()
        path = f"\0rasyncio-{os.getpid()}"
        near, far = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
        near.setblocking(False)
        far.setblocking(False)
        far.bind(path)
        # An unconnected Unix socket is always reported as writable, a connected one only when its peer has room.
        near.connect(path)
        sent = 0
        while True:
            try:
                near.sendto(b"%d" % sent, path)
            except BlockingIOError:
                break
            sent += 1
        waits = asyncio.create_task(loop.sock_sendto(near, b"last", path))
        await asyncio.sleep(0)
        assert not waits.done()
        for number in range(sent):
            assert await loop.sock_recvfrom(far, 99) == (b"%d" % number, None)
        assert await waits == 4
        assert await loop.sock_recvfrom(far, 99) == (b"last", None)
        near.close()
        far.close()

    run(main())


def test_sockets_of_transports_are_off_limits():
    async def main():
        loop = asyncio.get_running_loop()
        sock = bound()
        here, _ = await endpoint(sock=sock)
        for call in (loop.sock_recvfrom(sock, 9), loop.create_datagram_endpoint(Noting, sock=sock)):
            with pytest.raises(RuntimeError, match="is used by transport"):
                await call
        await close(here)

    run(main())
