"""Threads cannot be had any more when the interpreter ends; what is said then is said, and the loop closes."""

import asyncio
import signal


class Late:
    def __init__(self, loop):
        self.loop = loop

    async def work(self):
        print(await asyncio.to_thread(abs, -1))

    def __del__(self):
        work = self.work()
        try:
            self.loop.run_until_complete(work)
        except RuntimeError as error:
            print(error)
        work.close()
        self.loop.remove_signal_handler(signal.SIGUSR1)
        self.loop.close()
        print("closed", self.loop.is_closed())


loop = asyncio.new_event_loop()
loop.add_signal_handler(signal.SIGUSR1, print, "signal")
loop.add_signal_handler(signal.SIGUSR2, print, "signal")
late = Late(loop)
loop.run_until_complete(late.work())
