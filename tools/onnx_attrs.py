#!/usr/bin/env python3
"""Writes runtime/model/onnx_attrs.c: the attributes of every standard ONNX operator.

    python tools/onnx_attrs.py > runtime/model/onnx_attrs.c      (needs the onnx package)

The union over all versions of an operator, because the reader meets all of them.
"""
import collections
import textwrap

import onnx

LETTERS = {"FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "FLOATS": "F",
           "INTS": "I", "STRINGS": "S", "SPARSE_TENSOR": "p"}

HEADER = f'''/*
 * The attributes of the standard's operators, made by tools/onnx_attrs.py from onnx
 * {onnx.__version__}, not edited by hand. A row lists "name:types", types being f(loat), i(nt),
 * s(tring), t(ensor), g(raph), sparse (p), and in capitals their lists; an operator that changed
 * its mind has several.
 */
#include "model/onnx_build.h"

#include <stdlib.h>
#include <string.h>

struct row {{
    const char *op, *attrs;
}};

static const struct row rows[] = {{'''

FOOTER = '''};

static int by_op(const void *key, const void *row)
{
    return strcmp(key, ((const struct row *)row)->op);
}

const char *md__onnx_attrs_of(const char *op)
{
    const struct row *row = bsearch(op, rows, sizeof rows / sizeof *rows, sizeof *rows, by_op);
    return row ? row->attrs : NULL;
}
'''


def letter(kind):
    return LETTERS.get(str(kind).split(".")[-1], "")


def main():
    operators = collections.defaultdict(lambda: collections.defaultdict(set))
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            own = operators[schema.name]
            for name, attribute in schema.attributes.items():
                own[name].add(letter(attribute.type))
    print(HEADER)
    for op in sorted(operators):
        text = " ".join(f"{name}:{''.join(sorted(types))}"
                        for name, types in sorted(operators[op].items()))
        lines = textwrap.wrap(text, 84, break_on_hyphens=False, drop_whitespace=False) or [""]
        quoted = "\n     ".join(f'"{line}"' for line in lines)
        one = f'    {{"{op}", {quoted}}},'
        print(one if len(lines) == 1 and len(one) <= 100 else f'    {{"{op}",\n     {quoted}}},')
    print(FOOTER, end="")


if __name__ == "__main__":
    main()
