"""What is not retrieved, not closed or wrong when the interpreter ends is reported, through a program's own handler as well."""

import asyncio
import functools
import sys


class Writes:
    """An object with a repr of its own, that is shown by reports."""

    def __repr__(self):
        return "<an object of the program's>"


class Reprs:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.objects = self.loop.run_until_complete(self.make())

    async def make(self):
        future, failed, cancelled = (self.loop.create_future() for _ in range(3))
        future.set_result(Writes())
        failed.set_exception(ValueError("known"))
        failed.exception()
        cancelled.cancel()
        pending = self.loop.create_future()
        pending.add_done_callback(functools.partial(print, "x"))
        pending.add_done_callback(self.method)
        handle, timer = self.loop.call_soon(self.method, 1), self.loop.call_later(1000, functools.partial(self.method, 2))
        timer.cancel()
        lock = asyncio.Lock()
        await lock.acquire()
        return [future, failed, cancelled, pending, handle, asyncio.Queue(3), lock, asyncio.Event(), asyncio.Semaphore(2)]

    def method(self, *args):
        pass

    def __del__(self):
        for item in self.objects:
            print(repr(item))
        print(repr(self.loop), self.loop.is_running())
        self.loop.close()


def handler(loop, context):
    print("handler", context["message"], sorted(context))
    raise ZeroDivisionError("in the handler")


async def fails():
    raise ValueError("never retrieved")


async def main():
    sys.modules["elsewhere"].task = asyncio.create_task(fails(), name="fails")
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("of a future"))
    sys.modules["elsewhere"].future = future
    await asyncio.sleep(0)


reprs = Reprs()
sys.modules["elsewhere"] = type(sys)("elsewhere")
with asyncio.Runner() as runner:
    runner.run(main())
loop = asyncio.new_event_loop()
loop.set_exception_handler(handler)
sys.modules["elsewhere"].handled = loop.create_future()
sys.modules["elsewhere"].handled.set_exception(ValueError("handled"))
loop.close()
print("end")
