/*
 * Reference kernels that only move elements, whatever their type: by element size.
 *
 * Output shapes come from the planner, so each kernel only has to find where an output element was.
 */
#include <string.h>

#include "kernels/cpu/ref.h"

static enum md_status copy_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    size_t bytes = md__count(&call->out[0]) * md_dtype_bytes(call->out[0].dtype);
    if (bytes > 0 && call->out[0].data != call->in[0].data)
        memcpy(call->out[0].data, call->in[0].data, bytes);
    return MD_OK;
}

/* Copies to `out` in order what `walk` visits in `from`. */
static void gather_walk(const struct md_tensor *out, const char *from, struct md__walk *walk)
{
    size_t count = md__count(out), bytes = md_dtype_bytes(out->dtype);
    char *to = out->data;
    for (size_t i = 0; i < count; i++, md__walk_next(walk))
        memcpy(to + i * bytes, from + walk->at[0] * (int64_t)bytes, bytes);
}

static enum md_status transpose_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    const struct md_attr *perm = md_node_attr(call->node, "perm");
    int rank = in->shape.rank;
    int64_t stride[MD_RANK_MAX];
    md__strides(&in->shape, stride);
    struct md__walk walk;
    md__walk_init(&walk, rank, out->shape.dim);
    for (int i = 0; i < rank; i++) {
        int axis = md__axis(perm && i < perm->count ? perm->ints[i] : rank - 1 - i, rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "bad perm");
        walk.stride[0][i] = stride[axis];
    }
    gather_walk(out, in->data, &walk);
    return MD_OK;
}

/* Seen along `axis`, a tensor is `outer` runs of dim[axis] * inner elements: what Concat joins and
 * Split cuts. */
static size_t run_bytes(const struct md_tensor *tensor, int axis)
{
    return md__span(&tensor->shape, axis, tensor->shape.rank) * md_dtype_bytes(tensor->dtype);
}

static enum md_status concat_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *out = &call->out[0];
    int axis = md__axis(md_node_int(call->node, "axis", 0), out->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "bad axis");
    size_t outer = md__span(&out->shape, 0, axis), out_run = run_bytes(out, axis), at = 0;
    for (int k = 0; k < call->in_count; k++) {
        size_t run = run_bytes(&call->in[k], axis);
        for (size_t o = 0; run > 0 && o < outer; o++)
            memcpy((char *)out->data + o * out_run + at, (const char *)call->in[k].data + o * run,
                   run);
        at += run;
    }
    return MD_OK;
}

static enum md_status split_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0];
    int axis = md__axis(md_node_int(call->node, "axis", 0), in->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "bad axis");
    size_t outer = md__span(&in->shape, 0, axis), in_run = run_bytes(in, axis), at = 0;
    for (int k = 0; k < call->out_count; k++) {
        size_t run = run_bytes(&call->out[k], axis);
        for (size_t o = 0; run > 0 && o < outer; o++)
            memcpy((char *)call->out[k].data + o * run, (const char *)in->data + o * in_run + at,
                   run);
        at += run;
    }
    return MD_OK;
}

/* Where a slice of one axis starts, by ONNX's clamping: to [0, dim] going up, to [0, dim - 1]
 * going down. */
static int64_t slice_start(int64_t start, int64_t step, int64_t dim)
{
    if (start < 0)
        start += dim;
    int64_t low = 0, high = step > 0 ? dim : dim - 1;
    if (start < low)
        return low;
    return start > high ? high : start;
}

/* Slice(data, starts, ends, axes?, steps?): ends only decided the output's shape. */
enum md_status md__slice_strides(const struct md_kernel_call *call, int64_t *base, int64_t *stride,
                                 struct md_error *err)
{
    const struct md_tensor *in = call->in;
    int rank = in[0].shape.rank;
    bool has_axes = md__has(in, call->in_count, 3), has_steps = md__has(in, call->in_count, 4);
    int64_t whole[MD_RANK_MAX];
    md__strides(&in[0].shape, whole);
    memcpy(stride, whole, sizeof whole);
    size_t count = md__count(&in[1]);
    for (size_t k = 0; k < count; k++) {
        int axis = md__axis(has_axes ? md__get_int(&in[3], k) : (int64_t)k, rank);
        int64_t step = has_steps ? md__get_int(&in[4], k) : 1;
        if (axis == MD_NONE || step == 0)
            return md_fail(err, MD_ERR_INVALID, "bad axis or step");
        *base += slice_start(md__get_int(&in[1], k), step, in[0].shape.dim[axis]) * whole[axis];
        stride[axis] = step * whole[axis];
    }
    return MD_OK;
}

static enum md_status slice_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    struct md__walk walk;
    md__walk_init(&walk, out->shape.rank, out->shape.dim);
    int64_t base = 0;
    enum md_status status = md__slice_strides(call, &base, walk.stride[0], err);
    if (status == MD_OK && md__count(out) > 0)
        gather_walk(out, (const char *)in->data + base * (int64_t)md_dtype_bytes(in->dtype), &walk);
    return status;
}

static enum md_status gather_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0], *indices = &call->in[1], *out = &call->out[0];
    int axis = md__axis(md_node_int(call->node, "axis", 0), in->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "bad axis");
    size_t outer = md__span(&in->shape, 0, axis), count = md__count(indices);
    int64_t dim = in->shape.dim[axis];
    size_t run = md__span(&in->shape, axis + 1, in->shape.rank) * md_dtype_bytes(in->dtype);
    char *to = out->data;
    for (size_t o = 0; o < outer; o++)
        for (size_t k = 0; k < count; k++, to += run) {
            int64_t index = md__get_int(indices, k);
            if (index < -dim || index >= dim)
                return md_fail(err, MD_ERR_UNPROCESSABLE, "index %lld is outside an axis of %lld",
                               (long long)index, (long long)dim);
            size_t row = o * (size_t)dim + (size_t)(index < 0 ? index + dim : index);
            memcpy(to, (const char *)in->data + row * run, run);
        }
    return MD_OK;
}

const struct md_kernel md__ref_copy = {.run = copy_run, .in_place = true};
const struct md_kernel md__ref_transpose = {.run = transpose_run};
const struct md_kernel md__ref_concat = {.run = concat_run};
const struct md_kernel md__ref_split = {.run = split_run};
const struct md_kernel md__ref_slice = {.run = slice_run};
const struct md_kernel md__ref_gather = {.run = gather_run};
