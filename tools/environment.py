"""Makes a virtual environment fit for use: the Makefile calls it before anything that runs Python.

An environment that belongs to another interpreter, or that was moved, is made anew.  Packages are installed when their
requirements file has changed since the last time, so that a second call costs a few milliseconds.  `--tolerate` installs
one package at a time and goes on without those that cannot be had: a benchmark peer that has no wheel for this
interpreter is absent from the table, and no reason to have no table.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def say(text):
    print(text, flush=True)


def oldest_rust():
    """The version of Rust that Cargo.toml asks for, as a tuple and as text."""
    text = re.search(r'^rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    return tuple(map(int, text.split("."))), text


def check_cargo():
    oldest, text = oldest_rust()
    if shutil.which("cargo") is None:
        sys.exit(
            f"There is no `cargo` here. rasyncio is compiled on this machine: install Rust {text} or newer "
            "(rustup, or the system's package manager) and see that `cargo` is on PATH."
        )
    answer = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", answer)
    if found and tuple(map(int, found.groups())) < oldest:
        sys.exit(f"rasyncio needs Rust {text} or newer, and this is {answer.strip()}.")


def identity(python):
    """What tells one interpreter from another: its base executable and its full version; None if it does not start."""
    code = "import sys; print(sys.base_prefix, sys.version)"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def make_venv(folder, python):
    if python.exists():
        if identity(python) == identity(sys.executable):
            return
        say(f"{folder} belongs to another interpreter: making it anew.")
        shutil.rmtree(folder)
    say(f"Creating {folder} with {sys.executable} ({sys.version.split()[0]})")
    try:
        venv.create(folder, with_pip=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(folder, ignore_errors=True)
        sys.exit(
            "This Python cannot make virtual environments: its ensurepip is missing. "
            "On Debian and Ubuntu: apt-get install python3-venv"
        )


def install(python, requirements, tolerate):
    stamp = python.parent.parent / f".installed-{requirements.parent.name}"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"Installing what {requirements} names")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if tolerate:
        for line in requirements.read_text().splitlines():
            package = line.partition("#")[0].strip()
            if package and subprocess.run([*pip, "--only-binary", ":all:", package]).returncode:
                say(f"  {package} cannot be installed here: going on without it")
    elif subprocess.run([*pip, "-r", requirements]).returncode:
        sys.exit(f"pip could not install {requirements}; its message is above.")
    stamp.write_text(digest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("requirements", type=Path, nargs="*")
    parser.add_argument("--cargo", action="store_true", help="also see that Rust is there")
    parser.add_argument("--tolerate", action="store_true", help="go on without packages that cannot be installed")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    if arguments.cargo:
        check_cargo()
    python = arguments.venv / "bin" / "python"
    make_venv(arguments.venv, python)
    for requirements in arguments.requirements:
        install(python, requirements, arguments.tolerate)


if __name__ == "__main__":
    main()
