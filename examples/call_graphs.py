"""Call graphs: who waits for whom (Python 3.14, rasyncio everywhere)."""

import asyncio
import io


async def leaf(event):
    await event.wait()


async def branch(event):
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(event), name="leaf")


async def main():
    event = asyncio.Event()
    task = asyncio.create_task(branch(event), name="branch")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if hasattr(asyncio, "print_call_graph"):
        text = io.StringIO()
        (inner,) = (each for each in asyncio.all_tasks() if each.get_name() == "leaf")
        asyncio.print_call_graph(inner, file=text)
        assert "leaf" in text.getvalue() and "branch" in text.getvalue()
        print(text.getvalue())
    event.set()
    await task


asyncio.run(main())
