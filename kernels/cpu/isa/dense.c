/*
 * Linear, GatedLinearUnit, MatMul and Gemm on the product of linear.h.
 *
 * Constant weights are packed once by prepare(). A MatMul whose right side is computed packs it at
 * run time into scratch: once when all left rows share it, per matrix and thread when it is
 * batched.
 */
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/linear.h"
#include "kernels/cpu/ref.h"

/* Flat: the description of what lies behind it. */
struct prepared {
    size_t inputs, columns;
    bool paired, tiled;
    float memory[] __attribute__((aligned(64)));
};

static struct packed packed_of(const struct prepared *prepared)
{
    float *memory = (float *)(uintptr_t)prepared->memory;
    struct packed packed =
        packed_at(prepared->inputs, prepared->columns, prepared->paired, memory);
    if (prepared->tiled)
        packed.tiles = memory + packed_floats(packed.inputs, packed.columns, packed.paired);
    return packed;
}

static enum md_status prepare(const struct unpacked *from, size_t inputs, size_t columns,
                              bool paired, void **prepared, size_t *bytes, struct md_error *err)
{
    size_t floats = packed_floats(inputs, columns, paired);
    size_t tiled = tiled_floats(inputs, columns, paired);
    size_t size = sizeof(struct prepared) + (floats + tiled) * sizeof(float);
    struct prepared *made = md_prepared_new(size);
    if (made == NULL)
        return md_fail(err, MD_ERR_MEMORY, "packing weights: out of memory");
    *made = (struct prepared){.inputs = inputs, .columns = columns, .paired = paired};
    struct packed packed = md__pack(from, inputs, columns, paired, made->memory);
    made->tiled = tiled && md__pack_tiles(&packed, made->memory + floats);
    *prepared = made;
    *bytes = size;
    return MD_OK;
}

static bool is_constant(const struct md_tensor *in, int in_count, int i)
{
    return !md__has(in, in_count, i) || in[i].data != NULL;
}

/* ---- Linear and GatedLinearUnit: weight [O, I] as PyTorch stores it -------------------------- */

static bool linear_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__all_f32(node, in, in_count) && in[1].data && is_constant(in, in_count, 2);
}

static enum md_status linear_prepare(const struct md_node *node, const struct md_tensor *in,
                                     int in_count, void **prepared, size_t *bytes,
                                     struct md_error *err)
{
    bool paired = node->op == MD_OP_GATED_LINEAR_UNIT;
    bool turned = md_node_int(node, "transB", 1);
    size_t outputs = (size_t)in[1].shape.dim[turned ? 0 : 1];
    size_t inputs = (size_t)in[1].shape.dim[turned ? 1 : 0];
    struct unpacked from = {.weights = in[1].data,
                            .bias = md__has(in, in_count, 2) ? in[2].data : NULL,
                            .k_stride = turned ? 1 : outputs,
                            .column_stride = turned ? inputs : 1,
                            .scale = 1};
    return prepare(&from, inputs, outputs >> paired, paired, prepared, bytes, err);
}

/* The product of the rows of in[0] (all axes but the last) with the packed weights. */
static struct product product_of(const struct md_kernel_call *call, const struct packed *packed)
{
    return (struct product){.x = call->in[0].data,
                              .x_stride = packed->inputs,
                              .rows = md__span(&call->in[0].shape, 0, call->in[0].shape.rank - 1),
                              .y = call->out[0].data,
                              .y_stride = packed->columns,
                              .y_columns = packed->columns,
                              .epilogue = packed->paired ? GLU : PLAIN};
}

static void multiply_rows(const struct md_kernel_call *call, const struct packed *packed)
{
    struct product product = product_of(call, packed);
    md__multiply_parallel(call->pool, packed, &product);
}

static enum md_status linear_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct prepared *prepared = call->prepared;
    if (prepared == NULL)
        return md_fail(err, MD_ERR_INTERNAL, "weights are not packed");
    struct packed packed = packed_of(prepared);
    struct product product = product_of(call, &packed);
    struct md_activation activation = md_activation_of(call->node);
    if (md_activation_acts(&activation))
        product.activation = &activation;
    if (call->node->op == MD_OP_LINEAR && md__has(call->in, call->in_count, 3)) {
        product.addend = call->in[3].data;
        product.addend_stride = packed.columns;
    }
    md__multiply_parallel(call->pool, &packed, &product);
    return MD_OK;
}

const struct md_kernel md__linear = {.supports = linear_supports,
                                     .prepare = linear_prepare,
                                     .run = linear_run};

/* ---- Gemm: fast when A is not transposed, B is constant, and C is a constant row ------------- */

static enum md_status gemm_prepare(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, void **prepared, size_t *bytes,
                                   struct md_error *err)
{
    bool turned = md_node_int(node, "transB", 0);
    if (in[1].data == NULL || !is_constant(in, in_count, 2) || md_node_int(node, "transA", 0))
        return MD_OK;
    size_t rows = (size_t)in[1].shape.dim[0], inner = (size_t)in[1].shape.dim[1];
    size_t inputs = turned ? inner : rows, columns = turned ? rows : inner;
    bool has_c = md__has(in, in_count, 2);
    size_t c_count = has_c ? md__count(&in[2]) : 0;
    bool c_is_row = c_count == 1 || (c_count == columns &&
                                     in[2].shape.dim[in[2].shape.rank - 1] == (int64_t)columns);
    if (has_c && !c_is_row)
        return MD_OK;
    struct unpacked from = {.weights = in[1].data,
                            .k_stride = turned ? 1 : inner,
                            .column_stride = turned ? inner : 1,
                            .scale = (float)md_node_float(node, "alpha", 1)};
    enum md_status status = prepare(&from, inputs, columns, false, prepared, bytes, err);
    float beta = (float)md_node_float(node, "beta", 1);
    for (size_t i = 0; has_c && status == MD_OK && i < columns; i++)
        packed_of(*prepared).bias[i] = beta * ((const float *)in[2].data)[c_count == 1 ? 0 : i];
    return status;
}

static enum md_status gemm_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct prepared *prepared = call->prepared;
    if (prepared == NULL)
        return md__ref_gemm.run(call, err);
    struct packed packed = packed_of(prepared);
    multiply_rows(call, &packed);
    return MD_OK;
}

/* For the reference, which does what was not prepared. */
static size_t gemm_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    return md__ref_gemm.scratch_bytes(node, in, in_count, threads);
}

const struct md_kernel md__gemm = {.supports = md__all_f32,
                                   .prepare = gemm_prepare,
                                   .scratch_bytes = gemm_scratch,
                                   .run = gemm_run};

/* ---- MatMul ---------------------------------------------------------------------------------- */

/* One right side for all rows: B is a matrix, or its leading dimensions are all 1. */
static bool shares_right(const struct md_tensor *in)
{
    return in[1].shape.rank >= 2 && in[0].shape.rank >= 2 &&
           md__span(&in[1].shape, 0, in[1].shape.rank - 2) == 1 &&
           in[1].shape.rank <= in[0].shape.rank;
}

static struct unpacked right_side(const struct md_tensor *b, size_t *inputs, size_t *columns)
{
    *inputs = (size_t)b->shape.dim[b->shape.rank - 2];
    *columns = (size_t)b->shape.dim[b->shape.rank - 1];
    return (struct unpacked){
        .weights = b->data, .k_stride = *columns, .column_stride = 1, .scale = 1};
}

static enum md_status matmul_prepare(const struct md_node *node, const struct md_tensor *in,
                                     int in_count, void **prepared, size_t *bytes,
                                     struct md_error *err)
{
    (void)node;
    (void)in_count;
    if (in[1].data == NULL || !shares_right(in))
        return MD_OK;
    size_t inputs, columns;
    struct unpacked from = right_side(&in[1], &inputs, &columns);
    return prepare(&from, inputs, columns, false, prepared, bytes, err);
}

static size_t matmul_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    if (in[0].shape.rank < 2 || in[1].shape.rank < 2)
        return md__ref_matmul.scratch_bytes(node, in, in_count, threads);
    const struct md_shape *b = &in[1].shape;
    size_t one = packed_floats((size_t)b->dim[b->rank - 2], (size_t)b->dim[b->rank - 1], false);
    return (one + VL) * sizeof(float) * (size_t)threads;
}

struct batch {
    const struct md_kernel_call *call;
    struct md__walk walk; /* slot 0 counts left matrices, slot 1 right ones */
    size_t inputs, columns, rows;
};

static void multiply_matrices(void *context, size_t begin, size_t end, int thread)
{
    const struct batch *batch = context;
    const struct md_kernel_call *call = batch->call;
    size_t one = (packed_floats(batch->inputs, batch->columns, false) + VL - 1) / VL * VL;
    float *memory = (float *)call->scratch + one * (size_t)thread;
    struct md__walk walk = batch->walk;
    for (size_t i = 0; i < begin; i++)
        md__walk_next(&walk);
    for (size_t i = begin; i < end; i++, md__walk_next(&walk)) {
        size_t inputs, columns;
        struct unpacked from = right_side(&call->in[1], &inputs, &columns);
        from.weights += (size_t)walk.at[1] * inputs * columns;
        struct packed packed = md__pack(&from, inputs, columns, false, memory);
        struct product product = {.x = (const float *)call->in[0].data +
                                       (size_t)walk.at[0] * batch->rows * inputs,
                                  .x_stride = inputs,
                                  .rows = batch->rows,
                                  .y = (float *)call->out[0].data + i * batch->rows * columns,
                                  .y_stride = columns,
                                  .y_columns = columns};
        md__multiply(&packed, &product);
    }
}

static void multiply_batch(const struct md_kernel_call *call)
{
    struct md_shape a = call->in[0].shape, b = call->in[1].shape;
    const struct md_shape *out = &call->out[0].shape;
    struct batch batch = {.call = call,
                          .rows = (size_t)a.dim[a.rank - 2],
                          .inputs = (size_t)b.dim[b.rank - 2],
                          .columns = (size_t)b.dim[b.rank - 1]};
    a.rank -= 2;
    b.rank -= 2;
    md__walk_init(&batch.walk, out->rank - 2, out->dim);
    md__walk_broadcast(&batch.walk, 0, &a);
    md__walk_broadcast(&batch.walk, 1, &b);
    size_t cost = batch.inputs * vectors_of(batch.columns) * (batch.rows / 2 + VL);
    md__parallel(call->pool, md__span(out, 0, out->rank - 2), md__grain(cost), multiply_matrices,
                 &batch);
}

static enum md_status matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct prepared *prepared = call->prepared;
    if (call->in[0].shape.rank < 2 || call->in[1].shape.rank < 2)
        return md__ref_matmul.run(call, err);
    if (prepared) {
        struct packed packed = packed_of(prepared);
        multiply_rows(call, &packed);
    } else if (shares_right(call->in)) {
        size_t inputs, columns;
        struct unpacked from = right_side(&call->in[1], &inputs, &columns);
        struct packed packed = md__pack(&from, inputs, columns, false, call->scratch);
        multiply_rows(call, &packed);
    } else
        multiply_batch(call);
    return MD_OK;
}

const struct md_kernel md__matmul = {.supports = md__all_f32,
                                     .prepare = matmul_prepare,
                                     .scratch_bytes = matmul_scratch,
                                     .run = matmul_run};
