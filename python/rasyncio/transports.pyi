from asyncio.transports import BaseTransport as BaseTransport
from asyncio.transports import DatagramTransport as DatagramTransport
from asyncio.transports import ReadTransport as ReadTransport
from asyncio.transports import SubprocessTransport as SubprocessTransport
from asyncio.transports import Transport as Transport
from asyncio.transports import WriteTransport as WriteTransport
from asyncio.transports import _FlowControlMixin as _FlowControlMixin

__all__ = ("BaseTransport", "ReadTransport", "WriteTransport", "Transport", "DatagramTransport", "SubprocessTransport")
