"""Checks the invariants of the project's structure that ARCHITECTURE.md names, and says how to mend what breaks them.

`make check` runs it.  It looks at the files that git tracks or would track, so that it is the same on everybody's machine.
Each check is a function that yields complaints: a place and what to do there.  Rooms that do not exist yet are no complaint;
a room without its face or its test is.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = set(
    """events base_events futures base_futures tasks base_tasks coroutines locks mixins queues streams subprocess
    base_subprocess runners taskgroups timeouts threads staggered sslproto transports protocols trsock selector_events
    unix_events proactor_events windows_events windows_utils exceptions constants log format_helpers graph tools""".split()
)
SHELL_LINES = 5
LONG_FILE = 600
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
FOLDERS = ("crates", "python", "tests", "conformance", "ecosystem", "benches", "examples", "tools", "docs", ".ci")
# Longest alternatives first: what a comment or a string contains is no code.
RUST_NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?c?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^'\\])'""", re.DOTALL
)
RUST_COMMENT_OR_STRING = re.compile(r"""(?P<comment>//[^\n]*|/\*.*?\*/)|"(?:\\.|[^"\\])*\"""", re.DOTALL)


def tracked():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in names if (ROOT / name).is_file())


FILES = tracked()


def files(folder, suffix):
    return [name for name in FILES if name.startswith(f"{folder}/") and name.endswith(suffix)]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def rust_code(name):
    """The file's text with comments, strings and character literals blanked; line numbers stay."""
    return RUST_NOT_CODE.sub(blank, read(name))


def without_comments(name):
    return RUST_COMMENT_OR_STRING.sub(lambda match: blank(match) if match["comment"] else match[0], read(name))


def found(pattern, text):
    """The numbers of the lines on which `pattern` occurs."""
    return [text.count("\n", 0, match.start()) + 1 for match in re.finditer(pattern, text)]


def engine_knows_no_python():
    """the engine's dependency tree has no pyo3"""
    if shutil.which("cargo") is None:
        yield "cargo", "is not on PATH, so the engine's dependencies cannot be listed: install Rust"
        return
    command = ["cargo", "tree", "--locked", "-p", "rasyncio-engine", "-e", "normal,build,dev", "--prefix", "none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        yield "Cargo.toml", f"`cargo tree` failed: {done.stderr.strip().splitlines()[-1]}"
    for line in done.stdout.splitlines():
        if line.startswith(("pyo3", "python3-sys", "rasyncio-slots")):
            yield "crates/engine/Cargo.toml", f"depends on {line.split()[0]}: what needs Python belongs on an upper floor"


def unsafe_stays_below():
    """unsafe only in crates/engine/src/sys and crates/slots"""
    for name in files("crates", ".rs"):
        if name.startswith(("crates/slots/", "crates/engine/src/sys/")):
            continue
        for line in found(r"\bunsafe\b", rust_code(name)):
            yield f"{name}:{line}", "move the unsafe code behind a sound interface in engine/src/sys or slots"
    root = "crates/rasyncio/src/lib.rs"
    if root in FILES and "#![forbid(unsafe_code)]" not in read(root):
        yield root, "must say #![forbid(unsafe_code)]"


def slots_knows_no_asyncio():
    """no name of asyncio in crates/slots"""
    for name in files("crates/slots/src", ".rs"):
        for line in found(r"(?i)\basyncio\b", without_comments(name)):
            yield f"{name}:{line}", "slots knows nothing of asyncio: let the room pass in what it means"


def no_global_state():
    """no thread_local!, static mut or static cell in crates/rasyncio"""
    for name in files("crates/rasyncio/src", ".rs"):
        code = rust_code(name)
        for line in found(r"\bthread_local!|\bstatic\s+mut\b", code):
            yield f"{name}:{line}", "keep this state on the module, the loop or the thread's own object"
        for line in found(
            r"\bstatic\s+\w+\s*:[^=;]*\b(Atomic\w+|Mutex|RwLock|RefCell|Cell|OnceLock|OnceCell|LazyLock)\b", code
        ):
            yield f"{name}:{line}", "keep this state on the module, the loop or the thread's own object"


def rust_files_have_headers():
    """every Rust file opens with a //! header"""
    for name in files("crates", ".rs"):
        if not read(name).startswith("//!"):
            yield name, "open the file with `//!`: what it is, who calls it, its states, its invariants"


def is_shell(function):
    """An `async def` of few lines: docstring and decorators are not counted."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
    return isinstance(function, ast.AsyncFunctionDef) and lines <= SHELL_LINES


def is_machinery(name):
    """One of the package's own files (the launcher, install(), ...), which bear no name of an asyncio module."""
    return Path(name).name.startswith("_") and Path(name).name != "__init__.py"


def faces_hold_no_logic():
    """a face has no def but shells of at most five lines"""
    for name in files("python/rasyncio", ".py"):
        if is_machinery(name):
            continue
        for item in ast.walk(ast.parse(read(name))):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not is_shell(item):
                yield (
                    f"{name}:{item.lineno}",
                    f"`{item.name}` is no async shell of {SHELL_LINES} lines: its logic is the room's",
                )


def room_names():
    names = set()
    for name in files("crates/rasyncio/src", ".rs"):
        parts = Path(name).relative_to("crates/rasyncio/src").parts
        names.add(parts[0].removesuffix(".rs"))
    return names - {"lib"}


def rooms_are_whole():
    """each asyncio module has one room, one face and one test of its name"""
    faces = {Path(name).stem for name in files("python/rasyncio", ".py") if name.count("/") == 2 and not is_machinery(name)}
    faces -= {"__init__"}
    rooms = room_names()
    for room in sorted(rooms - ROOMS):
        if not room.startswith("__"):
            yield f"crates/rasyncio/src/{room}", "bears no asyncio module's name: a room does; what it holds belongs in one"
    for room in sorted(rooms & ROOMS):
        if room not in faces:
            yield f"crates/rasyncio/src/{room}", f"has no face: write python/rasyncio/{room}.py"
        if f"tests/test_{room}.py" not in FILES:
            yield f"crates/rasyncio/src/{room}", f"has no test: write tests/test_{room}.py"
    for face in sorted(faces - rooms):
        if face in ROOMS and "_rasyncio" not in read(f"python/rasyncio/{face}.py"):
            continue  # names only: constants, or classes shared with the standard library
        yield f"python/rasyncio/{face}.py", f"has no room: write crates/rasyncio/src/{face}.rs"


def documents_name_real_files():
    """every file that a document names exists"""
    # Some pages of the site are made when it is built, by tools/site.py; its map has them all.
    site = set(re.findall(r"[\w/-]+\.md", read("mkdocs.yml")))
    documents = [name for name in FILES if name in DOCUMENTS or (name.startswith("docs/") and name.endswith(".md"))]
    for document in documents:
        text = read(document)
        folder = Path(document).parent
        for match in re.finditer(r"`([^`\n]+)`|\]\(([^)#\s]+)[^)]*\)", text):
            inline, link = match.groups()
            line = text.count("\n", 0, match.start()) + 1
            page = os.path.normpath(folder / link).removeprefix("docs/") if link else None
            if link and "://" not in link and page not in site and not (ROOT / folder / link).exists():
                yield f"{document}:{line}", f"links to {link}, which does not exist"
            if inline:
                for word in re.findall(r"[\w./-]+/[\w./-]*", inline):
                    known = word.split("/")[0] in FOLDERS and not re.search(r"[<*{]", inline)
                    if known and not (ROOT / word.rstrip(".")).exists():
                        yield f"{document}:{line}", f"names {word}, which does not exist"


def names_say_something():
    """no file is called utils, helpers, common or misc"""
    for name in FILES:
        if Path(name).stem in VAGUE_NAMES:
            yield name, "name the file after what it holds"


def files_are_short():
    """no source file is longer than 600 lines"""
    for name in FILES:
        if name.endswith((".rs", ".py")) and (lines := read(name).count("\n")) > LONG_FILE:
            yield name, f"has {lines} lines: make it a folder of files with one subject each"


CHECKS = (
    engine_knows_no_python,
    unsafe_stays_below,
    slots_knows_no_asyncio,
    no_global_state,
    rust_files_have_headers,
    faces_hold_no_logic,
    rooms_are_whole,
    documents_name_real_files,
    names_say_something,
    files_are_short,
)


def main():
    broken = 0
    for check in CHECKS:
        complaints = list(check())
        print(f"{'ok  ' if not complaints else 'FAIL'}  {check.__doc__}")
        for place, what in complaints:
            print(f"      {place}: {what}")
        broken += bool(complaints)
    print(f"structure: {len(CHECKS) - broken} of {len(CHECKS)} invariants hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
