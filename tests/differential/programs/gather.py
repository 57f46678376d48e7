"""gather: order of results, exceptions, return_exceptions, duplicates, cancellation from inside and outside; shield."""

import asyncio

from recorder import record, record_outcome


async def value(name, turns):
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
    except asyncio.CancelledError as error:
        record("cancelled", name, error)
        raise
    record("finished", name)
    return name


async def wrong(name, turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    record("failing", name)
    raise LookupError(name)


async def main():
    record(await asyncio.gather(value("a", 3), value("b", 1), value("c", 2)))
    record(await asyncio.gather())
    shared = asyncio.create_task(value("shared", 1))
    record(await asyncio.gather(shared, value("d", 0), shared))
    record(await asyncio.gather(wrong("e", 1), value("f", 2), return_exceptions=True))
    slow = asyncio.create_task(value("slow", 5))
    await record_outcome("first exception", asyncio.gather(slow, wrong("g", 1), wrong("h", 3)))
    record("still running", slow.done())
    await slow

    outer = asyncio.gather(value("i", 5), value("j", 5))
    await asyncio.sleep(0)
    record("cancel", outer.cancel("enough"), outer.cancelled())
    await record_outcome("outer", outer)

    child = asyncio.create_task(value("k", 5))
    outer = asyncio.gather(child, value("l", 1))
    await asyncio.sleep(0)
    child.cancel("only this")
    await record_outcome("child cancelled", outer)
    child = asyncio.create_task(value("m", 5))
    outer = asyncio.gather(child, value("n", 1), return_exceptions=True)
    await asyncio.sleep(0)
    child.cancel()
    await record_outcome("child cancelled, exceptions returned", outer)

    inner = asyncio.create_task(value("inner", 4))
    shielded = asyncio.ensure_future(record_outcome("shielded", asyncio.shield(inner)))
    await asyncio.sleep(0)
    shielded.cancel("not the inner one")
    await shielded
    record("inner", inner.cancelled(), await inner)
    inner = asyncio.create_task(value("inner again", 4))
    outer = asyncio.shield(inner)
    await asyncio.sleep(0)
    inner.cancel()
    await record_outcome("cancelled from within", outer)


asyncio.run(main())
