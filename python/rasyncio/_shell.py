"""What a face and a native class give each other.

The native class gets those methods that are `async def`: true coroutine functions, named as the class's own.  A class of the
face that a native one shows as its `__class__`, because it cannot derive from it, gets the native methods: nobody's instance
uses them, but who looks into the class finds them, and may call them with a transport.
"""

from ._rasyncio import _divert


def shell(owner):
    """A decorator that makes a function of the module a method of `owner`."""

    def attach(function):
        function.__qualname__ = f"{owner.__qualname__}.{function.__name__}"
        function.__code__ = function.__code__.replace(co_qualname=function.__qualname__)
        setattr(owner, function.__name__, function)
        _divert(function)
        return function

    return attach


def lend(native, face):
    """Gives a class of a face what the native class has that stands for it."""
    for name, value in vars(native).items():
        if not name.startswith("__") and name not in vars(face):
            setattr(face, name, value)
