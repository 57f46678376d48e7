"""Runs programs of TLS connections and writes what happened on each; a child of test_tls.py.

A program is one connection: this end is asyncio's, the far end an SSLObject by hand, whose bytes come as whole records, and may
be held back, cut, doubled, lost, spoilt, or given in small pieces on the way; so may those that go to it.  After each step the loop
runs until nothing happens any more.  It reads one program a line, as JSON, and answers one trace a line: for each step, what
this end was told and what it raised, in order, and what the far end saw.
"""

import asyncio
import gc
import json
import logging
import socket
import ssl
import struct
import sys
import warnings
import zlib

FOLDER = sys.argv[1]
# Of rasyncio; the standard library has no second way.
asyncio.sslproto._channels = sys.argv[2:] != ["objects"]
QUIET_TURNS = 8
MOST_TURNS = 3000
PATTERN = bytes(index % 251 for index in range(251 * 100))
ERRORS = {"ValueError": ValueError, "OSError": OSError, "KeyError": KeyError}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def told(error):
    return None if error is None else [type(error).__name__, str(error)]


def contexts(version):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(f"{FOLDER}/server.pem")
    client = ssl.create_default_context(cafile=f"{FOLDER}/authority.pem")
    for context in (server, client):
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return server, client


def split_records(data):
    """The TLS records in some bytes; what is left over is one too."""
    found = []
    while data:
        size = 5 + struct.unpack_from(">H", data, 3)[0] if len(data) >= 5 else len(data)
        found.append(data[:size])
        data = data[size:]
    return found


def mangled(records, how, where, what):
    """The pieces to send instead of the records."""
    records = list(records)
    if how == "pieces":
        whole = b"".join(records)
        size = max(what % 4000, 1, len(whole) // 200)
        return [whole[start : start + size] for start in range(0, len(whole), size)]
    if not records:
        return records
    at = where % len(records)
    if how == "lost":
        del records[at]
    elif how == "doubled":
        records.insert(at, records[at])
    elif how == "swapped" and len(records) > 1:
        records[at - 1], records[at] = records[at], records[at - 1]
    elif how == "cut":
        records[at] = records[at][: what % (len(records[at]) + 1)]
    elif how == "ended":
        records[at:] = [records[at][: what % len(records[at])]]
    elif how == "header":
        record = bytearray(records[at])
        if len(record) > what % 5:
            record[what % 5] ^= 1 << (where % 8)
        records[at] = bytes(record)
    elif how == "spoilt":
        # The last byte: of what is encrypted the tag, of a handshake message something that does not depend on chance.
        record = bytearray(records[at])
        record[-1] ^= 0x55
        records[at] = bytes(record)
    elif how == "garbage":
        records.insert(at, bytes(what % 256 for _ in range(where % 40)))
    return records


class Trace:
    def __init__(self):
        self.happened, self.steps = 0, [{}]

    def note(self, lane, *event):
        self.happened += 1
        events = self.steps[-1].setdefault(lane, [])
        if event[0] == "data" and events and events[-1][0] == "data":
            events[-1] = ["data", events[-1][1] + event[1], event[2]]
        else:
            events.append(list(event))


class Near:
    """This end: the protocol, whichever way it takes its bytes."""

    def __init__(self, trace, keep_open):
        self.trace, self.keep_open, self.plans = trace, keep_open, {}
        self.transport = self.reader = self.writer = None
        self.sent = self.checksum = 0
        self.gone = False

    def note(self, *event):
        self.trace.note("near", *event)

    def react(self, event):
        if self.plans.get(event):
            self.perform(*self.plans[event].pop(0))

    def connection_made(self, transport):
        self.transport = transport
        self.note("made", transport.get_extra_info("ssl_object").version())
        self.react("made")

    def data_received(self, data):
        self.checksum = zlib.crc32(data, self.checksum)
        self.note("data", len(data), self.checksum)
        self.react("data")

    def eof_received(self):
        self.note("eof")
        self.react("eof")
        return self.keep_open

    def connection_lost(self, error):
        self.note("lost", told(error))
        self.react("lost")

    def pause_writing(self):
        self.note("pause")
        self.react("pause")

    def resume_writing(self):
        self.note("resume")
        self.react("resume")

    def take(self, count):
        start = self.sent % 251
        self.sent += count
        return (PATTERN * (count // len(PATTERN) + 2))[start : start + count]

    def perform(self, operation, argument):
        if operation == "raise":
            self.note("raise")
            raise ERRORS[argument]("as planned")
        transport = self.transport
        if transport is None or self.gone or transport._ssl_protocol is None:
            return
        # Closed twice, asyncio's transport has no more than AttributeErrors to offer.
        self.gone = operation == "close" and transport._closed
        try:
            if operation == "write":
                transport.write(self.take(argument))
            elif operation == "writelines":
                transport.writelines([self.take(size) for size in argument])
            elif operation == "limits":
                transport.set_write_buffer_limits(argument)
            elif operation == "read_limits":
                transport.set_read_buffer_limits(argument)
            elif operation == "ask":
                state = [transport.is_closing(), transport.is_reading(), transport.get_extra_info("cipher") is not None]
                self.note("is", *state)
            else:
                getattr(transport, operation)()
        except Exception as error:
            self.note(operation, told(error))


class Plain(Near, asyncio.Protocol):
    pass


class Buffered(Near, asyncio.BufferedProtocol):
    def __init__(self, trace, keep_open):
        super().__init__(trace, keep_open)
        self.memory = memoryview(bytearray(5000))

    def get_buffer(self, sizehint):
        self.react("get_buffer")
        return self.memory

    def buffer_updated(self, count):
        self.data_received(bytes(self.memory[:count]))


class Streams(Near, asyncio.StreamReaderProtocol):
    """A stream whose reader notes how much it has, and what the exception is."""

    def __init__(self, trace, keep_open):
        Near.__init__(self, trace, keep_open)
        self.stream = asyncio.StreamReader(limit=1 << 24)
        asyncio.StreamReaderProtocol.__init__(self, self.stream)
        self.task = asyncio.ensure_future(self.read())

    async def read(self):
        try:
            while data := await self.stream.read(1 << 20):
                Near.data_received(self, data)
            self.note("end of stream")
        except Exception as error:
            self.note("stream raises", told(error))

    def connection_made(self, transport):
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        Near.connection_made(self, transport)

    def connection_lost(self, error):
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        Near.connection_lost(self, error)

    # Reading is the native way: no data_received and no eof_received of our own.
    data_received = asyncio.StreamReaderProtocol.data_received
    eof_received = asyncio.StreamReaderProtocol.eof_received


KINDS = {"plain": Plain, "buffered": Buffered, "streams": Streams}


class Far:
    """The far end, by hand, and the way between: what goes each way is a list of records."""

    def __init__(self, trace, sock, context, server_side):
        self.trace, self.sock, self.server_side = trace, sock, server_side
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls = context.wrap_bio(self.come, self.go, server_side=server_side, server_hostname=name)
        self.shaken = self.over = self.held = self.deaf = self.unwrapping = False
        self.out, self.spoil_in, self.spoil_out = [], None, None
        self.unsent = b""
        self.received = self.checksum = 0

    def note(self, *event):
        self.trace.note("far", *event)

    def work(self):
        """One look at everything; true if something moved."""
        moved = False
        if not self.deaf and self.sock is not None:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                data = None
            except OSError as error:
                self.note("recv", told(error))
                self.close()
                data = None
            if data == b"":
                self.note("end")
                self.deaf = moved = True
            elif data:
                moved = True
                if self.spoil_in is not None:
                    data = b"".join(mangled(split_records(data), *self.spoil_in))
                    self.spoil_in = None
                self.come.write(data)
        self.step()
        if data := self.go.read():
            self.out += split_records(data)
            moved = True
        return self.deliver() or moved

    def step(self):
        if self.over:
            return
        try:
            if not self.shaken:
                self.tls.do_handshake()
                self.shaken = True
                self.note("shaken")
            while data := self.tls.read(1 << 16):
                self.checksum = zlib.crc32(data, self.checksum)
                self.note("data", len(data), self.checksum)
            self.note("closed by the peer")
            self.over = True
        except ssl.SSLWantReadError:
            if self.unwrapping:
                self.attempt("unwrap", self.tls.unwrap)
        except ssl.SSLError as error:
            self.note("error", error.reason)
            self.over = True

    def attempt(self, name, function, *args):
        try:
            function(*args)
            self.note(name, "done")
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError) as error:
            self.note(name, getattr(error, "reason", None) or type(error).__name__)

    def deliver(self):
        if self.held or self.sock is None:
            return False
        if self.out:
            pieces = mangled(self.out, *self.spoil_out) if self.spoil_out else [b"".join(self.out)]
            self.out, self.spoil_out = [], None
            self.pieces = getattr(self, "pieces", []) + pieces
        if not getattr(self, "pieces", None):
            return False
        piece = self.pieces.pop(0)
        try:
            sent = self.sock.send(piece) if piece else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.note("send", told(error))
            self.pieces.clear()
            return True
        if sent < len(piece):
            self.pieces.insert(0, piece[sent:])
        return sent > 0 or not piece

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def perform(self, operation, argument):
        if operation == "write":
            if self.shaken and not self.over and not self.unwrapping:
                self.attempt("write", self.tls.write, (PATTERN * (argument // len(PATTERN) + 1))[:argument])
        elif operation == "unwrap":
            if self.shaken and not self.over and not self.unwrapping:
                self.unwrapping = True
                self.attempt("unwrap", self.tls.unwrap)
        elif operation in ("hold", "release"):
            self.held = operation == "hold"
        elif operation in ("deaf", "hear"):
            self.deaf = operation == "deaf"
        elif operation == "spoil":
            self.spoil_out = argument
        elif operation == "spoil_in":
            self.spoil_in = argument
        elif self.sock is not None:
            if operation == "shutdown":
                self.attempt("shutdown", self.sock.shutdown, socket.SHUT_WR)
            elif operation == "close":
                self.close()


class Lines(logging.Handler):
    def __init__(self, trace):
        super().__init__(logging.WARNING)
        self.trace = trace

    def emit(self, record):
        self.trace.note("near", "logged", record.getMessage())


async def run(program):
    trace = Trace()
    loop = asyncio.get_running_loop()
    report = lambda _, context: trace.note("near", "handler", context["message"], told(context.get("exception")))  # noqa: E731
    loop.set_exception_handler(report)
    server, client = contexts(program["version"])
    logger = logging.getLogger("asyncio")
    logger.handlers[:] = [Lines(trace)]
    logger.propagate = False
    near_socket, far_socket = socket.socketpair()
    far_socket.setblocking(False)
    near = KINDS[program["kind"]](trace, program["keep_open"])
    is_server = program["side"] == "server"
    far = Far(trace, far_socket, client if is_server else server, not is_server)

    async def connect():
        try:
            if is_server:
                await loop.connect_accepted_socket(lambda: near, near_socket, ssl=server)
            else:
                await loop.create_connection(lambda: near, sock=near_socket, ssl=client, server_hostname="localhost")
        except asyncio.CancelledError:
            trace.note("near", "given up")
        except Exception as error:
            trace.note("near", "fails", told(error))
        else:
            trace.note("near", "connected")

    connecting = loop.create_task(connect())

    async def settle():
        quiet = turns = 0
        while quiet < QUIET_TURNS and turns < MOST_TURNS:
            before = trace.happened
            moved = far.work()
            await asyncio.sleep(0)
            quiet, turns = quiet + 1 if trace.happened == before and not moved else 0, turns + 1
        if turns == MOST_TURNS:
            trace.note("loop", "does not come to rest")

    for who, operation, argument in program["steps"]:
        if who == "plan":
            near.plans.setdefault(operation, []).append(argument)
        elif who == "cancel":
            connecting.cancel()
        else:
            (near if who == "near" else far).perform(operation, argument)
        await settle()
        trace.steps.append({})
    connecting.cancel()
    near.plans.clear()
    if near.transport is not None and not near.gone:
        near.transport.abort()
    far.close()
    for _ in range(QUIET_TURNS):
        await asyncio.sleep(0)
    if isinstance(near, Streams):
        near.task.cancel()
    near_socket.close()
    loop.set_exception_handler(None)
    return trace.steps


def main():
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        steps = asyncio.run(run(json.loads(line)))
        gc.collect()
        print(json.dumps(steps), flush=True)


main()
