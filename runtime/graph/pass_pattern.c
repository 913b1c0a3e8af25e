/*
 * What exporters write out becomes the standard operator that it is, so that one kernel serves all
 * spellings. The table says what is looked for and what it becomes (pattern.h is its grammar);
 * norms are found in three steps: without scale and shift, with the scale, with the shift. Means
 * over all places of a picture become pools, whose kernels know all layouts.
 *
 * float32 only. Results whose operator the backend has no kernel of its own for are left alone
 * where the table says so: there the written-out form is faster.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/pattern.h"

#define SQUARE(x) "(Pow(" x ", 2) | Mul(" x ", " x "))"
#define SQRT(x)   "(Sqrt(" x ") | Pow(" x ", 0.5))"
/* A product within a product is one: powers that are written out join the other factors. */
#define CUBE "(Mul(0.044715, Pow(x, 3)) | Mul(0.044715, x, x, x))"
#define FLAT "(Mul(0.044715, Pow(x, 2)) | Mul(0.044715, x, x))"

static const struct row {
    const char *pattern, *result;
    bool needs_kernel; /* of the backend's own, not the reference's */
} table[] = {
    {"Mul(x, 0.5, Add(1, Erf(Mul(x, 0.7071067812))))", "Gelu(x)", false},
    {"Mul(x, 0.5, Add(1, Tanh(Mul(0.7978845608, Add(x, " CUBE ")))))",
     "Gelu(x, approximate='tanh')", false},
    {"Mul(x, 0.5, Add(1, Tanh(Mul(x, 0.7978845608, Add(1, " FLAT ")))))",
     "Gelu(x, approximate='tanh')", false},
    {"Mul(x, Sigmoid(x))", "Swish(x)", false},
    {"Mul(x, Sigmoid(Mul(x, #a)))", "Swish(x, alpha=#a)", false},
    {"Mul(x, 1/Add(1, Exp(Neg(x))))", "Swish(x)", false},
    {"Mul(x, Tanh(Softplus(x)))", "Mish(x)", false},
    {"Mul(x, 0.1666666667, Clip(Add(x, 3), 0, 6))", "HardSwish(x)", false},
    {"Mul(0.1666666667, Clip(Add(x, 3), 0, 6))", "HardSigmoid(x, alpha=0.1666666667, beta=0.5)",
     false},
    {"Mul(x, HardSigmoid(x, alpha=0.1666666667, beta~0.5))", "HardSwish(x)", false},
    {"1/Add(1, Exp(Neg(x)))", "Sigmoid(x)", false},

    {"Mul(d:Sub(x, LastMean(x)), 1/" SQRT("Add(#e, LastMean(" SQUARE("d") "))") ")",
     "LayerNormalization(x, ones(-1), axis=-1, epsilon=#e)", false},
    {"Mul(LayerNormalization*(x, 1), @g)", "LayerNormalization(x, vector(g, -1))", false},
    {"Add(LayerNormalization*(x, g), @b)", "LayerNormalization(x, g, vector(b, -1))", false},

    {"Mul(x, 1/" SQRT("Add(#e, LastMean(" SQUARE("x") "))") ")",
     "RMSNormalization(x, ones(-1), axis=-1, epsilon=#e)", true},
    {"Mul(x, Pow(Add(#e, LastMean(" SQUARE("x") ")), -0.5))",
     "RMSNormalization(x, ones(-1), axis=-1, epsilon=#e)", true},
    {"Mul(RMSNormalization*(x, 1), @g)", "RMSNormalization(x, vector(g, -1))", true},

    {"Mul(InstanceNormalization*(x, 1, 0), @g)", "InstanceNormalization(x, vector(g, 1), zeros(1))",
     false},
    {"Add(InstanceNormalization*(x, g, 0), @b)", "InstanceNormalization(x, g, vector(b, 1))",
     false},
    {"Reshape(InstanceNormalization*(r:Reshape(x, s), 1, 0), t)",
     "GroupNormalization(x, ones(1), zeros(1), num_groups=dim(r, 1))", false},
    {"Mul(GroupNormalization*(x, 1, 0), @g)", "GroupNormalization(x, vector(g, 1), zeros(1))",
     false},
    {"Add(GroupNormalization*(x, g, 0), @b)", "GroupNormalization(x, g, vector(b, 1))", false},
};
enum { ROWS = sizeof table / sizeof *table };

struct patterns {
    struct md__pattern rows[ROWS];
};

static bool has_kernel(const struct md__rewrite *rewrite, const char *result)
{
    enum md_op op;
    char name[48] = "";
    strncat(name, result, strcspn(result, "("));
    return !md_op_find(name, &op, NULL) && md__has_own_kernel(rewrite->options, op);
}

/*
 * Where a Reshape to [N, groups, rest] stands for groups of channels (the words r and x): it must
 * not have touched the first axis.
 */
static bool keeps_groups(const struct md__rewrite *rewrite, const struct md__pattern *pattern,
                         const struct md__match *match)
{
    if (pattern->slot_count == 0 || strcmp(pattern->names[0], "r") != 0)
        return true;
    int r = match->values[0], x = match->values[1];
    for (int t = 0; t < rewrite->facts->count; t++) {
        const struct md_value_info *from = md__facts_of(rewrite->facts, t, x);
        const struct md_value_info *to = md__facts_of(rewrite->facts, t, r);
        if (!from || !to || to->shape.rank != 3 || from->shape.rank < 3 ||
            from->shape.dim[0] != to->shape.dim[0])
            return false;
    }
    return true;
}

/* Whether a reduction of x is over all axes from 2 on, and these are more than one: over a last
 * axis layer norms take means too. */
static bool is_spatial(const struct md__rewrite *rewrite, const struct md_node *node)
{
    int64_t axes[MD_RANK_MAX];
    const struct md_attr *attr = md_node_attr(node, "axes");
    int rank = md__rw_rank(rewrite, node->in[0]), count = -1;
    unsigned seen = 0;
    if (node->in_count > 1 && node->in[1] != MD_NONE)
        count = md__rw_ints(rewrite, node->in[1], axes, MD_RANK_MAX);
    else if (attr && attr->count <= MD_RANK_MAX)
        memcpy(axes, attr->ints, (size_t)(count = attr->count) * sizeof *axes);
    for (int i = 0; i < count; i++)
        seen |= axes[i] >= -rank && axes[i] < rank ? 1u << (axes[i] + (axes[i] < 0 ? rank : 0)) : 1;
    return rank >= 4 && count == rank - 2 && seen == ((1u << rank) - 1 - 3);
}

/* ReduceMean and ReduceMax over all places are what pooling calls global. */
static enum md_status pool_globally(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    const char *op = node.op == MD_OP_REDUCE_MEAN  ? "GlobalAveragePool"
                     : node.op == MD_OP_REDUCE_MAX ? "GlobalMaxPool"
                                                   : NULL;
    int value;
    if (!op || !is_spatial(rewrite, &node))
        return MD_OK;
    enum md_status status = md__rw_node(rewrite, op, node.in, 1, NULL, 0, &value, 1, err);
    if (!status && !md_node_int(&node, "keepdims", 1)) {
        int pooled = value;
        status = md__rw_node(rewrite, "Flatten", &pooled, 1, NULL, 0, &value, 1, err);
    }
    if (!status)
        md__rw_replace(rewrite, n, &value);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    const struct patterns *patterns = context;
    struct md__match match;
    for (int r = 0; r < ROWS; r++) {
        const struct md_node *node = &rewrite->graph->nodes[n];
        int out = node->out[0], value;
        if (node->out_count != 1 || md__rw_dtype(rewrite, out) != MD_F32)
            return MD_OK;
        if (!md__graph_pattern_match(rewrite, &patterns->rows[r], out, &match) ||
            (table[r].needs_kernel && !has_kernel(rewrite, table[r].result)))
            continue;
        enum md_status status = md__graph_pattern_build(rewrite, &patterns->rows[r], &match,
                                                        table[r].result, &value, err);
        if (status)
            return status;
        if (value != MD_NONE && keeps_groups(rewrite, &patterns->rows[r], &match) &&
            md__rw_replace(rewrite, n, &value))
            return MD_OK;
        md__rw_undo(rewrite);
    }
    return pool_globally(rewrite, n, err);
}

enum md_status md__pass_pattern(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err)
{
    struct patterns *own = malloc(sizeof *own);
    enum md_status status = own ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int r = 0; !status && r < ROWS; r++)
        status = md__graph_pattern_read(table[r].pattern, &own->rows[r], err);
    if (!status)
        status = md__rewrite_run(graph, options, report, rule, own, NULL, err);
    free(own);
    return status;
}
