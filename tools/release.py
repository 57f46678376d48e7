"""Builds a release: a wheel for each Python and system, and the source, into dist/; checks and smoke-tests what can run here.

    python tools/release.py                                        everything, as far as this machine can
    python tools/release.py --targets x86_64-gnu --pythons 3.13 3.14
    python tools/release.py --plain                                without profiles: in half the time, and slower wheels
    python tools/release.py --save                                 keep the table under docs/results too, for docs/status.md

Wheels are linked by zig (`pip install ziglang`), whose C libraries give them the same oldest system wherever they are built:
glibc 2.17 and musl 1.2.  A wheel for this machine's processor and glibc is built with a profile of tools/train.py, which has to
run, so its Python has to be installed; it is then installed into a new environment, with no compiler on PATH, where
tools/smoke.py has to succeed.  The others are built without a profile, and looked at: tags, contents, needed libraries.

.github/workflows/release.yml runs this on machines of both processors.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
TARGETS = {
    "x86_64-gnu": ("x86_64-unknown-linux-gnu", "manylinux_2_17"),
    "aarch64-gnu": ("aarch64-unknown-linux-gnu", "manylinux_2_17"),
    "x86_64-musl": ("x86_64-unknown-linux-musl", "musllinux_1_2"),
    "aarch64-musl": ("aarch64-unknown-linux-musl", "musllinux_1_2"),
}
HERE = f"{platform.machine()}-{'gnu' if platform.libc_ver()[0] == 'glibc' else 'musl'}"
MATURIN = shutil.which("maturin", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


# What the source consists of: a name, and the files.
SOURCES = {
    "engine: no Python in it": "crates/engine/src/**/*.rs",
    "slots: native classes on CPython's API": "crates/slots/src/**/*.rs",
    "rasyncio: the rooms": "crates/rasyncio/src/**/*.rs",
    "faces, launcher and tools in Python": "python/rasyncio/**/*.py",
    "stubs": "python/rasyncio/**/*.pyi",
    "tests in Python": "tests/**/*.py",
}


def say(text):
    print(text, flush=True)


def interpreter(version):
    """The Python of that version that can be started here, as a path; None if there is none."""
    for name in (f"python{version}", str(Path.home() / f".local/bin/python{version}"), "python3", sys.executable):
        found = shutil.which(name)
        if found is None:
            continue
        code = "import sys; print('{}.{}'.format(*sys.version_info), sys.implementation.name, sys._base_executable)"
        answer = subprocess.run([found, "-c", code], capture_output=True, text=True).stdout.split()
        if answer[:2] == [version, "cpython"]:
            return answer[2]
    return None


def maturin(*arguments):
    subprocess.run([MATURIN, *map(str, arguments)], cwd=ROOT, check=True)


def build(target, version, options, folder):
    triple, tag = TARGETS[target]
    common = ["--target", triple, "--compatibility", tag, "--zig", "--strip"]
    if target == HERE and options.python:
        command = [sys.executable, ROOT / "tools" / "build_wheel.py", "--interpreter", options.python, "--out", folder]
        subprocess.run([*command, *(["--plain"] if options.plain else []), "--", *common], cwd=ROOT, check=True)
    else:
        maturin(
            *("build", "--quiet", "--profile", "release", "--locked", "--interpreter", f"python{version}", "--out", folder),
            *common,
        )
    return next(folder.glob("*.whl"))


def look_at(wheel, version, tag):
    """Complaints about what a wheel contains and calls itself."""
    cp = f"cp{version.replace('.', '')}"
    machine = {"x": "x86_64", "a": "aarch64"}[tag.split("-")[0][0]]
    if not re.search(rf"-{cp}-{cp}-.*{machine}\.whl$", wheel.name):
        yield f"is not tagged for {cp} and {machine}"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    if sum(name.startswith("rasyncio/_rasyncio.") and name.endswith(".so") for name in names) != 1:
        yield "does not have one extension module"
    for needed in ("rasyncio/py.typed", "rasyncio/tasks.pyi", "rasyncio_install.pth"):
        if not any(name.endswith(needed) for name in names):
            yield f"lacks {needed}"
    if "Requires-Python: >=3.11,<3.16" not in metadata.replace(" ", "").replace("Requires-Python:", "Requires-Python: "):
        yield "says nothing of the Pythons that it is for"


def smoke(wheel, python):
    """Whether the wheel works in a new environment, in which there is no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", folder], check=True)
        inside = Path(folder, "bin", "python")
        clean = {"PATH": f"{inside.parent}:/usr/bin:/bin", "HOME": folder, "LC_ALL": "C.UTF-8"}
        if tools := [tool for tool in ("cargo", "rustc") if shutil.which(tool, path=clean["PATH"])]:
            sys.exit(f"{tools} on {clean['PATH']}: the smoke test is to run where Rust is not")
        for command in (
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", wheel],
            [ROOT / "tools" / "smoke.py", ROOT / "examples"],
        ):
            if subprocess.run([inside, *command], env=clean, cwd=folder).returncode:
                return False
    return True


def lines_of(pattern):
    files = [path for path in ROOT.glob(pattern) if "__pycache__" not in path.parts]
    return len(files), sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def save(rows):
    """A run for some wheels leaves the figures of the others in place."""
    path = ROOT / "docs" / "results" / "release.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"files": {}}
    kept["files"] |= {name: {"size": size, "outcome": outcome} for name, size, outcome in rows}
    kept["files"] = dict(sorted(kept["files"].items()))
    kept["sources"] = {name: lines_of(pattern) for name, pattern in SOURCES.items()}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    say(f"kept in {path.relative_to(ROOT)}: make status")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--pythons", nargs="*", default=list(PYTHONS))
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--plain", action="store_true", help="no profiles")
    parser.add_argument("--no-sdist", action="store_true")
    parser.add_argument("--save", action="store_true", help="keep the table under docs/results")
    options = parser.parse_args()
    if MATURIN is None:
        sys.exit("There is no maturin beside this Python: use make release, which installs it.")
    # Maturin looks for zig as a module of the first Python on PATH.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    if not options.no_sdist:
        maturin("sdist", "--out", options.out.resolve())
        source = max(options.out.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime)
        with tarfile.open(source) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        tracked = subprocess.run(
            ["git", "ls-files", "python", "crates", "Cargo.*"], cwd=ROOT, capture_output=True, text=True
        )
        missing = sorted(set(tracked.stdout.split()) - names)
        rows.append((source.name, source.stat().st_size, f"FAILED: lacks {missing}" if missing else "built"))
    for target in options.targets:
        for version in options.pythons:
            options.python = interpreter(version)
            with tempfile.TemporaryDirectory() as folder:
                try:
                    built = build(target, version, options, Path(folder))
                except subprocess.CalledProcessError:
                    rows.append((f"{target}, Python {version}", 0, "FAILED: not built"))
                    continue
                wheel = Path(shutil.copy(built, options.out.resolve()))
            outcome = "; ".join(look_at(wheel, version, target))
            if outcome:
                outcome = f"FAILED: {outcome}"
            elif target != HERE or options.python is None:
                outcome = "built, cannot run here"
            else:
                outcome = "built, smoke test passed" if smoke(wheel, options.python) else "FAILED: smoke test"
            rows.append((wheel.name, wheel.stat().st_size, outcome))
            say(f"{rows[-1][2]}: {wheel.name}")
    say("")
    for name, size, outcome in rows:
        say(f"{size / 1e6:6.2f} MB  {name}: {outcome}")
    if options.save:
        save(rows)
    return 1 if any(outcome.startswith("FAILED") for *_, outcome in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
