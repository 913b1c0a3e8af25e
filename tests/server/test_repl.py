"""moondial repl without a terminal: a session inside a running daemon by --eval and by lines; what
it changes stays its own. test_repl_terminal.py has the rest."""
import datetime
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from daemon import BINARY, ROOT, Daemon, run_cli
from test_control import Peer

FILES = {
    "app.lua": """
local md = require "moondial"
local score = require "score"

local function feed(request)
    return md.series("hosts"):feed(request.body)
end

return md.app {
    name = "repl",
    series = { hosts = { key = "host", time = "at", step_s = 60, steps = 10,
        columns = { { name = "load" }, { name = "heat" } } } },
    routes = {
        md.get("/score/{value}", function(request)
            return { score = score.of(tonumber(request.path.value)) }
        end),
        md.get("/count", function()
            return { count = md.dict("shared"):incr("count") }
        end),
        md.get("/hello", function() return "hello" end),
        md.get("/broken", function() error("broken") end),
        md.post("/feed", feed),
    },
}
""",
    "score.lua": """-- Scores.

local score = {}

local FACTOR = 2

-- Twice the value.
function score.of(value)
    return value * FACTOR
end

return score
""",
    "repl.lua": """
return { answer = { run = function() return 42 end, help = "answer()  to everything" } }
""",
}

START_MS = 1_700_000_000_000
CLOCK = ["--clock-speed", "0", "--clock-origin-ms", str(START_MS)]


def record(host, minutes_ago, load):
    moment = datetime.datetime.fromtimestamp(START_MS / 1000 - 60 * minutes_ago,
                                             datetime.timezone.utc)
    return {"host": host, "at": moment.isoformat(), "load": load, "heat": 1}


class Base(unittest.TestCase):
    flags = []

    @classmethod
    def setUpClass(cls):
        cls.state = tempfile.mkdtemp(prefix="moondial-repl-")
        cls.daemon = Daemon(FILES, ["--state", cls.state, *CLOCK, *cls.flags])
        cls.daemon.start()
        cls.daemon.wait_ready()
        cls.daemon.post("/feed", json.dumps({"records": [
            record(f"web{n}", back, n + back) for n in (1, 2) for back in range(5, 0, -1)]}))

    @classmethod
    def tearDownClass(cls):
        cls.daemon.__exit__()
        shutil.rmtree(cls.state)

    def run_repl(self, *arguments, lines=None):
        done = subprocess.run([BINARY, "repl", "--state", self.state, *arguments], input=lines,
                              stdin=subprocess.DEVNULL if lines is None else None,
                              capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    def evaluate(self, *codes):
        """What --eval prints; all codes in one session."""
        arguments = [argument for code in codes for argument in ("--eval", code)]
        code, out, err = self.run_repl(*arguments)
        self.assertEqual((code, err), (0, ""), codes)
        return out.rstrip("\n")

    def refuse(self, status, says, *arguments, lines=None):
        code, out, err = self.run_repl(*arguments, lines=lines)
        self.assertEqual((code, err.count("\n")), (status, 1), err)
        self.assertIn(says, err)
        return out


class Eval(Base):
    def test_expressions_statements_and_variables(self):
        self.assertEqual(self.evaluate("1 + 1"), "2")
        self.assertEqual(self.evaluate("= 1 + 1"), "2")
        self.assertEqual(self.evaluate("1, nil, 'x'"), '1\nnil\n"x"')
        self.assertEqual(self.evaluate("x = 20", "x = x + 1", "2 * x"), "42")
        self.assertEqual(self.evaluate("6 * 7", "_ + 1"), "42\n43")
        self.assertEqual(self.evaluate("print('a', 1)"), "a\t1")
        self.assertEqual(self.evaluate("for i = 1, 2 do print(i) end"), "1\n2")
        self.assertEqual(self.evaluate("2 -- a comment"), "2")
        self.assertEqual(self.evaluate(""), "")

    def test_results_as_json(self):
        for code, want in (("{ a = { 1, 2 } }", {"a": [1, 2]}), ("nil", None), ("x = 1", None),
                           ("1, 'b'", [1, "b"]), ("0/0", None),
                           ("md.tensor.from { 1, 2 }", [1, 2])):
            status, out, err = self.run_repl("--json", "--eval", code)
            self.assertEqual((status, err), (0, ""), code)
            self.assertEqual(json.loads(out), want, code)
        self.refuse(1, "cannot be written as JSON", "--json", "--eval", "print")

    def test_exit_statuses(self):
        self.refuse(1, "repl:1: boo", "--eval", "error('boo')")
        self.refuse(1, "undeclared variable 'nosuch'", "--eval", "nosuch()")
        self.refuse(1, "score.lua:9", "--eval", "score.of('x')")
        self.refuse(2, "near", "--eval", "x = = 1")
        self.refuse(2, "'end' expected", "--eval", "while true do")
        self.refuse(2, "no command :dance", "--eval", ":dance")
        self.refuse(1, "detail of mine", "--eval", "error({ detail = 'detail of mine' })")
        self.refuse(2, "no daemon listens", "--control", "/nowhere/x.sock", "--eval", "1")
        self.refuse(2, "usage", "stray")

    def test_it_ends_at_the_first_failure(self):
        out = self.refuse(1, "boo", "--eval", "1", "--eval", "error('boo')", "--eval", "print(3)")
        self.assertEqual(out, "1\n")
        out = self.refuse(1, "boo", lines="1\nerror('boo')\nprint(3)\n")
        self.assertEqual(out, "1\n")

    def test_lines_without_a_terminal(self):
        lines = "x = {\n  1,\n  2 }\n#x\nfunction f()\n return 7\nend\nf()\n"
        code, out, err = self.run_repl(lines=lines)
        self.assertEqual((code, out, err), (0, "2\n7\n", ""))
        self.refuse(2, "'<eof>'", lines="x = {\n")

    def test_the_sandbox_is_that_of_scripts(self):
        for name in ("io", "ffi", "debug", "package", "load", "loadstring", "setfenv", "jit"):
            self.refuse(1, f"undeclared variable '{name}'", "--eval", name)
        self.refuse(1, "", "--eval", "os.execute('true')")
        self.refuse(1, "for Moondial's own library only", "--eval",
                    "require 'moondial.native_repl'")
        self.refuse(1, "for Moondial's own library only", "--eval", "require 'moondial.native'")
        for way in ("pcall(require, '{}')", "coroutine.wrap(require)('{}')",
                    "time(function() return require '{}' end)",
                    "coroutine.wrap(function() return require '{}' end)()"):
            _, out, err = self.run_repl("--eval", way.format("moondial.native_repl"))
            self.assertIn("for Moondial's own library only", out + err, way)

    def test_output_is_bounded(self):
        self.assertLess(len(self.evaluate("('x'):rep(1000000)")), 2000)
        deep = "t = {} local at = t for i = 1, 10000 do at.next = {} at = at.next end"
        self.assertLess(len(self.evaluate(deep, "t")), 2000)
        wide = "t = {} for i = 1, 100000 do t[i] = { i, { i, { i } } } end"
        self.assertLess(len(self.evaluate(wide, "t")), 10000)
        self.assertLess(len(self.evaluate("t = {} for i = 1, 300 do t[i] = {} for k = 1, 300 do "
                                          "t[i][k] = { k } end end", "t")), 200000)
        self.refuse(1, "printed", "--eval", "while true do print(('x'):rep(1000)) end")

    def test_helpers_read_what_is_live(self):
        self.assertIn("web1", self.evaluate("servers()"))
        self.assertIn("tensor float32 [4]", self.evaluate("window('web1', 'load', 4)"))
        self.assertIn("load = ", self.evaluate("latest('web2')"))
        self.assertIn("series 'hosts' has no host 'web9'",
                      self.refuse_text("window('web9', 'load')"))
        self.assertIn("{ score = 42 }", self.evaluate("get '/score/21'"))
        self.assertIn("total = 4", self.evaluate("queues()"))
        self.assertEqual(self.evaluate("answer()"), "42")
        self.assertIn("answer()  to everything", self.evaluate("help()"))
        self.assertIn(":write", self.evaluate(":help"))

    def refuse_text(self, code):
        status, _, err = self.run_repl("--eval", code)
        self.assertEqual(status, 1)
        return err

    def test_a_request_is_traced_by_its_id(self):
        answer = self.daemon.get("/score/3")
        name = answer.headers["x-request-id"]
        self.assertRegex(name, "^[0-9a-f]{16}$")
        shown = self.evaluate(f"trace '{name}'")
        self.assertIn("GET /score/3 -> 200", shown)
        for stage in ("check", "route", "auth", "handle", "state", "lua", "encode", "write"):
            self.assertIn(stage, shown)
        self.assertIn(name, self.evaluate("trace()"))
        self.daemon.get("/broken")
        self.assertIn("/broken", self.evaluate(":trace slow"))
        self.refuse(1, "not among the recent", "--eval", "trace 'ffffffffffff'")
        status, out, _ = self.run_repl("--json", "--eval", f"trace '{name}'")
        stages = json.loads(out)["stages"]
        self.assertEqual(stages[0]["stage"], "check")
        self.assertTrue(all(stage["took_us"] >= 0 for stage in stages))

    def test_every_function_is_documented(self):
        """What completion finds stands in lua/README.md: `md.x.name` or `:name`."""
        with open(os.path.join(ROOT, "lua", "README.md"), encoding="utf-8") as file:
            text = file.read()
        missing = []
        with Peer(os.path.join(self.state, "control.sock")) as peer:
            for code in ("t = md.tensor.zeros { 1 }", "s = md.series 'hosts'", "d = md.dict 'x'",
                         "m = md.model 'x'", "b = md.json.blob {}",
                         "c = md.metrics.counter('repl_test_total', 'x')"):
                self.assertTrue(peer.ask(op="repl.eval", code=code, whole=True)["ok"], code)
            for path in ("md.", "md.json.", "md.tensor.", "md.time.", "md.log.", "md.models.",
                         "md.http.", "md.file.", "md.process.", "md.metrics.", "t:", "s:", "d:",
                         "m:", "b:", "c:"):
                names = peer.ask(op="repl.complete", line=path)["candidates"]
                self.assertGreater(len(names), 0, path)
                head = path if path.startswith("md.") else ":"
                missing += [path + name for name in names
                            if not re.search(re.escape(head + name) + r"\b", text)]
        internal = {"md.graph", "md.http.request"}
        self.assertEqual([name for name in missing if name not in internal], [])

    def test_time(self):
        for code in (":time score.of(1)", "time(function() return 1 end)"):
            self.assertRegex(self.evaluate(code), r"^median \S+ \S+  min \S+ \S+  of \d+ runs$")
        self.refuse(2, "usage: :time", "--eval", ":time")

    def test_waiting_is_possible(self):
        self.assertEqual(self.evaluate("md.sleep(0.01)"), "true")


class Private(Base):
    """What a session changes is its own."""

    NEW = "function score.of(value)\n    return value * FACTOR + 1\nend\n"

    def test_a_function_is_tried_and_nobody_else_sees_it(self):
        code, out, err = self.run_repl(lines=self.NEW + "score.of(3)\nget '/score/3'\n:diff\n"
                                       ":compare score.of(3)\n:revert\nscore.of(3)\n:diff\n")
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("score.lua: score.of is another one in this session", out)
        self.assertIn("\n7\n{ score = 7 }\n", out)
        self.assertIn("-    return value * FACTOR\n+    return value * FACTOR + 1\n", out)
        self.assertIn("-6\n+7\n", out)
        self.assertTrue(out.endswith("\n6\n(nothing is changed)\n"), out)
        self.assertEqual(self.daemon.get("/score/3").json(), {"score": 6})

    def test_variables_live_on(self):
        code, out, _ = self.run_repl(lines="x = { 1, md.tensor.from { 5 } }\ny = function() end\n"
                                     + self.NEW + "x[2]:get(1)\ny\n")
        self.assertEqual(code, 1, out)
        self.assertIn("(not kept: y)", out)
        self.assertTrue(out.endswith("\n5\n"), out)

    def test_what_does_not_load_changes_nothing(self):
        broken = "function score.of(value)\n    return nosuch(\nend\n"
        self.refuse(2, "near", lines=broken)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write("local score = {}\nerror('no way')\n")
            file.flush()
            code, out, err = self.run_repl("--eval", f":load {file.name} score.lua")
            self.assertEqual(code, 1)
            self.assertIn("score.lua:2: no way", err)
            file.seek(0)
            file.truncate()
            file.write("return { of = function(value) return -value end }\n")
            file.flush()
            out = self.evaluate(f":load {file.name} score.lua", "score.of(4)", ":files")
            self.assertIn("\n-4\n", out)
            self.assertIn("* score.lua", out)

    def test_dicts_are_private_copies(self):
        before = self.daemon.get("/count").json()["count"]
        out = self.evaluate("md.dict('shared'):get('count')", "get('/count').count",
                            "get('/count').count", "md.dict('shared'):set('mine', 1)",
                            "#md.dict('shared'):keys()")
        self.assertEqual(out.split("\n"), [str(before), str(before + 1), str(before + 2), "true",
                                           "2"])
        self.assertEqual(self.daemon.get("/count").json()["count"], before + 1)

    def test_changing_live_data_must_be_allowed(self):
        body = json.dumps({"records": [record("new", 1, 1)]})
        for code in (f"post('/feed', [=[{body}]=])", "md.series('hosts'):clear()",
                     "md.models.load('m', 'models/m')", "md.http.post('http://127.0.0.1:1', '')"):
            self.refuse(1, ":live on", "--eval", code)
        self.assertEqual(self.evaluate(":live"), "live data is only read")
        out = self.evaluate(":live on", f"post('/feed', [=[{body}]=]).accepted", ":live off",
                            ":live")
        self.assertIn("calls change live data\n1\n", out)
        self.assertIn("new", self.evaluate("servers()"))

    def test_config_is_not_tried(self):
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write("return {}")
            file.flush()
            self.refuse(2, "config.lua takes effect", "--eval", f":load {file.name} config.lua")

    def test_files_outside_of_the_folder_are_out_of_reach(self):
        for name in ("../x.lua", "/etc/passwd", "a/../../x.lua", "x.txt", ".x.lua"):
            self.refuse(1, "the name of a Lua file", "--eval", f":edit {name}")
        self.refuse(2, "needs a terminal", "--eval", ":edit score.lua")


class Commands(unittest.TestCase):
    def test_help_and_refusals(self):
        code, out, _ = run_cli("repl", "--help")
        self.assertEqual(code, 0)
        self.assertIn("--eval", out)
        code, _, err = run_cli("repl", "--eval", "1")
        self.assertEqual((code, err.count("\n")), (2, 1))
        self.assertIn("which daemon?", err)


if __name__ == "__main__":
    unittest.main()
