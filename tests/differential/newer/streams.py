"""StreamReader.readuntil() of several separators (3.13): the first end counts, then the longest; limits and errors."""

import asyncio

from recorder import record

SINCE = (3, 13)


def reader(*pieces, limit=64, end=True):
    made = asyncio.StreamReader(limit=limit)
    for piece in pieces:
        made.feed_data(piece)
    if end:
        made.feed_eof()
    return made


def shown(value):
    return value.decode() if isinstance(value, bytes) else value


async def outcome(name, awaitable):
    try:
        record(name, shown(await awaitable))
    except asyncio.IncompleteReadError as error:
        record(name, "incomplete", shown(error.partial), error.expected)
    except (asyncio.LimitOverrunError, ValueError, TypeError) as error:
        record(name, type(error).__name__, str(error), getattr(error, "consumed", None))


async def main():
    for separators in ((b"\n", b";"), (b";", b"\n"), (b"\r\n", b"\n", b"\r"), (b"two",), (b"wo;", b"two;")):
        source = reader(b"one;two\r\nthree\nfour\r")
        for n in range(5):
            await outcome(f"{separators} {n}", source.readuntil(separators))
    for wrong in ((), (b"",), (b"", b";"), (";",), [b";"], None):
        await outcome(f"separators {wrong}", reader(b"one;two").readuntil(wrong))
    for n in range(1, 9):
        source = reader(*(b"0123456789"[i : i + n] for i in range(0, 10, n)))
        await outcome(f"in pieces of {n}", source.readuntil((b"45", b"56")))
        await outcome("rest", source.readuntil((b"9", b"89")))
    for limit in (3, 4, 5, 6):
        source = reader(b"abcde;fgh", limit=limit, end=False)
        await outcome(f"limit {limit}", source.readuntil((b";", b"!!")))
        await outcome("after it", source.read(3))
        source = reader(b"abcdefgh", limit=limit, end=False)
        await outcome(f"limit {limit} without an end", source.readuntil((b";", b"!!")))
        await outcome("after it", source.read(3))
    source = reader(end=False)
    reading = asyncio.create_task(outcome("waits", source.readuntil((b"ab", b"abc", b"c"))))
    for piece in (b"x", b"a", b"b"):
        await asyncio.sleep(0)
        source.feed_data(piece)
    await reading


asyncio.run(main())
