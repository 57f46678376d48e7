"""Builds the wheel that people install: compiled twice, the second time with the knowledge of what runs how often.

    python tools/build_wheel.py --interpreter PYTHON [--out FOLDER] [--plain] [-- OPTIONS OF MATURIN]

The code that a turn of the loop goes through is small but lies all over the library; laid out together it fits the
processor's nearest cache, which is worth a fifth to a third of the time (CPython itself is built so).  The steps:

1. an instrumented build, installed into a folder of its own;
2. tools/train.py run on it, with the interpreter that the wheel is for;
3. the counts merged by LLVM's own tool, which rustup has as the component llvm-tools;
4. the build proper.

Where that tool cannot be had, or with --plain, the wheel is built once and without such knowledge.
Which of the two it was is written to FOLDER/build.txt, and benches/run.py shows it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MATURIN = shutil.which("maturin", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def say(text):
    print(text, flush=True)


def run(command, **variables):
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=os.environ | variables)


def compile_wheel(options, folder, title, flags, target, more=()):
    say(f"{title}; some minutes the first time.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rustflags = f"{os.environ.get('RUSTFLAGS', '')} {flags}".strip()
    target_folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), *target)
    command = [MATURIN, "build", "--quiet", "--profile", "release", "--locked"]
    command += ["--interpreter", options.interpreter, "--out", folder, *more]
    run(command, RUSTFLAGS=rustflags, CARGO_TARGET_DIR=str(target_folder))
    return next(folder.glob("*.whl"))


def merger():
    """LLVM's merger of profiles, of the compiler's own version; None where it cannot be had."""
    libraries = subprocess.run(["rustc", "--print", "target-libdir"], capture_output=True, text=True, cwd=ROOT)
    tool = Path(libraries.stdout.strip()).parent / "bin" / "llvm-profdata"
    if not tool.exists() and shutil.which("rustup"):
        say("Installing the compiler's component llvm-tools.")
        toolchain = Path(libraries.stdout.strip()).parents[3].name
        subprocess.run(["rustup", "component", "add", "--toolchain", toolchain, "llvm-tools"], cwd=ROOT)
    return tool if tool.exists() else None


def train(options, work):
    """The merged profile, or None."""
    tool = merger()
    if tool is None:
        say("There is no llvm-profdata for this compiler, so the wheel is built without a profile: somewhat slower.")
        say("With rustup: rustup component add llvm-tools")
        return None
    counts, package = work / "counts", work / "package"
    for folder in (counts, package):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    wheel = compile_wheel(options, work / "wheel", "Compiling to count", f"-Cprofile-generate={counts}", ("profile",))
    with zipfile.ZipFile(wheel) as archive:  # an interpreter of a system has no pip
        archive.extractall(package)
    say("Running the training programs.")
    run([options.interpreter, "-m", "rasyncio", ROOT / "tools" / "train.py"], PYTHONPATH=str(package))
    merged = work / "merged.profdata"
    run([tool, "merge", "--output", merged, *counts.glob("*.profraw")])
    return merged


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interpreter", default=sys.executable, help="the Python that the wheel is for")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument("--plain", action="store_true", help="one compilation, no profile")
    parser.add_argument("maturin", nargs="*", help="more options of maturin for the wheel proper, after --")
    options = parser.parse_args()
    if MATURIN is None:
        sys.exit("There is no maturin beside this Python: use make wheel, which installs it.")
    out = options.out.resolve()
    profile = None if options.plain else train(options, ROOT / "build" / "profile")
    flags, kind = (f"-Cprofile-use={profile}", "profile-guided") if profile else ("", "plain")
    wheel = compile_wheel(
        options, out, f"Compiling the wheel ({kind})", flags, ("profile",) if profile else (), options.maturin
    )
    (out / "build.txt").write_text(f"{kind}\n")
    say(f"{wheel.relative_to(ROOT) if wheel.is_relative_to(ROOT) else wheel}  ({kind})")


if __name__ == "__main__":
    main()
