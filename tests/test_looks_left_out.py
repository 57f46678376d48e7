"""When the loop leaves a look at the poller out, nothing may show it: the order of what runs is asyncio's.

Each program runs on both. What makes a descriptor ready happens in a turn that has fed a reader, or was there already: an end
behind the bytes, more bytes than one read takes, a writer whose room the read makes; or code runs that is no entry of the turn.
"""

import asyncio as stdlib
import contextlib
import logging
import os
import pty
import socket

import pytest
import rasyncio

PROGRAMS = []


def program(function):
    PROGRAMS.append(function)
    return function


class Case:
    """A reader that waits, and another descriptor that is watched; `ring` makes that ready."""

    def __init__(self, module, loop, ends):
        self.module, self.loop, self.order = module, loop, []
        self.near, self.far = socket.socketpair()
        self.watched, self.bell = socket.socketpair()
        for end in self.near, self.far, self.watched, self.bell:
            ends.callback(end.close)
            end.setblocking(False)

    async def connect(self, **options):
        self.reader, self.writer = await self.module.open_connection(sock=self.near, **options)
        self.loop.add_reader(self.watched, self.readable)

    async def read_pipe(self, descriptor):
        """The reader is one of this pipe or terminal."""
        reader = self.reader = self.module.StreamReader()
        transport, _ = await self.loop.connect_read_pipe(
            lambda: self.module.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        await self.module.sleep(0)
        return transport

    def readable(self):
        self.order.append("readable")
        self.watched.recv(1)

    def ring(self):
        self.bell.send(b"1")

    async def read(self, turns=4):
        self.order.append(len(await self.reader.read(1 << 20)))
        for turn in range(turns):
            await self.module.sleep(0)
            self.order += [turn, len(self.reader._buffer), self.reader.at_eof()]

    def close(self):
        self.loop.remove_reader(self.watched)
        self.writer.close()


@program
async def a_callback_in_the_turn_that_feeds(case):
    await case.connect()
    case.far.send(b"data")
    case.loop.call_soon(case.ring)
    await case.read()


@program
async def an_end_behind_the_bytes(case):
    await case.connect()
    case.far.send(b"data")
    case.far.close()
    await case.read()


@program
async def half_an_end_behind_the_bytes(case):
    await case.connect()
    case.far.send(b"data")
    case.far.shutdown(socket.SHUT_WR)
    await case.read()


@program
async def more_bytes_than_one_read_takes(case):
    case.far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    await case.connect(limit=1 << 20)
    assert case.far.send(bytes(400_000)) > 256 * 1024
    await case.read()


@program
async def a_writer_whose_room_the_read_makes(case):
    await case.connect(limit=1 << 20)
    with contextlib.suppress(BlockingIOError):
        while True:
            case.far.send(bytes(10_000))

    def writable():
        case.order.append("writable")
        case.loop.remove_writer(case.far)

    case.loop.add_writer(case.far, writable)
    await case.read()


@program
async def a_send_whose_room_the_read_makes(case):
    await case.connect(limit=1 << 20)

    async def send():
        await case.loop.sock_sendall(case.far, bytes(1_000_000))
        case.order.append("sent")

    sending = case.loop.create_task(send())
    while not sending.done():
        case.order.append(len(await case.reader.read(1 << 20)))
        for turn in range(2):
            await case.module.sleep(0)
            case.order.append(turn)


@program
async def a_terminal_that_gives_a_line_at_a_time(case):
    await case.connect()
    end, terminal = pty.openpty()
    transport = await case.read_pipe(terminal)
    os.write(end, b"a\nbc\nd\n")
    await case.read()
    transport.close()
    await case.module.sleep(0)
    os.close(end)


@program
async def a_pipe_that_has_ended_behind_the_bytes(case):
    await case.connect()
    reading, writing = os.pipe()
    transport = await case.read_pipe(reading)
    os.write(writing, b"data")
    os.close(writing)
    await case.read()
    transport.close()
    await case.module.sleep(0)


@program
async def a_pause_of_somebody_s_transport(case):
    class Transport:
        def pause_reading(self):
            case.order.append("paused")
            case.ring()

        def resume_reading(self):
            case.order.append("resumed")

    await case.connect(limit=2)
    case.reader._transport = Transport()
    case.far.send(b"much data")
    await case.read()


@program
async def a_turn_made_by_a_callback(case):
    await case.connect()

    def nest():
        case.far.send(b"data")
        while not case.reader._buffer:
            case.loop._run_once()
        case.ring()

    case.loop.call_soon(nest)
    await case.read()


@program
async def a_log_that_sends(case):
    class Log(logging.Handler):
        def emit(self, record):
            if case.reader._buffer and not rung:
                rung.append(True)
                case.ring()

    rung, log, logger = [], Log(), logging.getLogger("asyncio")
    await case.connect()
    case.loop.set_debug(True)
    case.loop.slow_callback_duration = 0
    for _ in range(2):
        await case.module.sleep(0)
    logger.addHandler(log)
    logger.propagate = False
    try:
        case.far.send(b"data")
        await case.read()
    finally:
        logger.propagate = True
        logger.removeHandler(log)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.usefixtures("without_debug")
def test_the_order_is_that_of_a_loop_that_looks_each_turn(program):
    def run(module):
        loop = module.new_event_loop()
        with contextlib.closing(loop), contextlib.ExitStack() as ends:
            case = Case(module, loop, ends)

            async def main():
                await module.wait_for(program(case), 20)
                case.close()
                await module.sleep(0)

            loop.run_until_complete(main())
        return case.order

    assert run(rasyncio) == run(stdlib)


@pytest.mark.parametrize("hook", ("_run_once", "call_soon"))
def test_code_of_a_derived_loop_runs_between_turns(hook):
    def run(module):
        class Loop(module.SelectorEventLoop):
            case = None

            def note(self):
                if self.case and self.case.reader._buffer:
                    self.case.ring()
                    self.case = None

            def call_soon(self, *arguments, context=None):
                if hook == "call_soon":
                    self.note()
                return super().call_soon(*arguments, context=context)

            def _run_once(self):
                super()._run_once()
                if hook == "_run_once":
                    self.note()

        loop = Loop()
        with contextlib.closing(loop), contextlib.ExitStack() as ends:
            case = Case(module, loop, ends)

            async def main():
                await case.connect()
                loop.case = case
                case.far.send(b"data")
                await case.read()
                case.close()

            loop.run_until_complete(main())
        return case.order

    order = run(rasyncio)
    assert order == run(stdlib) and "readable" in order


@pytest.mark.skipif(not hasattr(stdlib.BaseEventLoop, "_run_forever_setup"), reason="asyncio has no such parts yet")
def test_code_runs_between_turns_that_are_made_by_hand():
    def run(module):
        loop = module.new_event_loop()
        with contextlib.closing(loop), contextlib.ExitStack() as ends:
            case = Case(module, loop, ends)
            loop.run_until_complete(case.connect())
            task = loop.create_task(case.read())
            loop._run_forever_setup()
            try:
                for turn in range(9):
                    if turn == 3:
                        case.far.send(b"data")
                    else:
                        loop.call_soon(int)
                    loop._run_once()
                    case.order.append("|")
                    if case.reader._buffer:
                        case.ring()
            finally:
                loop._run_forever_cleanup()
            assert task.done()
            case.close()
            loop.run_until_complete(module.sleep(0))
        return case.order

    order = run(rasyncio)
    assert order == run(stdlib) and "readable" in order


@pytest.mark.parametrize("kind", ("SelectorEventLoop", "BaseSelectorEventLoop"))
def test_code_runs_between_two_runs(kind):
    def run(module):
        loop = getattr(module.selector_events, kind, module.SelectorEventLoop)()
        with contextlib.closing(loop), contextlib.ExitStack() as ends:
            case = Case(module, loop, ends)
            loop.run_until_complete(case.connect())
            task = loop.create_task(case.read())
            for turn in range(4):
                if turn == 3:
                    case.far.send(b"data")
                loop.stop()
                loop.run_forever()
            assert case.reader._buffer
            case.ring()
            loop.run_until_complete(task)
            case.close()
            loop.run_until_complete(module.sleep(0))
        return case.order

    order = run(rasyncio)
    assert order == run(stdlib) and "readable" in order
