"""proactor_events: the classes are there to be asked for, and none can be made."""

import importlib
import sys

import pytest
import rasyncio

CLASSES = """BaseProactorEventLoop _ProactorBasePipeTransport _ProactorReadPipeTransport _ProactorBaseWritePipeTransport
    _ProactorWritePipeTransport _ProactorDatagramTransport _ProactorDuplexPipeTransport _ProactorSocketTransport""".split()


def bases(made):
    """Names of the classes that one derives from, without the native halves and asyncio's class of a name that ours has."""
    names = dict.fromkeys(base.__name__ for base in made.__mro__)
    return [name for name in names if name not in ("_BaseEventLoop", "_LoopCore")]


@pytest.mark.parametrize("name", CLASSES)
def test_classes_derive_as_those_of_asyncio(name):
    ours = getattr(importlib.import_module("rasyncio.proactor_events"), name)
    theirs = getattr(importlib.import_module("asyncio.proactor_events"), name)
    assert bases(ours) == bases(theirs)


@pytest.mark.parametrize("name", CLASSES)
def test_none_can_be_made(name):
    made = getattr(importlib.import_module("rasyncio.proactor_events"), name)
    with pytest.raises(NotImplementedError, match="rasyncio has no proactor event loop: it is for Windows"):
        made(object())


def test_a_loop_is_no_proactor():
    from rasyncio.proactor_events import BaseProactorEventLoop

    loop = rasyncio.new_event_loop()
    try:
        assert not isinstance(loop, BaseProactorEventLoop)
    finally:
        loop.close()
    assert sys.platform != "win32"
