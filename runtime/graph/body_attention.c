/* Body of InterpretableAttention: heads with queries and keys of their own, values shared,
 * probabilities averaged. */
#include "graph/body.h"

#include <math.h>

/* [B, T, heads * size] to [B, heads, T, size], or to [B, heads, size, T] for keys. */
static int emit_heads(struct md_emit *emit, int x, int64_t heads, int64_t size, bool keys)
{
    static const int64_t rows[4] = {0, 2, 1, 3}, columns[4] = {0, 2, 3, 1};
    int shape = md__emit_ints(emit, 4, (int64_t[]){0, 0, heads, size});
    int split = md__emit_node(emit, "Reshape", MD__IDS(x, shape), NULL, 0);
    return md__emit_node(emit, "Transpose", MD__IDS(split),
                         MD__ATTRS(MD__INTS("perm", 4, keys ? columns : rows)));
}

/* The size of one axis of x, as a vector of one. */
static int emit_size(struct md_emit *emit, int x, int64_t axis)
{
    int shape = md__emit_node(emit, "Shape", MD__IDS(x), NULL, 0);
    return md__emit_node(emit, "Slice",
                         MD__IDS(shape, md__emit_ints(emit, 1, (int64_t[]){axis}),
                                 md__emit_ints(emit, 1, (int64_t[]){axis + 1})),
                         NULL, 0);
}

/* bool [Q, Q]: true where the query (row) must not look, from its own place on. */
static int emit_future(struct md_emit *emit, int queries)
{
    const int64_t zero = 0, one = 1;
    int axes[2] = {md__emit_ints(emit, 1, &zero), md__emit_ints(emit, 1, &one)};
    int start = md__emit_constant(emit, MD_I64, 0, NULL, &zero);
    int step = md__emit_constant(emit, MD_I64, 0, NULL, &one);
    int count = md__emit_node(emit, "Squeeze", MD__IDS(queries, axes[0]), NULL, 0);
    int keys = md__emit_node(emit, "Range", MD__IDS(start, count, step), NULL, 0);
    int rows = md__emit_node(emit, "Unsqueeze", MD__IDS(keys, axes[1]), NULL, 0);
    return md__emit_node(emit, "GreaterOrEqual", MD__IDS(keys, rows), NULL, 0);
}

/*
 * The whole mask of a causal attention, [B, Q, K], from the mask of the keys before the queries'
 * own (MD_NONE: none of these are hidden).
 */
static int emit_causal(struct md_emit *emit, const struct md_node *node)
{
    int batch = emit_size(emit, node->in[0], 0), queries = emit_size(emit, node->in[0], 1);
    int keys = emit_size(emit, node->in[1], 1), past = md__body_in(node, 3);
    int before = md__emit_node(emit, "Sub", MD__IDS(keys, queries), NULL, 0);
    const struct md_attr first = MD__INT("axis", 0), last = MD__INT("axis", 2);
    int all_past = md__emit_node(emit, "Concat", MD__IDS(batch, queries, before), &first, 1);
    int all_future = md__emit_node(emit, "Concat", MD__IDS(batch, queries, queries), &first, 1);
    if (past == MD_NONE)
        past = md__emit_constant(emit, MD_BOOL, 0, NULL, &(uint8_t){0});
    past = md__emit_node(emit, "Expand", MD__IDS(past, all_past), NULL, 0);
    int future =
        md__emit_node(emit, "Expand", MD__IDS(emit_future(emit, queries), all_future), NULL, 0);
    return md__emit_node(emit, "Concat", MD__IDS(past, future), &last, 1);
}

MD_BODY(md_body_interpretable_attention)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int64_t heads = md_node_int(node, "heads", 0), size = md_node_int(node, "head_size", 0);
    if (heads < 1 || size < 1)
        return md_fail(err, MD_ERR_INVALID, "heads and head_size must be positive");
    double scale = md_node_float(node, "scale", 1.0 / sqrt((double)size));
    int q = emit_heads(&emit, node->in[0], heads, size, false);
    int k = emit_heads(&emit, node->in[1], heads, size, true);
    int scores = md__emit_node(&emit, "MatMul", MD__IDS(q, k), NULL, 0);
    scores = md__emit_node(&emit, "Mul", MD__IDS(scores, md__emit_float(&emit, scale)), NULL, 0);
    bool causal = md_node_int(node, "causal", 0) != 0;
    int hidden = causal ? emit_causal(&emit, node) : md__body_in(node, 3);
    if (hidden != MD_NONE) {
        int axis = md__emit_ints(&emit, 1, (int64_t[]){1});
        int bias = md__emit_float(&emit, md_node_float(node, "mask_bias", -1e9));
        int mask = md__emit_node(&emit, "Unsqueeze", MD__IDS(hidden, axis), NULL, 0);
        scores = md__emit_node(&emit, "Where", MD__IDS(mask, bias, scores), NULL, 0);
    }
    int p = md__emit_node(&emit, "Softmax", MD__IDS(scores), MD__ATTRS(MD__INT("axis", -1)));
    int mean =
        md__emit_node(&emit, "ReduceMean", MD__IDS(p, md__emit_ints(&emit, 1, (int64_t[]){1})),
                      MD__ATTRS(MD__INT("keepdims", 0)));
    outputs[0] = md__emit_node(&emit, "MatMul", MD__IDS(mean, node->in[2]), NULL, 0);
    return emit.status;
}
