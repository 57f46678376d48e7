import enum
import ssl
from asyncio import AbstractEventLoop, Future
from asyncio.protocols import BaseProtocol, BufferedProtocol
from asyncio.transports import Transport
from typing import Any

SSLAgainErrors: tuple[type[ssl.SSLWantReadError], type[ssl.SSLSyscallError]]

class SSLProtocolState(enum.Enum):
    """What goes over the wire: nothing of TLS, the handshake, data, what was left to send, the exchange of the ends."""

    UNWRAPPED = "UNWRAPPED"
    DO_HANDSHAKE = "DO_HANDSHAKE"
    WRAPPED = "WRAPPED"
    FLUSHING = "FLUSHING"
    SHUTDOWN = "SHUTDOWN"

class AppProtocolState(enum.Enum):
    """What the program's protocol has been told."""

    STATE_INIT = "STATE_INIT"
    STATE_CON_MADE = "STATE_CON_MADE"
    STATE_EOF = "STATE_EOF"
    STATE_CON_LOST = "STATE_CON_LOST"

def add_flowcontrol_defaults(high: int | None, low: int | None, kb: int) -> tuple[int, int]:
    """The marks (high, low) in bytes: what is missing comes from the other one, or from kb KiB."""

class SSLProtocol(BufferedProtocol):
    """TLS between a transport and a protocol.

    For the transport it is a buffered protocol; the program's protocol gets a transport of its own.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        app_protocol: BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: Future[Any] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None: ...
    @property
    def max_size(self) -> int:
        """The most bytes that one read takes."""

class _SSLProtocolTransport(Transport):
    """What the program's protocol writes to."""

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """The marks (low, high) of what waits to be decrypted, in bytes."""

    def get_read_buffer_size(self) -> int:
        """How many bytes wait to be decrypted."""

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes; what is left out is made of the other."""
