"""Subprocesses: their output, their input, their end."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT


def python(code, **options):
    return asyncio.create_subprocess_exec(sys.executable, "-c", code, **options)


async def main():
    process = await python("print(6 * 7)", stdout=PIPE)
    out, err = await process.communicate()
    assert (out, err, process.returncode) == (b"42\n", None, 0)

    process = await python("import sys; print(sys.stdin.read()[::-1])", stdin=PIPE, stdout=PIPE)
    out, _ = await process.communicate(b"stressed")
    assert out == b"desserts\n"

    # Line by line, while it runs.
    process = await python("for n in range(3): print(n, flush=True)", stdout=PIPE, stderr=STDOUT)
    assert [int(line) async for line in process.stdout] == [0, 1, 2]
    assert await process.wait() == 0

    process = await asyncio.create_subprocess_shell("exit 3", stdout=DEVNULL)
    assert await process.wait() == 3

    # A conversation, and a signal.
    process = await python("while True: print(input().upper(), flush=True)", stdin=PIPE, stdout=PIPE)
    process.stdin.write(b"hello\n")
    assert await process.stdout.readline() == b"HELLO\n"
    process.terminate()
    assert await process.wait() == -signal.SIGTERM

    # Many at a time.
    processes = await asyncio.gather(*(python(f"raise SystemExit({n})") for n in range(5)))
    assert await asyncio.gather(*(process.wait() for process in processes)) == [0, 1, 2, 3, 4]
    print("10 processes")


asyncio.run(main())
