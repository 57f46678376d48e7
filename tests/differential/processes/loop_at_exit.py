"""A module's global closes its client by run_until_complete() when the interpreter ends."""

import asyncio


class Client:
    def __init__(self, name):
        self.name = name
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.open())

    async def open(self):
        self.queue = asyncio.Queue()
        self.pump = asyncio.create_task(self.serve(), name=f"pump of {self.name}")
        await asyncio.sleep(0)
        print(self.name, "opened")

    async def serve(self):
        while (item := await self.queue.get()) is not None:
            print(self.name, "got", item)
        return "served"

    async def close(self):
        for item in (1, 2, None):
            await self.queue.put(item)
        print(self.name, await asyncio.wait_for(self.pump, 10), await asyncio.gather(self.late(1), self.late(2)))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(self.late(3))
        lock, event = asyncio.Lock(), asyncio.Event()
        async with lock:
            event.set()
            await event.wait()
        async for number in self.numbers():
            print(self.name, number)
        print(self.name, "closed properly")

    async def numbers(self):
        yield 1
        await asyncio.sleep(0.001)
        yield 2

    async def late(self, number):
        await asyncio.sleep(0)
        return number

    def __del__(self):
        self.loop.run_until_complete(self.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


client = Client("a global")
