"""The order of call_soon callbacks and of futures' done callbacks, and the contexts that they run in."""

import asyncio
import contextvars

from recorder import record

variable = contextvars.ContextVar("variable", default="unset")


async def main():
    loop = asyncio.get_running_loop()
    for number in range(3):
        loop.call_soon(record, "soon", number)
    first = loop.call_soon(record, "never")
    first.cancel()
    record("cancelled", first.cancelled())

    future = loop.create_future()
    future.add_done_callback(lambda done: record("first callback", done.result()))

    def again(done):
        record("second callback")
        done.add_done_callback(lambda _: record("added by a callback"))
        loop.call_soon(record, "soon from a callback")

    def removed(done):
        record("never")

    future.add_done_callback(again)
    for _ in range(3):
        future.add_done_callback(removed)
    record("removed", future.remove_done_callback(removed), future.remove_done_callback(removed))
    future.set_result("value")
    record("set")
    future.add_done_callback(lambda _: record("added after it was done"))
    loop.call_soon(record, "soon, after it was done")
    record("awaited", await future)
    for _ in range(3):
        await asyncio.sleep(0)

    variable.set("outer")
    context = contextvars.copy_context()
    context.run(variable.set, "inner")
    other = loop.create_future()
    other.add_done_callback(lambda _: record("context", variable.get()))
    other.add_done_callback(lambda _: record("context", variable.get()), context=context)
    loop.call_soon(lambda: record("soon in", variable.get()), context=context)
    variable.set("changed")
    loop.call_soon(lambda: record("soon in", variable.get()))
    loop.call_later(0, lambda: record("later in", variable.get()))
    loop.call_at(loop.time() - 1, lambda: record("overdue"))
    other.set_result(None)
    for _ in range(4):
        record("turn")
        await asyncio.sleep(0)

    for wrong in (lambda: future.set_result(1), lambda: future.set_exception(StopIteration()), loop.create_future().result):
        try:
            wrong()
        except BaseException as error:
            record(error)


asyncio.run(main())
