"""moondial repl at a terminal: lines, completion, history, Ctrl-C; and what is written to the
folder after a question is served. A stuck expression ends, and nobody waits for it."""
import os
import shutil
import tempfile
import threading
import time
import unittest

from daemon import Daemon
from terminal import Terminal
from test_repl import CLOCK, FILES, Base


class Write(Base):
    NEW = "function score.of(value)\n    return value * FACTOR + {}\nend\n"

    def setUp(self):
        self.daemon.replace("score.lua", FILES["score.lua"])
        self.wait_score(1, 2)

    def path(self, name="score.lua"):
        return os.path.join(self.daemon.folder, name)

    def text(self):
        with open(self.path(), encoding="utf-8") as file:
            return file.read()

    def wait_score(self, value, want):
        for _ in range(200):
            if self.daemon.get(f"/score/{value}").json()["score"] == want:
                return
            time.sleep(0.02)
        self.fail("the daemon did not take the file over")

    def test_written_after_yes_only_and_served_then(self):
        before = self.text()
        self.refuse(2, "--yes", lines=self.NEW.format(10) + ":write\n")
        self.assertEqual(self.text(), before)
        os.chmod(self.path(), 0o640)
        code, out, err = self.run_repl(lines=self.NEW.format(10) + ":write --yes\n:diff\n"
                                       "score.of(1)\n")
        self.assertEqual((code, err), (0, ""), out)
        self.assertRegex(out, r"wrote score.lua\ngeneration \d+ serves\n")
        self.assertTrue(out.endswith("(nothing is changed)\n12\n"), out)
        self.assertEqual(self.text(), before.replace("value * FACTOR", "value * FACTOR + 10"))
        self.assertEqual(os.stat(self.path()).st_mode & 0o777, 0o640)
        self.assertEqual([name for name in os.listdir(self.daemon.folder) if "~" in name], [])
        self.wait_score(1, 12)

    def test_somebody_else_s_change_is_not_overwritten(self):
        lines = self.NEW.format(20)
        with Terminal("repl", "--state", self.state) as terminal:
            terminal.wait("moondial> ")
            for line in lines.rstrip("\n").split("\n"):
                terminal.line(line)
            terminal.wait("another one")
            with open(self.path(), "a", encoding="utf-8") as file:
                file.write("-- somebody else\n")
            terminal.ask(":diff", "has changed on disk since")
            terminal.line(":write --yes")
            terminal.wait("has changed on disk since this session took it")
            self.assertTrue(self.text().endswith("-- somebody else\n"))

    def test_redefine_try_write_live_at_a_terminal(self):
        with Terminal("repl", "--state", self.state) as terminal:
            terminal.wait("moondial> ")
            terminal.ask("score.of(5)", r"\n\d+\n")
            terminal.line("function score.of(value)")
            terminal.wait(r"\.\.\. ")
            terminal.line("    return value * 1000")
            terminal.wait(r"\.\.\. ")
            terminal.ask("end", "score.of is another one in this session")
            terminal.ask("score.of(5)", r"\n5000\n")
            terminal.line(":write")
            terminal.wait(r"\+    return value \* 1000")
            terminal.wait(r"write score.lua\? \[y/N\] ")
            terminal.line("n")
            terminal.wait("nothing is written")
            terminal.wait("moondial> ")
            self.assertNotIn("1000", self.text())
            terminal.line(":write")
            terminal.wait(r"\[y/N\] ")
            terminal.line("y")
            terminal.wait(r"generation \d+ serves")
            self.wait_score(5, 5000)

    def test_a_session_without_changes_follows_what_serves(self):
        with Terminal("repl", "--state", self.state) as terminal:
            terminal.wait("moondial> ")
            terminal.ask("x = 5", "")
            terminal.ask("score.of(x)", r"\n10\n")
            changed = FILES["score.lua"].replace("FACTOR = 2", "FACTOR = 4")
            self.daemon.replace("score.lua", changed)
            self.wait_score(1, 4)
            terminal.ask("score.of(x)", r"\n20\n")
            terminal.line("function score.of(value) return 1 end")
            terminal.wait("another one")
            changed = FILES["score.lua"].replace("FACTOR = 2", "FACTOR = 6")
            self.daemon.replace("score.lua", changed)
            self.wait_score(1, 6)
            terminal.ask("score.of(x)", r"generation \d+ serves now, this session has \d+")
            terminal.ask(":reset", "a fresh state")
            terminal.ask("score.of(5)", r"\n30\n")

    def test_what_serves_is_there_when_the_files_are_broken(self):
        self.daemon.replace("score.lua", "local score = {\n")
        code, out, err = self.run_repl("--eval", "score.of(3)", "--eval", "get('/score/4').score")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"^\(the files on disk do not load, .*: score.lua:.*\)\n6\n8\n$")
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write(FILES["score.lua"].replace("FACTOR = 2", "FACTOR = 9"))
            file.flush()
            code, out, err = self.run_repl("--yes", "--eval", f":load {file.name} score.lua",
                                           "--eval", "score.of(1)", "--eval", ":write")
        self.assertEqual((code, err), (0, ""), out)
        self.assertIn("\n9\n", out)
        self.wait_score(1, 9)

    def test_edit(self):
        editor = os.path.join(self.state, "editor")
        with open(editor, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nsed -i 's/FACTOR = 2/FACTOR = 3/' \"$1\"\n")
        os.chmod(editor, 0o755)
        env = {"EDITOR": editor, "VISUAL": ""}
        with Terminal("repl", "--state", self.state, env=env) as terminal:
            terminal.wait("moondial> ")
            terminal.ask(":edit score.lua", "another one in this session|unchanged")
            terminal.ask(":diff", r"\+local FACTOR = 3")


class Interactive(Base):
    flags = ["--repl-budget-ms", "2000", "--repl-bytes-max", "20000000"]

    def terminal(self, **arguments):
        return Terminal("repl", "--state", self.state, **arguments)

    def test_prompt_colours_and_the_end(self):
        with self.terminal() as terminal:
            terminal.wait("moondial> ")
            terminal.line("{ 'text' }")
            terminal.wait("text")
            terminal.ask("1 + 1", r"\n2\n")
            terminal.ask("nosuch", "undeclared variable 'nosuch'")
            terminal.ask(":live on", "calls change live data")
            terminal.line(":quit")
            self.assertEqual(terminal.ended(), 0)
        with self.terminal() as terminal:
            terminal.wait("moondial> ")
            terminal.send("\x04")
            self.assertEqual(terminal.ended(), 0)

    def test_completion(self):
        with self.terminal() as terminal:
            terminal.wait("moondial> ")
            for typed, want in (("sco\t", "score"), ("score.\t", r"score\.of"),
                                ("md.ten\t", r"md\.tensor"), ("md.series('ho\t", "hosts"),
                                ("window('we\t", "'web"),
                                (":dif\t", ":diff"), (":edit sco\t", r"score\.lua")):
                terminal.send(typed)
                terminal.wait(want)
                terminal.send("\x15")
            terminal.send("window('web\t")
            terminal.wait("web1 +web2")
            terminal.send("\x15")
            terminal.line("t = { alpha = 1, beta = {} }")
            terminal.wait("moondial> ")
            terminal.send("t.al\t")
            terminal.wait(r"t\.alpha")

    def test_history(self):
        path = os.path.join(self.state, "history")
        env = {"MOONDIAL_HISTORY": path}
        with self.terminal(env=env) as terminal:
            terminal.wait("moondial> ")
            terminal.ask("1000 + 1", "1001")
            terminal.send("\x1b[A")
            terminal.wait(r"1000 \+ 1")
            terminal.line("1")
            terminal.wait("1011")
            terminal.line(":quit")
            terminal.ended()
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with self.terminal(env=env) as terminal:
            terminal.wait("moondial> ")
            terminal.send("\x10\x10\x10")
            terminal.wait(r"1000 \+ 1")

    def test_several_lines_and_giving_them_up(self):
        with self.terminal() as terminal:
            terminal.wait("moondial> ")
            terminal.line("for i = 1, 2 do")
            terminal.wait(r"\.\.\. ")
            terminal.line("print(i * 111)")
            terminal.wait(r"\.\.\. ")
            terminal.ask("end", r"111\n222\n")
            terminal.line("x = {")
            terminal.wait(r"\.\.\. ")
            terminal.give_up("moondial> ")
            terminal.ask("7 * 7", "49")

    def test_ctrl_c_interrupts_and_serving_goes_on(self):
        answers = []

        def ask():
            for _ in range(20):
                answers.append(self.daemon.get("/hello").body)

        with self.terminal() as terminal:
            terminal.wait("moondial> ")
            for code in ("while true do end", "md.sleep(60)", "while true do md.sleep(0.01) end",
                         "while true do pcall(function() while true do end end) end",
                         "local s = ('a'):rep(30) .. 'b' while true do s:find('(a*)*c') end"):
                terminal.line(code)
                time.sleep(0.2)
                client = threading.Thread(target=ask)
                client.start()
                client.join(20)
                self.assertFalse(client.is_alive(), code)
                terminal.send("\x03")
                terminal.wait("interrupted|time budget")
                terminal.wait("moondial> ")
            terminal.ask("1 + 1", r"\n2\n")
        self.assertEqual(set(answers), {b"hello"})
        self.assertEqual(len(answers), 100)

    def test_a_budget_ends_it_too(self):
        self.refuse(1, "runs longer than its time budget of 2000 ms", "--eval",
                    "while true do end")
        self.refuse(1, "not enough memory", "--eval",
                    "t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e5) .. i end")

    def test_a_client_that_goes_away_ends_it(self):
        with self.terminal() as terminal:
            terminal.wait("moondial> ")
            terminal.line("md.sleep(600)")
            time.sleep(0.3)
        for _ in range(8):  # all connections are free again
            self.assertEqual(self.evaluate("1"), "1")

    def test_several_sessions_at_once(self):
        with self.terminal() as first, self.terminal() as second:
            for terminal, value in ((first, 1), (second, 2)):
                terminal.wait("moondial> ")
                terminal.ask(f"x = {value}", "")
            first.ask("x * 100", "100")
            second.ask("x * 100", "200")

    def test_the_daemon_ends_while_something_runs(self):
        state = tempfile.mkdtemp(prefix="moondial-repl-")
        try:
            with Daemon(FILES, ["--state", state, *CLOCK]) as daemon:
                with Terminal("repl", "--state", state) as terminal:
                    terminal.wait("moondial> ")
                    terminal.line("md.sleep(600)")
                    time.sleep(0.3)
                    self.assertEqual(daemon.stop(), 0)
                    terminal.wait("interrupted|hung up|daemon ends")
        finally:
            shutil.rmtree(state)


if __name__ == "__main__":
    unittest.main()
