"""Task groups: no task outlives the block, and when one fails, the others are cancelled."""

import asyncio


async def work(log, name, turns):
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
        log.append(name)
        return len(name)
    except asyncio.CancelledError:
        log.append(f"{name} cancelled")
        raise


async def fail(turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise ValueError("one of them failed")


async def main():
    log = []
    async with asyncio.TaskGroup() as group:
        first = group.create_task(work(log, "long", 5))
        second = group.create_task(work(log, "short", 1))
    assert log == ["short", "long"]
    assert (first.result(), second.result()) == (4, 5)

    log.clear()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work(log, "bystander", 100))
            group.create_task(fail(2))
    except* ValueError as errors:
        assert [str(error) for error in errors.exceptions] == ["one of them failed"]
    assert log == ["bystander cancelled"]
    print("the bystander was cancelled, and waited for")


asyncio.run(main())
