/*
 * Operators that change nothing: Identity, Dropout in inference, a Cast to what it is already, a
 * Reshape to the same shape, padding by nothing, a Concat of one, x * 1, x + 0 and the like. Many
 * cost nothing even when they stay (planning makes views of them), but they stand between nodes
 * that other passes look for.
 *
 * What the sizes of a run could make into a real change (Slice, Expand, Squeeze) goes only where
 * constants prove that they do not, or where the graph has no free sizes at all. Also here, for
 * such graphs: values that follow from shapes alone become constants.
 */
#include "graph/body.h"
#include "graph/graph_internal.h"
#include "graph/rewrite.h"

/* Input i is a constant whose elements all equal `number`; an absent one counts as `absent`. */
static bool is_number(const struct md__rewrite *rewrite, const struct md_node *node, int i,
                      double number, bool absent)
{
    double found;
    int value = md__body_in(node, i);
    return value == MD_NONE ? absent : md__rw_number(rewrite, value, &found) && found == number;
}

/* A constant of one element that broadcasts to no more axes than x has. */
static bool is_scalar(const struct md__rewrite *rewrite, int value, int x)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    return constant && md_tensor_count(constant) == 1 &&
           constant->shape.rank <= md__rw_rank(rewrite, x);
}

/* The operand that an arithmetic operator hands on, or MD_NONE. x + 0 makes 0 of -0: equal. */
static int neutral(const struct md__rewrite *rewrite, const struct md_node *node)
{
    bool adds = node->op == MD_OP_ADD || node->op == MD_OP_SUB;
    bool turns = node->op == MD_OP_ADD || node->op == MD_OP_MUL;
    for (int i = 1; i >= (turns ? 0 : 1); i--)
        if (is_number(rewrite, node, i, adds ? 0 : 1, false) &&
            is_scalar(rewrite, node->in[i], node->in[1 - i]))
            return node->in[1 - i];
    return MD_NONE;
}

static bool is_straight(const struct md_node *node)
{
    const struct md_attr *perm = md_node_attr(node, "perm");
    for (int i = 0; perm && i < perm->count; i++)
        if (perm->ints[i] != i)
            return false;
    return perm != NULL;
}

static bool cuts_nothing(const struct md__rewrite *rewrite, const struct md_node *node)
{
    int64_t ends[MD_RANK_MAX];
    int count = md__rw_ints(rewrite, md__body_in(node, 2), ends, MD_RANK_MAX);
    bool all = count >= 0 && is_number(rewrite, node, 1, 0, false);
    for (int i = 0; all && i < count; i++)
        all = ends[i] >= INT32_MAX;
    return all && is_number(rewrite, node, 4, 1, true);
}

/* Results in another order would have the same shape: the steps must all be 1. */
static bool keeps_shape(const struct md__rewrite *rewrite, const struct md_node *node)
{
    return md__sizes_are_fixed(rewrite->graph) &&
           md__rw_alike(rewrite, node->in[0], node->out[0]) &&
           (node->op != MD_OP_SLICE || is_number(rewrite, node, 4, 1, true));
}

/* The input that output 0 is the same as, or MD_NONE. */
static int same_as(const struct md__rewrite *rewrite, const struct md_node *node)
{
    bool same = false;
    switch (node->op) {
    case MD_OP_ADD:
    case MD_OP_SUB:
    case MD_OP_MUL:
    case MD_OP_DIV:
    case MD_OP_POW:
        return neutral(rewrite, node);
    case MD_OP_IDENTITY:
        same = true;
        break;
    case MD_OP_DROPOUT:
        same = md__body_in(node, 2) == MD_NONE; /* not told to train */
        break;
    case MD_OP_CAST:
    case MD_OP_CAST_LIKE:
        same = md__rw_dtype(rewrite, node->in[0]) &&
               md__rw_dtype(rewrite, node->in[0]) == md__rw_dtype(rewrite, node->out[0]);
        break;
    case MD_OP_RESHAPE:
    case MD_OP_FLATTEN:
    case MD_OP_UNSQUEEZE:
        same = md__rw_alike(rewrite, node->in[0], node->out[0]);
        break;
    case MD_OP_TRANSPOSE:
        same = is_straight(node);
        break;
    case MD_OP_CONCAT:
    case MD_OP_SUM:
    case MD_OP_MEAN:
    case MD_OP_MIN:
    case MD_OP_MAX:
        same = node->in_count == 1;
        break;
    case MD_OP_PAD:
        same = is_number(rewrite, node, 1, 0, false); /* 1 before and -1 behind: as long */
        break;
    case MD_OP_SLICE:
        same = cuts_nothing(rewrite, node) || keeps_shape(rewrite, node);
        break;
    case MD_OP_TILE:
        same = is_number(rewrite, node, 1, 1, false);
        break;
    case MD_OP_EXPAND:
    case MD_OP_SQUEEZE: /* without axes it drops what happens to be 1 */
        same = keeps_shape(rewrite, node);
        break;
    default:
        break;
    }
    return same ? node->in[0] : MD_NONE;
}

/* What the only trace has computed from shapes. */
static enum md_status make_constant(struct md__rewrite *rewrite, int n, bool *made,
                                    struct md_error *err)
{
    const struct md_node *node = &rewrite->graph->nodes[n];
    const struct md_value_info *info = &rewrite->facts->traces[0].values[node->out[0]];
    int value;
    *made = false;
    if (node->out_count != 1 || !info->known || !md__shape_is_planned(&info->shape))
        return MD_OK;
    const struct md_tensor tensor = {
        .dtype = info->dtype, .shape = info->shape, .data = (void *)(uintptr_t)info->known};
    enum md_status status = md__rw_add_constant(rewrite, &tensor, &value, err);
    if (!status)
        *made = md__rw_replace(rewrite, n, &value);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    const bool *fixed = context;
    bool made = false;
    enum md_status status = MD_OK;
    if (*fixed && rewrite->facts->count == 1)
        status = make_constant(rewrite, n, &made, err);
    const struct md_node *node = &rewrite->graph->nodes[n];
    if (status || made)
        return status;
    int value = same_as(rewrite, node);
    bool alone = node->out_count == 1 || rewrite->readers[node->out[1]] == 0;
    if (value != MD_NONE && alone && node->out_count <= 2)
        md__rw_replace(rewrite, n, (const int[]){value, MD_NONE});
    return MD_OK;
}

enum md_status md__pass_identity(struct md_graph *graph,
                                 const struct md_executable_options *options,
                                 struct md_pass_report *report, struct md_error *err)
{
    bool fixed = md__sizes_are_fixed(graph);
    return md__rewrite_run(graph, options, report, rule, &fixed, NULL, err);
}
