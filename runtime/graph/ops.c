/*
 * The operator table made from MD_OPS, and the search by name. Names are looked up while graphs are
 * built, a few thousand times at most, so the search is a plain walk.
 */
#include "graph/ops.h"

#include <string.h>

#include "graph/body.h"
#include "graph/infer.h"

static const struct md_op_info op_table[MD_OP_COUNT] = {
#define X(id, name, in_min, in_max, out_min, out_max, infer, body)                                 \
    [MD_OP_##id] = {name, in_min, in_max, out_min, out_max, infer, body},
    MD_OPS(X)
#undef X
};

const struct md_op_info *md_op_info(enum md_op op)
{
    return &op_table[op];
}

bool md_op_is_control(enum md_op op)
{
    return op == MD_OP_IF || op == MD_OP_LOOP || op == MD_OP_SCAN;
}

bool md_op_is_random(enum md_op op)
{
    switch (op) {
    case MD_OP_RANDOM_NORMAL:
    case MD_OP_RANDOM_NORMAL_LIKE:
    case MD_OP_RANDOM_UNIFORM:
    case MD_OP_RANDOM_UNIFORM_LIKE:
    case MD_OP_BERNOULLI:
    case MD_OP_MULTINOMIAL:
        return true;
    default:
        return false;
    }
}

/* Operators of other domains that mean exactly what a standard one means. */
static const char *const aliases[][2] = {
    {"com.microsoft.Gelu", "Gelu"},
    {"com.microsoft.QuantizeLinear", "QuantizeLinear"},
    {"com.microsoft.DequantizeLinear", "DequantizeLinear"},
    {"com.microsoft.SimplifiedLayerNormalization", "SimplifiedLayerNormalization"},
};

enum md_status md_op_find(const char *name, enum md_op *op, struct md_error *err)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (strcmp(aliases[i][0], name) == 0)
            name = aliases[i][1];
    for (int i = 0; i < MD_OP_COUNT; i++) {
        if (strcmp(op_table[i].name, name) == 0) {
            *op = (enum md_op)i;
            return MD_OK;
        }
    }
    return md_fail(err, MD_ERR_UNSUPPORTED, "unknown operator \"%.80s\"", name);
}
