"""Writes of memory whose owner is a class written in Python, which acts when it is asked for it."""

import sys

import pytest
import rasyncio as asyncio
from peers import fill, pair, receive, run

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="no class written in Python lends memory")


@pytest.mark.parametrize("act", ("write", "fill", "abort", "close"))
def test_memory_whose_owner_acts_when_it_is_asked_for_is_sent_in_its_turn(act):
    class Acting(bytearray):
        def __buffer__(self, flags):
            if act == "write":
                transport.write(b"first,")
            elif act == "fill":
                sizes.append(fill(transport))
            else:
                getattr(transport, act)()
            return memoryview(b"second")

    async def main():
        nonlocal transport
        transport, protocol, far = await pair()
        transport.write(Acting(b"......"))
        if act in ("abort", "close"):
            error = await protocol.lost
            assert error is None and await receive(far, 7) == b"second", "what asyncio's transport does"
        else:
            before = sizes[0] if sizes else len(b"first,")
            data = await receive(far, before + 6)
            assert data[before:] == b"second" and (sizes or data[:before] == b"first,")
            transport.close()
            await protocol.lost
        far.close()

    transport, sizes = None, []
    run(main())


def test_memory_that_is_said_to_be_empty_is_not_asked_for():
    class Empty(bytearray):
        def __buffer__(self, flags):
            raise AssertionError("nobody needs it")

    async def main():
        transport, protocol, far = await pair()
        transport.write(Empty())
        transport.write(b"after")
        assert await receive(far, 5) == b"after"
        transport.abort()
        transport.write(Empty(b"too late"))
        assert await protocol.lost is None
        far.close()

    run(main())


@pytest.mark.parametrize("buffered", (False, True))
def test_an_error_of_the_memory_s_owner_ends_the_connection(buffered):
    class Broken(bytearray):
        def __buffer__(self, flags):
            raise error

    async def main():
        transport, protocol, far = await pair()
        reports = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        if buffered:
            fill(transport)
        transport.write(Broken(b"data"))
        assert await protocol.lost is error
        assert [report["exception"] for report in reports] == [error]
        far.close()

    error = ValueError("mine")
    run(main())


@pytest.mark.parametrize("leaving", (KeyboardInterrupt, SystemExit))
def test_what_leaves_the_loop_leaves_the_write(leaving):
    class Leaving(bytearray):
        def __buffer__(self, flags):
            raise leaving

    async def main():
        transport, protocol, far = await pair()
        with pytest.raises(leaving):
            transport.write(Leaving(b"data"))
        assert not transport.is_closing()
        transport.close()
        assert await protocol.lost is None
        far.close()

    run(main())
