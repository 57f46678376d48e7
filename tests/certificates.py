"""SSLContexts for tests: a server's and a client's of one authority, made once for all tests."""

import functools
import ssl

import trustme


@functools.cache
def authority():
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@functools.cache
def certificate(*names):
    return authority().issue_cert(*names, key_type=trustme.KeyType.ECDSA)


def server(*names):
    """A server's context, with a certificate for names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate(*names or ("localhost",)).configure_cert(context)
    return context


def client():
    """A client's context, which trusts the authority."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context
