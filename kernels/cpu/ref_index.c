/*
 * Reference kernels that pick or place elements by index. They move elements by size, whatever
 * their type; only a scatter with a reduction looks at them.
 *
 * An index outside its axis ends in a status. Where indices repeat and nothing is reduced, the last
 * update wins.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref.h"

/* Index i of `indices`, counted from the front of an axis of `dim` elements. */
static enum md_status index_at(const struct md_tensor *indices, size_t i, int64_t dim,
                               int64_t *index, struct md_error *err)
{
    *index = md__get_int(indices, i);
    if (*index < -dim || *index >= dim)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "index %lld is outside an axis of %lld",
                       (long long)*index, (long long)dim);
    *index += *index < 0 ? dim : 0;
    return MD_OK;
}

/* Copies all of the first input, into which a scatter then writes. */
static void copy_data(const struct md_kernel_call *call)
{
    size_t bytes = md__count(&call->out[0]) * md_dtype_bytes(call->out[0].dtype);
    if (call->out[0].data != call->in[0].data)
        memcpy(call->out[0].data, call->in[0].data, bytes);
}

/* ---- reductions ------------------------------------------------------------------------------ */

enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_MAX, REDUCE_MIN };

static enum reduction reduction_of(const struct md_node *node)
{
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    const char *asked = md_node_string(node, "reduction", "none");
    for (int i = 0; i < 5; i++)
        if (strcmp(asked, names[i]) == 0)
            return (enum reduction)i;
    return REDUCE_NONE;
}

static double reduced_float(enum reduction how, double a, double b)
{
    switch (how) {
    case REDUCE_ADD:
        return a + b;
    case REDUCE_MUL:
        return a * b;
    default: /* NaN wins, as in NumPy */
        if (isnan(a) || isnan(b))
            return NAN;
        return (how == REDUCE_MAX) == (a > b) ? a : b;
    }
}

static uint64_t reduced_int(enum reduction how, bool is_unsigned, uint64_t a, uint64_t b)
{
    switch (how) {
    case REDUCE_ADD:
        return a + b;
    case REDUCE_MUL:
        return a * b;
    default: {
        bool greater = is_unsigned ? a > b : (int64_t)a > (int64_t)b;
        return (how == REDUCE_MAX) == greater ? a : b;
    }
    }
}

/* Puts `count` elements from place `from` of `updates` to place `to` of `out`. */
static void place(enum reduction how, const struct md_tensor *out, size_t to,
                  const struct md_tensor *updates, size_t from, size_t count)
{
    size_t bytes = md_dtype_bytes(out->dtype);
    if (how == REDUCE_NONE) {
        memcpy((char *)out->data + to * bytes, (const char *)updates->data + from * bytes,
               count * bytes);
        return;
    }
    for (size_t i = 0; i < count; i++, to++, from++) {
        if (md__dtype_is_float(out->dtype))
            md__set_float(out, to,
                          reduced_float(how, md__get_float(out, to), md__get_float(updates, from)));
        else
            md__set_int(out, to,
                        (int64_t)reduced_int(how, out->dtype == MD_U64,
                                             (uint64_t)md__get_int(out, to),
                                             (uint64_t)md__get_int(updates, from)));
    }
}

/* ---- GatherElements, ScatterElements --------------------------------------------------------- */

/*
 * Walks the indices; *at is where the element that each one names lies in `data`. Both operators
 * are this loop with a copy in one or the other direction.
 */
static enum md_status elements_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *data = &call->in[0], *indices = &call->in[1], *out = &call->out[0];
    bool scatter = call->node->op == MD_OP_SCATTER_ELEMENTS;
    int axis = md__axis(md_node_int(call->node, "axis", 0), data->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", data->shape.rank);
    enum reduction how = reduction_of(call->node);
    int64_t step, stride[MD_RANK_MAX];
    struct md__walk walk;
    md__strides(&data->shape, stride);
    md__walk_init(&walk, indices->shape.rank, indices->shape.dim);
    memcpy(walk.stride[0], stride, sizeof stride);
    step = stride[axis];
    walk.stride[0][axis] = 0;
    if (scatter)
        copy_data(call);
    size_t count = md__count(indices);
    for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
        int64_t index;
        enum md_status status = index_at(indices, i, data->shape.dim[axis], &index, err);
        if (status)
            return status;
        size_t at = (size_t)(walk.at[0] + index * step);
        if (scatter)
            place(how, out, at, &call->in[2], i, 1);
        else
            place(REDUCE_NONE, out, i, data, at, 1);
    }
    return MD_OK;
}

/* ---- GatherND, ScatterND --------------------------------------------------------------------- */

/* Each row of indices names a slice of data: of *slice elements, starting at the returned place. */
static enum md_status nd_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *data = &call->in[0], *indices = &call->in[1], *out = &call->out[0];
    bool scatter = call->node->op == MD_OP_SCATTER_ND;
    int batch = scatter ? 0 : (int)md_node_int(call->node, "batch_dims", 0);
    int rank = data->shape.rank, depth = (int)indices->shape.dim[indices->shape.rank - 1];
    enum reduction how = reduction_of(call->node);
    int64_t stride[MD_RANK_MAX];
    md__strides(&data->shape, stride);
    size_t slice = md__span(&data->shape, batch + depth, rank);
    size_t one_batch = md__span(&data->shape, batch, rank);
    size_t rows = md__span(&indices->shape, 0, indices->shape.rank - 1);
    size_t batches = md__span(&data->shape, 0, batch);
    size_t rows_a_batch = batches ? rows / batches : 0;
    if (scatter)
        copy_data(call);
    for (size_t row = 0; row < rows; row++) {
        size_t at = row / (rows_a_batch ? rows_a_batch : 1) * one_batch;
        for (int k = 0; k < depth; k++) {
            int64_t index;
            enum md_status status = index_at(indices, row * (size_t)depth + (size_t)k,
                                             data->shape.dim[batch + k], &index, err);
            if (status)
                return status;
            at += (size_t)(index * stride[batch + k]);
        }
        if (scatter)
            place(how, out, at, &call->in[2], row * slice, slice);
        else
            place(REDUCE_NONE, out, row * slice, data, at, slice);
    }
    return MD_OK;
}

/* ---- TensorScatter --------------------------------------------------------------------------- */

static enum md_status tensor_scatter_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *cache = &call->in[0], *update = &call->in[1];
    bool circular = strcmp(md_node_string(call->node, "mode", "linear"), "circular") == 0;
    int rank = cache->shape.rank, axis = md__axis(md_node_int(call->node, "axis", -2), rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", rank);
    int64_t most = cache->shape.dim[axis], length = update->shape.dim[axis];
    size_t run = md__span(&cache->shape, axis + 1, rank), outer = md__span(&cache->shape, 0, axis);
    size_t per_batch = md__span(&cache->shape, 1, axis);
    copy_data(call);
    for (size_t o = 0; o < outer; o++) {
        int64_t begin = 0;
        if (md__has(call->in, call->in_count, 2))
            begin = md__get_int(&call->in[2], o / per_batch);
        if (begin < 0 || (!circular && begin > most - length))
            return md_fail(err, MD_ERR_UNPROCESSABLE,
                           "%lld steps from %lld do not fit a cache of %lld", (long long)length,
                           (long long)begin, (long long)most);
        begin = most ? begin % (circular ? most : INT64_MAX) : 0;
        for (int64_t t = 0; t < length; t++) {
            int64_t at = begin + t < most ? begin + t : begin + t - most;
            place(REDUCE_NONE, &call->out[0], (o * (size_t)most + (size_t)at) * run, update,
                  (o * (size_t)length + (size_t)t) * run, run);
        }
    }
    return MD_OK;
}

/* ---- ReverseSequence, OneHot ----------------------------------------------------------------- */

static enum md_status reverse_sequence_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0];
    int time = (int)md_node_int(call->node, "time_axis", 0);
    int64_t steps = in->shape.dim[time], batch = in->shape.dim[!time];
    size_t run = md__span(&in->shape, 2, in->shape.rank);
    for (int64_t b = 0; b < batch; b++) {
        int64_t length = md__get_int(&call->in[1], (size_t)b);
        if (length < 0 || length > steps)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "length %lld is outside 0..%lld",
                           (long long)length, (long long)steps);
        for (int64_t t = 0; t < steps; t++) {
            int64_t from = t < length ? length - 1 - t : t;
            int64_t to_row = time ? b * steps + t : t * batch + b;
            int64_t from_row = time ? b * steps + from : from * batch + b;
            place(REDUCE_NONE, &call->out[0], (size_t)to_row * run, in, (size_t)from_row * run,
                  run);
        }
    }
    return MD_OK;
}

/* Indices outside [-depth, depth) mark nothing. */
static enum md_status one_hot_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *indices = &call->in[0], *values = &call->in[2], *out = &call->out[0];
    int axis = md__axis(md_node_int(call->node, "axis", -1), out->shape.rank);
    int64_t depth = out->shape.dim[axis];
    size_t inner = md__span(&out->shape, axis + 1, out->shape.rank), total = md__count(out);
    for (size_t i = 0; i < total; i++)
        place(REDUCE_NONE, out, i, values, 0, 1);
    size_t count = md__count(indices);
    for (size_t i = 0; i < count; i++) {
        int64_t index = md__get_int(indices, i);
        if (index < -depth || index >= depth)
            continue;
        index += index < 0 ? depth : 0;
        size_t at = (i / inner * (size_t)depth + (size_t)index) * inner + i % inner;
        place(REDUCE_NONE, out, at, values, 1, 1);
    }
    return MD_OK;
}

const struct md_kernel md__ref_gather_elements = {.run = elements_run};
const struct md_kernel md__ref_scatter_elements = {.run = elements_run, .in_place = true};
const struct md_kernel md__ref_gather_nd = {.run = nd_run};
const struct md_kernel md__ref_scatter_nd = {.run = nd_run, .in_place = true};
const struct md_kernel md__ref_tensor_scatter = {.run = tensor_scatter_run, .in_place = true};
const struct md_kernel md__ref_reverse_sequence = {.run = reverse_sequence_run};
const struct md_kernel md__ref_one_hot = {.run = one_hot_run};
