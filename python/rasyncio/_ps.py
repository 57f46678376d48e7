"""The tasks of another process: how `python -m rasyncio ps` and `pstree` ask for them, and how a process answers.

Asking is a signal, SIGURG, which by default is ignored, so that it harms no process that does not know it.  `install()`, and so
`python -m rasyncio`, sets a handler for it, in the main thread and where nobody else has one; importing rasyncio does not, since
that changes nothing of a process.  Nothing else is there, no port, no file, no thread, until somebody asks.  Python runs the
handler between two instructions of the main thread, or when the signal ends the wait it is in: in a loop that is idle, in a
task that is busy or that blocks in `time.sleep`, a lock or a read.

Who asks listens on an abstract Unix socket that bears the number of the process asked.  The handler connects to it, looks
whether the one who listens is the same user or root, writes what it knows to a file in memory, and passes that on: it never
waits for the other one.  Nobody listens: nothing happens.  What is passed is JSON.

Reading the other's memory, as Python 3.14 does, would need no cooperation, but the layout of five versions' frames and
of our own tasks, and it is forbidden by default where Yama is on.

Limits: Linux; the two must be in the same PID and network namespace; a main thread that is in native code which neither returns
nor minds signals does not answer; a program that has a handler of its own for SIGURG does not either.  The signal interrupts
system calls of native code, as any does.  Tasks of the standard library's
asyncio are shown too, where rasyncio is imported beside it.
"""

import _signal
import gc
import os
import sys
from _thread import get_ident

SIGNAL = getattr(_signal, "SIGURG", None)
# Seconds: how long an answer is waited for, and how long until the signal is sent again.
WAIT, AGAIN = 10.0, 0.05
# Who else wants the signal: `_stock`, if it is there.
others = []


def address_of(process):
    return f"\0rasyncio-ps-{process}"


def listen():
    """From now on this process answers, if the signal is free."""
    if SIGNAL is None or not hasattr(os, "memfd_create"):
        return
    try:
        if _signal.getsignal(SIGNAL) is _signal.SIG_DFL:
            _signal.signal(SIGNAL, answer)
    except ValueError:
        pass  # not the main thread, or not the main interpreter


def ignore():
    """Ends `listen()`, where the handler is still ours."""
    try:
        if SIGNAL is not None and _signal.getsignal(SIGNAL) is answer:
            _signal.signal(SIGNAL, _signal.SIG_DFL)
    except ValueError:
        pass  # not the main thread


def answer(number, frame):
    """The handler of the signal; nothing that goes wrong here is raised in the midst of the program."""
    for respond in (serve, *others):
        try:
            respond(frame)
        except Exception as error:
            unraisable = {"exc_type": type(error), "exc_value": error, "exc_traceback": error.__traceback__}
            sys.unraisablehook(type(sys.implementation)(**unraisable, err_msg=None, object=answer))


def serve(frame):
    import _socket

    asking = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        asking.setblocking(False)
        try:
            asking.connect(address_of(os.getpid()))
        except OSError:
            return  # nobody asks: the signal had another reason
        credentials = asking.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) not in (0, os.geteuid()):
            return
        memory = os.memfd_create("rasyncio-ps")
        try:
            try:
                text = as_json(describe_tasks(frame))
            except Exception as error:
                text = as_json(repr(error))
            data = memoryview(text.encode())
            while data:
                data = data[os.write(memory, data) :]
            right = memory.to_bytes(4, sys.byteorder)
            asking.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, right)])
        finally:
            os.close(memory)
    except OSError:
        pass  # who asked has gone, or there is no descriptor left: who asks is told by the end of the connection
    finally:
        asking.close()


def as_json(value):
    """Strings, numbers and lists of these; the module `json` may be half imported when the signal comes."""
    if isinstance(value, str):
        import _json

        return _json.encode_basestring_ascii(value)
    return str(value) if isinstance(value, int) else f"[{','.join(map(as_json, value))}]"


def task_classes():
    modules = [sys.modules.get(name) for name in ("rasyncio.tasks", "asyncio.tasks")]
    return tuple({vars(module)["Task"] for module in modules if module is not None and "Task" in vars(module)})


def describe_tasks(frame):
    """Of each task that is not done its thread, id, name, stack, and the ids of the tasks that wait for it."""
    classes = task_classes()
    tasks = [item for item in gc.get_objects() if issubclass(type(item), classes) and not item.done()]
    frames = {**sys._current_frames(), get_ident(): frame}
    threads = {ident: thread.native_id for ident, thread in getattr(sys.modules.get("threading"), "_active", {}).items()}
    waiters = {}
    for task in tasks:
        waiters.setdefault(id(task), set()).update(map(id, getattr(task, "_asyncio_awaited_by", None) or ()))
        # Of tasks that are not ours, a task knows the future that it waits for, and a gathering one its children.
        future = getattr(task, "_fut_waiter", None)
        for awaited in (future, *(getattr(future, "_children", None) or ())):
            if issubclass(type(awaited), classes):
                waiters.setdefault(id(awaited), set()).add(id(task))
    described = []
    for task in tasks:
        ident = getattr(task.get_loop(), "_thread_id", None)
        thread = threads.get(ident) or (os.getpid() if ident == get_ident() else 0)
        stack = stack_of(task.get_coro(), frames.values())
        described.append((thread, id(task), str(task.get_name()), stack, sorted(waiters[id(task)])))
    return described


def stack_of(coroutine, running_frames):
    """(function, file, line) of each frame of a coroutine that waits or runs, innermost first; native ones have no line."""
    stack = []
    while coroutine is not None:
        names = [name for name in ("cr_", "gi_", "ag_") if hasattr(coroutine, f"{name}code")]
        if not names:
            break  # a future, or another object that is awaited
        frame, code = getattr(coroutine, f"{names[0]}frame"), getattr(coroutine, f"{names[0]}code")
        if frame is not None and getattr(coroutine, f"{names[0]}running"):
            return running_stack(frame, running_frames) + stack
        name = str(getattr(coroutine, "__qualname__", None) or getattr(code, "co_qualname", "?"))
        if frame is not None:
            stack.insert(0, (name, frame.f_code.co_filename, frame.f_lineno or 0))
        elif not name.startswith("_"):
            stack.insert(0, (name, "", 0))  # native
        coroutine = getattr(coroutine, "gi_yieldfrom" if names[0] == "gi_" else f"{names[0]}await")
    return stack


def running_stack(outermost, running_frames):
    """The frames above `outermost` on the thread that it runs on, functions that are no coroutines among them."""
    for frame in running_frames:
        while frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back  # it was asked while it answered
        stack = []
        while frame is not None:
            stack.append((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno or 0))
            if frame is outermost:
                return stack
            frame = frame.f_back
    return [(outermost.f_code.co_qualname, outermost.f_code.co_filename, outermost.f_lineno or 0)]


def check(process):
    """Raises unless `process` exists, may be asked, and answers such questions."""
    os.kill(process, 0)
    with open(f"/proc/{process}/maps", encoding="utf-8", errors="surrogateescape") as file:
        if "/_rasyncio." not in file.read():
            raise RuntimeError(f"process {process} is not on rasyncio: neither `python -m rasyncio` nor install()")
    with open(f"/proc/{process}/status", encoding="utf-8", errors="surrogateescape") as file:
        caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
    if not caught >> SIGNAL - 1 & 1:
        raise RuntimeError(
            f"process {process} does not answer: `python -m rasyncio`, or install() in the main thread, makes it"
        )


def ask(process, wait=WAIT):
    """What `describe_tasks` says in another process."""
    import json
    import socket
    import time

    check(process)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address_of(process))
        listening.listen(1)
        listening.settimeout(AGAIN)
        until = time.monotonic() + wait
        while True:
            # Again and again: one that comes just before a system call does not end it.
            os.kill(process, SIGNAL)
            try:
                connection, _ = listening.accept()
                break
            except TimeoutError:
                if time.monotonic() > until:
                    why = "it is stopped, or its main thread is in native code"
                    raise RuntimeError(f"process {process} did not answer within {wait:g} seconds: {why}") from None
        with connection:
            connection.settimeout(wait)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if int.from_bytes(credentials[:4], sys.byteorder) != process:
                raise RuntimeError(f"another process answered in the name of {process}")
            _, rights, _, _ = socket.recv_fds(connection, 1, 1)
            connection.recv(1)  # the end: what the other process opened is closed
    if not rights:
        raise RuntimeError(f"process {process} did not say what its tasks are")
    with open(rights[0], "rb") as file:
        file.seek(0)
        described = json.load(file)
    if isinstance(described, str):
        raise RuntimeError(f"process {process} failed to describe its tasks: {described}")
    return described


def show(command, process):
    """What `python -m rasyncio ps PID` and `pstree PID` print."""
    from . import tools

    display = {"ps": tools.display_awaited_by_tasks_table, "pstree": tools.display_awaited_by_tasks_tree}
    display[command](process, retries=0)


def get_all_awaited_by(process):
    """The tasks of `process` by threads, in the shape that `asyncio.tools` of Python 3.14 and newer reads."""
    from collections import namedtuple

    Thread = namedtuple("AwaitedInfo", "thread_id awaited_by")
    Task = namedtuple("TaskInfo", "task_id task_name coroutine_stack awaited_by")
    Stack = namedtuple("CoroInfo", "call_stack task_name")
    Frame = namedtuple("FrameInfo", "filename lineno funcname")

    def stack(frames, task):
        return Stack([Frame(file, line, name) for name, file, line in frames], task)

    threads, described = {}, ask(process)
    stacks = {number: frames for _, number, _, frames, _ in described}
    for thread, number, name, frames, waiting in described:
        waiters = [stack(stacks[waiter], waiter) for waiter in waiting if waiter in stacks]
        threads.setdefault(thread, []).append(Task(number, name, [stack(frames, number)], waiters))
    return [Thread(thread, tasks) for thread, tasks in sorted(threads.items())]
