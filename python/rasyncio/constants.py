"""Numbers that the rooms share.  They are read when they are needed, so that whoever changes one is heeded."""

from ._lazy import lazily as _lazily

# How many writes to a lost connection pass in silence; the next ones are logged.
LOG_THRESHOLD_FOR_CONNLOST_WRITES = 5

# Seconds until a server accepts again after it ran out of file descriptors or memory.
ACCEPT_RETRY_DELAY = 1

# Frames that the debug mode keeps of where something was created.
DEBUG_STACK_DEPTH = 10

# Seconds for the handshake and for the closing of a TLS connection.
SSL_HANDSHAKE_TIMEOUT = 60.0
SSL_SHUTDOWN_TIMEOUT = 30.0

# Bytes read at a time where a file is sent without the kernel's help.
SENDFILE_FALLBACK_READBUFFER_SIZE = 256 * 1024

# Marks for pausing a TLS connection, in KiB.
FLOW_CONTROL_HIGH_WATER_SSL_READ = 256
FLOW_CONTROL_HIGH_WATER_SSL_WRITE = 512

# Seconds that asyncio.run waits for the threads of the default executor.
THREAD_JOIN_TIMEOUT = 300

__getattr__ = _lazily(
    __name__,
    enum="enum",
    _SendfileMode=lambda: __import__("enum").Enum("_SendfileMode", "UNSUPPORTED TRY_NATIVE FALLBACK", module=__name__),
)
