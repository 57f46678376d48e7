"""The smoke test of an installed wheel, in an environment with nothing else: `python tools/smoke.py [FOLDER OF EXAMPLES]`.

It asks whether what was installed is what runs, and runs every example on it.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

import rasyncio

HOME = Path(sysconfig.get_path("platlib")).resolve()
CHILD = "import asyncio; asyncio.run(asyncio.sleep(0)); print(asyncio.__name__)"
# A server with clients, which wants some seconds and is a test elsewhere; and one that wants a certificate.
OTHERS = {"serve_files.py", "encrypted.py"}


def output(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def main():
    assert Path(rasyncio.__file__).resolve().is_relative_to(HOME), f"{rasyncio.__file__} is not what was installed"
    assert output("-c", CHILD) == "asyncio\n"
    assert output("-m", "rasyncio", "-c", CHILD) == "rasyncio\n"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"
    assert output("-m", "rasyncio", "-c", nested) == "rasyncio\n"
    programs = [path for folder in sys.argv[1:] for path in sorted(Path(folder).glob("*.py")) if path.name not in OTHERS]
    for path in programs:
        output("-m", "rasyncio", path)
    print(f"rasyncio {rasyncio.__version__} on Python {sys.version.split()[0]}: {len(programs)} examples")


if __name__ == "__main__":
    main()
