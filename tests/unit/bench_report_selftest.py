#!/usr/bin/env python3
"""The tables and plots of the benchmarks' report.py, from results made up here."""

import importlib.util
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "bench", "tft"))
import report  # noqa: E402


def other_report(bench, file="report.py"):
    """report.py of another benchmark, under a name of its own."""
    path = os.path.join(ROOT, "tests", "bench", bench, file)
    spec = importlib.util.spec_from_file_location(f"{bench}_report", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = other_report("models")
tables = other_report("fleet", "tables.py")


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


MODELS = {
    "unet/2": {"commit": "c", "engines": {
        models.OURS: timing(10.0, floor_ms=4.0, peak_mb=100.0, load_ms=5.0),
        models.LOW: timing(11.0, peak_mb=60.0),
        "ONNX Runtime": timing(12.0, peak_mb=80.0, load_ms=50.0),
        "OpenVINO": {"problem": "not converted"}}},
    "resnet50/1": {"commit": "c", "engines": {
        models.OURS: timing(10.0, floor_ms=4.0, peak_mb=100.0, load_ms=5.0),
        "ONNX Runtime": timing(9.0, peak_mb=80.0, load_ms=50.0),
        "OpenVINO": timing(8.0, peak_mb=120.0, load_ms=60.0)}},
}


class ModelsReport(unittest.TestCase):
    def test_ratios_are_to_the_better_peer(self):
        self.assertEqual(models.better_peer(MODELS["resnet50/1"]["engines"]), ("OpenVINO", 8.0))
        self.assertAlmostEqual(models.ratio(MODELS["resnet50/1"]["engines"]), 0.8)
        self.assertAlmostEqual(models.ratio(MODELS["unet/2"]["engines"]), 1.2)
        self.assertIsNone(models.ratio({models.OURS: {"problem": "gone"}}))

    def test_every_cell_and_every_reason_is_shown(self):
        text = models.text(MODELS)
        for words in ("| resnet50 | 10 | 40 % | 8 V | 0.80 × | - | - | - | - |", "**1.20 ×**",
                      "| unet | 5 | - | 50 O | 100 | 80 O | 1.25 × | 60 | 0.75 × | 11 |",
                      "unet/2: OpenVINO: not converted", "in 1 of 2 cells"):
            self.assertIn(words, text)
        self.assertLess(text.index("resnet50"), text.index("| unet"))

    def test_models_come_by_kind_and_size(self):
        names = ["zoo", "unet", "gru_2x128_b16", "gru_2x128_b1", "resnet18"]
        self.assertEqual(sorted(names, key=models.order),
                         ["resnet18", "unet", "gru_2x128_b1", "gru_2x128_b16", "zoo"])

    def test_rolling_is_ours_and_no_peer(self):
        peers = {report.OURS: timing(5.0), report.ROLLING: timing(1.0), "OpenVINO": timing(40.0)}
        self.assertEqual(report.best_peer(peers)[0], "OpenVINO")
        self.assertIn("40.0", report.summary_lines({"32/20/2": {"peers": peers}})[1].split())

    def test_passes_are_compared_with_the_step_before(self):
        rows = [{"step": step, "threads": 1, "median_ms": ms, "min_ms": ms}
                for step, ms in (("nothing", 60.0), ("fold", 30.0), ("fuse", 3.0))]
        text = report.passes_text({"32/20": rows})
        self.assertIn("hidden 32, batch 20", text)
        self.assertEqual([line.split()[-2] for line in text.splitlines()[2:]], ["2.00", "10.00"])


class Fleet(unittest.TestCase):
    RESULTS = {
        "20": {"commit": "a", "programs": {
            tables.OURS: {"forecast_ms": 5.0, "bytes": 460000, "resident_mb": 50.0},
            tables.BEST: {"forecast_ms": 60.0, "bytes": 510000, "resident_mb": 200.0}}},
        "520": {"commit": "b", "programs": {
            tables.OURS: {"forecast_ms": 100.0, "bytes": 1, "resident_mb": 150.0},
            tables.BEST: {"problem": "wrong by 3"}}},
    }
    GROWTH = {"servers": {"20": {"forecast_ms": 5.0, "bytes": 1e6, "resident_mb": 50.0},
                          "1044": {"forecast_ms": 200.0, "bytes": 1e7, "resident_mb": 250.0}},
              "horizon": {"12": {"forecast_ms": 2.0, "bytes": 1e6, "model_ms": 1.0},
                          "96": {"forecast_ms": 5.0, "bytes": 1e6, "model_ms": 2.0}}}

    def test_ratios_targets_and_reasons_are_shown(self):
        text = tables.text(self.RESULTS)
        for words in ("20 servers", "12.0", "18-25", "left out: wrong by 3", "measured at a, b",
                      "Moondial: 205 KB for each server more"):
            self.assertIn(words, text)

    def test_growth_tells_memory_of_a_server(self):
        text = tables.growth_text(self.GROWTH)
        self.assertIn("memory: 200 KB for each server more", text)
        self.assertEqual(tables.linear({20: 5.0, 100: 50.0}), {20: 10.0, 100: 50.0})

    def test_plots_have_a_line_for_each_program(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = tables.write_plots(self.RESULTS, self.GROWTH, folder)
            names = [os.path.basename(path) for path in paths]
            self.assertEqual(names, ["servers.svg", "horizon.svg"])
            for path in paths:
                root = xml.etree.ElementTree.parse(path).getroot()
                self.assertEqual(len(root.findall("{http://www.w3.org/2000/svg}polyline")), 3)


if __name__ == "__main__":
    unittest.main()
