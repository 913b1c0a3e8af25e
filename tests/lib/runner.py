"""Builds the presets, runs every suite, and adds up what they report. Called by tests/run.

A suite is an executable tests/<name>/run, or tests/reference/<name>/run, that ends with a line
`N passed, N failed` (optionally `, N skipped`) and exits non-zero on failure; it finds the binary
in $MOONDIAL. Everything else goes through ctest, where a cmocka program counts as many tests as it
holds.

While the tests of one preset run, the next one is built behind them: they wait more than they
compute.

Each step prints one line when it starts and one when it ends, with the output of what failed; the
last line is the sum. A step that could not run counts as one failure, never as silence.
"""
import argparse
import contextlib
import glob
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as xml

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CLOSING_LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)
BUILD_SECONDS_MAX = 1200
# Runs a command when nobody else wants the processor. Sessions may be groups of equal shares,
# within which alone "nice" counts; the group's own niceness is in autogroup.
BEHIND = ["sh", "-c", '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 19 "$@"', "sh"]
STEP_SECONDS_MAX = 420
STEP_SECONDS_MAX_FULL = 1800
FUZZ_SECONDS = 30
# Folders of tests/ that are not suites: bench measures, it does not judge.
NO_SUITES = {"bench", "unit", "ops", "lib", "fuzz"}
RELEASE_ONLY = {"install", "examples", "cuda", "gpu"}
# Plainly on release alone: the unit and server tests bring the same code under the sanitizers.
INSTRUMENTED_IN_FULL = {"fleet", "reference/alertmanager", "reference/prometheus"}
ISA_FLAGS = [("AMX", {"amx_tile", "amx_bf16", "avx512f", "avx512bw", "avx512dq", "avx512vl"}),
             ("AVX-512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
             ("AVX2", {"avx2", "fma", "f16c"})]


RUNNING = set()  # process groups


class Tally:
    """Passed, failed and skipped so far, and the names of what failed."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.names = []

    def add(self, name, passed, failed, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        if failed:
            self.names.append(name)
        return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")

    def merge(self, other):
        self.add("", other.passed, 0, other.skipped)
        self.failed += other.failed
        self.names += other.names

    def closing_line(self):
        line = f"{self.passed} passed, {self.failed} failed"
        return line + (f", {self.skipped} skipped" if self.skipped else "")


def say(text):
    print(text, flush=True)


def describe_machine():
    flags, model = set(), platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "flags":
                    flags = set(value.split())
                elif key.strip() == "model name":
                    model = value.strip()
    except OSError:
        pass
    isa = next((name for name, wanted in ISA_FLAGS if wanted <= flags), "portable")
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {model}, widest kernels {isa}, {platform.platform()}"


def end_all():
    for group in list(RUNNING):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)


def execute(command, seconds, environment=None, echo=False):
    """(exit status, output), echoed as it comes if asked. On timeout the whole group is killed."""
    timed_out = threading.Event()
    lines = []
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ, **(environment or {})),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          start_new_session=True) as process:
        def stop():
            timed_out.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, stop)
        timer.start()
        RUNNING.add(process.pid)
        try:
            for line in process.stdout:
                lines.append(line)
                if echo:
                    say(line.rstrip("\n"))
            process.wait()
        except KeyboardInterrupt:
            end_all()
            raise
        finally:
            timer.cancel()
            RUNNING.discard(process.pid)
    if timed_out.is_set():
        say(f"{command[0]} took longer than {seconds} s")
    return process.returncode, "".join(lines)


class Building:
    """A build of a preset; `behind` the tests of another one, what it says comes at its end."""

    def __init__(self, preset, behind=False):
        self.preset, self.behind = preset, behind
        self.status, self.output = 1, ""
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        command = (BEHIND if self.behind else []) + ["tools/build", self.preset]
        self.status, self.output = execute(command, BUILD_SECONDS_MAX, echo=not self.behind)

    def succeeded(self, tally):
        """Waits for its end."""
        try:
            self.thread.join()
        except KeyboardInterrupt:
            end_all()
            raise
        if self.behind:
            say(self.output.rstrip())
        if self.status:
            tally.add(f"build {self.preset}", 0, 1)
        return self.status == 0


def build(preset, tally):
    return Building(preset).succeeded(tally)


# ---- ctest -----------------------------------------------------------------------------------
def cases_in(text):
    """(passed, failed, skipped) as a program counts them itself: cmocka, unittest, or our line."""
    def total(pattern):
        return sum(map(int, re.findall(pattern, text, re.MULTILINE)))

    closing = CLOSING_LINE.findall(text)
    if closing:
        return tuple(int(n or 0) for n in closing[-1])
    ran = total(r"^Ran (\d+) tests? in ")
    if ran:
        bad = total(r"failures=(\d+)") + total(r"errors=(\d+)")
        skipped = total(r"skipped=(\d+)")
        return max(ran - bad - skipped, 0), bad, skipped
    return (total(r"^\[  PASSED  \] (\d+) test"), total(r"^\[  FAILED  \] (\d+) test"),
            total(r"^\[  SKIPPED \] (\d+) test"))


def count_entry(entry):
    """(passed, failed, skipped) of one ctest entry; a program that counts nothing is one test."""
    status = entry.get("status")
    if status in ("notrun", "disabled"):
        return 0, 0, 1
    passed, failed, skipped = cases_in(entry.findtext("system-out") or "")
    if status == "run":
        return (passed, 0, skipped) if passed or skipped else (1, 0, 0)
    return passed, max(failed, 1), skipped


def ctest(preset, tally, only, label="quick", exclude=None):
    name = f"ctest {preset}"
    say(f"== {name}")
    report = os.path.join(ROOT, "build", preset, "ctest.xml")
    if os.path.exists(report):
        os.remove(report)
    command = ["ctest", "--test-dir", f"build/{preset}", "--output-on-failure", "-L", label,
               "-j", str(len(os.sched_getaffinity(0))), "--output-junit", report,
               "--test-output-size-passed", "1000000", "--test-output-size-failed", "1000000"]
    command += ["-R", only] if only else []
    command += ["-E", exclude] if exclude else []
    start = time.time()
    status, output = execute(command, STEP_SECONDS_MAX)
    if not os.path.exists(report):
        say(output.rstrip())
        say(f"{name}: {tally.add(name, 0, 1)}")
        return
    entries = xml.parse(report).getroot().findall("testcase")
    if not entries and not only:
        say(f"{name}: no tests were found")
        tally.add(name, 0, 1)
        return
    if status:
        say(output.rstrip())
    part = Tally()
    for entry in entries:
        part.add(f"{entry.get('name')} ({preset})", *count_entry(entry))
    if status and not part.failed:
        part.add(name, 0, 1)
    tally.merge(part)
    say(f"{name}: {part.closing_line()} in {len(entries)} programs, {time.time() - start:.0f} s")


# ---- suites ----------------------------------------------------------------------------------
def suites(only):
    tests = os.path.join(ROOT, "tests")
    for path in sorted(glob.glob(os.path.join(tests, "*", "run")) +
                       glob.glob(os.path.join(tests, "reference", "*", "run"))):
        name = os.path.relpath(os.path.dirname(path), tests)
        if name not in NO_SUITES and os.access(path, os.X_OK) and (
                not only or re.search(only, name)):
            yield name, path


def run_suite(name, path, preset, tally, full):
    title = f"{name} on {preset}"
    say(f"== {title}")
    start = time.time()
    environment = {"MOONDIAL": os.path.join(ROOT, "build", preset, "moondial"),
                   "MOONDIAL_FULL": "1" if full else "", "ASAN_OPTIONS": "handle_segv=2",
                   # A second SIGTERM ends the daemon without joining its threads, on purpose.
                   "TSAN_OPTIONS": "halt_on_error=1:report_thread_leaks=0"}
    limit = STEP_SECONDS_MAX_FULL if full else STEP_SECONDS_MAX
    status, output = execute([path], limit, environment, echo=True)
    closing = CLOSING_LINE.findall(output)
    passed, failed, skipped = (int(n or 0) for n in closing[-1]) if closing else (0, 0, 0)
    if (status or not closing) and not failed:
        failed = 1
        say(f"{title}: exit status {status}, " + ("" if closing else "no closing line"))
    say(f"{title}: {tally.add(title, passed, failed, skipped)}, {time.time() - start:.0f} s")


# ---- what only --full does -------------------------------------------------------------------
def fuzz(tally, only):
    """Runs each fuzz program for a while on its seeds in tests/fuzz/corpus/<name>/."""
    if not glob.glob(os.path.join(ROOT, "tests/fuzz/fuzz_*.c")) or not build("fuzz", tally):
        return
    for program in sorted(glob.glob(os.path.join(ROOT, "build/fuzz/fuzz/fuzz_*"))):
        name = os.path.basename(program)
        if only and not re.search(only, name):
            continue
        say(f"== {name}, {FUZZ_SECONDS} s")
        found = os.path.join(ROOT, "build/fuzz/corpus", name)
        os.makedirs(found, exist_ok=True)
        seeds = os.path.join(ROOT, "tests/fuzz/corpus", name)
        command = [program, f"-max_total_time={FUZZ_SECONDS}", "-timeout=10", "-rss_limit_mb=2048",
                   f"-artifact_prefix={found}-", "-print_final_stats=1", found]
        status, output = execute(command + ([seeds] if os.path.isdir(seeds) else []),
                                 FUZZ_SECONDS * 4)
        if status:
            say(output[-4000:].rstrip())
        say(f"{name}: {tally.add(name, int(status == 0), int(status != 0))}")


def coverage(tally):
    if not build("coverage", tally):
        return
    for counts in glob.glob(os.path.join(ROOT, "build/coverage/**/*.gcda"), recursive=True):
        os.remove(counts)
    ctest("coverage", tally, None)
    for name, path in suites(None):
        if name not in RELEASE_ONLY:
            run_suite(name, path, "coverage", tally, True)
    say("== line coverage")
    status, output = execute(["gcovr", "--root", ROOT, "--filter", "runtime/", "--filter",
                              "kernels/", "--object-directory", "build/coverage",
                              "--html", "build/coverage/coverage.html",
                              "--print-summary"], STEP_SECONDS_MAX)
    say(output.rstrip())
    if status:
        tally.add("coverage report", 0, 1)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/run", description="Build and run the tests.")
    parser.add_argument("--full", action="store_true", help="also what takes longer")
    parser.add_argument("--only", metavar="PATTERN", help="names matching this expression")
    return parser.parse_args()


def runs_on(preset, name, full):
    if preset == "release":
        return True
    return name not in RELEASE_ONLY and (full or name not in INSTRUMENTED_IN_FULL)


def run_everything(arguments, tally):
    only, full = arguments.only, arguments.full
    presets = ["release", "asan"] + (["tsan"] if full else [])
    building = Building(presets[0])
    for preset, following in zip(presets, presets[1:] + [None]):
        built = building.succeeded(tally)
        if following:
            building = Building(following, behind=True)
        if not built:
            continue
        ctest(preset, tally, only)
        for name, path in suites(only):
            if runs_on(preset, name, full):
                run_suite(name, path, preset, tally, full)
    if full:
        fuzz(tally, only)
    if full and not only:
        coverage(tally)


def main():
    arguments, tally, start = parse_arguments(), Tally(), time.time()
    say(f"Moondial tests: {describe_machine()}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_everything(arguments, tally)
    except KeyboardInterrupt:
        end_all()
        say("interrupted")
        tally.add("interrupted", 0, 1)
    if arguments.only and not (tally.passed or tally.failed):
        say(f"nothing matches {arguments.only}")
        tally.add("--only", 0, 1)
    for name in tally.names:
        say(f"FAILED: {name}")
    say(f"took {time.time() - start:.0f} s")
    say(tally.closing_line())
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
