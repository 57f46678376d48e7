"""What is a future, and how one is written."""

import pytest
import rasyncio as asyncio


class Duck:
    _asyncio_future_blocking = False


def test_isfuture():
    loop = asyncio.new_event_loop()
    assert asyncio.isfuture(loop.create_future()) and asyncio.isfuture(Duck())
    assert not asyncio.isfuture(Duck) and not asyncio.isfuture(1)
    loop.close()


@pytest.mark.usefixtures("without_debug")
def test_a_repr_that_contains_itself():
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    assert repr(future) == "<Future pending>"
    future.set_result([future])
    assert repr(future) == "<Future finished result=[...]>"
    loop.close()
