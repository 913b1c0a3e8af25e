/*
 * Composition: a gated residual network multiplies by fc2 and then, with nothing between, by the
 * weights of its gated linear unit. Both together are one matrix:
 *     glu (fc2 x + b) + g = (glu fc2) x + (glu b + g)
 * computed here in double, in the fused operators that regions stand for. Their bodies keep both,
 * so that lowering compares the composed operator with the network as it was written.
 */
#include <stdlib.h>

#include "graph/pass.h"
#include "graph/selection.h"

#define COMPOSE_FLOPS 4e9 /* of the whole graph: a few seconds */

struct composing {
    struct md_graph *graph;
    struct md_pass_report *report;
    double flops;
};

static const struct md_tensor *weights(const struct composing *composing, int value, int rank)
{
    if (value == MD_NONE)
        return NULL;
    const struct md_tensor *tensor = &composing->graph->values[value].constant;
    bool fits = tensor->data && tensor->dtype == MD_F32 && tensor->shape.rank == rank;
    return fits ? tensor : NULL;
}

/* sum[0 .. inputs] = the row of glu times fc2, and after it times fc2's bias, plus the row's own.
 */
static void compose_row(const float *row, float own, const struct md_tensor *fc2,
                        const struct md_tensor *fc2_bias, double *sum)
{
    size_t hidden = (size_t)fc2->shape.dim[0], inputs = (size_t)fc2->shape.dim[1];
    for (size_t k = 0; k < inputs; k++)
        sum[k] = 0;
    sum[inputs] = own;
    for (size_t h = 0; h < hidden; h++) {
        const float *from = (const float *)fc2->data + h * inputs;
        for (size_t k = 0; k < inputs; k++)
            sum[k] += (double)row[h] * from[k];
        sum[inputs] += (double)row[h] * ((const float *)fc2_bias->data)[h];
    }
}

static void compose_weights(const struct md_tensor *fc2, const struct md_tensor *fc2_bias,
                            const struct md_tensor *glu, const struct md_tensor *glu_bias,
                            double *sum, struct md_tensor made[2])
{
    size_t rows = (size_t)glu->shape.dim[0], hidden = (size_t)fc2->shape.dim[0];
    size_t inputs = (size_t)fc2->shape.dim[1];
    for (size_t r = 0; r < rows; r++) {
        compose_row((const float *)glu->data + r * hidden, ((const float *)glu_bias->data)[r], fc2,
                    fc2_bias, sum);
        for (size_t k = 0; k < inputs; k++)
            ((float *)made[0].data)[r * inputs + k] = (float)sum[k];
        ((float *)made[1].data)[r] = (float)sum[inputs];
    }
}

/* Puts the composed weights where glu's were, and nothing where fc2's were. */
static enum md_status put(struct composing *composing, int *in, int fc2, int glu,
                          const struct md_tensor made[2], struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = 0; i < 2 && !status; i++)
        status = md_graph_constant(composing->graph, "", &made[i], &in[glu + i], err);
    in[fc2] = in[fc2 + 1] = MD_NONE;
    composing->report->networks_composed++;
    return status;
}

/* The weight and bias in[fc2], in[fc2 + 1] go into in[glu], in[glu + 1]. */
static enum md_status compose(struct composing *composing, int *in, int fc2, int glu,
                              struct md_error *err)
{
    const struct md_tensor *fc2_weight = weights(composing, in[fc2], 2);
    const struct md_tensor *fc2_bias = weights(composing, in[fc2 + 1], 1);
    const struct md_tensor *glu_weight = weights(composing, in[glu], 2);
    const struct md_tensor *glu_bias = weights(composing, in[glu + 1], 1);
    if (!fc2_weight || !fc2_bias || !glu_weight || !glu_bias)
        return MD_OK;
    const int64_t rows = glu_weight->shape.dim[0], inputs = fc2_weight->shape.dim[1];
    if (glu_weight->shape.dim[1] != fc2_weight->shape.dim[0] ||
        fc2_bias->shape.dim[0] != fc2_weight->shape.dim[0] || glu_bias->shape.dim[0] != rows)
        return MD_OK; /* planning will say so */
    composing->flops += 2.0 * (double)md_tensor_count(fc2_weight) * (double)rows;
    if (composing->flops > COMPOSE_FLOPS)
        return MD_OK;
    const struct md_shape matrix = md_shape_of(2, (int64_t[]){rows, inputs});
    struct md_tensor made[2] = {0};
    double *sum = malloc(((size_t)inputs + 1) * sizeof *sum);
    enum md_status status = sum ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (!status)
        status = md_tensor_new(MD_F32, &matrix, &made[0], err);
    if (!status)
        status = md_tensor_new(MD_F32, &glu_bias->shape, &made[1], err);
    if (!status) {
        compose_weights(fc2_weight, fc2_bias, glu_weight, glu_bias, sum, made);
        status = put(composing, in, fc2, glu, made, err);
    }
    md_tensor_unref(&made[0]);
    md_tensor_unref(&made[1]);
    free(sum);
    return status;
}

static enum md_status compose_node(struct composing *composing, struct md_node *fused,
                                   struct md_error *err)
{
    struct md_selection selection = {0};
    bool selects = fused->op == MD_OP_VARIABLE_SELECTION && md__selection_of(fused, &selection);
    if (!selects && fused->op != MD_OP_GATED_RESIDUAL)
        return MD_OK;
    int *in = md_arena_array(&composing->graph->arena, (size_t)fused->in_count, sizeof *in);
    if (!in)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int i = 0; i < fused->in_count; i++)
        in[i] = fused->in[i];
    fused->in = in;
    enum md_status status = compose(composing, in, 3, 5, err);
    for (int i = 0; i < selection.reals && !status; i++) {
        int at = md__selection_real(&selection, i);
        status = compose(composing, in, at + MD_REAL_FC2, at + MD_REAL_GLU, err);
    }
    return status;
}

enum md_status md__pass_compose(struct md_graph *graph, const struct md_executable_options *options,
                                struct md_pass_report *report, struct md_error *err)
{
    (void)options;
    struct composing composing = {.graph = graph, .report = report};
    enum md_status status = MD_OK;
    for (int r = 0; r < graph->region_count && !status; r++)
        status = compose_node(&composing, &graph->regions[r].fused, err);
    return status;
}
