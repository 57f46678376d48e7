"""The abstract transports: the standard library's own classes.

What a transport of a loop offers, and what a program may call on it.  They are for isinstance and for subclassing; the
transports that move bytes are rasyncio's.
"""

from ._stdlib import transports as _theirs

__all__ = _theirs.__all__

BaseTransport = _theirs.BaseTransport
ReadTransport = _theirs.ReadTransport
WriteTransport = _theirs.WriteTransport
Transport = _theirs.Transport
DatagramTransport = _theirs.DatagramTransport
SubprocessTransport = _theirs.SubprocessTransport
_FlowControlMixin = _theirs._FlowControlMixin
