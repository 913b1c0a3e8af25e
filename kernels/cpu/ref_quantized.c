/*
 * Reference kernels of quantised operators: QuantizeLinear, DequantizeLinear,
 * DynamicQuantizeLinear, MatMulInteger, QLinearMatMul. A quotient is rounded to nearest, ties to
 * even, in the precision that the standard names, then the zero point is added and the sum
 * saturated.
 */
#include <math.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/ref.h"

/* round(x) + zero within the range of an integer dtype of at most 32 bits; NaN gives the zero
 * point. */
static int64_t saturated(double x, double zero, enum md_dtype dtype)
{
    double low = (double)md__int_min(dtype), high = (double)md__int_max(dtype);
    double y = isnan(x) ? zero : nearbyint(x) + zero;
    return (int64_t)(y < low ? low : y > high ? high : y);
}

static double rounded_to(enum md_dtype dtype, double x)
{
    md__round_floats(dtype, 1, &x);
    return x;
}

/* ---- one element at a time ------------------------------------------------------------------- */

/* Which scale an element of [outer][axis][inner] has: o * outer_step + k / block * axis_step + i *
 * inner_step. */
struct granularity {
    size_t axis, inner, block;
    size_t outer_step, axis_step, inner_step;
};

static struct granularity granularity_of(const struct md_kernel_call *call)
{
    const struct md_shape *shape = &call->in[0].shape;
    size_t scales = md__count(&call->in[1]),
           block = (size_t)md_node_int(call->node, "block_size", 0);
    struct granularity g = {.axis = 1, .inner = 1, .block = 1};
    if (scales == 1)
        return g;
    int axis = md__axis(md_node_int(call->node, "axis", 1), shape->rank);
    g.axis = (size_t)shape->dim[axis];
    g.inner = md__span(shape, axis + 1, shape->rank);
    g.axis_step = 1;
    if (block > 0) {
        g.block = block;
        g.axis_step = g.inner;
        g.inner_step = 1;
        g.outer_step = (g.axis + block - 1) / block * g.inner;
    }
    return g;
}

static size_t scale_index(const struct granularity *g, size_t i)
{
    size_t inner = i % g->inner, line = i / g->inner;
    return line / g->axis * g->outer_step + line % g->axis / g->block * g->axis_step +
           inner * g->inner_step;
}

struct linear {
    const struct md_kernel_call *call;
    struct granularity granularity;
    enum md_dtype precision; /* of the division, or of the product */
    bool zeros;
};

static struct linear linear_of(const struct md_kernel_call *call)
{
    return (struct linear){.call = call,
                           .granularity = granularity_of(call),
                           .precision = call->in[1].dtype,
                           .zeros = md__has(call->in, call->in_count, 2)};
}

static double zero_at(const struct linear *linear, size_t which)
{
    return linear->zeros ? md__get_float(&linear->call->in[2], which) : 0;
}

static void quantize_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct linear *linear = context;
    const struct md_kernel_call *call = linear->call;
    for (size_t i = begin; i < end; i++) {
        size_t which = scale_index(&linear->granularity, i);
        double x = rounded_to(linear->precision, md__get_float(&call->in[0], i));
        double scale = rounded_to(linear->precision, md__get_float(&call->in[1], which));
        double quotient = rounded_to(linear->precision, x / scale);
        md__set_int(&call->out[0], i,
                    saturated(quotient, zero_at(linear, which), call->out[0].dtype));
    }
}

static enum md_status quantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct linear linear = linear_of(call);
    int64_t precision = md_node_int(call->node, "precision", 0);
    if (precision != 0)
        linear.precision = (enum md_dtype)precision;
    md__parallel(call->pool, md__count(&call->out[0]), 1024, quantize_some, &linear);
    return MD_OK;
}

static bool quantize_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)in_count;
    int64_t precision = md_node_int(node, "precision", 0);
    enum md_dtype divides = precision ? (enum md_dtype)precision : in[1].dtype;
    bool number = md__dtype_is_float(in[0].dtype) || in[0].dtype == MD_I32;
    return number && md__dtype_is_float(in[1].dtype) && md__dtype_is_float(divides);
}

const struct md_kernel md__ref_quantize = {.supports = quantize_supports, .run = quantize_run};

static void dequantize_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct linear *linear = context;
    const struct md_kernel_call *call = linear->call;
    for (size_t i = begin; i < end; i++) {
        size_t which = scale_index(&linear->granularity, i);
        double x = md__get_float(&call->in[0], i) - zero_at(linear, which);
        md__set_float(&call->out[0], i, x * md__get_float(&call->in[1], which));
    }
}

static enum md_status dequantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct linear linear = linear_of(call);
    md__parallel(call->pool, md__count(&call->out[0]), 1024, dequantize_some, &linear);
    return MD_OK;
}

static bool dequantize_supports(const struct md_node *node, const struct md_tensor *in,
                                int in_count)
{
    (void)node, (void)in_count;
    return md_dtype_bytes(in[0].dtype) <= 4 && in[0].dtype != MD_BOOL &&
           !md__dtype_is_float(in[0].dtype);
}

const struct md_kernel md__ref_dequantize = {.supports = dequantize_supports,
                                             .run = dequantize_run};

/* ---- DynamicQuantizeLinear: in float32, as its definition says ------------------------------- */

static enum md_status dynamic_quantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const float *x = call->in[0].data;
    size_t count = md__count(&call->in[0]);
    float low = 0, high = 0; /* the range includes 0 */
    for (size_t i = 0; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    float scale = (high == low ? 1.0f : high - low) / 255.0f;
    int64_t zero = saturated((double)(-low / scale), 0, MD_U8);
    *(float *)call->out[1].data = scale;
    *(uint8_t *)call->out[2].data = (uint8_t)zero;
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)call->out[0].data)[i] =
            (uint8_t)saturated((double)(x[i] / scale), (double)zero, MD_U8);
    return MD_OK;
}

const struct md_kernel md__ref_dynamic_quantize = {.run = dynamic_quantize_run};

/* ---- products -------------------------------------------------------------------------------- */

struct quantized_product {
    const struct md_kernel_call *call;
    struct md__product product;
};

static size_t product_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                              int threads)
{
    (void)node, (void)in_count;
    return md__product_scratch((size_t)in[0].shape.dim[in[0].shape.rank - 1], threads);
}

static size_t result_index(const struct md__product *product, const struct md__sums *sums)
{
    return (sums->matrix * product->rows + sums->row) * product->columns + sums->column;
}

static void store_sums(void *context, const struct md__sums *sums)
{
    const struct quantized_product *it = context;
    md__store_ints(&it->call->out[0], result_index(&it->product, sums), 1, sums->count,
                   sums->integer);
}

static enum md_status matmul_integer_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct quantized_product it = {.call = call};
    it.product =
        (struct md__product){.finish = store_sums, .context = &it, .scratch = call->scratch};
    md__product_matmul(&it.product, &call->in[0], &call->in[1], &call->out[0]);
    it.product.a.zero = md__has(call->in, call->in_count, 2) ? &call->in[2] : NULL;
    it.product.b.zero = md__has(call->in, call->in_count, 3) ? &call->in[3] : NULL;
    md__product_run(&it.product, call->pool);
    return MD_OK;
}

const struct md_kernel md__ref_matmul_integer = {.scratch_bytes = product_scratch,
                                                 .run = matmul_integer_run};

/* Scales the exact sums by a_scale * b_scale / y_scale, which are one a row and one a column. */
static void requantize(void *context, const struct md__sums *sums)
{
    const struct quantized_product *it = context;
    const struct md_tensor *in = it->call->in, *out = &it->call->out[0];
    const struct md__product *product = &it->product;
    struct md__walk batch = product->batch;
    md__walk_seek(&batch, sums->matrix);
    double a_scale = md__get_float(
        &in[1], md__product_which(&in[1], (size_t)batch.at[0], sums->row, product->rows));
    double y_scale = md__get_float(&in[6], 0), zero = md__get_float(&in[7], 0);
    int64_t y[MD__TILE];
    for (size_t n = 0; n < sums->count; n++) {
        size_t which =
            md__product_which(&in[4], (size_t)batch.at[1], sums->column + n, product->columns);
        double factor = a_scale * md__get_float(&in[4], which) / y_scale;
        y[n] = saturated((double)sums->integer[n] * factor, zero, out->dtype);
    }
    md__store_ints(out, result_index(product, sums), 1, sums->count, y);
}

static enum md_status qlinear_matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct quantized_product it = {.call = call};
    it.product =
        (struct md__product){.finish = requantize, .context = &it, .scratch = call->scratch};
    md__product_matmul(&it.product, &call->in[0], &call->in[3], &call->out[0]);
    it.product.a.zero = &call->in[2];
    it.product.b.zero = &call->in[5];
    md__product_run(&it.product, call->pool);
    return MD_OK;
}

const struct md_kernel md__ref_qlinear_matmul = {.scratch_bytes = product_scratch,
                                                 .run = qlinear_matmul_run};
