"""Finalizers and callbacks of weak references call the loop while CPython takes a frame down, in debug mode."""

import asyncio
import sys
import weakref


class Calls:
    """Calls the loop when it dies."""

    def __init__(self, name):
        self.name, self.loop = name, asyncio.get_running_loop()

    def __del__(self):
        getattr(self, self.name)()

    def soon(self):
        print(self.loop.call_soon(print, "soon").cancelled())

    def later(self):
        self.loop.call_later(0.001, print, "later")

    def at(self):
        self.loop.call_at(self.loop.time(), print, "at")

    def threadsafe(self):
        self.loop.call_soon_threadsafe(print, "threadsafe")

    def task(self):
        self.loop.create_task(report("task"))

    def future(self):
        future = self.loop.create_future()
        future.add_done_callback(lambda future: print(future.result()))
        future.set_result("future")

    def graph(self):
        print(asyncio.format_call_graph() is not None)

    def reader(self):
        asyncio.StreamReader(loop=self.loop)
        print("reader")

    def gather(self):
        asyncio.gather(report("gathered"), report("gathered too"))

    def handler(self):
        self.loop.call_exception_handler({"message": "from a finalizer"})

    def stack(self):
        print(asyncio.current_task().get_stack() is not None)


NAMES = [name for name in vars(Calls) if not name.startswith("_")]
if sys.version_info < (3, 14):
    NAMES.remove("graph")


async def report(text):
    print(text)


async def holds(name):
    calls = Calls(name)  # dies with this frame
    await asyncio.sleep(0)
    return name if calls else None


def plain(name):
    calls = Calls(name)
    return name if calls else None


async def generator(name):
    calls = Calls(name)
    yield name if calls else None


async def watched(loop):
    class Dies:
        pass

    dies = Dies()
    weakref.finalize(dies, loop.call_soon, print, "finalize")
    watched.refs = [weakref.ref(dies, lambda _: loop.call_soon(print, "weak reference"))]


async def asyncgen_dies():
    async def numbers():
        try:
            yield 1
        finally:
            print("generator closed")

    return await numbers().__anext__()  # the generator dies with this coroutine's frame


async def handle(reader, writer):
    pass  # the writer dies with this coroutine's frame


async def main():
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 1000
    loop.set_exception_handler(lambda loop, context: print(context["message"]))
    for name in NAMES:
        print("as a task", await asyncio.create_task(holds(name)))
        await asyncio.sleep(0.002)
        print("as a call", plain(name))
        await asyncio.sleep(0.002)
        loop.call_soon(plain, name)
        await asyncio.sleep(0.002)
        async for item in generator(name):
            print("as a generator", item)
        await asyncio.sleep(0.002)
    await asyncio.create_task(watched(loop))
    await asyncio.sleep(0.002)
    print(await asyncio.create_task(asyncgen_dies()))
    await asyncio.sleep(0.002)
    print("fine")


asyncio.run(main(), debug=True)
