"""The pair of sockets that wakes a loop, `_csock` and `_ssock`: asyncio always has one, rasyncio from the first look on."""

import asyncio
import os
import selectors
import signal
import socket
import threading
from unittest import mock

from recorder import record


def describe(loop):
    for sock in loop._ssock, loop._csock:
        record(
            type(sock).__name__, sock.family.name, sock.type.name, sock.getblocking(), sock.gettimeout(), sock.fileno() >= 0
        )
        record("inheritable", sock.get_inheritable())
    record("same each time", loop._ssock is loop._ssock, loop._csock is loop._csock, loop._internal_fds)


def registered(loop):
    keys = list(loop._selector.get_map().values())
    names = [key.data[0]._callback.__name__ for key in keys if key.data[0]]
    record(len(keys), [key.fileobj == loop._ssock.fileno() for key in keys], names, loop._internal_fds)


class Own(asyncio.SelectorEventLoop):
    def _process_self_data(self, data):
        record("own data", bytes(data))
        super()._process_self_data(data)


class Reading(asyncio.SelectorEventLoop):
    def _read_from_self(self):
        record("own read")
        super()._read_from_self()


def looks(make, look_first):
    loop = make()
    record("looks", look_first)
    if look_first == "pair":
        describe(loop)
        registered(loop)
    elif look_first == "selector":
        registered(loop)
        describe(loop)

    async def main():
        describe(loop)
        loop._csock.send(b"\0\0")
        await asyncio.sleep(0.01)
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(record, "from a thread"))
        thread.start()
        await asyncio.sleep(0.02)
        thread.join()
        loop._write_to_self()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        record("number of signal", loop._csock.send(bytes([signal.SIGUSR1])))
        loop.add_signal_handler(signal.SIGUSR1, record, "handler")
        await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.sleep(0.01)
        record("number without a handler", loop._csock.send(bytes([signal.SIGUSR2])))
        await asyncio.sleep(0.01)
        record("descriptor", signal.set_wakeup_fd(loop._csock.fileno()) == loop._csock.fileno())
        loop.remove_signal_handler(signal.SIGUSR1)
        if look_first:
            registered(loop)

    loop.run_until_complete(main())
    if look_first:
        record("descriptor", signal.set_wakeup_fd(-1))
    numbers = [loop._ssock.fileno(), loop._csock.fileno()]
    kept = loop._ssock, loop._csock
    loop.close()
    record("closed", loop._ssock, loop._csock, loop._internal_fds, [sock.fileno() for sock in kept])
    for number in numbers:
        try:
            os.fstat(number)
        except OSError as error:
            record(error)
    loop._write_to_self()
    record(loop.remove_reader(numbers[0]))


def armed_before():
    """A handler is there before the first look, and signals have come."""
    loop = asyncio.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, record, "handler")
    signal.raise_signal(signal.SIGUSR1)
    describe(loop)
    record("descriptor", signal.set_wakeup_fd(loop._csock.fileno()) == loop._csock.fileno())
    signal.raise_signal(signal.SIGUSR1)

    async def main():
        await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.sleep(0.01)
        signal.signal(signal.SIGUSR2, lambda *_: record("python's"))
        loop.remove_signal_handler(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        loop.add_signal_handler(signal.SIGUSR2, record, "too late")
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    loop.close()
    record(signal.set_wakeup_fd(-1))


def never_looked():
    loop = asyncio.new_event_loop()
    record(loop._internal_fds)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    record("never looked", loop._ssock, loop._csock, loop._internal_fds)


def mocked():
    loop = asyncio.new_event_loop()
    kept = loop._csock
    loop._csock = mock.Mock()
    loop.call_soon_threadsafe(record, "called")
    record("mock", loop._csock.send.call_args_list == [mock.call(b"\0")])
    loop._csock.send.side_effect = RuntimeError("sending")
    try:
        loop._write_to_self()
    except RuntimeError as error:
        record(error)
    loop._csock.send.side_effect = OSError("sending")
    record(loop._write_to_self())
    with mock.patch.object(loop, "_ssock") as patched:
        patched.recv.side_effect = [b"a", InterruptedError(), b"b", BlockingIOError()]
        record(loop._read_from_self(), patched.recv.call_count)
        patched.recv.side_effect = ConnectionError("reading")
        try:
            loop._read_from_self()
        except ConnectionError as error:
            record(error)
    record("put back", type(loop._ssock).__name__, loop._ssock.fileno() >= 0)
    loop._csock = kept
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def from_another_thread():
    """The first look, while the loop waits."""
    loop = asyncio.new_event_loop()
    event = threading.Event()

    def look():
        event.wait()
        record("thread", type(loop._csock).__name__, loop._internal_fds)
        loop.call_soon_threadsafe(future.set_result, "woken")

    future = loop.create_future()
    thread = threading.Thread(target=look)
    thread.start()
    loop.call_soon(event.set)
    record(loop.run_until_complete(future))
    thread.join()
    loop.close()


def forked():
    for look in False, True:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        if look:
            describe(loop)
        if os.fork() == 0:
            describe(loop)
            loop.close()
            record("child", loop._ssock, loop._internal_fds)
            os._exit(0)
        os.wait()
        loop.call_soon_threadsafe(loop.stop)
        loop.run_forever()
        describe(loop)
        loop.close()


def derived():
    for kind in Own, Reading:
        loop = kind()
        describe(loop)
        loop.call_soon_threadsafe(record, "called")
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.add_signal_handler(signal.SIGUSR1, record, "handler")
        signal.raise_signal(signal.SIGUSR1)
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    class Made(asyncio.SelectorEventLoop):
        def _make_self_pipe(self):
            self._ssock, self._csock = mock.Mock(), mock.Mock()
            self._ssock.fileno.return_value = 1000
            self._internal_fds += 1

    loop = Made()
    record("made", loop._internal_fds, type(loop._ssock).__name__)
    ssock = loop._ssock
    with mock.patch.object(loop, "_remove_reader") as remove:
        loop.close()
    record(loop._ssock, loop._csock, loop._internal_fds, ssock.close.called, remove.call_args == mock.call(1000))


def exhausted():
    loop = asyncio.new_event_loop()
    with mock.patch.object(asyncio.selector_events.socket, "socketpair", side_effect=socket.socketpair) as pair:
        sockets = type(loop._csock).__name__
        record(sockets, pair.call_count <= 1)
    loop.close()


for make in (
    asyncio.new_event_loop,
    lambda: asyncio.SelectorEventLoop(selectors.SelectSelector()),
    lambda: asyncio.SelectorEventLoop(selectors.PollSelector()),
):
    for look_first in None, "pair", "selector":
        looks(make, look_first)
for part in armed_before, never_looked, mocked, from_another_thread, forked, derived, exhausted:
    record(part.__name__)
    part()
