/*
 * Reference convolutions over up to three spatial axes: Conv, ConvTranspose, ConvInteger,
 * QLinearConv, CausalConvWithState; DeformConv is in ref_deform.c.
 *
 * One loop serves them all: an output element is a sum of products in double (which is exact for 8
 * bits), over the channels of its group and the taps that fall on the input. Planes of the output
 * are split over the pool. The float32 loads are inlined apart; other dtypes go through a switch.
 */
#include <math.h>
#include <string.h>

#include "graph/window.h"
#include "kernels/cpu/ref.h"

struct conv {
    const struct md_kernel_call *call;
    struct md_window window;                       /* three axes */
    const struct md_tensor *x, *w, *bias, *w_zero; /* bias, w_zero: NULL when absent */
    int64_t x_zero;
    size_t channels, group_channels; /* of x; of x in one group */
    size_t outputs, group_outputs;   /* channels of y; in one group */
    size_t x_plane, w_plane, y_plane;
    bool transposed;
    /* QLinearConv: what an exact sum is multiplied by, per channel */
    const struct md_tensor *w_scale;
    double scale;
    int64_t y_zero;
};

static inline __attribute__((always_inline)) double value(const struct md_tensor *tensor, size_t i,
                                                          const bool f32)
{
    return f32 ? (double)((const float *)tensor->data)[i] : md__get_float(tensor, i);
}

/*
 * The taps [*begin, *end) of axis i that fall on the input for output o, and the input's index for
 * tap k: first + k * step. A transposed window meets only every stride-th tap; its callers check.
 */
static void taps(const struct conv *conv, int i, int64_t o, int64_t *begin, int64_t *end,
                 int64_t *first)
{
    const struct md_window *window = &conv->window;
    int64_t d = window->dilation[i], in = window->in[i], kernel = window->kernel[i];
    if (conv->transposed) { /* (o + before - k d) / stride within [0, in) */
        *first = o + window->before[i];
        int64_t over = *first - (in - 1) * window->stride[i];
        *begin = over > 0 ? (over + d - 1) / d : 0;
        *end = *first < 0 ? 0 : *first / d + 1;
    } else {
        *first = o * window->stride[i] - window->before[i];
        *begin = *first < 0 ? (-*first + d - 1) / d : 0;
        *end = in > *first ? (in - *first - 1) / d + 1 : 0;
    }
    *end = *end > kernel ? kernel : *end;
}

/* The input's index for tap k, or -1 between two of them. */
static inline int64_t input_index(const struct conv *conv, int i, int64_t first, int64_t k)
{
    if (!conv->transposed)
        return first + k * conv->window.dilation[i];
    int64_t at = first - k * conv->window.dilation[i], stride = conv->window.stride[i];
    return stride == 1 ? at : at % stride ? -1 : at / stride;
}

/* What one tap adds: the sum over the channels of a group, from places `x` and `w` on. */
static inline __attribute__((always_inline)) double tap_sum(const struct conv *conv, size_t x,
                                                            size_t w, double w_zero, const bool f32)
{
    size_t w_step = conv->w_plane * (conv->transposed ? conv->group_outputs : 1);
    double sum = 0, x_zero = (double)conv->x_zero;
    for (size_t c = 0; c < conv->group_channels; c++, x += conv->x_plane, w += w_step)
        sum += (value(conv->x, x, f32) - x_zero) * (value(conv->w, w, f32) - w_zero);
    return sum;
}

/* Output element `o` of channel m of batch element n. */
static inline __attribute__((always_inline)) double
element(const struct conv *conv, size_t n, size_t m, const int64_t *o, const bool f32)
{
    const struct md_window *window = &conv->window;
    size_t first_channel = m / conv->group_outputs * conv->group_channels;
    size_t x = (n * conv->channels + first_channel) * conv->x_plane;
    size_t w = conv->transposed ? first_channel * conv->group_outputs + m % conv->group_outputs
                                : m * conv->group_channels;
    int64_t begin[3], end[3], first[3];
    double w_zero = 0, sum = conv->bias ? md__get_float(conv->bias, m) : 0;
    if (conv->w_zero)
        w_zero = md__get_float(conv->w_zero, md__count(conv->w_zero) > 1 ? m : 0);
    for (int i = 0; i < 3; i++)
        taps(conv, i, o[i], &begin[i], &end[i], &first[i]);
    for (int64_t a = begin[0]; a < end[0]; a++) {
        int64_t at_a = input_index(conv, 0, first[0], a);
        for (int64_t b = begin[1]; at_a >= 0 && b < end[1]; b++) {
            int64_t at_b = input_index(conv, 1, first[1], b);
            for (int64_t c = begin[2]; at_b >= 0 && c < end[2]; c++) {
                int64_t at_c = input_index(conv, 2, first[2], c);
                int64_t place = (at_a * window->in[1] + at_b) * window->in[2] + at_c;
                int64_t tap = (a * window->kernel[1] + b) * window->kernel[2] + c;
                if (at_c >= 0)
                    sum += tap_sum(conv, x + (size_t)place, w * conv->w_plane + (size_t)tap, w_zero,
                                   f32);
            }
        }
    }
    return sum;
}

static void store_result(const struct conv *conv, size_t m, size_t at, double sum)
{
    const struct md_tensor *y = &conv->call->out[0];
    if (conv->w_scale) { /* ties to even, as the standard's QuantizeLinear */
        double scale =
            conv->scale * md__get_float(conv->w_scale, md__count(conv->w_scale) > 1 ? m : 0);
        double level = nearbyint(sum * scale) + (double)conv->y_zero;
        double low = y->dtype == MD_I8 ? -128 : 0, high = y->dtype == MD_I8 ? 127 : 255;
        sum = level < low ? low : level > high ? high : level;
    }
    if (y->dtype == MD_I32) /* wraps around */
        md__set_int(y, at, (int64_t)sum);
    else
        md__set_float(y, at, sum);
}

/* Rows [begin, end) of the output, counted through batch, channels and the two outer axes. */
static void conv_rows(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct conv *conv = context;
    const int64_t *out = conv->window.out;
    bool f32 = conv->x->dtype == MD_F32 && conv->w->dtype == MD_F32;
    for (size_t row = begin; row < end; row++) {
        size_t plane = row / (size_t)(out[0] * out[1]), in_plane = row % (size_t)(out[0] * out[1]);
        size_t n = plane / conv->outputs, m = plane % conv->outputs;
        int64_t o[3] = {(int64_t)in_plane / out[1], (int64_t)in_plane % out[1], 0};
        for (; o[2] < out[2]; o[2]++) {
            double sum = f32 ? element(conv, n, m, o, true) : element(conv, n, m, o, false);
            store_result(conv, m, row * (size_t)out[2] + (size_t)o[2], sum);
        }
    }
}

/* Fills in what follows from x, w and the node, and runs. */
static enum md_status run_conv(struct conv *conv, const struct md_kernel_call *call,
                               struct md_error *err)
{
    const struct md_shape *x = &conv->x->shape, *w = &conv->w->shape;
    struct md_window window;
    enum md_status status = conv->transposed
                                ? md__window_init_transposed(call->node, x, w, &window, err)
                                : md__window_init(call->node, x, w, &window, err);
    if (status)
        return status;
    size_t groups = (size_t)md_node_int(call->node, "group", 1);
    conv->call = call;
    conv->window = md__window_widened(&window);
    conv->channels = (size_t)x->dim[1];
    conv->group_channels = conv->channels / groups;
    conv->outputs = (size_t)call->out[0].shape.dim[1];
    conv->group_outputs = conv->outputs / groups;
    conv->x_plane = md__span(x, 2, x->rank);
    conv->w_plane = md__span(w, 2, w->rank);
    conv->y_plane = md__span(&call->out[0].shape, 2, x->rank);
    size_t row = (size_t)conv->window.out[2], cost = row * conv->group_channels * conv->w_plane * 4;
    md__parallel(call->pool, md__count(&call->out[0]) / row, md__grain(cost), conv_rows, conv);
    return MD_OK;
}

static enum md_status conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct conv conv = {.x = &call->in[0],
                        .w = &call->in[1],
                        .bias = md__input(call, 2),
                        .transposed = call->node->op == MD_OP_CONV_TRANSPOSE};
    return run_conv(&conv, call, err);
}

static enum md_status conv_integer_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct conv conv = {.x = &call->in[0], .w = &call->in[1], .w_zero = md__input(call, 3)};
    if (md__input(call, 2))
        conv.x_zero = md__get_int(&call->in[2], 0);
    return run_conv(&conv, call, err);
}

static enum md_status qlinear_conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = call->in;
    struct conv conv = {.x = &in[0],
                        .x_zero = md__get_int(&in[2], 0),
                        .w = &in[3],
                        .w_scale = &in[4],
                        .w_zero = &in[5],
                        .scale = md__get_float(&in[1], 0) / md__get_float(&in[6], 0),
                        .y_zero = md__get_int(&in[7], 0),
                        .bias = md__input(call, 8)};
    return run_conv(&conv, call, err);
}

/* ---- CausalConvWithState --------------------------------------------------------------------- */

/* A channel's line as the convolution sees it: the last k - 1 values of before, then the input. */
static double line_value(const struct md_kernel_call *call, size_t line, int64_t at, int64_t state)
{
    if (at >= state)
        return md__get_float(&call->in[0],
                             line * (size_t)call->in[0].shape.dim[2] + (size_t)(at - state));
    const struct md_tensor *past = md__input(call, 3);
    return past ? md__get_float(past, line * (size_t)state + (size_t)at) : 0;
}

static enum md_status causal_conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *x = &call->in[0], *w = &call->in[1], *bias = md__input(call, 2);
    bool silu = strcmp(md_node_string(call->node, "activation", "none"), "none") != 0;
    int64_t length = x->shape.dim[2], taps_count = w->shape.dim[2], state = taps_count - 1;
    size_t lines = md__span(&x->shape, 0, 2), channels = (size_t)x->shape.dim[1];
    for (size_t line = 0; line < lines; line++) {
        size_t channel = line % channels;
        for (int64_t t = 0; t < length; t++) {
            double sum = bias ? md__get_float(bias, channel) : 0;
            for (int64_t k = 0; k < taps_count; k++)
                sum += line_value(call, line, t + k, state) *
                       md__get_float(w, channel * (size_t)taps_count + (size_t)k);
            size_t at = line * (size_t)length + (size_t)t;
            md__set_float(&call->out[0], at, sum);
            if (silu) { /* of the rounded convolution */
                sum = md__get_float(&call->out[0], at);
                md__set_float(&call->out[0], at, sum / (1 + exp(-sum)));
            }
        }
        for (int64_t k = 0; call->out_count > 1 && k < state; k++)
            md__set_float(&call->out[1], line * (size_t)state + (size_t)k,
                          line_value(call, line, length + k, state));
    }
    return MD_OK;
}

const struct md_kernel md__ref_conv = {.run = conv_run};
const struct md_kernel md__ref_conv_integer = {.run = conv_integer_run};
const struct md_kernel md__ref_qlinear_conv = {.run = qlinear_conv_run};
const struct md_kernel md__ref_causal_conv = {.run = causal_conv_run};
