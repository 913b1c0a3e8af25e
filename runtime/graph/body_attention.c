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
    if (md__body_in(node, 3) != MD_NONE) {
        int axis = md__emit_ints(&emit, 1, (int64_t[]){1});
        int bias = md__emit_float(&emit, md_node_float(node, "mask_bias", -1e9));
        int mask = md__emit_node(&emit, "Unsqueeze", MD__IDS(node->in[3], axis), NULL, 0);
        scores = md__emit_node(&emit, "Where", MD__IDS(mask, bias, scores), NULL, 0);
    }
    int p = md__emit_node(&emit, "Softmax", MD__IDS(scores), MD__ATTRS(MD__INT("axis", -1)));
    int mean =
        md__emit_node(&emit, "ReduceMean", MD__IDS(p, md__emit_ints(&emit, 1, (int64_t[]){1})),
                      MD__ATTRS(MD__INT("keepdims", 0)));
    outputs[0] = md__emit_node(&emit, "MatMul", MD__IDS(mean, node->in[2]), NULL, 0);
    return emit.status;
}
