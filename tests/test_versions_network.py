"""Where newer Pythons changed connections, servers and subprocesses: as test_versions_followed.py."""

import socket
import ssl
import sys

import pytest
from points import Points, outcome

POINTS = Points()
follows = POINTS.follows


@follows("3.12", "writes of several pieces, and what is left of them")
def pieces_left(asyncio):
    async def main():
        near, far = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
        far.setblocking(False)
        transport.write(b"x" * (1 << 22))
        left = transport.get_write_buffer_size()
        transport.writelines([b"a", b"", bytearray(b"bc"), memoryview(b"def")])
        seen = left > 0, transport.get_write_buffer_size() - left
        transport.close()
        got = b""
        while chunk := await asyncio.get_running_loop().sock_recv(far, 1 << 20):
            got += chunk
        far.close()
        return seen, len(got), got[-6:]

    return asyncio.run(main())


@follows("3.12", "communicate() without input closes stdin")
def communicate(asyncio):
    async def main():
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        if sys.version_info < (3, 12):  # where it stays open, and `cat` waits
            process.stdin.close()
        return await process.communicate()

    return asyncio.run(main())


@follows("3.13", "writelines() pauses the protocol at the high-water mark", since={"3.12": 9, "3.11": 99})
def writelines_pauses(asyncio):
    class Noting(asyncio.Protocol):
        def pause_writing(self):
            seen.append("pause")

        def resume_writing(self):
            seen.append("resume")

    async def main():
        near, far = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(Noting, sock=near)
        transport.set_write_buffer_limits(high=1000)
        transport.writelines([b"x" * (1 << 20)] * 4)
        seen.append("written")
        transport.abort()
        await asyncio.sleep(0)
        far.close()

    seen = []
    asyncio.run(main())
    return seen


@follows(
    "3.13", "serve_forever() closes the clients' connections when it is cancelled", since={"3.12": 99, "3.11": 99, "3.14": 8}
)
def serving_is_cancelled(asyncio):
    async def main():
        async def serve(reader, writer):
            try:
                connected.set()
                await reader.read()
            finally:
                writer.close()

        connected = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        serving = asyncio.create_task(server.serve_forever())
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await connected.wait()
        serving.cancel()
        seen = [await outcome(serving), server.is_serving()]
        writer.close()
        await writer.wait_closed()
        return seen

    return asyncio.run(main())


@follows("3.14", "a plain function that serves streams and raises", since={"3.15": 1, "3.13": 99, "3.12": 99, "3.11": 99})
def plain_function_raises(asyncio):
    async def main():
        def serve(reader, writer):
            writers.append(writer)
            raise ValueError("serve")

        writers, seen, loop = [], [], asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, details: seen.append((details["message"], str(details["exception"]))))
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        read = await reader.read()
        writer.close()
        server.close()
        await server.wait_closed()
        return seen, read

    return asyncio.run(main())


@follows("3.15", "server_hostname is required where it is checked", since={"3.14": 8, "3.13": 99})
def hostnames(asyncio):
    async def main():
        near, far = socket.socketpair()
        context = ssl.create_default_context()
        with near, far:
            loop = asyncio.get_running_loop()
            if sys.version_info < (3, 14):
                return None
            return await outcome(loop.create_connection(asyncio.Protocol, sock=near, ssl=context, server_hostname=""))

    return asyncio.run(main())


@pytest.mark.parametrize("point", POINTS)
def test_follows(point, complaints):
    POINTS.compare(point, complaints)
