"""Signals: a server that ends in order when it is told to."""

import asyncio
import os
import signal


async def main():
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)

    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0):
        loop.call_soon(os.kill, os.getpid(), signal.SIGTERM)  # as a supervisor would
        await stopping.wait()
        print("told to stop: no new connections, open ones are finished")
    assert loop.remove_signal_handler(signal.SIGTERM)
    assert not loop.remove_signal_handler(signal.SIGTERM)


asyncio.run(main())
