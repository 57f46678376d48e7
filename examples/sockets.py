"""The loop on sockets of one's own: sock_*() calls, readers and writers."""

import asyncio
import socket


async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with socket.socket() as client:
            client.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            connection, address = await accepting
            assert address == client.getsockname()
            with connection:
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(connection, 100) == b"hello"
                memory = bytearray(10)
                await loop.sock_sendall(connection, b"back")
                assert await loop.sock_recv_into(client, memory) == 4
                assert memory[:4] == b"back"

    # A function can be called whenever a descriptor is readable.
    left, right = socket.socketpair()
    with left, right:
        readable = loop.create_future()
        loop.add_reader(left, lambda: readable.done() or readable.set_result(left.recv(100)))
        right.send(b"x")
        assert await readable == b"x"
        assert loop.remove_reader(left)
        assert not loop.remove_reader(left)

    infos = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    assert infos[0][4] == ("127.0.0.1", 80)
    print("hello, and back")


asyncio.run(main())
