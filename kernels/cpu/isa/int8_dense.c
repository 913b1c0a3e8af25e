/*
 * Products of byte matrices on int8_product.c: MatMulInteger, QLinearMatMul, MatMulIntegerToFloat
 * and QLinearGemm, when the right side is a constant matrix. What is left (computed right sides,
 * zero points for each row) goes to the reference.
 *
 * The four differ in where their inputs stand and what becomes of a sum; `roles` says where.
 */
#include "kernels/cpu/isa/int8.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/ref.h"

#define ROWS_MAX 256 /* that pass through a pair of panels together */

/* Which input is what; -1: there is none. */
struct roles {
    int b, a_scale, a_zero, b_scale, b_zero, y_scale, y_zero, bias;
};

static struct roles roles_of(enum md_op op)
{
    switch (op) {
    case MD_OP_MATMUL_INTEGER:
        return (struct roles){1, -1, 2, -1, 3, -1, -1, -1};
    case MD_OP_MATMUL_INTEGER_TO_FLOAT:
        return (struct roles){1, 2, 4, 3, 5, -1, -1, 6};
    default: /* QLinearMatMul, QLinearGemm */
        return (struct roles){3, 1, 2, 4, 5, 6, 7, 8};
    }
}

static const struct md_kernel *reference_of(enum md_op op)
{
    switch (op) {
    case MD_OP_MATMUL_INTEGER:
        return &md__ref_matmul_integer;
    case MD_OP_MATMUL_INTEGER_TO_FLOAT:
        return &md__ref_quantized_matmul;
    case MD_OP_QLINEAR_MATMUL:
        return &md__ref_qlinear_matmul;
    default:
        return NULL;
    }
}

/* One number, or none where that may be. */
static bool is_single(const struct md_tensor *tensor)
{
    return !tensor || md__count(tensor) == 1;
}

/* A constant, or absent, of one number or one a column. */
static bool is_known(const struct md_tensor *tensor, size_t columns)
{
    return !tensor || (tensor->data && (md__count(tensor) == 1 || md__count(tensor) == columns));
}

/* Whether this node is one for the packed product: does not depend on sizes of a. */
static bool is_ours(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    const struct roles roles = roles_of(node->op);
    const struct md_tensor *b = &in[roles.b];
    if (!b->data || b->shape.rank != 2 || in[0].shape.rank < 1 || md__count(b) == 0)
        return false;
    size_t columns = (size_t)b->shape.dim[md_node_int(node, "transB", 0) ? 0 : 1];
    const struct md_tensor *b_scale = byte_role(in, in_count, roles.b_scale);
    const struct md_tensor *a_scale = byte_role(in, in_count, roles.a_scale);
    bool floats = !b_scale || (b_scale->dtype == MD_F32 && a_scale->dtype == MD_F32);
    if (roles.y_scale >= 0)
        floats &= in[roles.y_scale].dtype == MD_F32;
    return floats && is_single(a_scale) && is_single(byte_role(in, in_count, roles.a_zero)) &&
           is_known(byte_role(in, in_count, roles.b_zero), columns) &&
           (!b_scale || md__count(b_scale) == 1 || md__count(b_scale) == columns);
}

static enum md_status dense_prepare(const struct md_node *node, const struct md_tensor *in,
                                    int in_count, void **prepared, size_t *bytes,
                                    struct md_error *err)
{
    if (!is_ours(node, in, in_count))
        return MD_OK;
    const struct roles roles = roles_of(node->op);
    const struct md_tensor *b = &in[roles.b], *zeros = byte_role(in, in_count, roles.b_zero);
    bool turned = md_node_int(node, "transB", 0);
    size_t columns = (size_t)b->shape.dim[turned ? 0 : 1];
    size_t inputs = (size_t)b->shape.dim[turned ? 1 : 0];
    const struct byte_terms terms = byte_terms_of(1, inputs);
    const struct byte_source source = {.bytes = b->data,
                                       .is_signed = b->dtype == MD_I8,
                                       .zeros = zeros ? zeros->data : NULL,
                                       .zero_count = zeros ? md__count(zeros) : 0,
                                       .by_column = turned ? inputs : 1,
                                       .inner = inputs,
                                       .by_inner = turned ? 1 : columns};
    *bytes = byte_weights_bytes(&terms, columns);
    *prepared = md_prepared_new(*bytes);
    if (!*prepared)
        return md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    byte_weights_pack(&source, &terms, columns, *prepared);
    return MD_OK;
}

/* ---- running --------------------------------------------------------------------------------- */

struct dense {
    struct byte_product product;
    struct byte_result result;
    size_t rows, row_groups, pairs;
    uint8_t *copies; /* of rows, where their length wants padding; for each thread */
};

static size_t copy_bytes(const struct byte_terms *terms)
{
    return padded_run(terms) == terms->run ? 0 : BLOCK_PLACES * padded_run(terms);
}

static size_t dense_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    const struct md_kernel *reference = reference_of(node->op);
    const struct md_shape *b = &in[roles_of(node->op).b].shape;
    size_t theirs = reference ? reference->scratch_bytes(node, in, in_count, threads) : 0;
    if (b->rank != 2)
        return theirs;
    bool turned = md_node_int(node, "transB", 0);
    const struct byte_terms terms = byte_terms_of(1, (size_t)b->dim[turned ? 1 : 0]);
    size_t ours = byte_padded((size_t)b->dim[turned ? 0 : 1]) * 2 * sizeof(float) +
                  copy_bytes(&terms) * (size_t)threads + 64;
    return ours > theirs ? ours : theirs;
}

/* Rows [first, first + count) where the sums can read them. */
static const uint8_t *rows_at(const struct dense *dense, size_t first, size_t count, int thread)
{
    const struct byte_product *product = &dense->product;
    const struct byte_terms *terms = &product->weights->terms;
    const uint8_t *x = product->x + first * terms->run;
    if (!dense->copies)
        return x;
    uint8_t *to = dense->copies + copy_bytes(terms) * (size_t)thread;
    for (size_t i = 0; i < count; i++)
        memcpy(to + i * padded_run(terms), x + i * terms->run, terms->run);
    return to;
}

static void dense_items(void *context, size_t begin, size_t end, int thread)
{
    const struct dense *dense = context;
    struct byte_state state = {0};
    for (size_t item = begin; item < end; item++) {
        size_t group = item / dense->pairs, panel = item % dense->pairs * BLOCK_PANELS;
        size_t last = panel + BLOCK_PANELS, panels = dense->product.weights->panels;
        size_t row = dense->rows * group / dense->row_groups;
        size_t row_end = dense->rows * (group + 1) / dense->row_groups;
        for (; row < row_end; row += BLOCK_PLACES) {
            struct byte_product product = dense->product;
            size_t at[BLOCK_PLACES], count = row_end - row;
            count = count < BLOCK_PLACES ? count : BLOCK_PLACES;
            for (size_t i = 0; i < count; i++)
                at[i] = (row + i) * product.weights->columns;
            product.x = rows_at(dense, row, count, thread);
            byte_multiply(&product, at, count, panel, last < panels ? last : panels, &state);
        }
    }
    if (byte_summing()->end)
        byte_summing()->end(&state);
}

/* Factors of the columns, as ONNX Runtime has them: in float32, from left to right. */
static void fill_scales(const struct md_kernel_call *call, const struct roles *roles,
                        size_t columns, float *scale)
{
    const struct md_tensor *in = call->in, *b_scale = &in[roles->b_scale];
    for (size_t c = 0; c < columns; c++) {
        scale[c] = byte_number(&in[roles->a_scale], 0) * byte_number(b_scale, c);
        if (roles->y_scale >= 0)
            scale[c] /= byte_number(&in[roles->y_scale], 0);
    }
}

static enum md_status dense_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct byte_weights *weights = call->prepared;
    const struct md_kernel *reference = reference_of(call->node->op);
    const struct roles roles = roles_of(call->node->op);
    if (!weights)
        return reference ? reference->run(call, err)
                         : md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    const struct md_tensor *a = &call->in[0], *out = &call->out[0];
    const struct md_tensor *a_zero = byte_role(call->in, call->in_count, roles.a_zero);
    const struct md_tensor *bias = byte_role(call->in, call->in_count, roles.bias);
    size_t columns = weights->columns, all = weights->panels * PANEL_COLUMNS;
    int32_t *start = call->scratch;
    float *scale = (float *)(start + all);
    struct dense dense = {.result = {.dtype = out->dtype, .start = start, .scale = scale}};
    byte_start(weights, a->dtype == MD_I8, a_zero ? (int32_t)md__get_int(a_zero, 0) : 0,
               bias && bias->dtype == MD_I32 ? bias->data : NULL, start);
    if (roles.a_scale >= 0)
        fill_scales(call, &roles, columns, scale);
    if (roles.y_zero >= 0)
        byte_result_range(&dense.result, out->dtype,
                          (int32_t)md__get_int(&call->in[roles.y_zero], 0));
    dense.result.bias = bias && bias->dtype == MD_F32 ? bias->data : NULL;
    dense.result.y = out->data;
    if (dense.result.bias && md__count(bias) == 1 && columns > 1)
        return reference->run(call, err);
    dense.product = (struct byte_product){.weights = weights,
                                          .x = a->data,
                                          .place = padded_run(&weights->terms),
                                          .is_signed = a->dtype == MD_I8,
                                          .result = &dense.result};
    dense.copies = copy_bytes(&weights->terms) ? (uint8_t *)(scale + all) : NULL;
    dense.rows = md__count(out) / columns;
    dense.row_groups = (dense.rows + ROWS_MAX - 1) / ROWS_MAX;
    dense.pairs = (weights->panels + BLOCK_PANELS - 1) / BLOCK_PANELS;
    size_t rows = dense.rows < ROWS_MAX ? dense.rows : ROWS_MAX;
    md__parallel(call->pool, dense.row_groups * dense.pairs,
                 md__grain((rows + 4) * weights->terms.run / 4), dense_items, &dense);
    return MD_OK;
}

/* QLinearGemm has no reference to hand on to. */
static bool dense_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return reference_of(node->op) || is_ours(node, in, in_count);
}

const struct md_kernel md__int8_dense = {.supports = dense_supports,
                                         .prepare = dense_prepare,
                                         .scratch_bytes = dense_scratch,
                                         .run = dense_run};
