import threading

import rasyncio as asyncio


async def main():
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=loop.call_soon, args=(print, "hello"))
    thread.start()
    await asyncio.to_thread(thread.join)


asyncio.run(main(), debug=True)
