"""Proves that tests/run counts what programs report and never turns a broken suite into silence."""
import os
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock
import xml.etree.ElementTree as xml
from contextlib import redirect_stdout
from io import StringIO

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import runner  # noqa: E402


def entry(status, output):
    element = xml.Element("testcase", status=status)
    xml.SubElement(element, "system-out").text = output
    return element


class Counting(unittest.TestCase):
    def test_programs_that_count_their_cases(self):
        for output, expected in [
            ("[==========] 3 test(s) run.\n[  PASSED  ] 3 test(s).\n", (3, 0, 0)),
            ("[  PASSED  ] 2 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n", (2, 0, 1)),
            ("...\nRan 15 tests in 0.03s\n\nOK (skipped=2)\n", (13, 0, 2)),
            ("checking\n4 passed, 0 failed\n", (4, 0, 0)),
            ("no count at all\n", (1, 0, 0)),
        ]:
            self.assertEqual(runner.count_entry(entry("run", output)), expected)

    def test_a_failed_program_has_at_least_one_failure(self):
        for output, expected in [
            ("[  PASSED  ] 2 test(s).\n[  FAILED  ] 1 test(s), listed below:\n", (2, 1, 0)),
            ("Ran 5 tests in 1s\nFAILED (failures=1, errors=1)\n", (3, 2, 0)),
            ("[  PASSED  ] 2 test(s).\n==1==ERROR: LeakSanitizer\n", (2, 1, 0)),
            ("Segmentation fault", (0, 1, 0)),
            ("", (0, 1, 0)),
        ]:
            self.assertEqual(runner.count_entry(entry("fail", output)), expected)

    def test_the_closing_line(self):
        tally = runner.Tally()
        tally.add("a", 2, 0)
        self.assertEqual(tally.closing_line(), "2 passed, 0 failed")
        other = runner.Tally()
        other.add("b", 1, 3, 1)
        tally.merge(other)
        self.assertEqual(tally.closing_line(), "3 passed, 3 failed, 1 skipped")
        self.assertEqual(tally.names, ["b"])


class Suites(unittest.TestCase):
    def tally_of(self, script):
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            path = os.path.join(folder, "run")
            with open(path, "w", encoding="utf-8") as file:
                file.write("#!/bin/sh\n" + script)
            os.chmod(path, 0o755)
            tally = runner.Tally()
            runner.run_suite("suite", path, "release", tally, False)
            return tally.passed, tally.failed, tally.skipped

    def test_what_a_suite_reports(self):
        self.assertEqual(self.tally_of("echo '3 passed, 0 failed, 1 skipped'"), (3, 0, 1))
        self.assertEqual(self.tally_of("echo '3 passed, 2 failed'; exit 1"), (3, 2, 0))
        script = 'test -n "$MOONDIAL" && echo 1 passed, 0 failed'
        self.assertEqual(self.tally_of(script), (1, 0, 0))

    def test_a_broken_suite_is_a_failure(self):
        self.assertEqual(self.tally_of("echo '3 passed, 0 failed'; exit 1"), (3, 1, 0))
        self.assertEqual(self.tally_of("exit 0"), (0, 1, 0))
        self.assertEqual(self.tally_of("kill -9 $$"), (0, 1, 0))

    def test_a_hanging_command_is_killed_with_its_children(self):
        with redirect_stdout(StringIO()) as said:
            status, _ = runner.execute(["/bin/sh", "-c", "sleep 60 & wait"], 0.2)
        self.assertNotEqual(status, 0)
        self.assertIn("took longer", said.getvalue())


class Builds(unittest.TestCase):
    def build(self, says, status, behind):
        seen = []

        def execute(command, _, environment=None, echo=False):
            seen.append((command, echo))
            return status, says

        tally = runner.Tally()
        with redirect_stdout(StringIO()) as said, mock.patch.object(runner, "execute", execute):
            built = runner.Building("asan", behind).succeeded(tally)
        self.assertEqual(seen[0][0][-2:], ["tools/build", "asan"])
        return built, tally.names, said.getvalue()

    def test_one_that_fails_is_a_failure_with_its_words(self):
        for behind in (False, True):
            built, names, said = self.build("error: no such thing\n", 1, behind)
            self.assertEqual((built, names), (False, ["build asan"]))
            self.assertEqual("no such thing" in said, behind)  # else they were echoed as they came
        self.assertEqual(self.build("done\n", 0, True), (True, [], "done\n"))

    def test_behind_is_the_lowest_priority(self):
        status, output = runner.execute(runner.BEHIND + ["nice"], 20)
        self.assertEqual((status, int(output)), (0, min(19, os.nice(0) + 19)))

    def test_an_interrupt_ends_what_runs_behind(self):
        with redirect_stdout(StringIO()):
            thread = threading.Thread(target=runner.execute, args=(["sleep", "60"], 50))
            thread.start()
            while not runner.RUNNING:
                time.sleep(0.01)
            runner.end_all()
            thread.join(20)
        self.assertFalse(thread.is_alive())
        self.assertEqual(runner.RUNNING, set())


if __name__ == "__main__":
    unittest.main()
