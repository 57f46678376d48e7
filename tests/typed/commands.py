"""Subprocesses, and the ways in which a program is run: run(), Runner, a loop of one's own."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import assert_type


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE)
    assert_type(process, Process)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return out.decode()


async def lines(program: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    found = [line.decode().strip() async for line in process.stdout]
    assert_type(await process.wait(), int)
    return found


async def shell(command: str) -> int:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.DEVNULL)
    try:
        return await asyncio.wait_for(process.wait(), timeout=20)
    except TimeoutError:
        process.kill()
        raise


async def main() -> int:
    assert await output(sys.executable, "-c", "print(6 * 7)") == "42\n"
    assert await lines("print('a'); print('b')") == ["a", "b"]
    return await shell("exit 3")


if __name__ == "__main__":
    assert_type(asyncio.run(main(), debug=False), int)
    with asyncio.Runner(debug=False) as runner:
        assert_type(runner.run(main()), int)
        assert_type(runner.get_loop(), asyncio.AbstractEventLoop)
    loop = asyncio.new_event_loop()
    try:
        assert_type(loop.run_until_complete(main()), int)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
