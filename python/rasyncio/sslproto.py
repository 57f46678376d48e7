"""TLS under a protocol: what the loop puts between a transport and a program's protocol when it is given an SSLContext."""

from . import _rasyncio
from ._lazy import lazily
from ._rasyncio import _add_flowcontrol_defaults as add_flowcontrol_defaults
from ._rasyncio import _create_transport_context
from ._shell import lend
from .protocols import BufferedProtocol
from .transports import Transport, _FlowControlMixin

# False: records go through the ssl module's objects even where OpenSSL itself can be called. For tests of that way.
_channels = True

_STATES = "UNWRAPPED DO_HANDSHAKE WRAPPED FLUSHING SHUTDOWN"
_APP_STATES = "STATE_INIT STATE_CON_MADE STATE_EOF STATE_CON_LOST"

__getattr__ = lazily(
    __name__,
    SSLAgainErrors=lambda: ((ssl := __import__("ssl")).SSLWantReadError, ssl.SSLSyscallError),
    SSLProtocolState=lambda: __import__("enum").Enum("SSLProtocolState", {n: n for n in _STATES.split()}, module=__name__),
    AppProtocolState=lambda: __import__("enum").Enum(
        "AppProtocolState", {n: n for n in _APP_STATES.split()}, module=__name__
    ),
    collections="collections",
    constants="rasyncio.constants",
    enum="enum",
    exceptions="rasyncio.exceptions",
    logger="rasyncio.log:logger",
    protocols="rasyncio.protocols",
    ssl="ssl",
    transports="rasyncio.transports",
    warnings="warnings",
)


class SSLProtocol(_rasyncio._SSLProtocol, BufferedProtocol):
    """TLS between a transport and a protocol.

    For the transport it is a buffered protocol; the program's protocol gets a transport of its own, `_app_transport`.
    ssl_handshake_timeout and ssl_shutdown_timeout are in seconds, 60 and 30 by default.
    """


class _SSLProtocolTransport(_FlowControlMixin, Transport):
    """What `__class__` of a TLS transport is: the native class cannot derive from asyncio.Transport, this one does."""

    _start_tls_compatible = True


lend(_rasyncio._SSLProtocolTransport, _SSLProtocolTransport)
