"""What is being handled (`sys.exc_info()`) where asyncio calls a program's code; for the programs named handled_*.

A part is a coroutine function of the loop. Each runs in debug mode and without it, with an exception handler that raises and
one that does not, and once inside an `except` clause around the whole loop.
"""

import asyncio
import logging
import re
import sys

from recorder import record


def links(error):
    """The error and what it was raised while handling."""
    found = []
    while error is not None and len(found) < 8:
        cause = error.__cause__
        # A port, and what newer patch releases say beside the text.
        text = re.sub(r"\b[0-9]{4,5}\b", "PORT", str(error)).replace(": [errno 98] ", ": ")
        found.append([type(error).__name__, text, cause is not None and type(cause).__name__])
        error = error.__context__
    return found


def handled():
    return links(sys.exc_info()[1])


class Failure(Exception):
    pass


class Lines(logging.Handler):
    def emit(self, line):
        if line.levelno > logging.INFO:
            error = line.exc_info and line.exc_info[1]
            record("logged", line.getMessage().partition("<")[0].partition("\n")[0], error and links(error), handled())


class Watching:
    """An exception handler that records what is handled around it, and may raise; so is the default handler."""

    def __init__(self, loop, name, raises):
        self.name, self.raises = name, raises
        loop.set_exception_handler(self.handler)
        loop.default_exception_handler = self.default

    def handler(self, loop, context):
        message = " ".join(context["message"].split()[:3])
        record(self.name, "handler", message, links(context.get("exception")), handled())
        if self.raises:
            raise Failure("from the handler")

    def default(self, context):
        record(self.name, "default", context["message"], links(context.get("exception")), handled())
        if self.raises == "both":
            raise Failure("from the default handler")


async def turns(count=12):
    for _ in range(count):
        await asyncio.sleep(0)


def fail(text="callback"):
    record("called", text, handled())
    try:
        raise KeyError(f"inside {text}")
    except KeyError:
        raise Failure(text)  # noqa: B904


def each_part(*parts, twice=()):
    """Runs the parts; those in `twice` also with a default handler that raises."""
    log = logging.getLogger("asyncio")
    log.addHandler(Lines())
    log.propagate = False
    for debug in False, True:
        for raises in None, "handler", "both":
            for part in parts:
                if raises == "both" and part not in twice:
                    continue

                async def main(part=part, raises=raises):
                    loop = asyncio.get_running_loop()
                    loop.slow_callback_duration = 1000
                    Watching(loop, part.__name__, raises)
                    await part(loop)

                record(part.__name__, debug, raises)
                asyncio.run(main(), debug=debug)
                if raises is None:
                    record(part.__name__, debug, "inside except")
                    try:
                        raise IndexError("outside the loop")
                    except IndexError:
                        asyncio.run(main(), debug=debug)
