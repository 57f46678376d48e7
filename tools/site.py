"""The pages of the site that are made from other files, when it is built; mkdocs.yml names this module as a hook.

- differences.md from the headers of the rooms (`Differs from CPython: ...`) and from conformance/known.toml;
- examples.md from the programs in examples/;
- changelog.md from CHANGELOG.md;
- reference/*.md, one for each public room, which mkdocstrings fills from stubs and docstrings.

`python tools/site.py differences` prints a page.
"""

import ast
import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "crates"
STUBS = ROOT / "build" / "stubs"
# Rooms in the order of asyncio's own documentation, with what they are about.
REFERENCE = {
    "runners": "Running a program",
    "tasks": "Tasks",
    "taskgroups": "Task groups",
    "timeouts": "Timeouts",
    "locks": "Locks and their kin",
    "queues": "Queues",
    "streams": "Streams",
    "subprocess": "Subprocesses",
    "futures": "Futures",
    "events": "Event loops and handles",
    "base_events": "BaseEventLoop and Server",
    "unix_events": "Loops of Unix systems",
    "coroutines": "Coroutines",
    "threads": "Threads",
    "graph": "Call graphs",
}


def header(path):
    """The paragraphs of a Rust file's `//!` header."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//!"):
            break
        lines.append(line[3:].strip())
    return "\n".join(lines).split("\n\n")


def sentence(text):
    return text if text.startswith("gh-") else text[0].upper() + text[1:]


def declared():
    """(room, what it is about and says) of each header that declares a difference."""
    for path in sorted(SOURCES.glob("*/src/**/*.rs")):
        for paragraph in header(path):
            found = re.search(r"(?:^|\n)(?:Where it d|D)iffers from CPython(?P<text>.*)", paragraph, re.DOTALL)
            if found is None:
                continue
            text = " ".join(found["text"].split())
            if text.startswith(("in no", "'s `_asyncio.Future` in no")):
                continue
            text = (
                sentence(text[1:].strip())
                if text.startswith(":")
                else f"Differs from CPython{found['text']}".replace("\n", " ")
            )
            inside = path.relative_to(SOURCES)
            parts = inside.parts[2:]
            crate = inside.parts[0]
            room = parts[0].removesuffix(".rs") if crate == "rasyncio" else f"the {crate}"
            subject = " ".join(header(path)[0].split()).partition(". ")[0].rstrip(".")
            yield room, f"**{subject}.** {text} (`{path.relative_to(ROOT)}`)"


def differences():
    rooms = {}
    for room, text in declared():
        rooms.setdefault(room, []).append(f"- {text}")
    parts = [
        "# What differs, and why",
        "rasyncio's promise is the behaviour of the asyncio of the Python that runs it, in its newest patch release, to the "
        "order of callbacks and the text of messages. What newer versions of Python added is there on older ones too. What "
        "follows is what differs on purpose: each room of the source declares it at its head, and this page is made from that.",
    ]
    for room in sorted(rooms):
        parts += [f"## {room}", "\n".join(rooms[room])]
    known = tomllib.loads((ROOT / "conformance" / "known.toml").read_text(encoding="utf-8"))["known"]
    parts += [
        "## CPython's own tests that do not hold",
        "rasyncio is tested with the unmodified tests that each interpreter brings for asyncio. These are known not to hold, "
        "with the reason. A test that is listed and holds is an error, so the list is kept true. How many there are, and of "
        "which kind: [Status](status.md).",
    ]
    for entry in known:
        tests = [entry["test"]] if isinstance(entry["test"], str) else entry["test"]
        versions = f" (Python {', '.join(entry['versions'])})" if "versions" in entry else ""
        names = ", ".join(f"`{test}`" for test in tests)
        parts.append(f"- {sentence(entry['reason'])}{versions}: {names}")
    return "\n\n".join(parts) + "\n"


def examples():
    parts = [
        "# Examples",
        "A program for each part of asyncio. They say `import asyncio` only, assert what they show, and are run as tests on "
        "asyncio and on rasyncio. `python FILE` runs one on asyncio, `python -m rasyncio FILE` on rasyncio.",
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].replace("\n", " ")
        parts += [f"## {path.stem.replace('_', ' ')}", summary, f'```python title="examples/{path.name}"\n{text}```']
    return "\n\n".join(parts) + "\n"


def changelog():
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def reference_index():
    rows = "\n".join(f"- [{title}]({room}.md): `rasyncio.{room}`" for room, title in REFERENCE.items())
    return (
        "# Reference\n\nThe names are asyncio's, and so are their meanings; [asyncio's own documentation]"
        "(https://docs.python.org/3/library/asyncio.html) holds for them. These pages are made from the stubs, which say "
        "what each name does, which arguments it takes in which units, and what it raises.\n\n"
        "Except where a page says otherwise, **nothing here is thread-safe**: see [Threads](../threads.md).\n\n"
        f"- [The package](package.md): `rasyncio`\n{rows}\n- [Transports and protocols](transports.md)\n"
        "- [Exceptions](exceptions.md)\n"
    )


def pages():
    yield "differences.md", differences()
    yield "examples.md", examples()
    yield "changelog.md", changelog()
    yield "reference/index.md", reference_index()
    for room, title in REFERENCE.items():
        yield f"reference/{room}.md", f"# {title}\n\n::: rasyncio.{room}\n"


def on_startup(command, dirty):
    """The reference is read from the stubs alone: the faces beside them have shells that are no names of their modules."""
    shutil.rmtree(STUBS, ignore_errors=True)
    (STUBS / "rasyncio").mkdir(parents=True)
    for path in (ROOT / "python" / "rasyncio").glob("*.pyi"):
        shutil.copyfile(path, STUBS / "rasyncio" / f"{path.stem}.py")


def on_files(files, config):
    from mkdocs.structure.files import File

    for path, text in pages():
        files.append(File.generated(config, path, content=text))
    return files


if __name__ == "__main__":
    sys.stdout.write(dict(pages())[f"{sys.argv[1]}.md"])
