/* Windows of convolutions and poolings: see window.h. */
#include "graph/window.h"

#include "graph/infer.h"

enum auto_pad { NOTSET, SAME_UPPER, SAME_LOWER, VALID };

/* Strides, dilations, pads and the kernel, before any padding is worked out. */
static enum md_status read_attributes(const struct md_node *node, const struct md_shape *x,
                                      const struct md_shape *weights, struct md_window *window,
                                      int *auto_pad, struct md_error *err)
{
    static const char *const names[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
    int64_t pads[2 * MD_WINDOW_AXES_MAX];
    int axes = x->rank - 2;
    *window = (struct md_window){.axes = axes};
    if (axes < 1)
        return md_fail(err, MD_ERR_INVALID, "input of shape %s has no spatial axes",
                       md__shape_text(x).text);
    if (axes > MD_WINDOW_AXES_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "has %d spatial axes, supported are %d", axes,
                       MD_WINDOW_AXES_MAX);
    bool named = md_node_attr(node, "kernel_shape") != NULL;
    if (!weights && !named)
        return md_fail(err, MD_ERR_INVALID, "has no attribute \"kernel_shape\"");
    enum md_status status = md__infer_choice(node, "auto_pad", "NOTSET", names, auto_pad, err);
    if (!status)
        status = md__infer_numbers(node, "strides", axes, 1, 1, window->stride, err);
    if (!status)
        status = md__infer_numbers(node, "dilations", axes, 1, 1, window->dilation, err);
    if (!status)
        status = md__infer_numbers(node, "pads", 2 * axes, 0, 0, pads, err);
    if (!status)
        status = md__infer_numbers(node, "kernel_shape", axes, 1, 1, window->kernel, err);
    for (int i = 0; !status && i < axes; i++) {
        window->in[i] = x->dim[2 + i];
        window->before[i] = *auto_pad == NOTSET ? pads[i] : 0;
        window->after[i] = *auto_pad == NOTSET ? pads[axes + i] : 0;
        int64_t given = weights ? weights->dim[2 + i] : window->kernel[i];
        if ((named && given != window->kernel[i]) || given < 1 || given > INT32_MAX)
            return md_fail(err, MD_ERR_INVALID, "kernel_shape or weights give kernel axis %d %lld",
                           i, (long long)given);
        if (window->in[i] > INT64_MAX / 4)
            return md_fail(err, MD_ERR_TOO_LARGE, "input axis %d is too long", i);
        window->kernel[i] = given;
    }
    return status;
}

/* Inputs that a window spans. */
static int64_t extent(const struct md_window *window, int i)
{
    return (window->kernel[i] - 1) * window->dilation[i] + 1;
}

static void share_padding(struct md_window *window, int i, int64_t total, bool more_after)
{
    total = total > 0 ? total : 0;
    window->before[i] = more_after ? total / 2 : total - total / 2;
    window->after[i] = total - window->before[i];
}

enum md_status md__window_init(const struct md_node *node, const struct md_shape *x,
                               const struct md_shape *weights, struct md_window *window,
                               struct md_error *err)
{
    int auto_pad = NOTSET;
    enum md_status status = read_attributes(node, x, weights, window, &auto_pad, err);
    bool up = !weights && md_node_int(node, "ceil_mode", 0) != 0;
    for (int i = 0; !status && i < window->axes; i++) {
        int64_t in = window->in[i], stride = window->stride[i], span = extent(window, i);
        if (auto_pad == SAME_UPPER || auto_pad == SAME_LOWER) {
            window->out[i] = (in + stride - 1) / stride;
            share_padding(window, i, (window->out[i] - 1) * stride + span - in,
                          auto_pad == SAME_UPPER);
            continue;
        }
        int64_t room = in + window->before[i] + window->after[i] - span;
        /* with ceil_mode a window may end beyond its axis, the first one as well */
        if (room < 0 && !(up && room > -stride))
            return md_fail(err, MD_ERR_INVALID, "a window of %lld does not fit axis %d of %s",
                           (long long)span, i + 2, md__shape_text(x).text);
        window->out[i] = (room + (up ? stride - 1 : 0)) / stride + 1;
        /* a last window that would start in the padding behind the input is left out */
        if (up && (window->out[i] - 1) * stride >= in + window->before[i])
            window->out[i]--;
    }
    return status;
}

enum md_status md__window_init_transposed(const struct md_node *node, const struct md_shape *x,
                                          const struct md_shape *weights, struct md_window *window,
                                          struct md_error *err)
{
    int auto_pad = NOTSET;
    int64_t more[MD_WINDOW_AXES_MAX], asked[MD_WINDOW_AXES_MAX];
    enum md_status status = read_attributes(node, x, weights, window, &auto_pad, err);
    if (!status)
        status = md__infer_numbers(node, "output_padding", window->axes, 0, 0, more, err);
    const struct md_attr *attr = md_node_attr(node, "output_shape");
    struct md_attr spatial = attr ? *attr : (struct md_attr){0};
    bool all_axes = attr && attr->type == MD_ATTR_INTS && attr->count == x->rank;
    if (!status && all_axes) { /* batch and channels named, too */
        spatial.ints += 2;
        spatial.count -= 2;
    }
    const struct md_node shape = {.attrs = &spatial, .attr_count = attr ? 1 : 0};
    if (!status)
        status = md__infer_numbers(&shape, "output_shape", window->axes, 0, 0, asked, err);
    for (int i = 0; !status && i < window->axes; i++) {
        int64_t stride = window->stride[i];
        int64_t full = (window->in[i] - 1) * stride + extent(window, i) + more[i];
        bool same = auto_pad == SAME_UPPER || auto_pad == SAME_LOWER;
        if (window->in[i] > INT64_MAX / 4 / stride)
            return md_fail(err, MD_ERR_TOO_LARGE, "output axis %d is too long", i);
        if (attr || same) {
            window->out[i] = attr ? asked[i] : window->in[i] * stride;
            share_padding(window, i, full - window->out[i], auto_pad == SAME_UPPER);
        } else {
            window->out[i] = full - window->before[i] - window->after[i];
        }
        if (window->out[i] < 0 || (window->in[i] > 0 && window->out[i] < 1))
            return md_fail(err, MD_ERR_INVALID, "pads leave nothing of axis %d of %s", i + 2,
                           md__shape_text(x).text);
    }
    return status;
}

void md__window_init_global(const struct md_shape *x, struct md_window *window)
{
    int64_t all = 1;
    for (int i = 2; i < x->rank; i++)
        all *= x->dim[i];
    *window = (struct md_window){
        .axes = 1, .in = {all}, .out = {1}, .kernel = {all}, .stride = {1}, .dilation = {1}};
}

struct md_window md__window_widened(const struct md_window *window)
{
    struct md_window wide = {.axes = MD_WINDOW_AXES_MAX};
    int lead = MD_WINDOW_AXES_MAX - window->axes;
    for (int i = 0; i < MD_WINDOW_AXES_MAX; i++) {
        bool real = i >= lead;
        wide.in[i] = real ? window->in[i - lead] : 1;
        wide.out[i] = real ? window->out[i - lead] : 1;
        wide.kernel[i] = real ? window->kernel[i - lead] : 1;
        wide.stride[i] = real ? window->stride[i - lead] : 1;
        wide.dilation[i] = real ? window->dilation[i - lead] : 1;
        wide.before[i] = real ? window->before[i - lead] : 0;
        wide.after[i] = real ? window->after[i - lead] : 0;
    }
    return wide;
}
