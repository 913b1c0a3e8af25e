/*
 * Reference DeformConv (2-D): a convolution whose every tap is moved by a learned offset and read
 * between four inputs; outside the input there are zeros.
 */
#include <math.h>

#include "graph/window.h"
#include "kernels/cpu/ref.h"

static double pixel(const struct md_tensor *x, size_t plane, int64_t y, int64_t column)
{
    int64_t height = x->shape.dim[2], width = x->shape.dim[3];
    if (y < 0 || y >= height || column < 0 || column >= width)
        return 0;
    return md__get_float(x, (plane * (size_t)height + (size_t)y) * (size_t)width + (size_t)column);
}

static double between(const struct md_tensor *x, size_t plane, double y, double column)
{
    if (!(y > -1 && column > -1 && y < (double)x->shape.dim[2] &&
          column < (double)x->shape.dim[3])) /* a NaN, too */
        return 0;
    double top = floor(y), left = floor(column), down = y - top, right = column - left;
    int64_t i = (int64_t)top, j = (int64_t)left;
    return (1 - down) * ((1 - right) * pixel(x, plane, i, j) + right * pixel(x, plane, i, j + 1)) +
           down * ((1 - right) * pixel(x, plane, i + 1, j) + right * pixel(x, plane, i + 1, j + 1));
}

struct deform {
    const struct md_kernel_call *call;
    struct md_window window;
    size_t channels, group_channels, outputs, group_outputs, offset_channels, offset_groups;
};

/* Index into offset and mask: [n, group, tap (and axis), out y, out x]. */
static size_t at_output(const struct deform *deform, size_t n, size_t row, size_t rows,
                        const size_t *o)
{
    size_t height = (size_t)deform->window.out[0], width = (size_t)deform->window.out[1];
    return ((n * rows + row) * height + o[0]) * width + o[1];
}

static double element(const struct deform *deform, size_t n, size_t m, const size_t *o)
{
    const struct md_tensor *in = deform->call->in;
    const struct md_window *window = &deform->window;
    bool masked = md__has(in, deform->call->in_count, 4);
    size_t taps = (size_t)(window->kernel[0] * window->kernel[1]);
    double sum = md__has(in, deform->call->in_count, 3) ? md__get_float(&in[3], m) : 0;
    for (size_t c = 0; c < deform->group_channels; c++) {
        size_t channel = m / deform->group_outputs * deform->group_channels + c;
        size_t group = channel / deform->offset_channels;
        for (size_t k = 0; k < taps; k++) {
            double place[2];
            size_t tap[2] = {k / (size_t)window->kernel[1], k % (size_t)window->kernel[1]};
            for (size_t a = 0; a < 2; a++) {
                size_t row = (group * taps + k) * 2 + a;
                place[a] = (double)((int64_t)o[a] * window->stride[a] - window->before[a] +
                                    (int64_t)tap[a] * window->dilation[a]) +
                           md__get_float(&in[2], at_output(deform, n, row,
                                                           deform->offset_groups * taps * 2, o));
            }
            double x = between(&in[0], n * deform->channels + channel, place[0], place[1]);
            if (masked)
                x *= md__get_float(&in[4], at_output(deform, n, group * taps + k,
                                                     deform->offset_groups * taps, o));
            sum += x * md__get_float(&in[1], (m * deform->group_channels + c) * taps + k);
        }
    }
    return sum;
}

/* Planes [begin, end) of the output. */
static void deform_planes(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct deform *deform = context;
    size_t height = (size_t)deform->window.out[0], width = (size_t)deform->window.out[1];
    for (size_t plane = begin; plane < end; plane++)
        for (size_t i = 0; i < height * width; i++)
            md__set_float(&deform->call->out[0], plane * height * width + i,
                          element(deform, plane / deform->outputs, plane % deform->outputs,
                                  (size_t[]){i / width, i % width}));
}

static enum md_status deform_conv_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_shape *x = &call->in[0].shape, *y = &call->out[0].shape;
    size_t groups = (size_t)md_node_int(call->node, "group", 1);
    struct deform deform = {.call = call,
                            .channels = (size_t)x->dim[1],
                            .group_channels = (size_t)x->dim[1] / groups,
                            .outputs = (size_t)y->dim[1],
                            .group_outputs = (size_t)y->dim[1] / groups,
                            .offset_groups = (size_t)md_node_int(call->node, "offset_group", 1)};
    deform.offset_channels = deform.channels / deform.offset_groups;
    enum md_status status = md__window_init(call->node, x, &call->in[1].shape, &deform.window, err);
    if (!status)
        md__parallel(call->pool, md__span(y, 0, 2), 1, deform_planes, &deform);
    return status;
}

const struct md_kernel md__ref_deform_conv = {.run = deform_conv_run};
