/*
 * Pad, CenterCropPad and Tile, whatever the type: tensors that are cut, or grow by a constant, by
 * their edges, their mirror image or by themselves. For every instruction set alike.
 *
 * Trailing axes that stay whole are one *cell*; rows are lines of cells along the last axis that
 * does not stay whole. A row is either nothing but the constant or made from one row of the input.
 */
#include <string.h>

#include "kernels/cpu/ref.h"

#define GRAIN_BYTES 65536

static const char zeros[8]; /* one element of any type */

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

struct pad_axis {
    int64_t begin;  /* cells before the kept ones */
    int64_t first;  /* first kept cell of the input */
    int64_t kept;   /* how many are kept */
    int64_t length; /* of the output */
};

struct padding {
    const struct pad_axis *axes;
    int last; /* the axis along which rows lie */
    enum pad_mode mode;
    const char *value;                             /* an element */
    size_t element, cell;                          /* bytes */
    int64_t stride[MD_RANK_MAX], dim[MD_RANK_MAX]; /* of the input, in elements; of the output */
    const char *from;
    char *to;
};

/* The input's index for index i of the output, or -1 where a constant goes. */
static int64_t pad_source(const struct pad_axis *axis, enum pad_mode mode, int64_t i)
{
    int64_t at = i - axis->begin, kept = axis->kept;
    if (at >= 0 && at < kept)
        return axis->first + at;
    if (mode == PAD_CONSTANT)
        return -1;
    if (mode == PAD_EDGE || kept == 1)
        return axis->first + (at < 0 ? 0 : kept - 1);
    int64_t period = mode == PAD_WRAP ? kept : 2 * (kept - 1);
    at = (at % period + period) % period;
    return axis->first + (at < kept ? at : period - at);
}

/* The value, over and over. */
static void fill(const struct padding *padding, char *to, size_t bytes)
{
    size_t done = padding->element < bytes ? padding->element : bytes;
    bool same = true;
    for (size_t i = 1; i < padding->element; i++)
        same &= padding->value[i] == padding->value[0];
    if (same) {
        memset(to, padding->value[0], bytes);
        return;
    }
    memcpy(to, padding->value, done);
    for (size_t count; done < bytes; done += count) { /* what is there, doubled */
        count = done < bytes - done ? done : bytes - done;
        memcpy(to + done, to, count);
    }
}

static void copy_cell(char *to, const char *from, size_t bytes)
{
    if (bytes == 4)
        memcpy(to, from, 4);
    else
        memcpy(to, from, bytes);
}

/* Cells [begin, end) outside the kept ones. */
static void pad_cells(const struct padding *padding, const char *from, char *to, int64_t begin,
                      int64_t end)
{
    const struct pad_axis *axis = &padding->axes[padding->last];
    size_t cell = padding->cell;
    if (padding->mode == PAD_CONSTANT && begin < end)
        fill(padding, to + (size_t)begin * cell, (size_t)(end - begin) * cell);
    else
        for (int64_t i = begin; i < end; i++)
            copy_cell(to + (size_t)i * cell,
                      from + (size_t)pad_source(axis, padding->mode, i) * cell, cell);
}

/* One row. `from` is its place in the input, NULL outside it. */
static void pad_row(const struct padding *padding, const char *from, char *to)
{
    const struct pad_axis *axis = &padding->axes[padding->last];
    size_t cell = padding->cell;
    if (!from) {
        fill(padding, to, (size_t)axis->length * cell);
        return;
    }
    int64_t begin = axis->begin, end = begin + axis->kept;
    pad_cells(padding, from, to, 0, begin);
    memcpy(to + (size_t)begin * cell, from + (size_t)axis->first * cell, (size_t)axis->kept * cell);
    pad_cells(padding, from, to, end, axis->length);
}

static void pad_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct padding *padding = context;
    size_t row_bytes = (size_t)padding->axes[padding->last].length * padding->cell;
    struct md__walk walk;
    md__walk_init(&walk, padding->last, padding->dim);
    md__walk_seek(&walk, begin);
    for (size_t row = begin; row < end; row++, md__walk_next(&walk)) {
        const char *from = padding->from;
        for (int a = 0; from && a < padding->last; a++) {
            int64_t source = pad_source(&padding->axes[a], padding->mode, walk.index[a]);
            from =
                source < 0 ? NULL : from + source * padding->stride[a] * (int64_t)padding->element;
        }
        pad_row(padding, from, padding->to + row * row_bytes);
    }
}

static bool stays_whole(const struct pad_axis *axis, int64_t dim)
{
    return axis->first == 0 && axis->kept == dim && axis->length == dim;
}

static void pad_all(const struct md_kernel_call *call, const struct pad_axis *axes,
                    enum pad_mode mode, const char *value)
{
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    size_t bytes = md_dtype_bytes(in->dtype);
    struct padding padding = {.axes = axes,
                              .mode = mode,
                              .value = value,
                              .element = bytes,
                              .cell = bytes,
                              .last = in->shape.rank - 1,
                              .from = in->data,
                              .to = out->data};
    if (md__count(out) == 0)
        return;
    md__strides(&in->shape, padding.stride);
    memcpy(padding.dim, out->shape.dim, sizeof padding.dim);
    for (; padding.last > 0 && stays_whole(&axes[padding.last], in->shape.dim[padding.last]);
         padding.last--)
        padding.cell *= (size_t)in->shape.dim[padding.last];
    size_t row_bytes = (size_t)axes[padding.last].length * padding.cell;
    md__parallel(call->pool, md__span(&out->shape, 0, padding.last), GRAIN_BYTES / row_bytes + 1,
                 pad_some, &padding);
}

/* Cells to add (or cut, when negative) at both ends of an axis. */
static struct pad_axis padded(int64_t dim, int64_t begin, int64_t end)
{
    int64_t first = begin < 0 ? -begin : 0, cut = end < 0 ? -end : 0;
    return (struct pad_axis){.begin = begin > 0 ? begin : 0,
                             .first = first,
                             .kept = dim - first - cut,
                             .length = dim + begin + end};
}

static enum md_status copy_scalar(const struct md_kernel_call *call)
{
    memcpy(call->out[0].data, call->in[0].data, md_dtype_bytes(call->in[0].dtype));
    return MD_OK;
}

static enum md_status pad_run(const struct md_kernel_call *call, struct md_error *err)
{
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    const struct md_tensor *in = call->in;
    const char *asked = md_node_string(call->node, "mode", "constant");
    enum pad_mode mode = PAD_CONSTANT;
    for (int i = 0; i < 4; i++)
        if (strcmp(asked, modes[i]) == 0)
            mode = (enum pad_mode)i;
    int rank = in[0].shape.rank;
    if (rank == 0)
        return copy_scalar(call);
    struct pad_axis axes[MD_RANK_MAX];
    for (int i = 0; i < rank; i++)
        axes[i] = padded(in[0].shape.dim[i], 0, 0);
    bool named = md__has(in, call->in_count, 3);
    size_t count = named ? md__count(&in[3]) : (size_t)rank;
    for (size_t k = 0; k < count; k++) {
        int axis = md__axis(named ? md__get_int(&in[3], k) : (int64_t)k, rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", rank);
        axes[axis] =
            padded(in[0].shape.dim[axis], md__get_int(&in[1], k), md__get_int(&in[1], k + count));
    }
    pad_all(call, axes, mode, md__has(in, call->in_count, 2) ? in[2].data : zeros);
    return MD_OK;
}

/* Cuts round down at the front, pads too: the odd cell goes to the end. */
static enum md_status center_crop_pad_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *from = &call->in[0].shape, *to = &call->out[0].shape;
    struct pad_axis axes[MD_RANK_MAX];
    if (from->rank == 0)
        return copy_scalar(call);
    for (int i = 0; i < from->rank; i++) {
        int64_t more = to->dim[i] - from->dim[i], before = more / 2;
        axes[i] = padded(from->dim[i], before, more - before);
    }
    pad_all(call, axes, PAD_CONSTANT, zeros);
    return MD_OK;
}

static enum md_status tile_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct pad_axis axes[MD_RANK_MAX];
    const struct md_shape *from = &call->in[0].shape, *to = &call->out[0].shape;
    if (from->rank == 0)
        return copy_scalar(call);
    for (int i = 0; i < from->rank; i++)
        axes[i] = padded(from->dim[i], 0, to->dim[i] - from->dim[i]);
    pad_all(call, axes, PAD_WRAP, zeros);
    return MD_OK;
}

const struct md_kernel md__ref_pad = {.run = pad_run};
const struct md_kernel md__ref_center_crop_pad = {.run = center_crop_pad_run};
const struct md_kernel md__ref_tile = {.run = tile_run};
