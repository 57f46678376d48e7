"""A small soak: hundreds of connections that end at random, both sides on one loop; `make soak` is the large one."""

import selectors

import pytest
import rasyncio as asyncio
from soak import left_over, small

SESSIONS = 600


@pytest.mark.parametrize("selector", [None, selectors.EpollSelector], ids=["native", "selectors"])
def test_hundreds_of_connections_that_end_at_random(selector):
    factory = None if selector is None else lambda: asyncio.SelectorEventLoop(selector())
    with asyncio.Runner(loop_factory=factory) as runner:
        served, asked = runner.run(small(300, SESSIONS, seed=7))
    assert (served.errors, asked.errors) == ([], [])
    assert asked["sessions"] == served["accepted"] == SESSIONS
    assert all(asked[end] > 10 for end in ("eof", "close", "abort", "peer closes", "peer aborts", "stalls"))
    for counts in (served, asked):
        assert [line for line in left_over(counts, 0) if "objects" in line] == []
