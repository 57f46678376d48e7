"""Locks, events, conditions, semaphores, barriers: for the tasks of one loop.  None of them is thread-safe."""

import asyncio


class Account:
    def __init__(self):
        self.balance = 100
        self.lock = asyncio.Lock()

    async def withdraw(self, amount):
        async with self.lock:
            balance = self.balance
            await asyncio.sleep(0)  # without the lock another task would read the same balance here
            self.balance = balance - amount


async def main():
    account = Account()
    await asyncio.gather(*(account.withdraw(10) for _ in range(10)))
    assert account.balance == 0

    # An Event is set once, and wakes everybody.
    event, woken = asyncio.Event(), []

    async def wait(name):
        await event.wait()
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(wait(name))
        await asyncio.sleep(0)
        assert woken == []
        event.set()
    assert woken == ["a", "b", "c"]

    # A Condition is a lock with a waiting room.
    condition, stock = asyncio.Condition(), []

    async def take():
        async with condition:
            await condition.wait_for(lambda: stock)
            return stock.pop()

    taker = asyncio.create_task(take())
    await asyncio.sleep(0)
    async with condition:
        stock.append("bread")
        condition.notify()
    assert await taker == "bread"

    # A Semaphore lets some in, not all.
    room, inside, most = asyncio.Semaphore(3), 0, 0

    async def visit():
        nonlocal inside, most
        async with room:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(visit() for _ in range(10)))
    assert most == 3

    # A Barrier lets nobody on before all are there.
    barrier = asyncio.Barrier(3)
    positions = await asyncio.gather(*(barrier.wait() for _ in range(3)))
    assert sorted(positions) == [0, 1, 2]
    print("balance", account.balance, "most visitors", most)


asyncio.run(main())
