"""TransportSocket: what a transport shows of its socket."""

import pickle
import socket

import pytest
from rasyncio.trsock import TransportSocket


def test_it_shows_its_socket():
    near, far = socket.socketpair()
    shown = TransportSocket(near)
    assert shown.fileno() == near.fileno()
    assert (shown.family, shown.type, shown.proto) == (near.family, near.type, near.proto)
    assert shown.getsockname() == near.getsockname() and shown.getpeername() == near.getpeername()
    assert shown.get_inheritable() is False
    shown.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    assert shown.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    with shown.dup() as other:
        assert other.fileno() != near.fileno()
    shown.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    far.close()
    near.close()
    assert shown.fileno() == -1


def test_it_does_not_let_itself_be_disturbed():
    with socket.socket() as sock:
        shown = TransportSocket(sock)
        shown.settimeout(0)
        shown.setblocking(False)
        assert shown.gettimeout() == 0
        with pytest.raises(ValueError, match="only 0 timeout is allowed on transport sockets"):
            shown.settimeout(1)
        with pytest.raises(ValueError, match="transport sockets cannot be blocking"):
            shown.setblocking(True)
        for name in ("close", "send", "recv", "sendall", "detach", "accept", "connect", "bind", "listen", "makefile"):
            assert not hasattr(shown, name)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="Cannot serialize asyncio.TransportSocket object"):
                pickle.dumps(shown, protocol)


def test_the_repr():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        shown, address = TransportSocket(sock), sock.getsockname()
        number = sock.fileno()
        text = f"family={sock.family!s}, type={sock.type!s}, proto={sock.proto}"
        assert repr(shown) == f"<asyncio.TransportSocket fd={number}, {text}, laddr={address}>"
    assert repr(shown) == f"<asyncio.TransportSocket fd=-1, {text}>"
