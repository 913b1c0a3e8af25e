"""md.model(...):predict over windows that roll: the same answers, what is kept, what is refused."""
import concurrent.futures
import os
import re
import shutil
import tempfile
import unittest

from daemon import Daemon

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = os.path.join(ROOT, "tests", "reference", "tft", "fleet_small", "model")

APP = """
local md = require "moondial"
local model = md.model "tft"
local PAST, FUTURE, REALS, POSITION = 16, 6, 14, 8

-- A number that one series has at one step: every call sees the same history.
local function value(series, step, column)
    return (series * 7919 + step * 104729 + column * 1299709) % 997 / 500 - 1
end

local function side(rows, first, steps)
    local real, code = {}, {}
    for row = 1, rows do
        real[row], code[row] = {}, {}
        for t = 1, steps do
            real[row][t] = {}
            for column = 1, REALS do
                real[row][t][column] = column == POSITION and t / PAST
                    or column < 4 and row % 5 or value(row, first + t, column)
            end
            code[row][t] = { row % 2, (first + t) % 3 }
        end
    end
    return md.tensor.from(real), md.tensor.from(code, "int64")
end

local function inputs(rows, step)
    local encoder_cont, encoder_cat = side(rows, step - PAST, PAST)
    local decoder_cont, decoder_cat = side(rows, step, FUTURE)
    return {
        encoder_cont = encoder_cont, encoder_cat = encoder_cat,
        decoder_cont = decoder_cont, decoder_cat = decoder_cat,
        encoder_lengths = md.tensor.full({ rows }, PAST, "int64"),
        decoder_lengths = md.tensor.full({ rows }, FUTURE, "int64"),
        target_scale = md.tensor.full({ rows, 2 }, 1),
    }
end

local function windows(rows, step)
    local keys, lengths = {}, {}
    for row = 1, rows do
        keys[row], lengths[row] = "series" .. row, PAST
    end
    return { keys = keys, lengths = lengths, step = step }
end

-- The largest difference between a full run and one that rolls, in shares of the range.
local function compared(rows, step)
    local given = inputs(rows, step)
    local full = assert(model:predict(given)).prediction
    local rolled = assert(model:predict(given, windows(rows, step))).prediction
    local flat = full:reshape { full:dim(1) * FUTURE * full:dim(3) }
    local gap = rolled:sub(full):abs():reshape { flat:dim(1) }
    return gap:nanmax(1):get(1) / (flat:nanmax(1):get(1) - flat:nanmin(1):get(1))
end

local wrong = {
    counts = function() return { keys = { "a" }, lengths = { 1, 2 }, step = 1 } end,
    keys = function() return { keys = { {} }, lengths = { 1 }, step = 1 } end,
    lengths = function() return { keys = { "a" }, lengths = { "long" }, step = 1 } end,
    long = function() return { keys = { "a" }, lengths = { -1e300 }, step = 1 } end,
    step = function() return { keys = { "a" }, lengths = { 1 } } end,
    never = function() return { keys = { "a" }, lengths = { 1 }, step = -math.huge } end,
    nowhere = function() return { keys = { "a" }, lengths = { 1 }, step = 0 / 0 } end,
    rows = function() return { keys = { "a" }, lengths = { 1 }, step = 1 } end,
}

return md.app {
    name = "rolling", version = "1",
    models = { tft = { path = "models/tft" } },
    routes = {
        md.get("/tick/{rows}/{step}", { key = false }, function(request)
            return { gap = compared(tonumber(request.path.rows), tonumber(request.path.step)) }
        end),
        md.get("/wrong/{what}", { key = false }, function(request)
            local fine, result, err = pcall(model.predict, model, inputs(2, 50),
                wrong[request.path.what]())
            return { raised = not fine and tostring(result) or nil, detail = err and err.detail }
        end),
    },
}
"""


class Rolling(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="moondial-rolling-")
        shutil.copytree(MODEL, os.path.join(self.folder, "models", "tft"))
        self.daemon = None

    def tearDown(self):
        if self.daemon:
            self.daemon.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    def start(self, config="return {}"):
        self.daemon = Daemon({"app.lua": APP, "config.lua": config}, folder=self.folder).__enter__()
        self.daemon.wait_ready()

    def gap(self, rows, step):
        answer = self.daemon.get(f"/tick/{rows}/{step}")
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()["gap"]

    def metric(self, name, result=None):
        labels = 'model="tft"' + (f',result="{result}"' if result else "")
        found = re.search(rf"^{name}{{{labels}}} (\S+)$", self.daemon.get("/metrics").body.decode(),
                          re.MULTILINE)
        return float(found.group(1)) if found else None

    def test_rolling_equals_full(self):
        self.start()
        for step in (100, 101, 102, 105, 101, 400):
            self.assertLess(self.gap(40, step), 1e-5)  # 40 rows: a batch in two pieces
        kept = self.metric("moondial_kept_rows_total", "kept")
        self.assertGreater(kept, self.metric("moondial_kept_rows_total", "computed") / 2)
        self.assertGreater(self.metric("moondial_kept_bytes"), 40 * 16 * 11 * 16 * 4)
        self.assertEqual(self.metric("moondial_rolling_runs_total", "full"), 0)

    def test_callers_beside_each_other(self):
        self.start()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for gap in pool.map(lambda i: self.gap(1 + i % 3, 100 + i // 4), range(60)):
                self.assertLess(gap, 1e-5)

    def test_without_memory_runs_are_full(self):
        self.start("return { rolling_bytes_max = 20000 }")
        for step in (100, 101):
            self.assertLess(self.gap(5, step), 1e-5)
        self.assertEqual(self.metric("moondial_rolling_runs_total", "full"), 2)
        self.assertLessEqual(self.metric("moondial_kept_bytes"), 20000)

    def test_rolling_can_be_switched_off(self):
        self.start("return { rolling_bytes_max = 0 }")
        self.assertEqual(self.gap(5, 100), 0)
        self.assertEqual(self.metric("moondial_kept_bytes"), 0)

    def test_misuse_is_refused(self):
        self.start()
        for what, text in (("counts", "a key and a length for each row"),
                           ("keys", "keys are strings"),
                           ("lengths", "lengths are numbers"), ("long", "lengths are numbers"),
                           ("step", "step is a number"), ("never", "step is a number"),
                           ("nowhere", "step is a number")):
            self.assertIn(text, self.daemon.get(f"/wrong/{what}").json()["raised"])
        self.assertIn("1 windows for 2 rows", self.daemon.get("/wrong/rows").json()["detail"])


if __name__ == "__main__":
    unittest.main()
