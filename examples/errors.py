"""Errors that nobody can raise: the loop's exception handler hears of them.  And debug mode, which finds slow callbacks."""

import asyncio
import gc
import logging
import time


async def main():
    loop = asyncio.get_running_loop()
    heard = []
    loop.set_exception_handler(lambda loop, context: heard.append((context["message"], repr(context.get("exception")))))

    def broken():
        raise ValueError("in a callback")

    loop.call_soon(broken)
    await asyncio.sleep(0)
    assert len(heard) == 1 and heard[0][1] == "ValueError('in a callback')"

    # A task that failed, and whose exception nobody asked for, is told of when it is collected.
    async def fail():
        raise KeyError("lost")

    asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    assert heard[1] == ("Task exception was never retrieved", "KeyError('lost')")

    # In debug mode the loop names what blocks it.
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("asyncio").addHandler(handler)
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_soon(time.sleep, 0.02)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    loop.set_debug(False)
    logging.getLogger("asyncio").removeHandler(handler)
    assert any("took" in record for record in records)
    print(*heard, sep="\n")


asyncio.run(main())
