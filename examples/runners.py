"""Ways to run a program: run(), a Runner for several coroutines, a loop of one's own."""

import asyncio
import contextvars

count = contextvars.ContextVar("count", default=0)


async def step():
    await asyncio.sleep(0)
    count.set(count.get() + 1)
    return count.get()


async def main():
    return "done"


assert asyncio.run(main()) == "done"

# A Runner keeps its loop and its context from one call to the next.
with asyncio.Runner(debug=False) as runner:
    assert not runner.get_loop().get_debug()
    assert [runner.run(step()) for _ in range(3)] == [1, 2, 3]

# What run() does, by hand.
loop = asyncio.new_event_loop()
try:
    assert loop.run_until_complete(step()) == 1
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
finally:
    loop.close()
assert loop.is_closed()
print("run three ways")
