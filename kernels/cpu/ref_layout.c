/*
 * Reference kernels that lay elements out anew, whatever their type: blocks to and from depth,
 * Trilu, Dropout, Size; and Col2Im, which also adds.
 */
#include <string.h>

#include "kernels/cpu/move.h"
#include "kernels/cpu/ref.h"

static enum md_status size_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    *(int64_t *)call->out[0].data = (int64_t)md__count(&call->in[0]);
    return MD_OK;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/*
 * Both directions move between [n, c, h, b, w, b] and [n, (b, b, c) or (c, b, b), h, w]; the
 * offsets below are of one element (n, c, h, i, w, j) on either side, c and h, w of the deep one.
 */
static enum md_status blocks_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    bool to_space = call->node->op == MD_OP_DEPTH_TO_SPACE;
    bool depth_last = strcmp(md_node_string(call->node, "mode", "DCR"), "CRD") == 0;
    int64_t b = md_node_int(call->node, "blocksize", 1);
    const int64_t *wide = call->in[0].shape.dim, *deep = call->out[0].shape.dim;
    if (to_space) {
        const int64_t *swap = wide;
        wide = deep;
        deep = swap;
    }
    int64_t n = wide[0], c = wide[1], h = deep[2], w = deep[3], plane = h * w;
    const int64_t dim[] = {n, c, h, b, w, b};
    const int64_t in_wide[] = {c * h * b * w * b, h * b * w * b, b * w * b, w * b, b, 1};
    const int64_t in_deep[] = {c * b * b * plane,
                               depth_last ? b * b * plane : plane,
                               w,
                               depth_last ? b * plane : b * c * plane,
                               1,
                               depth_last ? plane : c * plane};
    struct md__move move = {.from = call->in[0].data,
                            .to = call->out[0].data,
                            .bytes = md_dtype_bytes(call->out[0].dtype)};
    md__walk_init(&move.walk, 6, dim);
    memcpy(move.walk.stride[to_space ? 0 : 1], in_deep, sizeof in_deep);
    memcpy(move.walk.stride[to_space ? 1 : 0], in_wide, sizeof in_wide);
    md__move_run(&move, call->pool);
    return MD_OK;
}

/* ---- Trilu, Dropout -------------------------------------------------------------------------- */

static enum md_status trilu_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *shape = &call->in[0].shape;
    size_t bytes = md_dtype_bytes(call->in[0].dtype), count = md__count(&call->in[0]);
    int64_t columns = shape->dim[shape->rank - 1], height = shape->dim[shape->rank - 2];
    int64_t k = md__has(call->in, call->in_count, 1) ? md__get_int(&call->in[1], 0) : 0;
    k = k < -height ? -height : k > columns ? columns : k;
    bool upper = md_node_int(call->node, "upper", 1) != 0;
    for (size_t row = 0; row < count / (size_t)columns; row++) {
        int64_t split = (int64_t)(row % (size_t)height) + k + !upper; /* of the two sides */
        split = split < 0 ? 0 : split > columns ? columns : split;
        char *to = (char *)call->out[0].data + row * (size_t)columns * bytes;
        const char *from = (const char *)call->in[0].data + row * (size_t)columns * bytes;
        size_t left = (size_t)split * bytes, right = (size_t)(columns - split) * bytes;
        memset(upper ? to : to + left, 0, upper ? left : right);
        memcpy(upper ? to + left : to, upper ? from + left : from, upper ? right : left);
    }
    return MD_OK;
}

static enum md_status dropout_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    size_t count = md__count(&call->in[0]);
    memcpy(call->out[0].data, call->in[0].data, count * md_dtype_bytes(call->in[0].dtype));
    if (call->out_count > 1 && call->out[1].data)
        memset(call->out[1].data, 1, count);
    return MD_OK;
}

/* ---- Col2Im ---------------------------------------------------------------------------------- */

/* Adds column row `k` (its place in the block) over all positions into one image. */
static void add_row(const struct md_kernel_call *call, size_t row, size_t image, size_t k, int axes)
{
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    const int64_t *dim = out->shape.dim + 2;
    int64_t offset[MD_RANK_MAX], stride[MD_RANK_MAX], positions[MD_RANK_MAX], in_image[MD_RANK_MAX];
    int64_t step = 1;
    for (int i = axes - 1; i >= 0; i--) {
        int64_t block = md__get_int(&call->in[2], (size_t)i);
        int64_t dilation = md_node_ints_at(call->node, "dilations", i, 1);
        int64_t before = md_node_ints_at(call->node, "pads", i, 0);
        int64_t after = md_node_ints_at(call->node, "pads", i + axes, 0);
        stride[i] = md_node_ints_at(call->node, "strides", i, 1);
        offset[i] = (int64_t)(k % (size_t)block) * dilation - before;
        positions[i] = (dim[i] + before + after - dilation * (block - 1) - 1) / stride[i] + 1;
        in_image[i] = step;
        k /= (size_t)block;
        step *= dim[i];
    }
    struct md__walk walk;
    md__walk_init(&walk, axes, positions);
    int64_t count = in->shape.dim[2];
    for (int64_t p = 0; p < count; p++, md__walk_next(&walk)) {
        int64_t at = 0;
        bool inside = true;
        for (int i = 0; i < axes; i++) {
            int64_t x = walk.index[i] * stride[i] + offset[i];
            inside = inside && x >= 0 && x < dim[i];
            at += x * in_image[i];
        }
        if (!inside)
            continue;
        size_t target = image * (size_t)step + (size_t)at, source = row * (size_t)count + (size_t)p;
        if (md__dtype_is_float(out->dtype))
            md__set_float(out, target, md__get_float(out, target) + md__get_float(in, source));
        else
            md__set_int(
                out, target,
                (int64_t)((uint64_t)md__get_int(out, target) + (uint64_t)md__get_int(in, source)));
    }
}

static enum md_status col2im_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    int axes = out->shape.rank - 2;
    size_t images = md__span(&out->shape, 0, 2), rows = md__span(&in->shape, 0, 2);
    size_t block = images ? rows / images : 0;
    memset(out->data, 0, md__count(out) * md_dtype_bytes(out->dtype));
    for (size_t image = 0; image < images; image++)
        for (size_t k = 0; k < block; k++)
            add_row(call, image * block + k, image, k, axes);
    return MD_OK;
}

const struct md_kernel md__ref_size = {.run = size_run};
const struct md_kernel md__ref_blocks = {.run = blocks_run};
const struct md_kernel md__ref_trilu = {.run = trilu_run};
const struct md_kernel md__ref_dropout = {.run = dropout_run};
const struct md_kernel md__ref_col2im = {.run = col2im_run};
