"""Proves that tests/run counts what programs report and never turns a broken suite into silence."""
import os
import sys
import tempfile
import unittest
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


if __name__ == "__main__":
    unittest.main()
