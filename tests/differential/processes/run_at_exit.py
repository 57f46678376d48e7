"""Loops are made, run and closed when the interpreter ends."""

import asyncio


class Last:
    async def work(self):
        await asyncio.sleep(0)
        results = await asyncio.gather(self.nothing(), asyncio.wait_for(self.nothing(), 5), return_exceptions=True)
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, print, "timer")
        loop.call_soon_threadsafe(print, "from elsewhere")
        await asyncio.sleep(0.01)
        return results, asyncio.current_task().get_name(), len(asyncio.all_tasks())

    async def nothing(self):
        return None

    def __del__(self):
        print(asyncio.run(self.work()))
        with asyncio.Runner() as runner:
            print(runner.run(self.nothing()))
        try:
            asyncio.run(self.fails())
        except ValueError as error:
            print(repr(error))

    async def fails(self):
        raise ValueError("late")


asyncio.new_event_loop().close()  # asyncio itself must have had a policy before
last = Last()
print("end")
