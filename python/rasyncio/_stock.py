"""`install(stock_ps=True)`: `python -m asyncio ps PID` and `pstree` of the standard library (3.14+) see this process's tasks.

That tool asks nobody.  It opens the file that it takes for asyncio's native half by the name under which it is mapped here,
takes from its section `.AsyncioDebug` where in a C task the name, the coroutine and the waiters lie, and then reads the
memory of the tasks that are linked to each thread.  Ours lie elsewhere and are not linked, because each of them would pay.
So something is done only when the tool comes:

- A file of that name, with a copy of the section of this very Python, is mapped just below the real one: it is met first.
- This process has a lease on its file: the kernel tells it by SIGURG that somebody opens it, and lets that one wait.
- The handler makes a stand-in for each task: a task of the standard library's C class, of the same name, awaited by the same.
  Its coroutine is made of frames with the names, files and lines of the original's, so that no object of the program is
  held.  That class links its tasks itself, where and as this Python wants it, and unlinks them when they go.
- The lease is given up, and the tool reads on.  A second later, or a few for thousands of tasks, the stand-ins are dropped and the
  lease is taken again.

States: off -> waiting (lease held, no stand-ins) -> shown (stand-ins, no lease) -> waiting; off from both, by `uninstall()`, at the
end and in a forked child.  A lease is taken in the main thread only: the kernel tells who took it, and knows a process by its
first thread.

Limits: those of `_ps`, by whose handler it works.  Ids are the stand-ins', and all are shown in the main thread.  Where the main
thread does not get to its handlers, who opens the file waits until the kernel ends the lease (fs.lease-break-time, 45
seconds; Ctrl-C ends that), and then sees no task of ours.  Other tools of CPython's that look for `python` among the files may open
it as well, and wait as long.
"""

import _signal
import _thread
import atexit
import contextvars
import fcntl
import os
import shutil
import struct
import sys
import tempfile
import time
from importlib.machinery import BuiltinImporter, PathFinder
from importlib.util import module_from_spec
from types import FunctionType

from . import _ps, _rasyncio

SECTION = b".AsyncioDebug"
# 3.14 looks for `_asyncio.cpython` in a file's name, 3.15 for `python`.
FILE = "_asyncio.cpython-rasyncio.so"
PREFIX = "rasyncio-ps-"
# The headers of a file, of what is loaded of it, and of a section, as files of 64 bits have them.
FILE_HEADER, LOAD_HEADER, SECTION_HEADER = "<16sHHIQQQIHHHHHH", "<IIQQQQQQ", "<IIQQQQIIQQ"
LOADED, CONTENTS, NAMES, ALLOCATED = 1, 1, 3, 2
PAGE = os.sysconf("SC_PAGE_SIZE")
LOWEST_ADDRESS = 1 << 16
# Seconds for which stand-ins are there, and for each of them, as the tool takes its time; the frames that one has at most.
SHOWN, SHOWN_EACH, DEPTH = 1.0, 0.001, 100
FRAME = next(
    item for item in compile("async def frame(awaited): await awaited", "", "exec").co_consts if hasattr(item, "co_code")
)
ONLY_ASCII = sys.version_info < (3, 15)


class NoLoop:
    """The loop of a stand-in, which is never run."""

    def get_debug(self):
        return False

    def call_soon(self, callback, *arguments, context=None):
        pass


class Pause:
    """What the innermost frame of a stand-in waits for."""

    def __await__(self):
        return iter((None,))


class Window:
    """What the tool looks through: the file, its place in memory, the lease, and while it is there the stand-ins."""

    def __init__(self):
        self.Task, self.add_waiter = load_stock()
        self.stand_ins = None
        self.until = 0.0
        self.folder, self.lock = new_folder()
        self.descriptor = -1
        try:
            path = os.path.join(self.folder, FILE)
            real, contents = find_section()
            with open(path, "xb") as file:
                file.write(as_file(contents))
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.mapped = map_below(real, self.descriptor)
            self.wait()
        except BaseException:
            self.close()
            raise

    def wait(self):
        # With the lease goes the choice of the signal: the default would end the process.
        fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, _ps.SIGNAL)
        fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)

    def respond(self, frame):
        """SIGURG came, for this reason or another."""
        if self.stand_ins is None:
            if fcntl.fcntl(self.descriptor, fcntl.F_GETLEASE) == fcntl.F_WRLCK:
                return
            self.stand_ins, self.until = [], float("inf")  # a handler may be interrupted by itself
            try:
                self.show(_ps.describe_tasks(frame))
            finally:
                fcntl.fcntl(self.descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
                self.come_back()
        elif time.monotonic() >= self.until:
            self.stand_ins.clear()
            try:
                self.wait()
            except BlockingIOError:  # the tool has not closed it yet
                self.come_back()
            else:
                self.stand_ins = None

    def show(self, described):
        loop, context = NoLoop(), contextvars.Context()
        by_number = {}
        for _, number, name, stack, _ in described:
            task = self.Task(waiting_at(stack), loop=loop, name=as_shown(name, 250), context=context)
            task._log_destroy_pending = False
            by_number[number] = task
            self.stand_ins.append(task)
        for _, number, _, _, waiting in described:
            for waiter in waiting:
                if waiter in by_number:
                    self.add_waiter(by_number[number], by_number[waiter])

    def come_back(self):
        seconds = SHOWN + SHOWN_EACH * len(self.stand_ins)
        self.until = time.monotonic() + seconds
        _thread.start_new_thread(signal_later, (seconds,))

    def close(self):
        self.forget()
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self):
        """Leaves the file as it is: in a forked child it is the parent's, and so is the lease."""
        self.stand_ins = self.mapped = None
        os.close(self.lock)
        if self.descriptor >= 0:
            os.close(self.descriptor)


def new_folder():
    """A folder of our own, and a descriptor of it with a lock; those that nobody has locked any more were of killed processes."""
    # Not every file system has leases; in containers that of temporary files may be one without.
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    for name in os.listdir(parent):
        if name.startswith(PREFIX):
            path = os.path.join(parent, name)
            try:
                os.close(locked(path))
            except OSError:
                continue  # of a process that lives, or of another user
            shutil.rmtree(path, ignore_errors=True)
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        try:
            lock = locked(path)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process took it for one of a killed process
        if os.path.isdir(path):
            return path, lock
        os.close(lock)


def locked(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def signal_later(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), _ps.SIGNAL)


def waiting_at(stack):
    """A coroutine that waits in frames that look like these (function, file, line), innermost first."""
    awaited = Pause()
    for name, file, line in stack[:DEPTH] or [("?", "", 0)]:
        name, file = as_shown(name, 500), as_shown(file, 500)
        code = FRAME.replace(co_name=name, co_qualname=name, co_filename=file, co_firstlineno=line)
        awaited = FunctionType(code, {})(awaited)
    awaited.send(None)
    return awaited


def as_shown(text, length):
    """The tool fails on long texts, and 3.14's on what is not ASCII."""
    return (ascii(text)[1:-1] if ONLY_ASCII else text)[-length:]


def load_stock():
    """The standard library's native Task and what notes a waiter, apart from `sys.modules`, where `_asyncio` is ours."""
    spec = BuiltinImporter.find_spec("_asyncio") or PathFinder.find_spec("_asyncio")
    if spec is None:
        raise RuntimeError("this Python has no _asyncio")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Task, module.future_add_to_awaited_by


def mappings():
    """(start, end, file) of what is mapped, by address."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            addresses, _, _, _, _, *path = line.rstrip("\n").split(maxsplit=5)
            start, end = addresses.split("-")
            yield int(start, 16), int(end, 16), "".join(path)


def find_section():
    """The lowest address of the file that has the section, and the section."""
    seen = set()
    for start, _, path in mappings():
        if "python" in os.path.basename(path) and path not in seen:
            seen.add(path)
            try:
                contents = section_of(path)
            except OSError:
                continue  # deleted, or not a file
            if contents is not None:
                return start, contents
    raise RuntimeError(f"no part of this Python has a section {SECTION.decode()}")


def map_below(address, descriptor):
    """Maps the file in the highest free page below `address`; it is there for as long as the object that is returned."""
    while True:
        limit = address
        for start, end, _ in sorted(mappings(), reverse=True):
            if start < address:
                if end <= limit - PAGE:
                    break
                limit = start
        if limit - PAGE < LOWEST_ADDRESS:
            raise RuntimeError("there is no room in memory below the section")
        try:
            return _rasyncio._map_file(descriptor, limit - PAGE, PAGE)
        except FileExistsError:
            pass  # another thread was quicker


def section_of(path):
    with open(path, "rb") as file:

        def read(form, place):
            file.seek(place)
            return struct.unpack(form, file.read(struct.calcsize(form)))

        if file.read(6) != b"\x7fELF\2\1":
            return None
        header = read(FILE_HEADER, 0)
        place, size, count, names = header[6], *header[11:14]
        sections = [read(SECTION_HEADER, place + size * number) for number in range(count)]
        for name, _, _, _, offset, length, *_ in sections:
            file.seek(sections[names][4] + name)
            if file.read(len(SECTION) + 1) == SECTION + b"\0":
                file.seek(offset)
                return file.read(length)
    return None


def as_file(contents):
    """An ELF file with this section, at the same place in the file and in memory."""
    names = b"\0" + SECTION + b"\0.shstrtab\0"
    at_contents = struct.calcsize(FILE_HEADER) + struct.calcsize(LOAD_HEADER)
    at_names = at_contents + len(contents)
    at_sections = (at_names + len(names) + 7) // 8 * 8
    sizes = [struct.calcsize(form) for form in (FILE_HEADER, LOAD_HEADER, SECTION_HEADER)]
    shared_object, any_machine = 3, 0
    parts = [
        struct.pack(
            FILE_HEADER,
            b"\x7fELF\2\1\1",
            shared_object,
            any_machine,
            1,
            0,
            sizes[0],
            at_sections,
            0,
            *sizes[:2],
            1,
            sizes[2],
            3,
            2,
        ),
        struct.pack(LOAD_HEADER, LOADED, 4, 0, 0, 0, PAGE, PAGE, PAGE),
        (contents + names).ljust(at_sections - at_contents, b"\0"),
        bytes(sizes[2]),
        struct.pack(SECTION_HEADER, 1, CONTENTS, ALLOCATED, at_contents, at_contents, len(contents), 0, 0, 8, 0),
        struct.pack(SECTION_HEADER, names.index(b".shstrtab"), NAMES, 0, 0, at_names, len(names), 0, 0, 1, 0),
    ]
    return b"".join(parts)


# What the tool looks through, if it is to see something.
current = None


def show():
    """From now on the tool sees this process's tasks; RuntimeError, OSError or ValueError if that cannot be."""
    global current
    if current is None:
        if _signal.getsignal(_ps.SIGNAL) is not _ps.answer:
            raise RuntimeError("SIGURG has another handler, or install() was not called in the main thread")
        _signal.signal(_ps.SIGNAL, _ps.answer)  # changes nothing, and is refused in other threads
        current = Window()
        _ps.others.append(current.respond)


def end(how):
    """Nothing is shown any more, and the window goes by this method of its."""
    global current
    window, current = current, None
    if window is not None:
        _ps.others.remove(window.respond)
        how(window)


def hide():
    """Ends `show()`."""
    end(Window.close)


def forked():
    """The lease and the files are the parent's."""
    end(Window.forget)


atexit.register(hide)
os.register_at_fork(after_in_child=forked)
