import rasyncio as asyncio


async def send(message):
    await asyncio.sleep(0)


async def main():
    send("hello")  # no await
    await asyncio.sleep(0)


asyncio.run(main())
