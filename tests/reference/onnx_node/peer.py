"""ONNX Runtime on the same cases, and the table of both for kernels/README.md.

ONNX Runtime can crash too, so it works in a child process; what the child was at when it died
counts as crashed, and a new child goes on behind it.
"""

import collections
import multiprocessing
import re

BEGIN, END = "<!-- onnx_node: begin -->", "<!-- onnx_node: end -->"


def run_case(case, compare):
    """(outcome, why) of ONNX Runtime; whatever it refuses is unsupported."""
    import onnxruntime
    import numpy as np
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        names = [info.name for info in session.get_inputs()]
        for inputs, outputs in case.data_sets():
            got = session.run(None, dict(zip(names, map(np.asarray, inputs))))
            for ours, value in zip(got, outputs):
                problem = compare(case, "", np.asarray(ours), value)
                if problem:
                    return "wrong", problem
    except Exception as problem:  # its exceptions have no common base
        return "unsupported", " ".join(str(problem).split())[:300]
    return "passed", ""


def work(cases, first, compare, pipe):
    for index in range(first, len(cases)):
        pipe.send(run_case(cases[index], compare))
    pipe.close()


def outcomes(cases, compare):
    """[(outcome, why)], one for each case."""
    found = []
    context = multiprocessing.get_context("fork")  # the cases need no pickling
    while len(found) < len(cases):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(cases, len(found), compare, theirs))
        child.start()
        theirs.close()
        try:
            while len(found) < len(cases):
                found.append(ours.recv())
        except EOFError:
            found.append(("crashed", "the process ended"))
        child.join()
    return found


def subject(case):
    """The operator that a case is about, also when the package has written it out."""
    for node in case.model.graph.node:
        for name in node.output:
            expanded = re.match(r"(\w+?)_test_\w*_expanded_function_", name)
            if expanded:
                return expanded.group(1)
    operators = case.operators()
    if case.suite != "node":
        return f"({case.suite})"
    return operators[0] if len(operators) == 1 else "(several operators)"


def table(results, peers, versions):
    """Markdown: cases by operator; for ONNX Runtime what passed and what was wrong or crashed."""
    rows = collections.defaultdict(collections.Counter)
    for (case, outcome, _), (theirs, _) in zip(results, peers):
        for row in (rows[subject(case)], rows["**all**"]):
            row["cases"] += 1
            row["ours"] += outcome == "passed"
            row["theirs"] += theirs == "passed"
            row["wrong"] += theirs in ("wrong", "crashed")
    lines = [BEGIN, "", f"onnx {versions[0]}, ONNX Runtime {versions[1]}; made by "
             "`tests/reference/onnx_node/run --table`.", "",
             "| operator | cases | Moondial passes | ONNX Runtime passes | its wrong |",
             "|---|---|---|---|---|"]
    for name in sorted(rows, key=lambda name: (name != "**all**", name.lower())):
        row = rows[name]
        lines.append(f"| {name} | {row['cases']} | {row['ours']} | {row['theirs']} "
                     f"| {row['wrong'] or ''} |")
    return "\n".join(lines + ["", END])


def write(path, text):
    """Puts the text between the marks of a file."""
    with open(path, encoding="utf-8") as file:
        content = file.read()
    before, rest = content.split(BEGIN)
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + text + rest.split(END)[1])
