"""Errors are reported, and the loop goes on, while the process has no file descriptor left."""

import asyncio
import io
import os
import resource
import socket
import sys

# What is written there depends on how much can be imported.
stderr, sys.stderr = sys.stderr, io.StringIO()


def fails():
    raise ValueError("in a callback")


class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        raise ValueError("in a protocol")

    def connection_lost(self, error):
        print("lost", repr(error))


async def task_fails():
    raise ValueError("in a task")


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    first, second = socket.create_connection(address), socket.socket()
    second.setblocking(False)
    await asyncio.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    full = []
    try:
        while True:
            full.append(os.dup(0))
    except OSError as error:
        print("full", error.errno == 24)
    loop.call_soon(fails)
    loop.call_later(0, fails)
    first.send(b"x")
    task = asyncio.create_task(task_fails())
    await asyncio.sleep(0.01)
    del task
    future = loop.create_future()
    future.set_exception(ValueError("in a future"))
    del future
    try:
        second.connect(address)  # which cannot be accepted
    except BlockingIOError:
        pass
    await asyncio.sleep(0.05)
    loop.call_exception_handler({"message": "reported", "source_traceback": []})
    print(first.recv(10))
    for descriptor in full:
        os.close(descriptor)
    await asyncio.sleep(1.2)
    second.send(b"x")
    await asyncio.sleep(0.05)
    print("served", second.recv(10))
    first.close(), second.close()
    server.close()


asyncio.run(main())
for line in (
    "in a callback",
    "in a protocol",
    "in a task",
    "in a future",
    "Exception in callback fails()",
    "reported",
    "accept",
):
    print(line, line in sys.stderr.getvalue())
