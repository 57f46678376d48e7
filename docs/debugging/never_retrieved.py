import rasyncio as asyncio


async def charge(account):
    raise LookupError(account)


async def main():
    asyncio.create_task(charge("ann"))
    await asyncio.sleep(0.01)


asyncio.run(main())
