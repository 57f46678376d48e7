"""Programs of TLS connections, made up by chance with a seed, run on asyncio and on rasyncio, and their traces compared.

What OpenSSL and the ssl module do with spoilt records is the same for both; what becomes of it is what is compared: which
exception, which callbacks, in which order.  `--programs` says how many there are, `--program-seed` makes others.
"""

import json
import random
from pathlib import Path

import pytest
from test_network import Child, differences

trustme = pytest.importorskip("trustme")

CHILD = Path(__file__).resolve().parent / "tls.py"
SIZES = [0, 1, 10, 1000, 16_384, 16_385, 100_000, 400_000]
SPOILING = ["pieces", "pieces", "lost", "doubled", "swapped", "cut", "ended", "header", "spoilt", "garbage"]
OPERATIONS = ["write"] * 4 + [
    "writelines",
    "close",
    "abort",
    "pause_reading",
    "resume_reading",
    "limits",
    "read_limits",
    "ask",
]
EVENTS = ["made", "data", "eof", "lost", "pause", "resume", "get_buffer"]


def operation(chance):
    name = chance.choice(OPERATIONS)
    if name == "write":
        return [name, chance.choice(SIZES)]
    if name == "writelines":
        return [name, [chance.choice(SIZES) for _ in range(chance.randrange(4))]]
    return [name, chance.choice([0, 1, 1000, 100_000, 1_000_000]) if "limits" in name else None]


def spoiling(chance):
    return [chance.choice(SPOILING), chance.randrange(8), chance.randrange(20_000)]


def step(chance):
    kind = chance.random()
    if kind < 0.3:
        return ["near", *operation(chance)]
    if kind < 0.5:
        return ["far", "write", chance.choice(SIZES[1:])]
    if kind < 0.6:
        return ["far", chance.choice(["hold", "release", "release", "deaf", "hear", "hear"]), None]
    if kind < 0.7:
        return ["far", chance.choice(["spoil", "spoil", "spoil_in"]), spoiling(chance)]
    if kind < 0.8:
        return ["far", chance.choice(["unwrap", "unwrap", "shutdown", "close"]), None]
    if kind < 0.97:
        raises = ["raise", chance.choice(["ValueError", "OSError", "KeyError"])]
        return ["plan", chance.choice(EVENTS), chance.choice([operation(chance), operation(chance), raises])]
    return ["cancel", None, None]


def program(chance):
    steps = [step(chance) for _ in range(chance.randrange(2, 14))]
    beginning = chance.random()
    if beginning < 0.6:
        steps.insert(0, ["near", "ask", None])  # the handshake, undisturbed
    elif beginning < 0.9:
        steps.insert(0, ["far", chance.choice(["spoil", "spoil_in"]), spoiling(chance)])
    return {
        "side": chance.choice(["client", "server"]),
        "kind": chance.choice(["plain", "plain", "buffered", "streams"]),
        "version": chance.choice(["1.2", "1.3", "1.3"]),
        "keep_open": chance.random() < 0.2,
        "steps": steps,
    }


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    # RSA: the signatures, and so all records, are of one size.
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("localhost", key_type=trustme.KeyType.RSA).private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    return folder


@pytest.fixture(params=["channel", "objects"])
def children(request, certificates):
    launcher = request.config.getoption("--launcher").split()
    pair = Child([], CHILD, certificates), Child(launcher, CHILD, certificates, request.param)
    yield pair
    for child in pair:
        child.stop()


def smaller(made, differs):
    """The program without the steps that it does not need to show the difference."""
    at = 0
    while at < len(made["steps"]):
        fewer = made | {"steps": made["steps"][:at] + made["steps"][at + 1 :]}
        if differs(fewer):
            made = fewer
        else:
            at += 1
    return made


@pytest.mark.timeout(0)
def test_made_up_programs(children, request):
    stdlib, ours = children
    chosen = request.config.getoption("--program-seed") or random.SystemRandom().randrange(1 << 32)
    chance = random.Random(chosen)

    def differs(made):
        if stdlib.trace(made) == ours.trace(made):
            return False
        # A hello that was cut is filled up with encrypted bytes: what OpenSSL calls that depends on chance, for asyncio too.
        known = [stdlib.trace(made, anew=number == 0) for number in range(20)]
        return all(ours.trace(made, anew=True) not in known for _ in range(3))

    # What differs between the two ways is little; a few programs have met all of the second one.
    count = request.config.getoption("--programs")
    for number in range(count if "channel" in ours.command else (count + 3) // 4):
        made = program(chance)
        if differs(made):
            made = smaller(made, differs)
            found = "\n".join(differences(made, stdlib.trace(made), ours.trace(made)))
            pytest.fail(f"--program-seed={chosen}, program {number}\n{json.dumps(made)}\n{found}", pytrace=False)
