"""Records what a program does, in the order in which it does it: one JSON line an event, on standard output.

The programs under programs/ import it; what it prints is all that the two implementations are compared by.  It holds nothing
that may differ between two runs: no addresses, no times, no names of modules.
"""

import json


def plain(value):
    if isinstance(value, BaseException):
        group = {"exceptions": [plain(inner) for inner in value.exceptions]} if isinstance(value, BaseExceptionGroup) else {}
        return {"raised": type(value).__name__, "arguments": [plain(item) for item in value.args if not group]} | group
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value))
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return type(value).__name__


def record(*event):
    print(json.dumps([plain(item) for item in event]), flush=True)


async def record_outcome(name, awaitable):
    """Awaits and records how that ended: the value, or the exception, which goes no further."""
    try:
        result = await awaitable
    except BaseException as error:
        record(name, error)
        return None
    record(name, "returned", result)
    return result
