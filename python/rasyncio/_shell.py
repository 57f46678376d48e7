"""How a face gives a native class those methods that are `async def`: true coroutine functions, named as the class's own."""

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
