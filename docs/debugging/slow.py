import time

import rasyncio as asyncio


async def handle():
    time.sleep(0.2)


async def main():
    await asyncio.create_task(handle())


asyncio.run(main(), debug=True)
