"""Threads: blocking work out of the loop, and calls into the loop from other threads."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

user = contextvars.ContextVar("user")


def blocking(name):
    assert threading.current_thread() is not threading.main_thread()
    return f"{name} for {user.get()}"


async def double(number):
    await asyncio.sleep(0)
    return 2 * number


async def main():
    loop = asyncio.get_running_loop()
    user.set("ann")
    assert await asyncio.to_thread(blocking, "report") == "report for ann"  # the context goes with it
    with ThreadPoolExecutor(2) as pool:
        assert await loop.run_in_executor(pool, sum, [1, 2, 3]) == 6

    # Futures, queues and locks belong to the loop's thread. From another one there are two doors, and only these.
    done, queue = asyncio.Event(), asyncio.Queue()

    def elsewhere():
        result = asyncio.run_coroutine_threadsafe(double(21), loop).result()  # a coroutine, and its result
        loop.call_soon_threadsafe(queue.put_nowait, result)  # a plain call
        loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await done.wait()
    assert await queue.get() == 42
    thread.join()

    # A second loop, in a thread of its own.
    answers = []
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(double(4))))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert answers == [8]
    print("42 from one thread, 8 from another's loop")


asyncio.run(main())
