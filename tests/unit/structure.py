"""The shape of the tree, checked: what may include what, and how long things may get.

Rules (each is a function below that yields findings):

  include       includes point down the layer list; kernels/ sees graph, tensor and base only
  only-place    a foreign header appears in one place: lua.h in script/, sqlite3.h in store/, ...
  clock         nothing below cli reads the clock of the OS, except base/clock.c and base/wait.c
  function      a function has at most 70 lines
  file          a file has at most 800 lines, and more than 500 only when listed as an exception
  width         a line has at most 100 characters
  tab           no tabs in C and Lua
  owner         a TODO or FIXME names its owner: TODO(name)
  essay         a source file of more than 50 lines opens with a comment

structure_exceptions.txt lists what is allowed to break a rule, with the limit it must keep. The
list may only shrink: an entry that is no longer needed is itself a failure.

Run as `structure.py [ROOT]`; structure_selftest.py proves that every rule can fail.
"""
import ast
import os
import re
import sys
from collections import namedtuple

LAYERS = ["cli", "http", "script", "alert", "series", "serve", "store", "model", "graph",
          "tensor", "base"]
KERNEL_SEES = {"graph", "tensor", "base"}
SEE_KERNELS = {"serve", "cli"}
TREES = ["runtime", "kernels", "lua", "scripts", "plugins", "examples", "tests", "tools", ".ci"]
SKIPPED_FOLDERS = {"build", "__pycache__", "corpus"}

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
FILE_LINES_UNLISTED_MAX = 500
WIDTH_MAX = 100
ESSAY_FROM_LINES = 50

# Header pattern -> the places (path prefixes) that may include it.
ONLY_PLACES = [
    (r"(lua|lauxlib|lualib|luajit)\.h$", ["runtime/script/"]),
    (r"openssl/", ["runtime/http/tls.c"]),
    (r"civetweb\.h$", ["tests/bench/http/"]),
    (r"sqlite3(ext)?\.h$", ["runtime/store/"]),
    (r"curl/", ["runtime/base/fetch.c"]),
    (r"(cuda\w*|cublas\w*|cudnn\w*)\.h$", ["kernels/cuda/"]),
    (r"(dnnl|oneapi/dnnl/).*\.h$", ["kernels/cpu/dnnl.c"]),
    (r"jansson\.h$", ["runtime/base/", "runtime/model/", "runtime/script/", "runtime/cli/",
                      "runtime/http/"]),
]
CLOCK_CALL = re.compile(r"\b(clock_gettime|gettimeofday|md_clock_system|ftime|timespec_get)\s*\("
                        r"|\btime\s*\(\s*(NULL|0|&\w+)\s*\)")
CLOCK_PLACES = ("runtime/cli/", "runtime/base/clock.", "runtime/base/wait.")

Finding = namedtuple("Finding", "rule path line size text")


class Source:
    """One text file: its path from the root, language and lines."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.splitlines()
        self.language = language_of(path, self.lines)


def language_of(path, lines):
    by_suffix = {".c": "c", ".h": "c", ".cu": "c", ".cuh": "c", ".lua": "lua", ".py": "python",
                 ".sh": "shell"}
    suffix = os.path.splitext(path)[1]
    if suffix in by_suffix:
        return by_suffix[suffix]
    first = lines[0] if lines and not suffix else ""
    if not first.startswith("#!"):
        return None
    interpreters = [("python", "python"), ("lua", "lua"), ("moondial", "lua"), ("sh", "shell")]
    return next((language for word, language in interpreters if word in first), None)


def read_sources(root):
    for tree in TREES:
        for folder, folders, names in os.walk(os.path.join(root, tree)):
            folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS)
            for name in sorted(names):
                path = os.path.join(folder, name)
                if os.path.islink(path) or os.path.getsize(path) > 4_000_000:
                    continue
                with open(path, encoding="utf-8", errors="replace") as file:
                    source = Source(os.path.relpath(path, root), file.read())
                if source.language:
                    yield source


# ---- includes --------------------------------------------------------------------------------
def includes_of(source):
    """(line number, quoted or angled, target) of each #include; none inside comments."""
    if source.language != "c":
        return
    for number, line in enumerate(blank_c(source.text, strings=False).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1), match.group(2)


def layer_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "runtime" and len(parts) > 2 else parts[0]


def check_include(source):
    here = layer_of(source.path)
    if here not in LAYERS and here != "kernels":
        return
    for number, quote, target in includes_of(source):
        there = target.split("/")[0] if "/" in target else None
        problem = None
        if here == "kernels":
            if there in LAYERS and there not in KERNEL_SEES:
                problem = f"kernels/ may include graph, tensor and base only, not {target}"
        elif there == "kernels":
            if here not in SEE_KERNELS:
                problem = f"{here}/ may not include {target}: a backend is chosen in serve/ or cli/"
        elif there in LAYERS and LAYERS.index(there) < LAYERS.index(here):
            problem = f"{here}/ lies below {there}/ and may not include {target}"
        if quote == '"' and target.startswith(".."):
            problem = f"write {target} from the runtime root"
        if problem:
            yield Finding("include", source.path, number, 1, problem)


def check_only_place(source):
    if source.path.split("/")[0] not in ("runtime", "kernels"):
        return
    for number, _, target in includes_of(source):
        for pattern, places in ONLY_PLACES:
            if re.match(pattern, target) and not source.path.startswith(tuple(places)):
                yield Finding("only-place", source.path, number, 1,
                              f"{target} belongs to {' '.join(places)} only")


def check_clock(source):
    if source.language != "c" or source.path.split("/")[0] not in ("runtime", "kernels"):
        return
    if source.path.startswith(CLOCK_PLACES):
        return
    for number, line in enumerate(blank_c(source.text).splitlines(), 1):
        if CLOCK_CALL.search(line):
            yield Finding("clock", source.path, number, 1,
                          "time comes from a struct md_clock or an argument")


# ---- lengths ---------------------------------------------------------------------------------
def blank(text, pattern):
    """Replaces what pattern matches by as many line breaks as it held."""
    return pattern.sub(lambda match: "\n" * match.group(0).count("\n") or " ", text)


C_COMMENT = r"/\*.*?\*/|//[^\n]*"
C_STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
C_NOISE = re.compile(f"{C_STRING}|{C_COMMENT}", re.DOTALL)
LUA_NOISE = re.compile(r"--\[(=*)\[.*?\]\1\]|--[^\n]*|\[(=*)\[.*?\]\2\]"
                       r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank_c(text, strings=True):
    """C without comments and, unless told otherwise, without the content of strings."""
    if strings:
        return blank(text, C_NOISE)
    return C_NOISE.sub(lambda m: m.group(0) if m.group(0)[0] in "\"'"
                       else "\n" * m.group(0).count("\n") or " ", text)


def c_functions(source):
    """(first line, name, lines): a body opens with a brace in column 0 or after `) {`."""
    start = None
    lines = blank_c(source.text).splitlines()
    for number, line in enumerate(lines, 1):
        if start is None:
            previous = lines[number - 2].rstrip() if number > 1 else ""
            alone = line.rstrip() == "{" and previous.endswith(")")
            same = re.match(r"[A-Za-z_].*\)\s*\{\s*$", line) and "=" not in line
            if alone or same:
                start = number if same else head_line(lines, number - 1)
        elif line.startswith("}"):
            head = " ".join(lines[start - 1:number])
            name = re.search(r"(\w+)\s*\(", head)
            yield start, name.group(1) if name else "?", number - start + 1
            start = None


def head_line(lines, number):
    """The first line of a function head that may span several lines."""
    while number > 1 and lines[number - 1].startswith((" ", "\t")):
        number -= 1
    return number


def lua_functions(source):
    openers = []
    for match in re.finditer(r"\b(function|if|do|repeat|until|end)\b|\n",
                             blank(source.text, LUA_NOISE)):
        word = match.group(0)
        line = match.string.count("\n", 0, match.start()) + 1
        if word in ("function", "if", "do", "repeat"):
            openers.append((word, line, match.end()))
        elif word in ("end", "until") and openers:
            opener, start, at = openers.pop()
            if opener == "function":
                name = re.match(r"\s*([\w.:]+)", match.string[at:])
                yield start, name.group(1) if name else "function", line - start + 1


def python_functions(source):
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name, node.end_lineno - node.lineno + 1


def shell_functions(source):
    start, name = None, None
    for number, line in enumerate(source.lines, 1):
        match = re.match(r"(?:function\s+)?(\w+)\s*(?:\(\))?\s*\{\s*$", line)
        if start is None and match:
            start, name = number, match.group(1)
        elif start is not None and line.startswith("}"):
            yield start, name, number - start + 1
            start = None


FUNCTIONS = {"c": c_functions, "lua": lua_functions, "python": python_functions,
             "shell": shell_functions}


def check_function(source):
    try:
        functions = list(FUNCTIONS[source.language](source))
    except SyntaxError as error:
        yield Finding("function", source.path, error.lineno or 1, 1, f"does not parse: {error.msg}")
        return
    for start, name, length in functions:
        if length > FUNCTION_LINES_MAX:
            yield Finding("function", f"{source.path}:{name}", start, length,
                          f"{name} has {length} lines, the limit is {FUNCTION_LINES_MAX}")


def check_file(source):
    length = len(source.lines)
    if length > FILE_LINES_UNLISTED_MAX:
        yield Finding("file", source.path, length, length,
                      f"{length} lines; above {FILE_LINES_UNLISTED_MAX} only with a listed reason, "
                      f"never above {FILE_LINES_MAX}")


# ---- lines -----------------------------------------------------------------------------------
def check_width(source):
    for number, line in enumerate(source.lines, 1):
        if len(line) > WIDTH_MAX:
            yield Finding("width", source.path, number, len(line),
                          f"{len(line)} characters, the limit is {WIDTH_MAX}")


def check_tab(source):
    for number, line in enumerate(source.lines, 1):
        if "\t" in line and source.language in ("c", "lua"):
            yield Finding("tab", source.path, number, 1, "indent with four spaces")


COMMENT_MARKERS = {"c": r"(/\*|^\s*\*|//)", "lua": "--", "python": r"(^|\s)# ",
                   "shell": r"(^|\s)# "}


def check_owner(source):
    marker = COMMENT_MARKERS[source.language]
    pattern = re.compile(marker + r".*\b(TODO|FIXME)\b(?!\([\w.@-]+\))")
    for number, line in enumerate(source.lines, 1):
        if pattern.search(line):
            yield Finding("owner", source.path, number, 1, "who does this? write it as WORD(name)")


def check_essay(source):
    if len(source.lines) <= ESSAY_FROM_LINES or source.path.startswith("tests/"):
        return
    opening = source.lines[1:2] if source.lines[0].startswith("#!") else source.lines[0:1]
    if not re.match(r'\s*(/\*|//|--|#(?!\s*(include|define|pragma|if))|"""|r""")', opening[0]):
        yield Finding("essay", source.path, 1, 1, "open with what this file is for and why")


CHECKS = [check_include, check_only_place, check_clock, check_function, check_file, check_width,
          check_tab, check_owner, check_essay]


# ---- exceptions ------------------------------------------------------------------------------
def read_exceptions(path):
    """Lines of `RULE PATH[:FUNCTION] LIMIT  reason`; returns {(rule, path): limit}."""
    exceptions = {}
    if not os.path.exists(path):
        return exceptions
    with open(path, encoding="utf-8") as file:
        for line in file:
            fields = line.split(None, 3)
            if not fields or fields[0].startswith("#"):
                continue
            if len(fields) < 4 or not fields[2].isdigit():
                raise SystemExit(f"{path}: want RULE PATH LIMIT REASON, got: {line.rstrip()}")
            exceptions[fields[0], fields[1]] = int(fields[2])
    return exceptions


def excused(finding, exceptions, used):
    """Per-line rules count occurrences in a file; function and file compare the length."""
    key = (finding.rule, finding.path)
    limit = exceptions.get(key)
    if limit is None:
        return False
    if finding.rule in ("function", "file"):
        used[key] = finding.size
        return finding.size <= min(limit, FILE_LINES_MAX)
    used[key] = used.get(key, 0) + 1
    return used[key] <= limit


def check_tree(root, exceptions):
    """All findings that no exception excuses, and one for each exception nothing needs."""
    used, findings = {}, []
    for source in read_sources(root):
        for check in CHECKS:
            findings += [f for f in check(source) if not excused(f, exceptions, used)]
    for rule, path in sorted(set(exceptions) - set(used)):
        text = f"needs no exception from {rule} any more"
        findings.append(Finding("exception", path, 0, 1, text))
    return findings


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "..", "..")
    exceptions = read_exceptions(os.path.join(root, "tests/unit/structure_exceptions.txt"))
    findings = check_tree(root, exceptions)
    for finding in findings:
        print(f"{finding.path}:{finding.line}: {finding.rule}: {finding.text}")
    print(f"structure: {len(findings)} findings, {len(exceptions)} exceptions")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
