"""Context variables: each task has a context of its own, a copy of its maker's."""

import asyncio
import contextvars

request = contextvars.ContextVar("request", default="none")


async def handle(name):
    request.set(name)
    await asyncio.sleep(0)
    return await deeper()


async def deeper():
    return f"in {request.get()}"


async def main():
    assert await asyncio.gather(handle("first"), handle("second")) == ["in first", "in second"]
    assert request.get() == "none"  # what tasks set stays theirs

    # A context can be given: to a task, and to a callback.
    context = contextvars.copy_context()
    await asyncio.create_task(handle("third"), context=context)
    assert context[request] == "third"
    seen = []
    asyncio.get_running_loop().call_soon(lambda: seen.append(request.get()), context=context)
    await asyncio.sleep(0)
    assert seen == ["third"]
    print("three contexts")


asyncio.run(main())
