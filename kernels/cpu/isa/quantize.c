/*
 * QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear between float32 and bytes, with one
 * scale for all or one for each index of an axis. Quotients are true divisions, rounded to nearest
 * with ties to even: exactly what the reference gives. Other dtypes, blocks and precisions are the
 * reference's.
 */
#include <math.h>

#include "kernels/cpu/isa/int8.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/ref.h"

#define LINE_GRAIN 16384

static bool is_byte(enum md_dtype dtype)
{
    return dtype == MD_U8 || dtype == MD_I8;
}

/* Elements as lines of `inner` with one scale each, `axis` scales in turn; or, where the axis is
 * the last one, lines of the axis with a scale for each element. */
struct levels {
    const void *x;
    void *y;
    const float *scale;
    const uint8_t *zero; /* NULL: 0 */
    size_t axis, inner;  /* inner 0: along the axis */
    bool is_signed;
};

static int32_t zero_at(const struct levels *levels, size_t i)
{
    if (!levels->zero)
        return 0;
    return levels->is_signed ? ((const int8_t *)levels->zero)[i] : levels->zero[i];
}

/* round(x / scale) within the range, plus the zero point; NaN gives the zero point. */
INLINE vi quantized(vf x, vf scale, vi zero, vf low, vf high)
{
    vf zeros = vi_to_float(zero), quotient = x / scale;
    quotient = choose(quotient == quotient, quotient, splat(0));
    return vf_round(vmin(vmax(quotient, low - zeros), high - zeros)) + zero;
}

INLINE void quantize_span(const struct levels *levels, const float *x, uint8_t *y, size_t count,
                          size_t which, const bool along)
{
    const vf low = splat(levels->is_signed ? -128 : 0), high = splat(levels->is_signed ? 127 : 255);
    vf scale = splat(levels->scale[along ? 0 : which]);
    vi zero = vi_splat(along ? 0 : zero_at(levels, which));
    for (size_t i = 0; i < count; i += VL) {
        size_t left = count - i;
        if (along) {
            scale = left >= VL ? load(levels->scale + which + i)
                               : load_some(levels->scale + which + i, left);
            if (levels->zero)
                zero = load_bytes(levels->zero + which + i, left, levels->is_signed);
        }
        vf value = left >= VL ? load(x + i) : load_some(x + i, left);
        store_bytes(y + i, quantized(value, scale, zero, low, high), left);
    }
}

INLINE void dequantize_span(const struct levels *levels, const uint8_t *x, float *y, size_t count,
                            size_t which, const bool along)
{
    vf scale = splat(levels->scale[along ? 0 : which]);
    vi zero = vi_splat(along ? 0 : zero_at(levels, which));
    for (size_t i = 0; i < count; i += VL) {
        size_t left = count - i;
        if (along) {
            scale = left >= VL ? load(levels->scale + which + i)
                               : load_some(levels->scale + which + i, left);
            if (levels->zero)
                zero = load_bytes(levels->zero + which + i, left, levels->is_signed);
        }
        vf value = vi_to_float(load_bytes(x + i, left, levels->is_signed) - zero) * scale;
        if (left >= VL)
            store(y + i, value);
        else
            store_some(y + i, value, left);
    }
}

/* Elements [begin, end), cut where the scale changes. */
#define EACH_SPAN(levels, begin, end, at, count)                                                   \
    for (size_t at = begin, count; at < (end); at += count)                                        \
        if ((count = span_at(levels, at, end)) > 0)

static size_t span_at(const struct levels *levels, size_t at, size_t end)
{
    size_t length = levels->inner ? levels->inner : levels->axis;
    size_t left = length - at % length;
    return left < end - at ? left : end - at;
}

static void quantize_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct levels *levels = context;
    EACH_SPAN(levels, begin, end, at, count)
    {
        const float *x = (const float *)levels->x + at;
        uint8_t *y = (uint8_t *)levels->y + at;
        if (levels->inner)
            quantize_span(levels, x, y, count, at / levels->inner % levels->axis, false);
        else
            quantize_span(levels, x, y, count, at % levels->axis, true);
    }
}

static void dequantize_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct levels *levels = context;
    EACH_SPAN(levels, begin, end, at, count)
    {
        const uint8_t *x = (const uint8_t *)levels->x + at;
        float *y = (float *)levels->y + at;
        if (levels->inner)
            dequantize_span(levels, x, y, count, at / levels->inner % levels->axis, false);
        else
            dequantize_span(levels, x, y, count, at % levels->axis, true);
    }
}

/* False: one for the reference. */
static bool read_levels(const struct md_kernel_call *call, enum md_dtype bytes,
                        struct levels *levels)
{
    const struct md_tensor *x = &call->in[0], *scale = &call->in[1], *zero = md__input(call, 2);
    *levels = (struct levels){.x = x->data,
                              .y = call->out[0].data,
                              .scale = scale->data,
                              .zero = zero ? zero->data : NULL,
                              .axis = 1,
                              .inner = md__count(x),
                              .is_signed = bytes == MD_I8};
    if (!is_byte(bytes) || scale->dtype != MD_F32 || (zero && zero->dtype != bytes) ||
        md_node_int(call->node, "block_size", 0) != 0)
        return false;
    if (md__count(scale) == 1)
        return true;
    int axis = md__axis(md_node_int(call->node, "axis", 1), x->shape.rank);
    if (axis == MD_NONE || (zero && md__count(zero) != md__count(scale)))
        return false;
    levels->axis = (size_t)x->shape.dim[axis];
    levels->inner = md__span(&x->shape, axis + 1, x->shape.rank);
    if (levels->inner == 1)
        levels->inner = 0;
    return true;
}

static enum md_status quantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct levels levels;
    int64_t precision = md_node_int(call->node, "precision", 0);
    if (call->in[0].dtype != MD_F32 || (precision != 0 && precision != MD_F32) ||
        !read_levels(call, call->out[0].dtype, &levels))
        return md__ref_quantize.run(call, err);
    md__parallel(call->pool, md__count(&call->out[0]), LINE_GRAIN, quantize_some, &levels);
    return MD_OK;
}

static bool quantize_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_quantize.supports(node, in, in_count);
}

const struct md_kernel md__quantize = {.supports = quantize_supports, .run = quantize_run};

static enum md_status dequantize_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct levels levels;
    if (call->out[0].dtype != MD_F32 || !read_levels(call, call->in[0].dtype, &levels))
        return md__ref_dequantize.run(call, err);
    md__parallel(call->pool, md__count(&call->out[0]), LINE_GRAIN, dequantize_some, &levels);
    return MD_OK;
}

static bool dequantize_supports(const struct md_node *node, const struct md_tensor *in,
                                int in_count)
{
    return md__ref_dequantize.supports(node, in, in_count);
}

const struct md_kernel md__dequantize = {.supports = dequantize_supports, .run = dequantize_run};

/* ---- DynamicQuantizeLinear ------------------------------------------------------------------- */

#define RANGE_PARTS 64

struct range {
    const float *x;
    size_t count, parts;
    float low[RANGE_PARTS], high[RANGE_PARTS];
};

static void range_parts(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    struct range *range = context;
    for (size_t part = begin; part < end; part++) {
        size_t i = range->count * part / range->parts;
        size_t last = range->count * (part + 1) / range->parts;
        vf low = splat(0), high = splat(0); /* the range includes 0; NaNs are passed over */
        for (; i + VL <= last; i += VL) {
            low = vmin(load(range->x + i), low);
            high = vmax(load(range->x + i), high);
        }
        if (i < last) {
            low = vmin(load_some(range->x + i, last - i), low);
            high = vmax(load_some(range->x + i, last - i), high);
        }
        range->low[part] = -horizontal_max(-low);
        range->high[part] = horizontal_max(high);
    }
}

static enum md_status dynamic_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct range range = {.x = call->in[0].data, .count = md__count(&call->in[0])};
    range.parts = range.count / 4096 + 1 < RANGE_PARTS ? range.count / 4096 + 1 : RANGE_PARTS;
    md__parallel(call->pool, range.parts, 8, range_parts, &range);
    float low = 0, high = 0;
    for (size_t part = 0; part < range.parts; part++) {
        low = range.low[part] < low ? range.low[part] : low;
        high = range.high[part] > high ? range.high[part] : high;
    }
    float *scale = call->out[1].data;
    uint8_t *zero = call->out[2].data;
    *scale = (high == low ? 1.0f : high - low) / 255.0f;
    float level = rintf(-low / *scale);
    *zero = (uint8_t)(level > 0 ? level < 255 ? level : 255 : 0); /* NaN: 0 */
    struct levels levels = {.x = range.x,
                            .y = call->out[0].data,
                            .scale = scale,
                            .zero = zero,
                            .axis = 1,
                            .inner = range.count ? range.count : 1};
    md__parallel(call->pool, range.count, LINE_GRAIN, quantize_some, &levels);
    return MD_OK;
}

const struct md_kernel md__dynamic_quantize = {.run = dynamic_run};
