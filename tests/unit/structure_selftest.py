"""Proves that every rule of structure.py can fail, and that it stays silent on a good tree.

Each case writes a tiny tree with one thing wrong and expects exactly that rule to speak.
"""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import structure  # noqa: E402

GOOD = {
    "runtime/base/list.c": '#include "base/list.h"\n\nint md_list(void)\n{\n    return 1;\n}\n',
    "runtime/base/list.h": "int md_list(void);\n",
    "runtime/http/tls.c": '#include <openssl/ssl.h>\n#include "serve/batch.h"\n',
    "tests/bench/http/ceiling.c": "#include <civetweb.h>\n",
    "runtime/script/state.c": "#include <lua.h>\n#include <lauxlib.h>\n",
    "runtime/base/clock.c": "long f(void)\n{\n    return time(NULL);\n}\n",
    "kernels/cpu/cpu.c": '#include "graph/backend.h"\n/* #include "http/server.h" */\n',
    "lua/moondial/app.lua": "-- app\nlocal function f()\n    return 1\nend\nreturn f\n",
    "tools/go": '#!/bin/sh\nf() {\n    echo TODO\n}\n',
    "tests/unit/test_list.c": "#include <lua.h>\n",
}


def findings(tree, exceptions=None):
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            target = os.path.join(root, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "w", encoding="utf-8") as file:
                file.write(text)
        return structure.check_tree(root, exceptions or {})


def rules(tree, exceptions=None):
    return [finding.rule for finding in findings(tree, exceptions)]


def lines(count, line="x = 1"):
    return "".join(f"{line}\n" for _ in range(count))


def c_function(length):
    return "int f(int a,\n      int b)\n{\n" + lines(length - 4, "    a++;") + "}\n"


class EveryRuleCanFail(unittest.TestCase):
    def assert_rule(self, rule, path, text):
        self.assertEqual(rules({path: text}), [rule], f"{path}: {text[:60]!r}")

    def test_a_good_tree_is_silent(self):
        self.assertEqual(findings(GOOD), [])

    def test_include_direction(self):
        for path, target in [
            ("runtime/base/a.c", "tensor/tensor.h"), ("runtime/graph/a.c", "serve/batch.h"),
            ("runtime/serve/a.h", "script/state.h"), ("runtime/script/a.c", "http/server.h"),
            ("runtime/http/a.c", "cli/cli.h"), ("runtime/model/a.c", "kernels/cpu/cpu.h"),
            ("kernels/cpu/a.c", "model/model.h"), ("kernels/cpu/isa/a.c", "../graph/graph.h"),
        ]:
            self.assert_rule("include", path, f'  #  include "{target}"\n')
        for path in ["runtime/cli/a.c", "runtime/serve/a.c"]:
            self.assertEqual(rules({path: '#include "kernels/cpu/cpu.h"\n'}), [])

    def test_only_place(self):
        for path, target in [
            ("runtime/serve/a.c", "lua.h"), ("runtime/http/a.c", "civetweb.h"),
            ("runtime/http/a.c", "openssl/ssl.h"),
            ("runtime/series/a.c", "sqlite3.h"), ("runtime/base/a.c", "curl/curl.h"),
            ("kernels/cpu/a.c", "cuda_runtime.h"), ("runtime/series/a.c", "jansson.h"),
            ("kernels/cpu/conv.c", "dnnl.h"),
        ]:
            self.assert_rule("only-place", path, f"#include <{target}>\n")

    def test_clock(self):
        for call in ["time(NULL)", "clock_gettime(CLOCK_REALTIME, &t)", "md_clock_system()"]:
            self.assert_rule("clock", "runtime/serve/a.c", f"int f(void)\n{{\n    {call};\n}}\n")
        self.assertEqual(rules({"runtime/cli/a.c": "int t = time(NULL);\n"}), [])
        self.assertEqual(rules({"runtime/base/a.c": "/* not time(NULL) */\n"}), [])

    def test_function_length(self):
        lua = "local function f()\n    if x then y = 'end' end\n" + lines(68, "    y()") + "end\n"
        python = "def f():\n" + lines(70, "    pass")
        shell = "#!/bin/sh\nf() {\n" + lines(69, "    :") + "}\n"
        for path, text in [("tests/a.c", c_function(71)), ("tests/a.lua", lua),
                           ("tools/a.py", '"""a"""\n' + python), ("tests/run", shell)]:
            self.assert_rule("function", path, text)
        self.assertEqual(rules({"tests/a.c": c_function(70)}), [])
        knr = "static int f(void) {\n" + lines(70, "    a++;") + "}\n"
        self.assertEqual(rules({"tests/a.c": knr}), ["function"])

    def test_unparsable_python(self):
        self.assert_rule("function", "tools/a.py", "def f(:\n")

    def test_file_length(self):
        self.assert_rule("file", "tests/a.c", lines(501, "int x;"))
        self.assertEqual(rules({"tests/a.c": lines(500, "int x;")}), [])
        long = {"tests/a.c": lines(700, "int x;")}
        self.assertEqual(rules(long, {("file", "tests/a.c"): 700}), [])
        self.assertEqual(rules(long, {("file", "tests/a.c"): 699}), ["file"])
        over = {"tests/a.c": lines(801, "int x;")}
        self.assertEqual(rules(over, {("file", "tests/a.c"): 900}), ["file"])

    def test_width(self):
        self.assert_rule("width", "scripts/a.lua", "-- " + "é" * 98 + "\n")
        self.assertEqual(rules({"scripts/a.lua": "-- " + "é" * 97 + "\n"}), [])

    def test_tab(self):
        self.assert_rule("tab", "runtime/base/a.c", "\tint x;\n")
        self.assert_rule("tab", "scripts/a.lua", "x\t= 1\n")

    def test_owner(self):
        word = "TO" + "DO"
        self.assert_rule("owner", "runtime/base/a.c", f"/* {word}: later */\n")
        self.assert_rule("owner", "lua/a.lua", "-- FIX" + "ME later\n")
        self.assertEqual(rules({"lua/a.lua": f"-- {word}(maria): later\n"}), [])

    def test_essay(self):
        body = lines(60, "int x;")
        self.assert_rule("essay", "runtime/base/a.c", body)
        self.assert_rule("essay", "tools/a", "#!/bin/sh\n" + lines(60, "x=1"))
        self.assertEqual(rules({"runtime/base/a.c": "/* why */\n" + body}), [])

    def test_an_exception_excuses_only_as_often_as_it_says(self):
        tabs = {"runtime/base/a.c": "\tint x;\n\tint y;\n"}
        self.assertEqual(rules(tabs, {("tab", "runtime/base/a.c"): 2}), [])
        self.assertEqual(rules(tabs, {("tab", "runtime/base/a.c"): 1}), ["tab"])

    def test_a_stale_exception_fails(self):
        self.assertEqual(rules(GOOD, {("width", "runtime/base/list.c"): 1}), ["exception"])

    def test_a_malformed_exception_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("width runtime/base/a.c\n")
            file.flush()
            with self.assertRaises(SystemExit):
                structure.read_exceptions(file.name)


class TheFileOnDisk(unittest.TestCase):
    def test_the_list_of_exceptions_parses(self):
        here = os.path.dirname(os.path.abspath(__file__))
        structure.read_exceptions(os.path.join(here, "structure_exceptions.txt"))


if __name__ == "__main__":
    unittest.main()
