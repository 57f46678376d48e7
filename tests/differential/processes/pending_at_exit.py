"""Tasks that are pending when the interpreter ends are reported."""

import asyncio


class Keep:
    pass


async def job():
    await asyncio.sleep(5)


async def main():
    Keep.task = asyncio.create_task(job(), name="job")
    Keep.event = asyncio.Event()
    Keep.other = asyncio.create_task(Keep.event.wait(), name="other")
    await asyncio.sleep(0)


loop = asyncio.new_event_loop()
loop.run_until_complete(main())
print("end, the loop is not closed")
