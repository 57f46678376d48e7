"""The context variables that a protocol's callbacks see: those of creation, or of whoever resumed, wrote or closed."""

import asyncio
import contextvars
import socket

from recorder import record

variable = contextvars.ContextVar("variable", default="unset")


class Noting(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()
        self.resumed = asyncio.get_running_loop().create_future()
        self.data = asyncio.Queue()

    def connection_made(self, transport):
        record("made", variable.get())
        variable.set("made")

    def data_received(self, data):
        record("data", data, variable.get())
        variable.set("data")
        self.data.put_nowait(data)

    def eof_received(self):
        record("eof", variable.get())
        return True

    def pause_writing(self):
        record("pause", variable.get())

    def resume_writing(self):
        record("resume", variable.get())
        self.resumed.set_result(None)

    def connection_lost(self, error):
        record("lost", variable.get())
        self.lost.set_result(None)


async def as_somebody(name, function):
    variable.set(name)
    return function()


async def scenario(end):
    variable.set("creator")
    near, far = socket.socketpair()
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Noting, sock=near)
    for data in (b"1", b"2"):
        far.send(data)
        await protocol.data.get()
    await asyncio.create_task(as_somebody("resumer", transport.pause_reading))
    await asyncio.create_task(as_somebody("resumer", transport.resume_reading))
    for data in (b"3", b"4"):
        far.send(data)
        await protocol.data.get()
    await asyncio.create_task(as_somebody("writer", lambda: transport.write(bytes(1 << 20))))
    received = 0
    while received < 1 << 20:
        received += len(await loop.sock_recv(far, 1 << 20))
    await protocol.resumed
    await asyncio.create_task(as_somebody("closer", getattr(transport, end)))
    await protocol.lost
    far.close()


async def main():
    for end in ("close", "abort"):
        record(end)
        await asyncio.create_task(scenario(end))


asyncio.run(main())
