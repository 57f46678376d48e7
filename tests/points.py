"""Points at which rasyncio follows the running Python: what test_versions_followed.py and test_versions_network.py share."""

import asyncio as stdlib
import logging
import sys
import warnings

import pytest
import rasyncio


class Points(dict):
    """Functions of the package by names; what each returns for asyncio and for rasyncio is compared."""

    def follows(self, version, what, since=None):
        """Registers a function.  `since={"3.12": 4}`: earlier patch releases of 3.12 do not do what its newest does."""

        def register(point):
            self[f"{version}-{what}"] = point, since or {}
            return point

        return register

    def compare(self, name, complaints):
        point, since = self[name]
        version = "{}.{}".format(*sys.version_info)
        if sys.version_info.micro < since.get(version, 0):
            pytest.skip(f"the newest patch release of {version} is asked, and this one differs")
        logger = logging.getLogger("asyncio")
        logger.disabled = True
        try:
            expected = point(stdlib)
            complaints.take()
            assert point(rasyncio) == expected
        finally:
            logger.disabled = False


def shown(error):
    return type(error).__name__, str(error)


def attempt(function, *args, **keywords):
    """What came of a call: its value, or its exception; and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*args, **keywords)
        except BaseException as error:
            result = shown(error)
    return result, [(item.category.__name__, str(item.message)) for item in caught]


async def outcome(awaitable):
    try:
        return await awaitable
    except BaseException as error:
        return shown(error)
