"""Tasks: coroutines side by side, their results, and cancelling them."""

import asyncio


async def fetch(name, turns):
    for _ in range(turns):
        await asyncio.sleep(0)
    return name.upper()


async def wait_for_ever(cleaned):
    try:
        await asyncio.Event().wait()
    finally:
        cleaned.append("yes")


async def main():
    # A task runs as soon as this coroutine waits for something.
    task = asyncio.create_task(fetch("a", 3), name="the first")
    assert not task.done()
    assert await task == "A"
    assert task.get_name() == "the first"

    # gather() keeps the order of its arguments, whoever is first; as_completed() gives who is first.
    assert await asyncio.gather(fetch("slow", 5), fetch("quick", 1)) == ["SLOW", "QUICK"]
    order = [await each for each in asyncio.as_completed([fetch("slow", 5), fetch("quick", 1)])]
    assert order == ["QUICK", "SLOW"]

    # wait() cancels nothing, and raises nothing of what the tasks raise.
    tasks = [asyncio.create_task(fetch("x", turns)) for turns in (1, 50)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    await asyncio.gather(*pending)

    # Cancelling raises CancelledError where the coroutine waits; it can clean up.
    cleaned = []
    task = asyncio.create_task(wait_for_ever(cleaned))
    await asyncio.sleep(0)
    task.cancel("no longer needed")
    try:
        await task
    except asyncio.CancelledError as error:
        assert error.args == ("no longer needed",)
    assert cleaned == ["yes"]

    # shield() keeps a cancellation of the caller from what it waits for.
    inner = asyncio.create_task(fetch("kept", 5))
    outer = asyncio.shield(inner)
    outer.cancel()
    assert await inner == "KEPT"

    # An exception of a task is raised where the task is awaited.
    async def fail():
        raise LookupError("nothing there")

    try:
        await asyncio.create_task(fail())
    except LookupError as error:
        print("the task raised:", error)


asyncio.run(main())
