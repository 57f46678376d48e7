"""The exceptions: asyncio's hierarchy and texts, with which programs that catch or pickle them reckon."""

import pickle

import pytest
from rasyncio import exceptions


@pytest.mark.parametrize(
    "name, base",
    [
        ("CancelledError", BaseException),
        ("InvalidStateError", Exception),
        ("SendfileNotAvailableError", RuntimeError),
        ("IncompleteReadError", EOFError),
        ("LimitOverrunError", Exception),
        ("BrokenBarrierError", RuntimeError),
        ("QueueEmpty", Exception),
        ("QueueFull", Exception),
        ("QueueShutDown", Exception),
    ],
)
def test_bases(name, base):
    assert getattr(exceptions, name).__bases__ == (base,)


def test_timeout_error_is_the_builtin_one():
    assert exceptions.TimeoutError is TimeoutError


def test_incomplete_read_error():
    error = exceptions.IncompleteReadError(b"abc", 5)
    assert str(error) == "3 bytes read on a total of 5 expected bytes"
    assert str(exceptions.IncompleteReadError(b"", None)) == "0 bytes read on a total of undefined expected bytes"
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.partial, copy.expected) == (b"abc", 5)


def test_limit_overrun_error():
    copy = pickle.loads(pickle.dumps(exceptions.LimitOverrunError("too long", 7)))
    assert (copy.args, copy.consumed) == (("too long",), 7)
