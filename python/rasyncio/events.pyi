import ssl
import sys
from asyncio.events import AbstractEventLoop as _StdlibLoop
from asyncio.events import AbstractServer as AbstractServer
from asyncio.events import Handle as _StdlibHandle
from asyncio.events import TimerHandle as _StdlibTimerHandle
from asyncio.events import _AbstractEventLoopPolicy as _StdlibPolicy
from asyncio.futures import Future as _StdlibFuture
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Executor
from contextvars import Context
from socket import _Address, _GetAddrInfoResult, _RetAddress, socket
from typing import IO, Any, Literal, Protocol, TypeAlias, TypeVar, overload, type_check_only

from _typeshed import FileDescriptorLike, ReadableBuffer, StrPath, WriteableBuffer
from typing_extensions import TypeVarTuple, deprecated

from .base_events import Server
from .futures import Future
from .protocols import BaseProtocol
from .tasks import Task
from .transports import DatagramTransport, ReadTransport, SubprocessTransport, Transport, WriteTransport

if sys.version_info >= (3, 14):
    __all__ = (
        "AbstractEventLoop",
        "AbstractServer",
        "Handle",
        "TimerHandle",
        "get_event_loop_policy",
        "set_event_loop_policy",
        "get_event_loop",
        "set_event_loop",
        "new_event_loop",
        "_set_running_loop",
        "get_running_loop",
        "_get_running_loop",
    )
else:
    from asyncio.events import get_child_watcher as get_child_watcher
    from asyncio.events import set_child_watcher as set_child_watcher

    __all__ = (
        "AbstractEventLoopPolicy",
        "AbstractEventLoop",
        "AbstractServer",
        "Handle",
        "TimerHandle",
        "get_event_loop_policy",
        "set_event_loop_policy",
        "get_event_loop",
        "set_event_loop",
        "new_event_loop",
        "get_child_watcher",
        "set_child_watcher",
        "_set_running_loop",
        "get_running_loop",
        "_get_running_loop",
    )

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_ProtocolT = TypeVar("_ProtocolT", bound=BaseProtocol)
_Context: TypeAlias = dict[str, Any]
_ExceptionHandler: TypeAlias = Callable[[AbstractEventLoop, _Context], object]
_SSLContext: TypeAlias = bool | ssl.SSLContext | None
if sys.version_info >= (3, 12):
    _AwaitableLike: TypeAlias = Awaitable[_T]
    _CoroutineLike: TypeAlias = Coroutine[Any, Any, _T]
else:
    _AwaitableLike: TypeAlias = Generator[Any, None, _T] | Awaitable[_T]
    _CoroutineLike: TypeAlias = Generator[Any, None, _T] | Coroutine[Any, Any, _T]

@type_check_only
class _TaskFactory(Protocol):
    def __call__(self, loop: AbstractEventLoop, factory: _CoroutineLike[_T], /) -> _StdlibFuture[_T]: ...

class Handle(_StdlibHandle):
    """A callback that a loop is going to call: what call_soon() and its kin return.  Programs do not make handles."""

    def __init__(
        self, callback: Callable[..., object], args: Sequence[Any], loop: _StdlibLoop, context: Context | None = None
    ) -> None: ...
    def cancel(self) -> None:
        """Keep the callback from being called.  A second call changes nothing."""

    def cancelled(self) -> bool:
        """Whether cancel() was called."""

    def get_context(self) -> Context:
        """The contextvars.Context that the callback is called in."""

class TimerHandle(_StdlibTimerHandle, Handle):
    """A callback that a loop is going to call at a time: what call_later() and call_at() return."""

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: _StdlibLoop,
        context: Context | None = None,
    ) -> None: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: _StdlibTimerHandle, /) -> bool: ...
    def __le__(self, other: _StdlibTimerHandle, /) -> bool: ...
    def __gt__(self, other: _StdlibTimerHandle, /) -> bool: ...
    def __ge__(self, other: _StdlibTimerHandle, /) -> bool: ...
    def when(self) -> float:
        """The time for which the callback is scheduled, in seconds of loop.time()."""

# The very class of the standard library; the methods are declared anew for what rasyncio's loops answer, and explained.
class AbstractEventLoop(_StdlibLoop):
    """What an event loop can do (PEP 3156).  A class for annotations, and to derive loops from.

    Unless it says otherwise, a method may be called from the thread of the loop only; call_soon_threadsafe() is there for
    all others.
    """

    # The life of a loop.
    def run_forever(self) -> None:
        """Run until stop() is called.

        Raises RuntimeError if this loop, or another one on this thread, is running, or if this one is closed.
        """

    def run_until_complete(self, future: _AwaitableLike[_T]) -> _T:
        """Run until a future is done, or a coroutine, which becomes a task.  Returns its result or raises its exception.

        Raises RuntimeError if the loop is stopped before that, or could not be run (see run_forever()).
        """

    def stop(self) -> None:
        """Stop after the turn that is being made.  What is scheduled for it is still called."""

    def is_running(self) -> bool:
        """Whether the loop is running."""

    def is_closed(self) -> bool:
        """Whether the loop was closed."""

    def close(self) -> None:
        """Close the loop, and forget what is scheduled; the default executor is shut down without being waited for.

        A second call changes nothing.  Raises RuntimeError if the loop is running.
        """

    async def shutdown_asyncgens(self) -> None:
        """Close all asynchronous generators that are being iterated (PEP 525).  New ones warn (ResourceWarning)."""

    async def shutdown_default_executor(self) -> None:
        """Wait until the threads of the default executor have ended.  run_in_executor(None, ...) is a RuntimeError then."""

    # Callbacks.
    def call_soon(self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None) -> Handle:
        """Call callback(*args) in the loop's next turn, after what was scheduled before it.

        The callback runs in context, by default in a copy of the current one (PEP 567).  What it raises is given to the
        loop's exception handler.
        """

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> Handle:
        """As call_soon(), from any thread and from signal handlers: it wakes the loop.

        Raises RuntimeError if the loop is closed.
        """

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> TimerHandle:
        """Call callback(*args) in delay seconds.  Those of the same time are called in any order; else as call_soon()."""

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> TimerHandle:
        """Call callback(*args) when loop.time() has reached when.  Else as call_later()."""

    def time(self) -> float:
        """The loop's clock, in seconds: time.monotonic()."""

    # Futures and tasks.
    def create_future(self) -> Future[Any]:
        """A new future of this loop."""

    if sys.version_info >= (3, 13):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: str | None = None,
            context: Context | None = None,
            eager_start: bool | None = None,
        ) -> Task[_T]:
            """Run a coroutine as a task of this loop: what the task factory makes of it, by default a Task.

            name and context are as for Task; they, and all other keywords, go to the factory.
            """
    else:
        def create_task(
            self, coro: _CoroutineLike[_T], *, name: str | None = None, context: Context | None = None
        ) -> Task[_T]:
            """Run a coroutine as a task of this loop: what the task factory makes of it, by default a Task.

            name and context are as for Task.
            """

    def set_task_factory(self, factory: _TaskFactory | None) -> None:
        """Have create_task() return factory(loop, coro, **keywords), which must be a future; None for Task itself.

        Raises TypeError if factory cannot be called.
        """

    def get_task_factory(self) -> _TaskFactory | None:  # type: ignore[override]
        """The task factory, or None for the default one."""

    # Threads.
    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> Future[_T]:
        """Call func(*args) in an executor of concurrent.futures, None for the loop's default one: a pool of threads.

        Returns a future for the result.  Raises RuntimeError after shutdown_default_executor().
        """

    def set_default_executor(self, executor: Executor) -> None:
        """The executor that run_in_executor(None, ...) is to use.  Raises TypeError unless it is a ThreadPoolExecutor."""

    # Network.
    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> _GetAddrInfoResult:
        """socket.getaddrinfo(), called in the default executor."""

    async def getnameinfo(self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int = 0) -> tuple[str, str]:
        """socket.getnameinfo(), called in the default executor."""

    @overload
    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str = ...,
        port: int = ...,
        *,
        ssl: _SSLContext = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
    ) -> tuple[Transport, _ProtocolT]:
        """Connect to host and port over TCP, or take sock, which is connected already.  Returns (transport, protocol).

        protocol_factory() makes the protocol.  Addresses are tried in the order in which they are resolved, at
        local_addr's end if that is given; with happy_eyeballs_delay, in seconds, the next one starts that much after
        the one before, and the first to answer is taken (RFC 8305); interleave mixes the families, by so many addresses
        of the first.  ssl is True or an SSLContext for TLS, server_hostname the name to check then, and the timeouts are
        in seconds, 60 and 30 by default.

        Raises OSError if no address answers, ValueError for arguments that contradict each other.
        """

    @overload
    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: None = None,
        port: None = None,
        *,
        ssl: _SSLContext = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket,
        local_addr: None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
    ) -> tuple[Transport, _ProtocolT]: ...
    @overload
    async def create_server(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        host: str | Sequence[str] | None,
        port: int,
        *,
        family: int = 0,
        flags: int = 1,
        sock: None = None,
        backlog: int = 100,
        ssl: _SSLContext = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen over TCP, on host (one, several, or None for all interfaces) and port, or on sock.  Returns a Server.

        protocol_factory() makes the protocol of each connection.  backlog is how many connections the system keeps
        waiting; reuse_address, reuse_port and keep_alive set the socket's options of these names, reuse_address by default
        on POSIX.  ssl is an SSLContext for TLS, the timeouts are in seconds, 60 and 30 by default.  Without start_serving
        the server waits for Server.start_serving() or serve_forever().

        Raises OSError if an address cannot be bound, ValueError for arguments that contradict each other.
        """

    @overload
    async def create_server(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        host: str | Sequence[str],
        port: int | None = None,
        *,
        family: int = 0,
        flags: int = 1,
        sock: None = None,
        backlog: int = 100,
        ssl: _SSLContext = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server: ...
    @overload
    async def create_server(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        host: None = None,
        *,
        port: int,
        family: int = 0,
        flags: int = 1,
        sock: None = None,
        backlog: int = 100,
        ssl: _SSLContext = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server: ...
    @overload
    async def create_server(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        host: None = None,
        port: None = None,
        *,
        family: int = 0,
        flags: int = 1,
        sock: socket,
        backlog: int = 100,
        ssl: _SSLContext = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server: ...
    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        sock: socket,
        *,
        ssl: _SSLContext = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Transport, _ProtocolT]:
        """Take a connection that was accepted elsewhere.  Returns (transport, protocol); arguments as create_server()."""

    async def start_tls(
        self,
        transport: WriteTransport,
        protocol: BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Transport | None:
        """Go on with TLS on a transport; the timeouts are in seconds, 60 and 30 by default.

        Returns a new transport, which is to be used instead of the one given.
        """

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | None = None,
        *,
        ssl: _SSLContext = None,
        sock: socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[Transport, _ProtocolT]:
        """Connect to a Unix socket: by path, or sock.  Otherwise as create_connection()."""

    async def create_unix_server(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        path: StrPath | None = None,
        *,
        sock: socket | None = None,
        backlog: int = 100,
        ssl: _SSLContext = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = ...,
        mode: int | None = None,
    ) -> Server:
        """Listen on a Unix socket: at path, or sock.  Otherwise as create_server().

        With cleanup_socket, the default from Python 3.13 on, the file of the socket is removed when the server is closed.
        With mode, the permissions of the file are changed to it, as by os.chmod(), after the socket is bound and before a
        connection is accepted; mode is for path only, and not for abstract sockets: ValueError.
        """

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket | None = None,
    ) -> tuple[DatagramTransport, _ProtocolT]:
        """Open a UDP socket, bound to local_addr and connected to remote_addr if given.  Returns (transport, protocol)."""

    async def sendfile(
        self, transport: WriteTransport, file: IO[bytes], offset: int = 0, count: int | None = None, *, fallback: bool = True
    ) -> int:
        """Send a file, opened in binary mode, over a transport, by os.sendfile() where possible.  Returns the bytes sent.

        offset and count are in bytes; count None is all.  Raises SendfileNotAvailableError if the system cannot do it and
        fallback is false.
        """

    # Pipes and child processes.
    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _ProtocolT], pipe: Any
    ) -> tuple[ReadTransport, _ProtocolT]:
        """Take the reading end of a pipe, a file object.  Returns (transport, protocol)."""

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _ProtocolT], pipe: Any
    ) -> tuple[WriteTransport, _ProtocolT]:
        """Take the writing end of a pipe, a file object.  Returns (transport, protocol)."""

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        cmd: bytes | str,
        *,
        stdin: int | IO[Any] | None = -1,
        stdout: int | IO[Any] | None = -1,
        stderr: int | IO[Any] | None = -1,
        universal_newlines: Literal[False] = False,
        shell: Literal[True] = True,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[SubprocessTransport, _ProtocolT]:
        """Start a child process with a command line for the shell.  Returns (transport, protocol).

        protocol_factory() makes a SubprocessProtocol.  The keywords are subprocess.Popen's, those for text excepted; the
        three streams are pipes by default.
        """

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        program: Any,
        *args: Any,
        stdin: int | IO[Any] | None = -1,
        stdout: int | IO[Any] | None = -1,
        stderr: int | IO[Any] | None = -1,
        universal_newlines: Literal[False] = False,
        shell: Literal[False] = False,
        bufsize: Literal[0] = 0,
        encoding: None = None,
        errors: None = None,
        text: Literal[False] | None = None,
        **kwargs: Any,
    ) -> tuple[SubprocessTransport, _ProtocolT]:
        """Start a child process: a program with its arguments.  Otherwise as subprocess_shell()."""

    # File descriptors and sockets.
    def add_reader(self, fd: FileDescriptorLike, callback: Callable[[*_Ts], Any], *args: *_Ts) -> None:
        """Call callback(*args) whenever fd, a number or an object with a fileno(), can be read.

        It takes the place of the one set before.  Raises RuntimeError if a transport uses fd.
        """

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """End what add_reader() began.  Returns whether there was a callback."""

    def add_writer(self, fd: FileDescriptorLike, callback: Callable[[*_Ts], Any], *args: *_Ts) -> None:
        """Call callback(*args) whenever fd can be written.  Otherwise as add_reader()."""

    def remove_writer(self, fd: FileDescriptorLike) -> bool:
        """End what add_writer() began.  Returns whether there was a callback."""

    async def sock_recv(self, sock: socket, nbytes: int) -> bytes:
        """Receive at most nbytes bytes from a socket; b"" at the end.

        This, and the other methods for sockets, raise ValueError in debug mode if the socket is not non-blocking.
        """

    async def sock_recv_into(self, sock: socket, buf: WriteableBuffer) -> int:
        """Receive into a buffer.  Returns how many bytes came."""

    async def sock_recvfrom(self, sock: socket, bufsize: int) -> tuple[bytes, _RetAddress]:
        """Receive a datagram of at most bufsize bytes.  Returns (data, address)."""

    async def sock_recvfrom_into(self, sock: socket, buf: WriteableBuffer, nbytes: int = 0) -> tuple[int, _RetAddress]:
        """Receive a datagram into a buffer, at most nbytes bytes (0: as many as fit).  Returns (how many came, address)."""

    async def sock_sendall(self, sock: socket, data: ReadableBuffer) -> None:
        """Send all of data.  After an error or a cancellation nobody knows how much was sent."""

    async def sock_sendto(self, sock: socket, data: ReadableBuffer, address: _Address) -> int:
        """Send a datagram to address.  Returns how many bytes were sent."""

    async def sock_connect(self, sock: socket, address: _Address) -> None:
        """Connect a socket to address; a host's name in it is resolved."""

    async def sock_accept(self, sock: socket) -> tuple[socket, _RetAddress]:
        """Accept a connection on a listening socket.  Returns (socket, address); the socket is non-blocking."""

    async def sock_sendfile(
        self, sock: socket, file: IO[bytes], offset: int = 0, count: int | None = None, *, fallback: bool | None = None
    ) -> int:
        """Send a file over a connected stream socket.  Otherwise as sendfile()."""

    # Signals.
    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call callback(*args) in the loop when the signal sig comes.  Unix, and the main thread, only.

        Raises ValueError for no such signal, RuntimeError if it cannot be handled or the thread is not the main one.
        """

    def remove_signal_handler(self, sig: int) -> bool:
        """End what add_signal_handler() began.  Returns whether there was a callback."""

    # Errors.
    def set_exception_handler(self, handler: _ExceptionHandler | None) -> None:
        """Have handler(loop, context) called for errors that nobody can be given; None for the default handler.

        For what context has, see call_exception_handler().
        """

    def get_exception_handler(self) -> _ExceptionHandler | None:  # type: ignore[override]
        """The handler that was set, or None."""

    def default_exception_handler(self, context: _Context) -> None:
        """Log an error to the logger `asyncio`.  For handlers that deal with some errors only."""

    def call_exception_handler(self, context: _Context) -> None:
        """Report an error that nobody can be given.

        context is a dict: "message", and where they exist "exception", "future", "task", "handle", "protocol", "transport",
        "socket", "source_traceback", "handle_traceback" and "asyncgen".
        """

    # Debug mode.
    def get_debug(self) -> bool:
        """Whether the loop is in debug mode.  It is at first in Python's development mode, or by PYTHONASYNCIODEBUG."""

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode: callers' threads are checked, slow callbacks logged, the places of creation remembered."""

class _AbstractEventLoopPolicy(_StdlibPolicy):
    """Says what get_event_loop(), set_event_loop() and new_event_loop() do.  To be removed with Python 3.16."""

    def get_event_loop(self) -> AbstractEventLoop:
        """The loop of the calling thread."""

    def set_event_loop(self, loop: _StdlibLoop | None) -> None:
        """Make loop, or none, the calling thread's."""

    def new_event_loop(self) -> AbstractEventLoop:
        """A new loop, which is not made the thread's."""

    if sys.version_info < (3, 14):
        def get_child_watcher(self) -> Any:
            """The watcher of child processes, made if there is none."""

        def set_child_watcher(self, watcher: Any) -> None:
            """Set the watcher of child processes, or None for the default one."""

class _BaseDefaultEventLoopPolicy(_AbstractEventLoopPolicy):
    """A loop for each thread.  get_event_loop() raises RuntimeError if there is none; before Python 3.14 the main thread
    gets one made.
    """

    _loop_factory: Callable[[], AbstractEventLoop] | None

if sys.version_info < (3, 14):
    AbstractEventLoopPolicy = _AbstractEventLoopPolicy
    BaseDefaultEventLoopPolicy = _BaseDefaultEventLoopPolicy

def get_running_loop() -> AbstractEventLoop:
    """The loop that is running on the calling thread.

    Raises RuntimeError if there is none.
    """

def get_event_loop() -> AbstractEventLoop:
    """The running loop; without one, what the event loop policy answers for the thread.

    Raises RuntimeError if that has none.  Before Python 3.14 the main thread gets one made, with a DeprecationWarning from
    3.12 on.
    """

def set_event_loop(loop: _StdlibLoop | None) -> None:
    """Make loop, or none, what get_event_loop() answers on the calling thread."""

def new_event_loop() -> AbstractEventLoop:
    """A new event loop.  Close it in the end; asyncio.run() and Runner do all that."""

@deprecated("Deprecated since Python 3.14, to be removed in 3.16.")
def get_event_loop_policy() -> _AbstractEventLoopPolicy:
    """The policy of the process."""

@deprecated("Deprecated since Python 3.14, to be removed in 3.16.")
def set_event_loop_policy(policy: _StdlibPolicy | None) -> None:
    """The policy of the process; None for the default one.  Raises TypeError if it is no policy."""

def _get_event_loop_policy() -> _AbstractEventLoopPolicy: ...
def _set_event_loop_policy(policy: _StdlibPolicy | None) -> None: ...
def _get_running_loop() -> AbstractEventLoop | None:
    """The loop that is running on the calling thread, or None.  For writers of loops."""

def _set_running_loop(loop: _StdlibLoop | None, /) -> None:
    """Say which loop runs on the calling thread; None for no loop.  For writers of loops."""

def on_fork() -> None: ...
