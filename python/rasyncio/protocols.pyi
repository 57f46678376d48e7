from asyncio.protocols import BaseProtocol as BaseProtocol
from asyncio.protocols import BufferedProtocol as BufferedProtocol
from asyncio.protocols import DatagramProtocol as DatagramProtocol
from asyncio.protocols import Protocol as Protocol
from asyncio.protocols import SubprocessProtocol as SubprocessProtocol

__all__ = ("BaseProtocol", "Protocol", "DatagramProtocol", "SubprocessProtocol", "BufferedProtocol")
