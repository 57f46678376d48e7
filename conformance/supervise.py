"""Starts one child process per test file, watches it, and starts it again for the rest of the file when a test kills it.

`Environment` is the temporary virtual environment of one run; `run_file` is called by run.py from one thread per job and
speaks child.py's protocol.  A child is in one of these states: importing (no test has started), running a test, between two
tests, ended.  Whichever state it dies in decides what is recorded: the running test as `timeout` or `crash`, or, outside of
a test, the whole file as broken.
"""

import dataclasses
import json
import os
import select
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RESTARTS = 25
PATIENCE = 15.0  # beyond the child's own watchdog


class Environment:
    """A virtual environment of the running interpreter in which asyncio is the package under test, from start-up on."""

    def __init__(self, package, paths=(), options=()):
        self.package, self.options = package, options
        self.folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        venv.EnvBuilder(symlinks=True, with_pip=False).create(self.folder / "env")
        self.python = self.folder / "env" / "bin" / "python"
        self.child = self.folder / "child.py"
        shutil.copyfile(FOLDER / "child.py", self.child)
        packages = next((self.folder / "env" / "lib").glob("python*/site-packages"))
        shutil.copyfile(FOLDER / "substitute.py", packages / "conformance_substitute.py")
        lines = [str(Path(path).resolve()) for path in paths]
        if package != "asyncio":  # the package is where this interpreter finds it, editable installs included
            lines += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
            lines += [f"import site; site.addsitedir({folder!r})" for folder in site.getsitepackages()]
        lines.append(f"import conformance_substitute; conformance_substitute.put({package!r})")
        (packages / "conformance.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
        # The suite tests the interpreter as it is, not as this shell's variables make it.
        self.variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def ask(self, code):
        """What `code` prints in this environment."""
        command = [self.python, "-c", code]
        return subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=120)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclasses.dataclass
class FileResult:
    """What became of one file: `tests` in their order, and what the child told of each that ran."""

    module: str
    rest: str
    tests: list = dataclasses.field(default_factory=list)
    results: dict = dataclasses.field(default_factory=dict)
    fixtures: list = dataclasses.field(default_factory=list)
    state: dict | None = None  # the file as a whole: skipped, failed, timeout, crash
    restarts: int = 0
    seconds: float = 0.0


class Child:
    """One process and what has been heard from it."""

    def __init__(self, environment, file, limit, selection, log):
        self.file, self.limit = file, limit
        self.running, self.ended = None, False
        self.folder = Path(tempfile.mkdtemp(prefix="file-", dir=environment.folder))
        self.log = log.open("a+b")
        self.log_start = self.log.seek(0, os.SEEK_END)
        self.reader, writer = os.pipe()
        command = [
            environment.python,
            *environment.options,
            environment.child,
            "--descriptor",
            writer,
            "--package",
            environment.package,
        ]
        command += ["--module", file.module, "--rest", file.rest, "--limit", limit]
        if selection:
            (self.folder / "selection.json").write_text(json.dumps(selection), encoding="utf-8")
            command += ["--selection", self.folder / "selection.json"]
        work = self.folder / "work"
        work.mkdir()
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=work,
            env=environment.variables,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)

    def listen(self, heard):
        """Until the child says that it ended, or dies, or is silent for longer than its own watchdog allows.

        Answers True if it had to be killed."""
        pending, heard_at = b"", time.monotonic()
        while not self.ended:
            readable, _, _ = select.select([self.reader], [], [], 1.0)
            if not readable:
                if self.process.poll() is not None:  # a forked grandchild may still hold the pipe open
                    return False
                allowed = self.limit + PATIENCE + (0 if self.running else 60)
                if time.monotonic() - heard_at > allowed:
                    return True
                continue
            chunk = os.read(self.reader, 1 << 16)
            if not chunk:
                return False
            heard_at = time.monotonic()
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self.take(json.loads(line), heard)
        return False

    def take(self, message, heard):
        match message:
            case {"tests": tests}:
                self.file.tests = tests
            case {"start": name}:
                self.running = name
            case {"done": name}:
                self.file.results[name] = message
                self.running = None
                heard(name, message)
            case {"fixture": _}:
                self.file.fixtures.append(message)
            case {"module": _}:
                self.file.state = message
                self.ended = True
            case {"end": _}:
                self.ended = True

    def finish(self, killed):
        os.close(self.reader)
        if not killed and not self.ended:
            try:
                self.process.wait(5)  # it is dying; let faulthandler finish writing
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL if killed or not self.ended else signal.SIGTERM)
        except ProcessLookupError:
            pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.seek(self.log_start)
        output = self.log.read().decode(errors="replace")
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return output


def run_file(environment, module, rest, limit, log, heard, only=None):
    """Runs the tests of `module` (those of `rest`, if given; those named in `only`, if given) and answers a FileResult.

    `heard(name, message)` is called for each test that is over."""
    file = FileResult(module, rest)
    started = time.monotonic()
    while True:
        selection = {"done": list(file.results)} if file.results else {}
        if only is not None:
            selection["only"] = only
        child = Child(environment, file, limit, selection, log)
        killed = child.listen(heard)
        output = child.finish(killed)
        if child.ended:
            break
        timed_out = killed or "Timeout (" in output[-20000:]
        status = "timeout" if timed_out else "crash"
        code = child.process.returncode
        why = f"no end within {limit:g} s" if timed_out else f"the process died ({describe_exit(code)})"
        if child.running is None:
            file.state = {"module": status, "why": f"{why}, outside of a test", "trace": output[-8000:]}
            break
        message = {"done": child.running, "status": status, "why": why, "trace": output[-8000:], "seconds": limit}
        file.results[child.running] = message
        heard(child.running, message)
        file.restarts += 1
        if file.restarts > RESTARTS:
            file.state = {"module": "crash", "why": f"given up after {RESTARTS} restarts", "trace": ""}
            break
    file.seconds = round(time.monotonic() - started, 2)
    if only is not None:
        file.tests = [name for name in file.tests if name in only]
    return file


def describe_exit(code):
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            pass
    return f"exit status {code}"


if __name__ == "__main__":
    sys.exit("this is a part of conformance/run.py; run that")
