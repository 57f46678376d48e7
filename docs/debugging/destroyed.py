import gc

import rasyncio as asyncio


async def refresh():
    await asyncio.get_running_loop().create_future()


async def main():
    asyncio.create_task(refresh())
    await asyncio.sleep(0)
    gc.collect()


asyncio.run(main())
