"""The base classes of protocols: the standard library's own, for a program to subclass."""

from ._stdlib import protocols as _theirs

__all__ = _theirs.__all__

BaseProtocol = _theirs.BaseProtocol
Protocol = _theirs.Protocol
BufferedProtocol = _theirs.BufferedProtocol
DatagramProtocol = _theirs.DatagramProtocol
SubprocessProtocol = _theirs.SubprocessProtocol
_feed_data_to_buffered_proto = _theirs._feed_data_to_buffered_proto
