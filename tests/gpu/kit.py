"""A kit for a machine with a GPU that has CUDA and PyTorch and reaches nothing to install from.

`tests/gpu/run --pack FOLDER` makes it, and FOLDER.tar.gz, where the packages to build with are;
`tests/gpu/run --kit FOLDER` uses it: the binary, its Lua library, libmoondial_cuda.so, the test
programs and the shared objects that they want, the C library's own left out. It runs where that is
as new as here.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

# Of the C library, the compiler, and NVIDIA's: the machine's own.
LEFT_OUT = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|gcc_s|stdc\+\+|cuda.*))\.so\..*")
NVIDIA = ("libcublasLt.so.13", "libcudnn.so.9")


def needs(program):
    """Paths of the shared objects that ldd finds for it."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    found = re.findall(r"=> (/\S+)", done.stdout)
    return [path for path in found if not LEFT_OUT.fullmatch(os.path.basename(path))]


def pack(root, build, programs, folder, wheels):
    """Copies what is built; returns the archive's path. Wheels are fetched for the Python that runs
    this, "3.12:NAME==VERSION" for another one."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("bin/tests", "lib", "share/moondial", "wheels"):
        os.makedirs(os.path.join(folder, part))
    binaries = [os.path.join(build, "moondial"), os.path.join(build, "libmoondial_cuda.so")]
    for path in binaries + programs:
        inner = "bin" if path in binaries else "bin/tests"
        target = shutil.copy2(path, os.path.join(folder, inner))
        subprocess.run(["strip", target], check=True)
        for library in needs(path):
            shutil.copy2(library, os.path.join(folder, "lib"))
    for data in ("lua", "scripts"):
        shutil.copytree(os.path.join(root, data), os.path.join(folder, "share/moondial", data))
    for wheel in wheels:
        version, _, name = wheel.rpartition(":")
        other = ["--python-version", version, "--only-binary=:all:"] if version else []
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", *other, "-d",
                        os.path.join(folder, "wheels"), name], check=True)
    folder = os.path.abspath(folder)
    return shutil.make_archive(folder, "gztar", os.path.dirname(folder), os.path.basename(folder))


def unpack_wheels(folder):
    """Where Python finds them from now on; None where there are none. Runs once."""
    wheels = glob.glob(os.path.join(folder, "wheels", "*.whl"))
    site = os.path.join(folder, "site")
    if wheels and not os.path.isdir(site):
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps",
                        "--target", site, *wheels], check=True)
    return site if wheels else None


def nvidia_folders():
    """{library: its folder} of cuBLASLt and cuDNN, None where it is nowhere to be found: beside
    CUDA, or in the packages of this Python."""
    places = ["/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu"]
    for site in sys.path:
        places += sorted(glob.glob(os.path.join(site, "nvidia", "*", "lib")))
    return {library: next((place for place in places
                           if os.path.exists(os.path.join(place, library))), None)
            for library in NVIDIA}


def environment(folder):
    """For our programs alone: what a Python there loads is its own."""
    places = [os.path.join(folder, "lib")] if folder else []
    places += sorted({place for place in nvidia_folders().values() if place})
    before = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join(places + [before] if before else places)}
