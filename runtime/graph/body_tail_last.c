/*
 * The channels-last operators that need no body of their own: the ONNX operator of the same name,
 * without "moondial." and "Last", between two Transposes; then z is added and the activation of
 * attributes `activation` and `activation_params` comes, where the operator has them.
 */
#include <stdio.h>
#include <string.h>

#include "graph/activation.h"
#include "graph/body.h"

#define INPUTS_MAX 9

int md__last_residual(enum md_op op)
{
    switch (op) {
    case MD_OP_CONV_LAST:
    case MD_OP_INSTANCE_NORM_LAST:
    case MD_OP_GROUP_NORM_LAST:
        return 3;
    case MD_OP_RESIZE_LAST:
        return 4;
    case MD_OP_BATCH_NORM_LAST:
        return 5;
    default:
        return MD_NONE;
    }
}

MD_BODY(md_body_tail_last)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    const char *name = strchr(md_op_info(node->op)->name, '.') + 1;
    char op[64];
    snprintf(op, sizeof op, "%.*s", (int)(strlen(name) - strlen("Last")), name);
    int rank = graph->values[node->in[0]].shape.rank, residual = md__last_residual(node->op);
    int in[INPUTS_MAX], count = 0;
    for (int i = 0; i < node->in_count && i < INPUTS_MAX; i++)
        if (i != residual)
            in[count++] = node->in[i];
    in[0] = md__emit_turned(&emit, in[0], rank, false);
    int y = md__emit_node(&emit, op, in, count, node->attrs, node->attr_count);
    y = md__emit_turned(&emit, y, rank, true);
    int z = residual == MD_NONE ? MD_NONE : md__body_in(node, residual);
    if (z != MD_NONE)
        y = md__emit_node(&emit, "Add", MD__IDS(y, z), NULL, 0);
    outputs[0] = md__emit_activation(&emit, node, y);
    return emit.status;
}
