/*
 * Reference kernels of quantised operators: QuantizeLinear, DequantizeLinear,
 * DynamicQuantizeLinear, MatMulInteger, QLinearMatMul. A quotient is rounded to nearest, ties to
 * even, in the precision that the standard names, then the zero point is added and the sum
 * saturated.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/product.h"
#include "kernels/cpu/ref.h"

/* round(x) + zero within the range of an integer dtype of at most 32 bits; NaN gives the zero
 * point. */
static int64_t saturated(double x, double zero, enum md_dtype dtype)
{
    double low = (double)md__int_min(dtype), high = (double)md__int_max(dtype);
    double y = isnan(x) ? zero : rint(x) + zero;
    return (int64_t)(y < low ? low : y > high ? high : y);
}

/* ---- one element after the other ------------------------------------------------------------- */

/*
 * Scales or zero points as the data see them. One for all, or one for each index of an axis, are a
 * broadcast view; one a block of an axis is looked up element by element.
 */
struct spread {
    struct md__view view;
    size_t axis, inner, block; /* block 0: the view does it */
};

static void spread_init(struct spread *spread, const struct md_kernel_call *call, int i)
{
    const struct md_shape *shape = &call->in[0].shape;
    *spread = (struct spread){.view.tensor = &call->in[i]};
    struct md__walk *walk = &spread->view.walk;
    md__walk_init(walk, shape->rank, shape->dim);
    if (md__count(&call->in[i]) > 1) {
        int axis = md__axis(md_node_int(call->node, "axis", 1), shape->rank);
        spread->block = (size_t)md_node_int(call->node, "block_size", 0);
        spread->axis = (size_t)shape->dim[axis];
        spread->inner = md__span(shape, axis + 1, shape->rank);
        walk->stride[0][axis] = 1;
    }
    md__walk_merge(walk);
}

static void spread_load(const struct spread *spread, size_t at, size_t count, double *to)
{
    if (spread->block == 0) {
        md__view_floats(&spread->view, at, count, to);
        return;
    }
    size_t blocks = (spread->axis + spread->block - 1) / spread->block;
    for (size_t i = 0; i < count; i++) {
        size_t inner = (at + i) % spread->inner, line = (at + i) / spread->inner;
        size_t block = line / spread->axis * blocks + line % spread->axis / spread->block;
        to[i] = md__get_float(spread->view.tensor, block * spread->inner + inner);
    }
}

struct linear {
    const struct md_kernel_call *call;
    struct spread scale, zero; /* zero's tensor NULL: absent */
    enum md_dtype precision;   /* of the division */
};

static void linear_init(struct linear *linear, const struct md_kernel_call *call)
{
    *linear = (struct linear){.call = call, .precision = call->in[1].dtype};
    spread_init(&linear->scale, call, 1);
    if (md__has(call->in, call->in_count, 2))
        spread_init(&linear->zero, call, 2);
}

static void load_zeros(const struct linear *linear, size_t at, size_t count, double *zero)
{
    if (linear->zero.view.tensor)
        spread_load(&linear->zero, at, count, zero);
    else
        memset(zero, 0, count * sizeof *zero);
}

static void quantize_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct linear *linear = context;
    const struct md_tensor *in = linear->call->in, *out = &linear->call->out[0];
    double x[MD__BLOCK], scale[MD__BLOCK], zero[MD__BLOCK];
    int64_t y[MD__BLOCK];
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        md__load_floats(&in[0], at, 1, count, x);
        md__round_floats(linear->precision, count, x);
        spread_load(&linear->scale, at, count, scale);
        md__round_floats(linear->precision, count, scale);
        load_zeros(linear, at, count, zero);
        for (size_t i = 0; i < count; i++)
            x[i] /= scale[i];
        md__round_floats(linear->precision, count, x);
        for (size_t i = 0; i < count; i++)
            y[i] = saturated(x[i], zero[i], out->dtype);
        md__store_ints(out, at, 1, count, y);
    }
}

static enum md_status quantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct linear linear;
    linear_init(&linear, call);
    int64_t precision = md_node_int(call->node, "precision", 0);
    if (precision != 0)
        linear.precision = (enum md_dtype)precision;
    md__parallel(call->pool, md__count(&call->out[0]), 4096, quantize_some, &linear);
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
    double x[MD__BLOCK], scale[MD__BLOCK], zero[MD__BLOCK];
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        md__load_floats(&linear->call->in[0], at, 1, count, x);
        spread_load(&linear->scale, at, count, scale);
        load_zeros(linear, at, count, zero);
        for (size_t i = 0; i < count; i++)
            x[i] = (x[i] - zero[i]) * scale[i];
        md__store_floats(&linear->call->out[0], at, 1, count, x);
    }
}

static enum md_status dequantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct linear linear;
    linear_init(&linear, call);
    md__parallel(call->pool, md__count(&call->out[0]), 8192, dequantize_some, &linear);
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

/* ---- products --------------------------------------------------------------------------------
 *
 * In double, which is exact: terms are below 2^17, and no memory holds 2^36 of them. */

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
    md__store_floats(&it->call->out[0], result_index(&it->product, sums), 1, sums->count,
                     sums->real);
}

static enum md_status matmul_integer_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct quantized_product it = {.call = call};
    it.product = (struct md__product){
        .real = true, .finish = store_sums, .context = &it, .scratch = call->scratch};
    md__product_matmul(&it.product, &call->in[0], &call->in[1], &call->out[0]);
    it.product.a.zero = md__input(call, 2);
    it.product.b.zero = md__input(call, 3);
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
        y[n] = saturated(sums->real[n] * factor, zero, out->dtype);
    }
    md__store_ints(out, result_index(product, sums), 1, sums->count, y);
}

static enum md_status qlinear_matmul_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct quantized_product it = {.call = call};
    it.product = (struct md__product){
        .real = true, .finish = requantize, .context = &it, .scratch = call->scratch};
    md__product_matmul(&it.product, &call->in[0], &call->in[3], &call->out[0]);
    it.product.a.zero = &call->in[2];
    it.product.b.zero = &call->in[5];
    md__product_run(&it.product, call->pool);
    return MD_OK;
}

const struct md_kernel md__ref_qlinear_matmul = {.scratch_bytes = product_scratch,
                                                 .run = qlinear_matmul_run};
