"""Time: sleeping, limits, deadlines, and calling functions later."""

import asyncio


async def main():
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.sleep(0.02)
    assert loop.time() - started >= 0.0199
    assert await asyncio.sleep(0, "a result") == "a result"

    # timeout(): all of the block has to be done in time.
    try:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
    except TimeoutError:
        print("the block took too long")

    # A limit can be moved while it runs, and tells whether it was reached.
    async with asyncio.timeout(None) as limit:
        limit.reschedule(loop.time() + 60)
        await asyncio.sleep(0)
    assert not limit.expired()

    # wait_for(): the same for one awaitable, which is cancelled.
    task = asyncio.create_task(asyncio.sleep(60))
    try:
        await asyncio.wait_for(task, timeout=0.01)
    except TimeoutError:
        assert task.cancelled()

    # Plain functions are called later by handles, which can be cancelled.
    called = loop.create_future()
    never = loop.call_later(60, called.set_exception, AssertionError())
    loop.call_at(loop.time() + 0.01, called.set_result, "in time")
    never.cancel()
    assert await called == "in time"


asyncio.run(main())
