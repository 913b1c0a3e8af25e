/*
 * Bodies of the feature-wise operators of the Temporal Fusion Transformer: Linear, GatedLinearUnit,
 * ResampleNorm, GateAddNorm, GatedResidualNetwork, WeightedSum. Larger ones are written with the
 * smaller ones, so that a backend that lacks a large kernel still finds the regions within.
 */
#include "graph/activation.h"

#include <math.h>
#include <stdlib.h>

#define INTERPOLATION_MAX ((int64_t)1 << 26) /* elements of an interpolation matrix */

MD_BODY(md_body_linear)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    static const int64_t swap[2] = {1, 0};
    int weight = node->in[1];
    if (md_node_int(node, "transB", 1))
        weight = md__emit_node(&emit, "Transpose", MD__IDS(weight),
                               MD__ATTRS(MD__INTS("perm", 2, swap)));
    int y = md__emit_node(&emit, "MatMul", MD__IDS(node->in[0], weight), NULL, 0);
    if (md__body_in(node, 2) != MD_NONE)
        y = md__emit_node(&emit, "Add", MD__IDS(y, node->in[2]), NULL, 0);
    if (md__body_in(node, 3) != MD_NONE)
        y = md__emit_node(&emit, "Add", MD__IDS(y, node->in[3]), NULL, 0);
    outputs[0] = md__emit_activation(&emit, node, y);
    return emit.status;
}

MD_BODY(md_body_glu)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    const struct md_attr attrs[] = {MD__INT("axis", -1), MD__INT("num_outputs", 2)};
    int halves[2] = {MD_NONE, MD_NONE};
    int y = md__emit_node(&emit, "moondial.Linear", node->in, node->in_count, NULL, 0);
    if (!emit.status)
        emit.status = md_graph_node(graph, "Split", node->name, &y, 1, attrs, 2, halves, 2, err);
    int gate = md__emit_node(&emit, "Sigmoid", MD__IDS(halves[1]), NULL, 0);
    outputs[0] = md__emit_node(&emit, "Mul", MD__IDS(halves[0], gate), NULL, 0);
    return emit.status;
}

/* x scaled by 2 sigmoid(gate), or x itself when there is no gate. */
static int emit_gate(struct md_emit *emit, int x, int gate)
{
    if (gate == MD_NONE)
        return x;
    int open = md__emit_node(emit, "Sigmoid", MD__IDS(gate), NULL, 0);
    int factor = md__emit_node(emit, "Mul", MD__IDS(open, md__emit_float(emit, 2.0)), NULL, 0);
    return md__emit_node(emit, "Mul", MD__IDS(x, factor), NULL, 0);
}

static int emit_norm(struct md_emit *emit, const struct md_node *node, int x, int gamma, int beta)
{
    return md__emit_node(
        emit, "LayerNormalization", MD__IDS(x, gamma, beta),
        MD__ATTRS(MD__INT("axis", -1), MD__FLOAT("epsilon", md_node_float(node, "epsilon", 1e-5))));
}

/* x times the [from, to] matrix of linear interpolation with aligned corners. */
static int emit_interpolation(struct md_emit *emit, int x, int64_t from, int64_t to)
{
    if (from < 1 || to < 1 || from > INTERPOLATION_MAX / to) {
        emit->status = md_fail(emit->err, MD_ERR_INVALID, "cannot resample %lld features to %lld",
                               (long long)from, (long long)to);
        return MD_NONE;
    }
    float *matrix = calloc((size_t)(from * to), sizeof *matrix);
    if (!matrix) {
        emit->status = md_fail(emit->err, MD_ERR_MEMORY, "out of memory");
        return MD_NONE;
    }
    for (int64_t o = 0; o < to; o++) {
        double position = to > 1 ? (double)o * (double)(from - 1) / (double)(to - 1) : 0.0;
        int64_t low = (int64_t)position, high = low + 1 < from ? low + 1 : low;
        double share = position - (double)low;
        matrix[low * to + o] += (float)(1.0 - share);
        matrix[high * to + o] += (float)share;
    }
    int map = md__emit_constant(emit, MD_F32, 2, (int64_t[]){from, to}, matrix);
    free(matrix);
    return md__emit_node(emit, "MatMul", MD__IDS(x, map), NULL, 0);
}

/* The size of a parameter vector that is known while building: a constant or an input of fixed
 * shape. */
static enum md_status vector_size(const struct md_graph *graph, int value, int64_t *size,
                                  struct md_error *err)
{
    const struct md_value *vector = &graph->values[value];
    if (vector->shape.rank != 1 || vector->shape.dim[0] < 1)
        return md_fail(err, MD_ERR_INVALID, "gamma is no vector whose size is known");
    *size = vector->shape.dim[0];
    return MD_OK;
}

MD_BODY(md_body_resample_norm)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int64_t units = 0;
    int x = node->in[0];
    if (md_node_attr(node, "input_size")) {
        int64_t features = md_node_int(node, "input_size", 0);
        emit.status = vector_size(graph, node->in[1], &units, err);
        if (!emit.status && features != units)
            x = emit_interpolation(&emit, x, features, units);
    }
    x = emit_gate(&emit, x, md__body_in(node, 3));
    outputs[0] = emit_norm(&emit, node, x, node->in[1], node->in[2]);
    return emit.status;
}

MD_BODY(md_body_gate_add_norm)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int gated = md__emit_node(&emit, "moondial.GatedLinearUnit",
                              MD__IDS(node->in[0], node->in[2], node->in[3]), NULL, 0);
    int skip = emit_gate(&emit, node->in[1], md__body_in(node, 6));
    int sum = md__emit_node(&emit, "Add", MD__IDS(gated, skip), NULL, 0);
    outputs[0] = emit_norm(&emit, node, sum, node->in[4], node->in[5]);
    return emit.status;
}

/* x itself, or x resampled and normalised by inputs 11 to 13; fc1_weight [H, I] tells how many
 * features x has. */
static int emit_residual(struct md_emit *emit, const struct md_node *node)
{
    const struct md_value *fc1 = &emit->graph->values[node->in[1]];
    int x = node->in[0], gamma = md__body_in(node, 11), beta = md__body_in(node, 12);
    if (gamma == MD_NONE)
        return x;
    if (beta == MD_NONE || fc1->shape.rank != 2 || fc1->shape.dim[1] < 1) {
        emit->status = md_fail(emit->err, MD_ERR_INVALID,
                               beta == MD_NONE ? "resample_beta is missing"
                                               : "fc1_weight is no matrix whose size is known");
        return MD_NONE;
    }
    return md__emit_node(emit, "moondial.ResampleNorm",
                         MD__IDS(x, gamma, beta, md__body_in(node, 13)),
                         MD__ATTRS(MD__INT("input_size", fc1->shape.dim[1]),
                                   MD__FLOAT("epsilon", md_node_float(node, "epsilon", 1e-5))));
}

MD_BODY(md_body_gated_residual)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    const int *in = node->in;
    int context = md__body_in(node, 9), context_weight = md__body_in(node, 10);
    if ((context == MD_NONE) != (context_weight == MD_NONE))
        return md_fail(err, MD_ERR_INVALID, "context and context_weight come together");
    int skip = emit_residual(&emit, node);
    int a = md__emit_node(&emit, "moondial.Linear", MD__IDS(in[0], in[1], in[2]), NULL, 0);
    if (context != MD_NONE) {
        int c = md__emit_node(&emit, "moondial.Linear", MD__IDS(context, context_weight), NULL, 0);
        a = md__emit_node(&emit, "Add", MD__IDS(a, c), NULL, 0);
    }
    int b = md__emit_node(&emit, "Elu", MD__IDS(a), NULL, 0);
    if (in[3] != MD_NONE)
        b = md__emit_node(&emit, "moondial.Linear", MD__IDS(b, in[3], in[4]), NULL, 0);
    outputs[0] =
        md__emit_node(&emit, "moondial.GateAddNorm", MD__IDS(b, skip, in[5], in[6], in[7], in[8]),
                      MD__ATTRS(MD__FLOAT("epsilon", md_node_float(node, "epsilon", 1e-5))));
    return emit.status;
}

MD_BODY(md_body_weighted_sum)
{
    struct md_emit emit = {graph, node->name, err, MD_OK};
    int count = node->in_count - 1, sum = MD_NONE;
    const struct md_attr attrs[] = {MD__INT("axis", -1), MD__INT("num_outputs", count)};
    int *parts = calloc((size_t)count, sizeof *parts);
    if (!parts)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    emit.status =
        md_graph_node(graph, "Split", node->name, node->in, 1, attrs, 2, parts, count, err);
    for (int k = 0; k < count; k++) {
        int term = md__emit_node(&emit, "Mul", MD__IDS(node->in[k + 1], parts[k]), NULL, 0);
        sum = k == 0 ? term : md__emit_node(&emit, "Add", MD__IDS(sum, term), NULL, 0);
    }
    free(parts);
    outputs[0] = sum;
    return emit.status;
}
