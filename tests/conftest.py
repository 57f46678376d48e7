"""What every test in here is held to: it leaves no file descriptor, no pending task and no unreported error behind.

The `clean` fixture looks before and after each test.  An error that nobody could raise reaches a person by one of four ways:
the loop's default exception handler logs it to the logger `asyncio`, the interpreter passes it to `sys.unraisablehook`, a
thread's goes to `threading.excepthook`, a coroutine that was never awaited warns.  A test that provokes such an error on
purpose takes the fixture `complaints` and calls its `take()`; what is left at the end fails the test.
"""

import asyncio
import gc
import logging
import os
import re
import signal
import sys
import threading
import warnings

import pytest

try:
    import rasyncio
except ImportError:
    rasyncio = None

# A shell's background job starts with SIGINT ignored, and then so do all children; these tests are about Ctrl-C too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

STACK = re.compile(r"\n(?:handle|source)_traceback: .*\n(?:  .*(?:\n|\Z))*")

TASKS = (asyncio.Task, *([rasyncio.Task] if rasyncio else []))


def pytest_addoption(parser):
    parser.addoption(
        "--launcher",
        default="-m rasyncio",
        help="how the differential tests tell python to use the other implementation (default: %(default)s)",
    )
    parser.addoption("--programs", type=int, default=200, help="how many programs test_network.py makes up")
    parser.addoption("--program-seed", type=int, default=1, help="the seed of its programs; 0 for another each time")


@pytest.fixture(params=["channel", "objects"])
def tls_way(request, monkeypatch):
    """Both ways of TLS: OpenSSL itself where `_ssl` lets it be found, and the ssl module's objects."""
    monkeypatch.setattr(rasyncio.sslproto, "_channels", request.param == "channel")
    return request.param


@pytest.fixture
def without_debug(monkeypatch):
    """Loops are not in debug mode, also under `-X dev`: for tests of what is written, or done, without it."""
    monkeypatch.setattr(rasyncio.coroutines, "_is_debug_mode", lambda: False)


class Complaints(logging.Handler):
    """Collects the errors that could not be raised, as lines of text."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.texts = []

    def take(self):
        """What has been collected so far; the test answers for it from here on."""
        gc.collect()
        texts, self.texts = self.texts, []
        return texts

    def emit(self, record):
        # In debug mode the stack where the handle or the task was made comes with it, which is pytest's.
        text = STACK.sub("", record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            text += f" [{record.exc_info[1]!r}]"
        self.texts.append(f"logged: {text}")

    def unraisable(self, info):
        # repr, not the objects: keeping those would keep alive what the test is asked not to leak
        self.texts.append(f"unraisable: {info.err_msg or 'exception ignored in'} {info.object!r}: {info.exc_value!r}")

    def in_thread(self, info):
        self.texts.append(f"in thread {info.thread.name if info.thread else '?'}: {info.exc_value!r}")


def open_descriptors():
    """The open file descriptors and what each leads to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own
    return found


def pending_tasks():
    """Tasks of either implementation that are not done, by identity."""
    return {id(item): item for item in gc.get_objects() if issubclass(type(item), TASKS) and not item.done()}


@pytest.fixture
def complaints(clean):
    """The errors that this test provokes and that could not be raised: `take()` answers and forgets them."""
    return clean


@pytest.fixture(autouse=True)
def clean():
    complaints = Complaints()
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = complaints.unraisable, complaints.in_thread
    logger = logging.getLogger("asyncio")
    logger.addHandler(complaints)
    descriptors, tasks = open_descriptors(), set(pending_tasks())
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.filterwarnings("always", category=ResourceWarning)
            warnings.filterwarnings("always", message="coroutine .* was never awaited", category=RuntimeWarning)
            yield complaints
            gc.collect()
        leaked_tasks = [repr(task) for key, task in pending_tasks().items() if key not in tasks]
        leaked = [f"{fd} -> {target}" for fd, target in open_descriptors().items() if descriptors.get(fd) != target]
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        logger.removeHandler(complaints)
    kinds = (ResourceWarning, RuntimeWarning)
    texts = complaints.texts + [f"warned: {item.message}" for item in warned if issubclass(item.category, kinds)]
    for item in warned:
        if not issubclass(item.category, kinds):  # none of our business: on to pytest's summary
            warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
    problems = [f"left open: {text}" for text in leaked]
    problems += [f"left pending: {text}" for text in leaked_tasks] + [f"not raised: {text}" for text in texts]
    if problems:
        pytest.fail("the test did not clean up:\n  " + "\n  ".join(problems), pytrace=False)
