"""Rehearsals without a daemon: the command reads the store that one has left."""
import json
import os
import sqlite3
import tempfile
import unittest

from daemon import Daemon, run_cli
from test_rehearse import RULES, Night, counts, spans_of, spans_of_events


class WithoutADaemon(unittest.TestCase):
    """The store alone: its folder is read, nothing is locked or written."""

    def setUp(self):
        self.night = Night()
        self.night.begin()
        self.night.play(90)
        self.events = self.night.history()
        self.night.end()

    def tearDown(self):
        self.night.__exit__()

    def run_it(self, *flags):
        return run_cli("rehearse", self.night.folder, "--state", self.night.state, *flags)

    def test_compares_with_what_was_recorded(self):
        code, out, err = self.run_it("--json")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertEqual(report["against"], "recorded")
        self.assertEqual(spans_of(report, "new"), spans_of_events(self.events))
        self.assertEqual(counts(report) | {"same": 0}, dict.fromkeys(counts(report), 0))
        self.night.write("rules.lua", (RULES % {"hot": 101}).replace('"full"', '"fuller"'))
        code, out, err = self.run_it()
        self.assertEqual((code, err), (0, ""))
        self.assertIn("old: what was recorded\n", out)
        self.assertRegex(out, r"\nfuller \(warning\)  new: \d+ alerts, .*; old: 0 alerts\n")
        self.assertRegex(out, r"\nfull \(warning\)  new: no such rule; old: \d+ alerts, ")
        self.assertRegex(out, r"\n  gone  +[abc] cpu  ")

    def test_a_beginning_before_the_history_is_told(self):
        code, out, _ = self.run_it("--since", "7d")
        self.assertEqual(code, 0)
        self.assertIn("The history begins at 1 Jan 00:01: nothing is known before.", out)

    def test_live_rules_need_a_daemon(self):
        code, _, err = self.run_it("--against", "live")
        self.assertEqual(code, 2)
        self.assertIn("no daemon answers", err)
        code, _, err = run_cli("rehearse", self.night.folder, "--control", self.night.socket)
        self.assertEqual(code, 2)
        self.assertIn("no daemon listens", err)

    def test_bad_input(self):
        for flags, text in ((("--since", "2 moons"), "neither a time"),
                            (("--rule", "none"), "there is no rule"),
                            (("--against", "paper"), "live"),
                            (("--html", "/none/such/page.html"), "/none/such")):
            code, _, err = self.run_it(*flags)
            self.assertNotEqual(code, 0, flags)
            self.assertIn(text, err)
        self.night.write("rules.lua", "return {\n  { name = 'x', },\n  wrong\n")
        code, _, err = self.run_it()
        self.assertEqual(code, 2)
        self.assertIn("rules.lua:", err)
        code, _, err = run_cli("rehearse", "/none/such")
        self.assertEqual(code, 2)

    def test_damaged_frames_are_stepped_over_and_told(self):
        database = next(os.path.join(self.night.state, name)
                        for name in os.listdir(self.night.state) if name.endswith(".db"))
        with sqlite3.connect(database) as connection:
            times = [row[0] for row in connection.execute(
                "SELECT time_ms FROM alert_tick ORDER BY time_ms")]
            for time_ms, damage in ((times[0], b""), (times[40], b"\xff" * 64),
                                    (times[41], b"\x00" * 5)):
                connection.execute("UPDATE alert_tick SET cells = ? WHERE time_ms = ?",
                                   (damage, time_ms))
        connection.close()
        code, out, err = self.run_it("--json")
        self.assertEqual((code, err), (0, ""))
        report = json.loads(out)
        self.assertEqual((report["damaged"], report["frames"]), (3, 87))
        code, out, _ = self.run_it()
        self.assertIn("3 damaged frames were left out", out)

    def test_an_empty_history_says_so(self):
        with tempfile.TemporaryDirectory(prefix="moondial-rehearse-") as state:
            code, _, err = run_cli("rehearse", self.night.folder, "--state", state)
            self.assertEqual(code, 2)
            self.assertIn(state, err)
            with Daemon({}, ["--state", state], folder=self.night.folder):
                pass
            code, out, err = run_cli("rehearse", self.night.folder, "--state", state)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("The history is empty", out)
            self.assertIn("nothing can be said", out)


if __name__ == "__main__":
    unittest.main()
