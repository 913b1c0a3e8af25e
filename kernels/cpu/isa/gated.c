/*
 * GatedResidualNetwork, GateAddNorm and ResampleNorm (graph/fused.md), a few rows at a time.
 *
 * All products of a network run over one block of ROW_BLOCK rows while it is in L1: fc1 + context,
 * ELU, fc2, GLU, skip, layer norm; only x is read and only the result is written. The context's
 * product is computed before, once per context row, and added to fc1.
 *
 * The resampling of the skip is linear, so prepare() makes it a matrix [I, O] with the gate
 * 2 sigmoid(gate) folded in, and packs it like the other weights.
 */
#include <stdlib.h>

#include "kernels/cpu/isa/gated.h"
#include "kernels/cpu/isa/kernels.h"

/* ---- preparing ------------------------------------------------------------------------------- */

/* Room for the tiles of a network that is tiled, and what lies in it; a context may be too wide for
 * them. */
static void pack_tiles(struct packing *packing, struct network *net, struct packed *packed,
                       size_t inputs, size_t columns, bool paired)
{
    if (!net->tiled || !may_tile(inputs, columns << paired))
        return;
    float *memory = take(packing, tiled_floats_of(inputs, columns, paired));
    if (memory && !md__pack_tiles(packed, memory))
        net->tiled = false;
}

/* Whether tiles take less time than vectors for all layers together. */
static bool pays_on_tiles(const struct network *net)
{
    if (net->hidden == 0)
        return tiled_floats(net->inputs, net->outputs, false) > 0;
    return tiled_floats(net->hidden, net->outputs, true) > 0 &&
           may_tile(net->inputs, net->hidden) && may_tile(net->inputs, net->outputs);
}

/* Weights and bias times `scale`. */
static void pack_linear(struct packing *packing, struct network *net, struct packed *packed,
                        const struct md_tensor *weight, const struct md_tensor *bias, bool paired,
                        double scale)
{
    size_t columns = (size_t)weight->shape.dim[0] >> paired, inputs = (size_t)weight->shape.dim[1];
    size_t floats = packed_floats(inputs, columns, paired);
    float *memory = take(packing, floats);
    struct unpacked from = {.weights = weight->data,
                            .bias = bias ? bias->data : NULL,
                            .k_stride = 1,
                            .column_stride = inputs,
                            .scale = 1};
    if (memory)
        *packed = md__pack(&from, inputs, columns, paired, memory);
    for (size_t i = 0; memory && scale != 1 && i < floats; i++)
        memory[i] = (float)(memory[i] * scale);
    pack_tiles(packing, net, packed, inputs, columns, paired);
}

static float *pack_vector(struct packing *packing, const struct md_tensor *vector)
{
    size_t count = md__count(vector);
    float *at = take(packing, count);
    if (at)
        memcpy(at, vector->data, count * sizeof *at);
    return at;
}

/* interp(x; O) * 2 sigmoid(gate) as a matrix [I, O]: each column has one or two weights. */
static void pack_resampling(struct packing *packing, struct network *net,
                            const struct md_tensor *gate)
{
    size_t inputs = net->inputs, outputs = net->outputs;
    float *memory = take(packing, packed_floats(inputs, outputs, false));
    struct packed *packed = &net->resample;
    if (memory)
        *packed = md__pack(NULL, inputs, outputs, false, memory);
    for (size_t o = 0; memory && o < outputs; o++) {
        struct stretch s = stretch_of(o, inputs, outputs);
        float share = (float)s.share, factor = gate_factor(gate, o);
        *packed_weight(packed, s.low, o) += (1 - share) * factor;
        *packed_weight(packed, s.high, o) += share * factor;
    }
    pack_tiles(packing, net, packed, inputs, outputs, false);
}

static void pack_gated_residual(struct packing *packing, struct network *net,
                                const struct md_tensor *in, int in_count)
{
    net->inputs = (size_t)in[1].shape.dim[1];
    net->hidden = (size_t)in[1].shape.dim[0];
    net->outputs = last(&in[7]);
    net->tiled = pays_on_tiles(net);
    pack_linear(packing, net, &net->fc1, &in[1], &in[2], false, ELU_SCALE);
    if (md__has(in, in_count, 3))
        pack_linear(packing, net, &net->fc2, &in[3], &in[4], false, 1);
    pack_linear(packing, net, &net->glu, &in[5], &in[6], true, 1);
    net->gamma = pack_vector(packing, &in[7]);
    net->beta = pack_vector(packing, &in[8]);
    if (md__has(in, in_count, 10))
        pack_linear(packing, net, &net->context, &in[10], NULL, false, ELU_SCALE);
    if (md__has(in, in_count, 11)) {
        pack_resampling(packing, net, optional(in, in_count, 13));
        net->resample_gamma = pack_vector(packing, &in[11]);
        net->resample_beta = pack_vector(packing, &in[12]);
    }
}

static void pack_gate_add_norm(struct packing *packing, struct network *net,
                               const struct md_tensor *in, int in_count)
{
    const struct md_tensor *gate = optional(in, in_count, 6);
    net->inputs = net->hidden = (size_t)in[2].shape.dim[1];
    net->outputs = last(&in[4]);
    net->tiled = pays_on_tiles(net);
    pack_linear(packing, net, &net->glu, &in[2], &in[3], true, 1);
    net->gamma = pack_vector(packing, &in[4]);
    net->beta = pack_vector(packing, &in[5]);
    net->skip_factor = gate ? take(packing, net->outputs) : NULL;
    for (size_t i = 0; net->skip_factor && i < net->outputs; i++)
        net->skip_factor[i] = gate_factor(gate, i);
}

static void pack_resample_norm(struct packing *packing, struct network *net,
                               const struct md_node *node, const struct md_tensor *in, int in_count)
{
    net->outputs = last(&in[1]);
    net->inputs = (size_t)md_node_int(node, "input_size", (int64_t)net->outputs);
    net->tiled = pays_on_tiles(net);
    pack_resampling(packing, net, optional(in, in_count, 3));
    net->resample_gamma = pack_vector(packing, &in[1]);
    net->resample_beta = pack_vector(packing, &in[2]);
}

static void pack_network(struct packing *packing, struct network *net, const struct md_node *node,
                         const struct md_tensor *in, int in_count)
{
    net->epsilon = (float)md_node_float(node, "epsilon", 1e-5);
    if (node->op == MD_OP_GATED_RESIDUAL)
        pack_gated_residual(packing, net, in, in_count);
    else if (node->op == MD_OP_GATE_ADD_NORM)
        pack_gate_add_norm(packing, net, in, in_count);
    else
        pack_resample_norm(packing, net, node, in, in_count);
}

static enum md_status gated_prepare(const struct md_node *node, const struct md_tensor *in,
                                    int in_count, void **prepared, size_t *bytes,
                                    struct md_error *err)
{
    struct packing packing = {0};
    struct network counted = {0};
    pack_network(&packing, &counted, node, in, in_count);
    *bytes = (sizeof counted + packing.used * sizeof(float) + 63) / 64 * 64;
    struct network *net = aligned_alloc(64, *bytes);
    if (net == NULL)
        return md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    memset(net, 0, sizeof *net);
    packing = (struct packing){.memory = net->memory};
    pack_network(&packing, net, node, in, in_count);
    *prepared = net;
    return MD_OK;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Per thread: two blocks of hidden rows and two of output rows. */
static size_t thread_floats(size_t inputs, size_t hidden, size_t outputs)
{
    size_t floats = 2 * ROW_BLOCK * (padded(hidden) + padded(outputs));
#if defined(MD_ISA_amx)
    size_t tiled = md__gated_tiles_floats(inputs, hidden, outputs);
    floats = tiled > floats ? tiled : floats;
#endif
    (void)inputs;
    return floats;
}

/* The skip of GatedResidualNetwork after resampling, or ResampleNorm as a whole. */
static void resample_block(const struct network *net, const float *x, float *mixed, float *y,
                           size_t y_stride, size_t rows)
{
    size_t wide = padded(net->outputs);
    struct product resample = {.x = x,
                               .x_stride = net->inputs,
                               .rows = rows,
                               .y = mixed,
                               .y_stride = wide,
                               .y_columns = wide};
    md__multiply(&net->resample, &resample);
    normalize_block(mixed, wide, net->resample_gamma, net->resample_beta, y, y_stride, rows,
                    net->outputs, net->epsilon);
}

/* gated (rows padded(outputs) apart) += skip * factor, then the norm into y. */
static void add_and_normalize(const struct network *net, float *gated, const float *skip,
                              size_t skip_stride, float *y, size_t rows)
{
    size_t count = net->outputs, wide = padded(count);
    for (size_t r = 0; r < rows; r++) {
        float *row = gated + r * wide;
        const float *from = skip + r * skip_stride;
        for (size_t i = 0; i < count; i += VL) {
            vf term = load_upto(from + i, count - i);
            if (net->skip_factor)
                term *= load(net->skip_factor + i);
            store(row + i, load(row + i) + term);
        }
    }
    normalize_block(gated, wide, net->gamma, net->beta, y, count, rows, count, net->epsilon);
}

/* fc1 with its context, for rows whose contexts change every map.group rows. */
static void first_layer(const struct gated_call *gated, size_t begin, size_t rows, float *y)
{
    const struct network *net = gated->net;
    size_t wide = padded(net->hidden);
    struct product whole = {.x = gated->x + begin * net->inputs,
                            .x_stride = net->inputs,
                            .rows = rows,
                            .y = y,
                            .y_stride = wide,
                            .y_columns = wide,
                            .epilogue = ELU};
    if (gated->context == NULL) {
        md__multiply(&net->fc1, &whole);
        return;
    }
    bool each = gated->map.group == 1;
    for (size_t done = 0, run; done < rows; done += run) {
        size_t row = begin + done, context = row / gated->map.group % gated->map.contexts;
        run = each ? gated->map.contexts - context : gated->map.group - row % gated->map.group;
        run = run < rows - done ? run : rows - done;
        struct product part = product_rows(&whole, done, run);
        part.addend = gated->context + context * wide;
        part.addend_stride = each ? wide : 0;
        md__multiply(&net->fc1, &part);
    }
}

static void gated_residual_block(const struct gated_call *gated, size_t begin, size_t rows,
                                 float *scratch)
{
    const struct network *net = gated->net;
    size_t hidden = padded(net->hidden), outputs = padded(net->outputs);
    float *a = scratch, *b = a + ROW_BLOCK * hidden;
    float *g = b + ROW_BLOCK * hidden, *skip = g + ROW_BLOCK * outputs;
    const float *x = gated->x + begin * net->inputs;
    first_layer(gated, begin, rows, a);
    struct product fc2 = {
        .x = a, .x_stride = hidden, .rows = rows, .y = b, .y_stride = hidden, .y_columns = hidden};
    if (net->fc2.vectors > 0)
        md__multiply(&net->fc2, &fc2);
    struct product glu = {.x = net->fc2.vectors > 0 ? b : a,
                          .x_stride = hidden,
                          .rows = rows,
                          .y = g,
                          .y_stride = outputs,
                          .y_columns = outputs,
                          .epilogue = GLU};
    md__multiply(&net->glu, &glu);
    float *y = gated->y + begin * net->outputs;
    if (net->resample.vectors == 0) {
        add_and_normalize(net, g, x, net->inputs, y, rows);
        return;
    }
    resample_block(net, x, skip, skip, outputs, rows);
    add_and_normalize(net, g, skip, outputs, y, rows);
}

static void gate_add_norm_block(const struct gated_call *gated, size_t begin, size_t rows,
                                float *scratch)
{
    const struct network *net = gated->net;
    size_t outputs = padded(net->outputs);
    struct product glu = {.x = gated->x + begin * net->inputs,
                          .x_stride = net->inputs,
                          .rows = rows,
                          .y = scratch,
                          .y_stride = outputs,
                          .y_columns = outputs,
                          .epilogue = GLU};
    md__multiply(&net->glu, &glu);
    add_and_normalize(net, scratch, gated->skip + begin * net->outputs, net->outputs,
                      gated->y + begin * net->outputs, rows);
}

static void gated_some(void *context, size_t begin, size_t end, int thread)
{
    const struct gated_call *gated = context;
    const struct network *net = gated->net;
    float *scratch =
        gated->scratch + (size_t)thread * thread_floats(net->inputs, net->hidden, net->outputs);
#if defined(MD_ISA_amx)
    if (net->tiled)
        begin += md__gated_tiles(gated, begin, end - begin, scratch);
#endif
    for (size_t row = begin; row < end; row += ROW_BLOCK) {
        size_t rows = end - row < ROW_BLOCK ? end - row : ROW_BLOCK;
        if (gated->call->node->op == MD_OP_GATED_RESIDUAL)
            gated_residual_block(gated, row, rows, scratch);
        else if (gated->call->node->op == MD_OP_GATE_ADD_NORM)
            gate_add_norm_block(gated, row, rows, scratch);
        else
            resample_block(net, gated->x + row * net->inputs, scratch,
                           gated->y + row * net->outputs, net->outputs, rows);
    }
}

static enum md_status gated_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct network *net = call->prepared;
    if (net == NULL)
        return md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    struct gated_call gated = {.net = net,
                               .call = call,
                               .x = call->in[0].data,
                               .y = call->out[0].data,
                               .scratch = call->scratch};
    size_t rows = md__span(&call->in[0].shape, 0, call->in[0].shape.rank - 1);
    if (rows == 0)
        return MD_OK;
    if (call->node->op == MD_OP_GATE_ADD_NORM)
        gated.skip = call->in[1].data;
    if (net->context.vectors > 0 && md__has(call->in, call->in_count, 9)) {
        enum md_status status =
            multiply_context(call, &net->context, &gated.map, &gated.scratch, &gated.context, err);
        if (status != MD_OK)
            return status;
    }
    size_t cost = (net->inputs + net->hidden) * (net->hidden + 2 * net->outputs) / VL + 64;
    size_t grain = (md__grain(cost) + ROW_BLOCK - 1) / ROW_BLOCK * ROW_BLOCK;
    md__parallel(call->pool, rows, grain, gated_some, &gated);
    return MD_OK;
}

/* Which inputs are computed rather than weights, as a bit mask. */
static unsigned computed_inputs(enum md_op op)
{
    switch (op) {
    case MD_OP_GATED_RESIDUAL:
        return 1u << 0 | 1u << 9;
    case MD_OP_GATE_ADD_NORM:
        return 1u << 0 | 1u << 1;
    default:
        return 1u << 0;
    }
}

static bool gated_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    if (!md__all_f32(node, in, in_count))
        return false;
    for (int i = 0; i < in_count; i++)
        if (md__has(in, in_count, i) && !(computed_inputs(node->op) >> i & 1) && !in[i].data)
            return false;
    struct context_map map;
    return node->op != MD_OP_GATED_RESIDUAL || !md__has(in, in_count, 9) ||
           map_context(&in[0].shape, &in[9].shape, &map);
}

static size_t gated_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    size_t inputs = last(&in[0]), hidden = 0, outputs, context = 0;
    if (node->op == MD_OP_GATED_RESIDUAL) {
        hidden = (size_t)in[1].shape.dim[0];
        outputs = last(&in[7]);
        if (md__has(in, in_count, 9))
            context = md__span(&in[9].shape, 0, in[9].shape.rank - 1) * padded(hidden);
    } else if (node->op == MD_OP_GATE_ADD_NORM) {
        hidden = (size_t)in[2].shape.dim[1];
        outputs = last(&in[4]);
    } else
        outputs = last(&in[1]);
    return (context + thread_floats(inputs, hidden, outputs) * (size_t)threads) * sizeof(float);
}

const struct md_kernel md__gated = {.supports = gated_supports,
                                    .prepare = gated_prepare,
                                    .prepared_free = free,
                                    .scratch_bytes = gated_scratch,
                                    .run = gated_run};
