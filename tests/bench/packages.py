"""The Python that has the peers. Where this one lacks their packages (tests/requirements.txt), a
virtual environment goes on in its place; it is made once, in build/bench/venv, which takes minutes
and some gigabytes."""

import importlib.util
import os
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
REQUIREMENTS = os.path.join(ROOT, "tests", "requirements.txt")
VENV = os.path.join(ROOT, "build", "bench", "venv")
# One of each kind: who has these has them all.
NEEDED = ("numpy", "torch", "onnxruntime", "openvino", "fastapi", "pytorch_forecasting")


def installed(needed=NEEDED):
    return all(importlib.util.find_spec(name) for name in needed)


def make(venv, requirements):
    """Complete once its mark is there: an installation that broke off goes on the next time."""
    mark = os.path.join(venv, "complete")
    if os.path.exists(mark):
        return
    print(f"packages: installing {os.path.relpath(requirements, ROOT)} in {venv}", file=sys.stderr)
    python = os.path.join(venv, "bin", "python")
    for command in ([sys.executable, "-m", "venv", venv],
                    [python, "-m", "pip", "install", "--quiet", "-r", requirements]):
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(f"packages: failed: {' '.join(command)}\n(python3 -m venv is Debian's "
                     "python3-venv; or run this with a Python that has the packages)")
    with open(mark, "w", encoding="ascii"):
        pass


def ensure(needed=NEEDED, venv=VENV, requirements=REQUIREMENTS):
    """Returns in a Python that has the peers' packages; else this program starts over in one."""
    if installed(needed):
        return
    if os.path.realpath(sys.prefix) == os.path.realpath(venv):
        sys.exit(f"packages: {venv} lacks packages: remove it, and it is made anew")
    make(venv, requirements)
    os.execv(os.path.join(venv, "bin", "python"),
             [os.path.join(venv, "bin", "python")] + sys.argv)
