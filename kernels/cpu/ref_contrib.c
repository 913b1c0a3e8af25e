/*
 * Reference kernels of fused and quantised operators of com.microsoft: FusedMatMul, the Gelu
 * family, FusedConv, DynamicQuantizeMatMul, MatMulIntegerToFloat, MatMulNBits.
 */
#include <math.h>
#include <string.h>

#include "graph/activation.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/ref.h"

/* ---- FusedMatMul: alpha * op(A) * op(B) ------------------------------------------------------ */

struct fused_matmul {
    const struct md_tensor *out;
    double alpha;
    size_t rows, columns;
};

static void store_scaled(void *context, const struct md__sums *sums)
{
    const struct fused_matmul *fused = context;
    size_t at = (sums->matrix * fused->rows + sums->row) * fused->columns + sums->column;
    for (size_t i = 0; i < sums->count; i++)
        sums->real[i] *= fused->alpha;
    md__store_floats(fused->out, at, 1, sums->count, sums->real);
}

/* The same memory with its last two axes exchanged, if the attribute says so. */
static struct md_tensor turned(const struct md_kernel_call *call, int i, bool *turn)
{
    struct md_tensor tensor = call->in[i];
    int rank = tensor.shape.rank;
    *turn = rank >= 2 && md_node_int(call->node, i ? "transB" : "transA", 0) != 0;
    if (*turn) {
        int64_t last = tensor.shape.dim[rank - 1];
        tensor.shape.dim[rank - 1] = tensor.shape.dim[rank - 2];
        tensor.shape.dim[rank - 2] = last;
    }
    return tensor;
}

static void turn_operand(struct md__operand *operand, const struct md_tensor *given)
{
    operand->row = 1;
    operand->column = given->shape.dim[given->shape.rank - 1];
}

static enum md_status fused_matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    bool turn[2];
    struct md_tensor a = turned(call, 0, &turn[0]), b = turned(call, 1, &turn[1]);
    struct fused_matmul fused = {.out = &call->out[0],
                                 .alpha = md_node_float(call->node, "alpha", 1)};
    struct md__product product = {
        .real = true, .finish = store_scaled, .context = &fused, .scratch = call->scratch};
    md__product_matmul(&product, &a, &b, &call->out[0]);
    if (turn[0])
        turn_operand(&product.a, &call->in[0]);
    if (turn[1])
        turn_operand(&product.b, &call->in[1]);
    fused.rows = product.rows;
    fused.columns = product.columns;
    md__product_run(&product, call->pool);
    return MD_OK;
}

static size_t fused_matmul_scratch(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, int threads)
{
    (void)in_count;
    const struct md_shape *a = &in[0].shape;
    bool turn = a->rank >= 2 && md_node_int(node, "transA", 0) != 0;
    return md__product_scratch((size_t)a->dim[a->rank - 1 - turn], threads);
}

static bool fused_matmul_supports(const struct md_node *node, const struct md_tensor *in,
                                  int in_count)
{
    (void)node, (void)in_count;
    return md__dtype_is_float(in[0].dtype);
}

/* ---- BiasGelu, FastGelu, QuickGelu ----------------------------------------------------------- */

struct gelu_job {
    const struct md_kernel_call *call;
    md__unary_function function;
    struct md__unary_parameters with;
    size_t columns; /* of the bias; 0: none */
};

static void gelu_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct gelu_job *job = context;
    const struct md_kernel_call *call = job->call;
    for (size_t i = begin; i < end; i++) {
        double x = md__get_float(&call->in[0], i);
        if (job->columns)
            x += md__get_float(&call->in[1], i % job->columns);
        md__set_float(&call->out[0], i, job->function(x, &job->with));
    }
}

static enum md_status gelu_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    enum md_op op = call->node->op;
    struct gelu_job job = {.call = call,
                           .function = md__unary_function_of(
                               op == MD_OP_QUICK_GELU ? MD_OP_SWISH : MD_OP_GELU,
                               op == MD_OP_FAST_GELU),
                           .with.a = md_node_float(call->node, "alpha", 1.702f),
                           .columns = md__input(call, 1) ? md__count(&call->in[1]) : 0};
    md__parallel(call->pool, md__count(&call->in[0]), md__grain(64), gelu_some, &job);
    return MD_OK;
}

/* ---- FusedConv ------------------------------------------------------------------------------- */

static enum md_status fused_conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_kernel_call plain = *call;
    plain.in_count = call->in_count < 3 ? call->in_count : 3;
    enum md_status status = md__ref_conv.run(&plain, err);
    const struct md_activation activation = md_activation_of(call->node);
    const struct md__unary_parameters with = {activation.a, activation.b};
    md__unary_function function = md__unary_function_of(activation.op, activation.a != 0);
    const struct md_tensor *more = md__input(call, 3), *y = &call->out[0];
    size_t count = status ? 0 : md__count(y);
    for (size_t i = 0; i < count; i++) {
        double x = md__get_float(y, i) + (more ? md__get_float(more, i) : 0);
        if (activation.op == MD_OP_CLIP)
            x = md__clamped(x, with.a, with.b);
        else if (function)
            x = function(x, &with);
        md__set_float(y, i, activation.shifts ? x * activation.scale + activation.shift : x);
    }
    return status;
}

/* ---- products of quantised matrices ---------------------------------------------------------- */

/* Element i of a list of one or many; 0 when the list is absent. */
static double nth(const struct md_tensor *list, size_t i)
{
    return list ? md__get_float(list, md__count(list) > 1 ? i : 0) : 0;
}

struct quantized {
    const struct md_kernel_call *call;
    size_t inner, columns;
    double scale, zero; /* of A */
    bool dynamic;       /* A still is to be quantised */
    const struct md_tensor *b_scale, *b_zero, *bias;
};

/* Rows [begin, end): exact integers in doubles. */
static void quantized_rows(void *context, size_t begin, size_t end, int thread)
{
    const struct quantized *q = context;
    const struct md_kernel_call *call = q->call;
    double *a = (double *)call->scratch + (q->inner + 2 * q->columns) * (size_t)thread;
    double *sums = a + q->inner, *b = sums + q->columns;
    for (size_t row = begin; row < end; row++) {
        md__load_floats(&call->in[0], row * q->inner, 1, q->inner, a);
        memset(sums, 0, q->columns * sizeof *sums);
        for (size_t k = 0; k < q->inner; k++) {
            double x = a[k];
            if (q->dynamic)
                x = fmin(fmax(nearbyint(x / q->scale) + q->zero, 0), 255);
            x -= q->zero;
            md__load_floats(&call->in[1], k * q->columns, 1, q->columns, b);
            for (size_t c = 0; c < q->columns; c++)
                sums[c] += x * (b[c] - nth(q->b_zero, c));
        }
        for (size_t c = 0; c < q->columns; c++)
            sums[c] = sums[c] * q->scale * nth(q->b_scale, c) + nth(q->bias, c);
        md__store_floats(&call->out[0], row * q->columns, 1, q->columns, sums);
    }
}

/* Scale and zero point by which A's range, widened to hold 0, covers 0..255. In float32, as the
 * operator is defined. */
static void measure(const struct md_tensor *a, struct quantized *q)
{
    float low = 0, high = 0;
    size_t count = md__count(a);
    for (size_t i = 0; i < count; i++) {
        low = fminf(low, ((const float *)a->data)[i]);
        high = fmaxf(high, ((const float *)a->data)[i]);
    }
    float scale = high == low ? 1 : (high - low) / 255;
    q->scale = (double)scale;
    q->zero = (double)nearbyintf(fminf(fmaxf(-low / scale, 0), 255));
}

static enum md_status quantized_matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    bool dynamic = call->node->op == MD_OP_DYNAMIC_QUANTIZE_MATMUL;
    struct quantized q = {.call = call,
                          .inner = (size_t)call->in[1].shape.dim[0],
                          .columns = (size_t)call->in[1].shape.dim[1],
                          .dynamic = dynamic,
                          .b_scale = md__input(call, dynamic ? 2 : 3),
                          .b_zero = md__input(call, dynamic ? 3 : 5),
                          .bias = md__input(call, dynamic ? 4 : 6)};
    if (dynamic) {
        measure(&call->in[0], &q);
    } else {
        q.scale = nth(md__input(call, 2), 0);
        q.zero = nth(md__input(call, 4), 0);
    }
    size_t rows = md__count(&call->out[0]) / q.columns;
    md__parallel(call->pool, rows, md__grain(q.inner * q.columns * 2), quantized_rows, &q);
    return MD_OK;
}

static size_t quantized_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    (void)node, (void)in_count;
    return (size_t)(in[1].shape.dim[0] + 2 * in[1].shape.dim[1]) * sizeof(double) * (size_t)threads;
}

/* ---- MatMulNBits ----------------------------------------------------------------------------- */

struct nbits {
    const struct md_kernel_call *call;
    size_t k, n, blocks, block, bits, rows;
};

/* Number i of a row of packed ones, the first in the lowest bits. */
static double unpacked(const uint8_t *row, size_t i, size_t bits)
{
    size_t each = 8 / bits;
    return (row[i / each] >> (i % each * bits)) & ((1u << bits) - 1);
}

static double block_zero(const struct nbits *all, size_t column, size_t block)
{
    const struct md_tensor *zeros = md__input(all->call, 3);
    if (!zeros)
        return (double)(1u << (all->bits - 1));
    if (zeros->dtype != MD_U8)
        return md__get_float(zeros, column * all->blocks + block);
    size_t bytes = (all->blocks * all->bits + 7) / 8;
    return unpacked((const uint8_t *)zeros->data + column * bytes, block, all->bits);
}

/* Columns [begin, end) of the result: each unpacks its weights once. */
static void nbits_columns(void *context, size_t begin, size_t end, int thread)
{
    const struct nbits *all = context;
    const struct md_kernel_call *call = all->call;
    double *weights = (double *)call->scratch + 2 * all->k * (size_t)thread;
    double *a = weights + all->k;
    size_t bytes = all->block * all->bits / 8;
    for (size_t column = begin; column < end; column++) {
        const uint8_t *packed = (const uint8_t *)call->in[1].data + column * all->blocks * bytes;
        for (size_t k = 0; k < all->k; k++) {
            size_t block = k / all->block;
            double scale = md__get_float(&call->in[2], column * all->blocks + block);
            double level = unpacked(packed + block * bytes, k % all->block, all->bits);
            weights[k] = (level - block_zero(all, column, block)) * scale;
        }
        for (size_t row = 0; row < all->rows; row++) {
            double sum = nth(md__input(call, 5), column);
            md__load_floats(&call->in[0], row * all->k, 1, all->k, a);
            for (size_t k = 0; k < all->k; k++)
                sum += a[k] * weights[k];
            md__set_float(&call->out[0], row * all->n + column, sum);
        }
    }
}

static enum md_status nbits_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct nbits all = {.call = call,
                        .k = (size_t)md_node_int(call->node, "K", 0),
                        .n = (size_t)md_node_int(call->node, "N", 0),
                        .block = (size_t)md_node_int(call->node, "block_size", 0),
                        .bits = (size_t)md_node_int(call->node, "bits", 4)};
    all.blocks = (all.k + all.block - 1) / all.block;
    all.rows = md__count(&call->in[0]) / all.k;
    md__parallel(call->pool, all.n, md__grain(all.k * (all.rows * 2 + 16)), nbits_columns, &all);
    return MD_OK;
}

static size_t nbits_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    (void)in, (void)in_count;
    return 2 * (size_t)md_node_int(node, "K", 0) * sizeof(double) * (size_t)threads;
}

const struct md_kernel md__ref_fused_matmul = {.supports = fused_matmul_supports,
                                               .scratch_bytes = fused_matmul_scratch,
                                               .run = fused_matmul_run};
const struct md_kernel md__ref_bias_gelu = {.run = gelu_run, .in_place = true};
const struct md_kernel md__ref_fused_conv = {.run = fused_conv_run};
const struct md_kernel md__ref_quantized_matmul = {.scratch_bytes = quantized_scratch,
                                                   .run = quantized_matmul_run};
const struct md_kernel md__ref_matmul_nbits = {.scratch_bytes = nbits_scratch, .run = nbits_run};
