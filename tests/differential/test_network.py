"""Programs of connections made up by hypothesis, run on asyncio and on rasyncio, and their traces compared.

Each of the two has a child process (network.py) that runs one program after the other.  A difference counts if it comes
again in new processes, and if asyncio then agrees with itself.  hypothesis makes a failing program small and prints it;
`--program-seed` makes others (0: another each time), `--programs` says how many there are.
"""

import json
import os
import random
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CHILD = Path(__file__).resolve().parent / "network.py"
LIMIT = 30  # seconds for a program; only one that hangs takes so long

SIZES = st.sampled_from([0, 1, 10, 1000, 4999, 5000, 5001, 70_000, 100_000, 300_000, 1_000_000])
# A stream's reader pauses above twice its limit.  How much it then has depends on how much is read at once, which is more in
# asyncio than here; so a reader has a limit that is never reached, or gets writes that the kernel takes in any case.
SMALL, SMALL_LIMIT, LARGE_LIMIT = 5001, 10_000, 16 << 20
COUNTS = st.sampled_from([0, 1, 10, 1000, 5000, 20_000, 100_000])
KINDS = st.sampled_from(["plain", "buffered"])
# No empty chunk for writelines(): asyncio keeps it in its buffer for ever (gh-155888).
WRITES = st.one_of(
    st.tuples(st.just("write"), SIZES),
    st.tuples(st.just("writelines"), st.lists(SIZES.filter(bool), max_size=4)),
    st.tuples(st.sampled_from(["write_eof", "close", "abort"]), st.none()),
)
TRANSPORT = st.one_of(
    WRITES,
    st.tuples(st.sampled_from(["pause_reading", "resume_reading"]), st.none()),
    st.tuples(st.just("set_protocol"), KINDS),
    st.tuples(st.just("limits"), st.sampled_from([0, 1, 1000, 200_000, 1_000_000])),
)
RAISES = st.tuples(st.just("raise"), st.sampled_from(["ValueError", "OSError", "ConnectionResetError"]))
EVENTS = st.sampled_from(["data", "eof", "pause", "resume", "lost", "get_buffer"])
PLANS = st.builds(lambda event, action: ("plan", [event, *action]), EVENTS, st.one_of(TRANSPORT, TRANSPORT, RAISES))
PROTOCOL_STEPS = st.one_of(TRANSPORT, TRANSPORT, PLANS)
STREAM_STEPS = st.one_of(
    WRITES,
    # read() answers what one read of the kernel brought, which may be more in asyncio: 256 KiB, and 64 KiB here.
    st.tuples(st.just("read"), COUNTS.filter(lambda count: count <= 20_000)),
    st.tuples(st.just("readexactly"), COUNTS),
    st.tuples(st.just("readuntil"), st.sampled_from([["\n"], ["56"], ["\n", "0"], ["not there"]])),
    st.tuples(st.sampled_from(["readline", "drain", "wait_closed", "cancel", "at_eof"]), st.none()),
)
RAW_STEPS = st.one_of(
    st.tuples(st.sampled_from(["recv", "recv_into", "sendall"]), COUNTS.filter(bool)),
    st.tuples(st.sampled_from(["cancel", "shutdown", "close_socket"]), st.none()),
)
DATAGRAM = st.one_of(
    st.tuples(st.just("sendto"), st.sampled_from([0, 1, 1000, 60_000])),
    st.tuples(st.just("limits"), st.sampled_from([0, 1, 1000, 200_000])),
    st.tuples(st.sampled_from(["pause_reading", "resume_reading", "close", "abort"]), st.none()),
)
DATAGRAM_EVENTS = st.sampled_from(["data", "error", "pause", "resume", "lost"])
DATAGRAM_STEPS = st.one_of(
    *[DATAGRAM] * 3,
    st.builds(lambda event, action: ("plan", [event, *action]), DATAGRAM_EVENTS, st.one_of(DATAGRAM, DATAGRAM, RAISES)),
    # More than wait at the other end without its reading.
    st.tuples(st.just("sendto_often"), st.integers(2, 40)),
)
SERVER_STEPS = st.tuples(st.sampled_from(["close_server", "close_clients", "abort_clients", "server_closed"]), st.none())
STEPS = {
    "plain": PROTOCOL_STEPS,
    "buffered": PROTOCOL_STEPS,
    "streams": STREAM_STEPS,
    "raw": RAW_STEPS,
    "datagrams": DATAGRAM_STEPS,
}


def most_written(operation, argument):
    if operation == "plan":
        return most_written(*argument[1:])
    if operation not in ("write", "writelines", "sendall"):
        return 0
    return argument if isinstance(argument, int) else sum(argument)


@st.composite
def programs(draw):
    connections, steps = [], []
    for _ in range(draw(st.integers(1, 2))):
        over = draw(st.sampled_from(["pair", "tcp", "unix", "udp"]))
        kinds = [draw(st.sampled_from(["plain", "plain", "buffered", "streams", "raw"])) for _ in range(2)]
        if over == "udp" or (over == "unix" and draw(st.booleans())):
            kinds = ["datagrams"] * 2
        elif over != "pair" and kinds[1] == "raw":
            kinds[1] = "plain"
        keep_open = draw(st.lists(st.booleans(), min_size=2, max_size=2))
        limit = draw(st.sampled_from([SMALL_LIMIT, LARGE_LIMIT])) if "streams" in kinds else LARGE_LIMIT
        serves = over != "pair" and draw(st.booleans())
        connections.append({"over": over, "kinds": kinds, "keep_open": keep_open, "limit": limit, "serves": serves})
    places = [(number, side) for number in range(len(connections)) for side in (0, 1)]

    def steps_of(place):
        connection = connections[place[0]]
        own = STEPS[connection["kinds"][place[1]]]
        served = connection["serves"] and place[1] == 1 and connection["kinds"][1] != "datagrams"
        return (st.one_of(own, own, own, SERVER_STEPS) if served else own).map(lambda step: [*place, *step])

    one = st.sampled_from(places).flatmap(steps_of)
    one = one.filter(lambda step: connections[step[0]]["limit"] == LARGE_LIMIT or most_written(*step[2:]) <= SMALL)
    connects = st.integers(0, 5).map(lambda turns: ["connect", turns])
    steps = draw(st.lists(st.one_of(*[one] * 9, connects), min_size=1, max_size=12))
    return {"connections": connections, "steps": steps, "selector": draw(st.sampled_from([False, False, True]))}


class Child:
    """A process that runs programs on one of the implementations; arguments are those of the script `child`."""

    def __init__(self, launcher, child=CHILD, *arguments):
        self.command, self.process = [sys.executable, *launcher, str(child), *map(str, arguments)], None

    def start(self):
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables |= {"PYTHONHASHSEED": "0"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(self.command, env=variables, **pipes)

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def trace(self, program, anew=False):
        """What happened on each end in each step; or what became of the process."""
        if anew:
            self.stop()
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write(json.dumps(program) + "\n")
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], LIMIT)
            line = self.process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            status = "died" if ready else "hung"
            self.stop()
            return [{"process": [status]}]
        return json.loads(line)


@pytest.fixture
def children(request):
    launcher = request.config.getoption("--launcher").split()
    pair = Child([]), Child(launcher)
    yield pair
    for child in pair:
        child.stop()


def differences(program, expected, seen):
    """Lines that say at which step and on which lane the two traces part."""
    for number, (one, other) in enumerate(zip(expected, seen, strict=False)):
        what = (
            "making the connections"
            if number == 0
            else str(["the end", *program["steps"]][number % (len(program["steps"]) + 1)])
        )
        for lane in sorted({*one, *other}):
            if one.get(lane) != other.get(lane):
                yield f"step {number} ({what}), {lane}:\n    asyncio:  {one.get(lane)}\n    rasyncio: {other.get(lane)}"
    if len(expected) != len(seen):
        yield f"asyncio has {len(expected)} steps, rasyncio {len(seen)}: {expected[-1]}, {seen[-1]}"


# Before 3.12.9 and 3.13.2 asyncio's writelines() does not pause the protocol.
UNPAUSED = (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2)


@pytest.mark.skipif(UNPAUSED, reason="writelines() of this patch release has no flow control")
@pytest.mark.timeout(0)
def test_made_up_programs(children, request):
    stdlib, ours = children
    chosen = request.config.getoption("--program-seed")
    chosen = chosen or random.SystemRandom().randrange(1 << 32)

    @seed(chosen)
    @settings(
        max_examples=request.config.getoption("--programs"),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(program=programs())
    def check(program):
        expected, seen = stdlib.trace(program), ours.trace(program)
        if expected == seen:
            return
        again = [stdlib.trace(program, anew=True), stdlib.trace(program, anew=True)]
        seen = ours.trace(program, anew=True)
        if again[0] != again[1] or seen in (expected, *again):
            return
        found = "\n".join(differences(program, again[0], seen))
        pytest.fail(f"{json.dumps(program)}\n{found}", pytrace=False)

    try:
        check()
    except BaseException:
        print(f"--program-seed={chosen}")
        raise
