/*
 * What lies between products of bytes: QLinearAdd, and MaxPoolLast of bytes.
 *
 * A sum is a · (a's scale / result's) + b · (b's scale / result's) + what the zero points come to,
 * in float32. A maximum takes no scales: levels are ordered as the numbers that they stand for.
 */
#include "graph/window.h"
#include "kernels/cpu/isa/int8.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"

/* ---- QLinearAdd ------------------------------------------------------------------------------ */

struct addition {
    const uint8_t *a, *b;
    uint8_t *y;
    bool a_signed, b_signed;
    float a_factor, b_factor, shift;
    struct byte_result result;
};

static void add_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct addition *sum = context;
    const vf low = splat(sum->result.low), high = splat(sum->result.high);
    for (size_t i = begin; i < end; i += VL) {
        vf a = vi_to_float(load_bytes(sum->a + i, end - i, sum->a_signed));
        vf b = vi_to_float(load_bytes(sum->b + i, end - i, sum->b_signed));
        vf value = a * sum->a_factor + (b * sum->b_factor + sum->shift);
        value = vmin(vmax(value, low), high);
        store_bytes(sum->y + i, vf_round(value) + sum->result.zero, end - i);
    }
}

static enum md_status add_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in;
    float y_scale = *(const float *)in[6].data;
    struct addition sum = {.a = in[0].data,
                           .b = in[3].data,
                           .y = call->out[0].data,
                           .a_signed = in[0].dtype == MD_I8,
                           .b_signed = in[3].dtype == MD_I8,
                           .a_factor = *(const float *)in[1].data / y_scale,
                           .b_factor = *(const float *)in[4].data / y_scale};
    sum.shift = -((float)md__get_int(&in[2], 0) * sum.a_factor +
                  (float)md__get_int(&in[5], 0) * sum.b_factor);
    byte_result_range(&sum.result, call->out[0].dtype, (int32_t)md__get_int(&in[7], 0));
    md__parallel(call->pool, md__count(&call->out[0]), 32768, add_some, &sum);
    return MD_OK;
}

const struct md_kernel md__int8_add = {.run = add_run};

/* ---- MaxPoolLast ----------------------------------------------------------------------------- */

#define LANES 32 /* bytes */

typedef uint8_t vb __attribute__((vector_size(LANES), may_alias));
typedef uint8_t vb_anywhere __attribute__((vector_size(LANES), aligned(1), may_alias));

struct pooling {
    struct md_window window;
    const uint8_t *x;
    uint8_t *y;
    size_t channels;
    uint8_t flip; /* makes int8 ordered as uint8 */
};

static void keep_larger(uint8_t *y, const uint8_t *x, size_t channels, uint8_t flip)
{
    size_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        vb a = *(vb_anywhere *)(y + c), b = *(const vb_anywhere *)(x + c);
        vb more = (vb)((a ^ flip) > (b ^ flip));
        *(vb_anywhere *)(y + c) = (a & more) | (b & ~more);
    }
    for (; c < channels; c++)
        y[c] = (y[c] ^ flip) > (x[c] ^ flip) ? y[c] : x[c];
}

/* One output pixel: the lowest number where there is only padding. */
static void pool_pixel(const struct pooling *pooling, size_t image, const int64_t *o, uint8_t *y)
{
    const struct md_window *window = &pooling->window;
    const int64_t *in = window->in;
    bool begun = false;
    memset(y, pooling->flip, pooling->channels);
    for (int64_t a = 0; a < window->kernel[0]; a++)
        for (int64_t b = 0; b < window->kernel[1]; b++)
            for (int64_t c = 0; c < window->kernel[2]; c++) {
                int64_t i = o[0] * window->stride[0] - window->before[0] + a * window->dilation[0];
                int64_t j = o[1] * window->stride[1] - window->before[1] + b * window->dilation[1];
                int64_t k = o[2] * window->stride[2] - window->before[2] + c * window->dilation[2];
                if (i < 0 || i >= in[0] || j < 0 || j >= in[1] || k < 0 || k >= in[2])
                    continue;
                size_t pixel = (((image * (size_t)in[0] + (size_t)i) * (size_t)in[1] + (size_t)j) *
                                    (size_t)in[2] +
                                (size_t)k) *
                               pooling->channels;
                if (begun)
                    keep_larger(y, pooling->x + pixel, pooling->channels, pooling->flip);
                else
                    memcpy(y, pooling->x + pixel, pooling->channels);
                begun = true;
            }
}

static void pool_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct pooling *pooling = context;
    const int64_t *out = pooling->window.out;
    for (size_t line = begin; line < end; line++) {
        size_t image = line / (size_t)(out[0] * out[1]);
        int64_t o[3] = {(int64_t)line / out[1] % out[0], (int64_t)line % out[1], 0};
        uint8_t *y = pooling->y + line * (size_t)out[2] * pooling->channels;
        for (; o[2] < out[2]; o[2]++, y += pooling->channels)
            pool_pixel(pooling, image, o, y);
    }
}

enum md_status md__int8_pool(const struct md_kernel_call *call, struct md_error *err)
{
    struct md_shape shape = last_as_first(&call->in[0].shape);
    struct md_window window;
    enum md_status status = md__window_init(call->node, &shape, NULL, &window, err);
    if (status)
        return status;
    struct pooling pooling = {.window = md__window_widened(&window),
                              .x = call->in[0].data,
                              .y = call->out[0].data,
                              .channels = (size_t)shape.dim[1],
                              .flip = call->in[0].dtype == MD_I8 ? 0x80 : 0};
    const int64_t *out = pooling.window.out, *kernel = pooling.window.kernel;
    size_t cost =
        (size_t)(out[2] * kernel[0] * kernel[1] * kernel[2]) * (pooling.channels / 16 + 4);
    md__parallel(call->pool, (size_t)(shape.dim[0] * out[0] * out[1]), md__grain(cost), pool_lines,
                 &pooling);
    return MD_OK;
}
