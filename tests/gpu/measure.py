"""What the GPU tells of itself, by its driver and nvidia-smi; how far outputs are off."""

import ctypes
import subprocess
import threading


def gpu_count():
    """What the driver says; 0 without one."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def gpu_query(what):
    """As nvidia-smi has it; "" where there is none."""
    try:
        done = subprocess.run(["nvidia-smi", "-i", "0", f"--query-gpu={what}",
                               "--format=csv,noheader,nounits"], capture_output=True, text=True,
                              check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def memory_mb():
    """In use on the GPU, by anyone; 0 where nobody tells."""
    said = gpu_query("memory.used")
    return int(said) if said.isdigit() else 0


class MemoryWatch:
    """Samples of memory_mb while a block runs."""

    def __init__(self, every_s):
        self.every_s, self.seen, self.over = every_s, [], threading.Event()

    def __enter__(self):
        self.before = memory_mb()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.over.wait(self.every_s):
            self.seen.append(memory_mb())

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def off_by(right, got):
    """The largest relative error of an output, by norm; and the mean change as a share of the
    output's range."""
    import numpy as np  # only parts that compare need it
    norm = share = 0.0
    for name, expected in right.items():
        expected, actual = expected.astype(np.float64), got[name].astype(np.float64)
        if not np.isfinite(actual).all():
            return float("inf"), float("inf")
        size = np.linalg.norm(expected) or 1.0
        norm = max(norm, float(np.linalg.norm(actual - expected) / size))
        span = float(expected.max() - expected.min()) if expected.size else 0.0
        if span:
            share = max(share, float(np.abs(actual - expected).mean()) / span)
    return norm, share
