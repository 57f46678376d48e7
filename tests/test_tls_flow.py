"""Flow control under TLS: reading and writing that is paused, on both sides of the encryption."""

import socket

import pytest
import rasyncio as asyncio
from peers import Recorder, run
from tls_peers import tls_and_socket

pytestmark = pytest.mark.usefixtures("tls_way")


def test_reading_is_paused_at_once():
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async def main():
        async with tls_and_socket(Pausing) as (transport, protocol, far):
            await far.do(far.tls.write, b"one")
            await protocol.until(lambda p: p.data)
            assert not transport.is_reading()
            await far.do(far.tls.write, b"two")
            transport.resume_reading()
            transport.pause_reading()
            for _ in range(20):
                await asyncio.sleep(0)
            assert protocol.data == b"one"
            transport.resume_reading()
            await protocol.until(lambda p: p.data == b"onetwo")
            # Bytes that came before the end are handed on although reading is paused when it comes.
            await far.do(far.tls.write, b"three")
            far.sock.shutdown(socket.SHUT_WR)
            for _ in range(20):
                await asyncio.sleep(0)
            assert protocol.data == b"onetwo"
            transport.resume_reading()
            await protocol.lost
            assert protocol.data == b"onetwothree" and protocol.events[-2:] == ["eof", "lost"]

    run(main())


def test_a_peer_that_floods_is_held_back():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            transport.pause_reading()
            below = transport._ssl_protocol._transport
            for _ in range(100):
                far.tls.write(b"x" * 65536)
            flood = asyncio.create_task(far.flush())
            while below.is_reading():
                await asyncio.sleep(0)
            assert transport.get_read_buffer_size() >= 256 * 1024
            transport.resume_reading()
            await protocol.until(lambda p: len(p.data) == 100 * 65536)
            assert below.is_reading()
            await flood

    run(main())


def test_writing_is_paused_and_resumed():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            written = 0
            while "pause" not in protocol.events:
                transport.write(b"x" * 65536)
                written += 65536
            assert transport.get_write_buffer_size() >= 512 * 1024
            got = 0
            while got < written:
                got += len(await far.do(far.tls.read, 1 << 16))
            await protocol.until(lambda p: "resume" in p.events)
            assert transport.get_write_buffer_size() <= 128 * 1024

    run(main())


def test_a_bytearray_may_be_changed_after_write():
    async def main():
        async with tls_and_socket() as (transport, protocol, far):
            transport._ssl_protocol.pause_writing()
            data = bytearray(b"before")
            transport.write(data)
            transport.writelines([memoryview(data)])
            data[:] = b"after!"
            transport._ssl_protocol.resume_writing()
            assert await far.do(far.tls.read, 100) == b"before"

    run(main())
