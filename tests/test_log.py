"""rasyncio.log: the logger of the package, and reports where logging is not to be had."""

import logging
import subprocess
import sys

import pytest
import rasyncio

WITHOUT_LOGGING = """
import sys
import rasyncio as asyncio

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "logging":
            raise {error}

sys.meta_path.insert(0, Missing())

def fails():
    raise ValueError("in a callback")

def handler(loop, context):
    raise ZeroDivisionError("in a handler")

async def main():
    loop = asyncio.get_running_loop()
    loop.call_soon(fails)
    await asyncio.sleep(0.01)
    loop.set_exception_handler(handler)
    loop.call_soon(fails)
    await asyncio.sleep(0.01)
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    await asyncio.sleep(0)

asyncio.run(main())
print("end", "logging" in sys.modules)
"""


def test_the_logger_is_asyncios():
    assert rasyncio.log.logger is logging.getLogger("asyncio")
    assert rasyncio.base_events.logger is rasyncio.log.logger


@pytest.mark.parametrize("error", ["ImportError(name)", "OSError(24, 'Too many open files')", "MemoryError()"])
def test_reports_are_written_without_logging(error):
    """As an unconfigured logging writes it: the message to standard error, and nothing below a warning."""
    program = WITHOUT_LOGGING.format(error=error)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "end False\n"), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "Exception in callback fails() at <string>:12"
    assert "handle: <Handle fails() at <string>:12>" in lines[1]
    assert "ValueError: in a callback" in lines
    assert "Unhandled error in exception handler" in lines
    assert "ZeroDivisionError: in a handler" in lines
    assert any(line.startswith("Executing <Task ") and line.endswith(" seconds") for line in lines)
    assert not any("Using selector" in line for line in lines)


@pytest.mark.usefixtures("without_debug")
def test_a_logger_put_in_its_place_is_asked(monkeypatch):
    class Logger:
        def __init__(self):
            self.texts = []

        def error(self, text, *args, exc_info=False):
            self.texts.append((text % args if args else text, bool(exc_info)))

    logger = Logger()
    monkeypatch.setattr(rasyncio.base_events, "logger", logger)
    loop = rasyncio.new_event_loop()
    loop.call_exception_handler({"message": "told"})
    loop.call_exception_handler({"message": "told", "exception": ValueError("x")})
    loop.close()
    assert logger.texts == [("told", False), ("told", True)]
