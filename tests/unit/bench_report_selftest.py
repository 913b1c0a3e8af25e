#!/usr/bin/env python3
"""The tables and plots of tests/bench/tft/report.py, from results made up here."""

import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "bench", "tft"))
import report  # noqa: E402


def timing(median, **more):
    return {"median_ms": median, "min_ms": median / 2, "error": 1e-6} | more


RESULTS = {
    "128/20/2": {"commit": "b", "peers": {report.OURS: {"problem": "status 1: gone"}}},
    "32/20/2": {"commit": "a", "peers": {
        report.OURS: timing(5.0, floor_share=0.5), "OpenVINO": timing(40.0),
        "ONNX Runtime": timing(50.0), "torch.compile": {"problem": "no compiler"}}},
    "32/1/2": {"commit": "a", "peers": {report.OURS: timing(0.5, floor_share=0.4),
                                        "OpenVINO": timing(4.0)}},
}


class Report(unittest.TestCase):
    def test_best_peer_is_the_fastest_that_was_timed(self):
        self.assertEqual(report.best_peer(RESULTS["32/20/2"]["peers"]), ("OpenVINO", 40.0))
        self.assertIsNone(report.best_peer(RESULTS["128/20/2"]["peers"]))

    def test_every_cell_and_every_reason_is_shown(self):
        text = report.text(RESULTS)
        for words in ("hidden 32, batch 20, 2 threads", "left out: no compiler", "8.00",
                      "left out: status 1: gone", "50 %", "measured at a, b"):
            self.assertIn(words, text)
        order = [line.split()[:2] for line in report.summary_lines(RESULTS)[1:]]
        self.assertEqual(order, [["32", "1"], ["32", "20"], ["128", "20"]])

    def test_plots_are_xml_with_a_line_for_each_peer(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = report.write_plots(RESULTS, folder)
            self.assertEqual([os.path.basename(p) for p in paths], ["hidden_32_threads_2.svg"])
            root = xml.etree.ElementTree.parse(paths[0]).getroot()
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(len(lines), 3)


if __name__ == "__main__":
    unittest.main()
