/*
 * Bodies of the operators on channels-last tensors [N, D.., C]: each is its ONNX operator between
 * two Transposes. The pass channels_last puts them there, weights stay as ONNX has them.
 */
#include "graph/body.h"
#include "graph/conv_pair.h"

int md__emit_turned(struct md_emit *emit, int value, int rank, bool to_last)
{
    int64_t perm[MD_RANK_MAX];
    if (value == MD_NONE)
        return MD_NONE;
    if (rank < 3 || rank > MD_RANK_MAX) {
        if (!emit->status)
            emit->status = md_fail(emit->err, MD_ERR_INVALID, "the rank of its input is not known");
        return MD_NONE;
    }
    md__layout_perm(rank, to_last, perm);
    return md__emit_node(emit, "Transpose", MD__IDS(value),
                         MD__ATTRS(MD__INTS("perm", rank, perm)));
}

void md__layout_perm(int rank, bool to_last, int64_t *perm)
{
    perm[0] = 0;
    for (int i = 1; i < rank; i++)
        perm[i] = to_last ? i + 1 : i - 1;
    perm[to_last ? rank - 1 : 1] = to_last ? 1 : rank - 1;
}

/* X, W, B?, Z?, gate?: how many axes there are is W's to say. */
MD_BODY(md_body_conv_last)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int rank = graph->values[node->in[1]].shape.rank;
    int x = node->in[0], gate = md__body_in(node, 4);
    if (gate != MD_NONE)
        x = md__emit_node(&emit, "Mul", MD__IDS(x, gate), NULL, 0);
    x = md__emit_turned(&emit, x, rank, false);
    int z = md__emit_turned(&emit, md__body_in(node, 3), rank, false);
    bool turned = node->op == MD_OP_CONV_TRANSPOSE_LAST;
    int y = md__emit_node(&emit, turned ? "ConvTranspose" : "com.microsoft.FusedConv",
                          (const int[]){x, node->in[1], md__body_in(node, 2), z}, turned ? 3 : 4,
                          node->attrs, node->attr_count);
    outputs[0] = md__emit_turned(&emit, y, rank, true);
    return emit.status;
}

/* X, W1, B1, W2, B2? */
MD_BODY(md_body_conv_pair_last)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int rank = graph->values[node->in[1]].shape.rank;
    struct md_conv_pair pair;
    md_conv_pair_split(node, &pair);
    int x = md__emit_turned(&emit, node->in[0], rank, false);
    for (int k = 0; k < 2; k++)
        x = md__emit_node(&emit, "com.microsoft.FusedConv",
                          MD__IDS(x, node->in[k ? 3 : 1], md__body_in(node, k ? 4 : 2)),
                          pair.attrs[k], pair.node[k].attr_count);
    outputs[0] = md__emit_turned(&emit, x, rank, true);
    return emit.status;
}
