/*
 * Einsum: a matrix product where its labels make one, sums through maps (einsum.cu) otherwise.
 *
 * Of two operands a label of the result is a *batch* axis when both have it, a *row* when the first
 * alone does, a *column* when the second does; what is summed over is *inner*. The labels of each
 * kind must lie in memory like one axis. A product comes out in the order batch, rows, columns; an
 * equation with another is worked out in scratch and turned.
 */
#include "graph/einsum.h"
#include "kernels/cuda/ops.h"

#define OPERANDS 4

struct labels {
    int count, label[MD__CUDA_RANK];
};

struct einsum {
    struct md__einsum parsed;
    int64_t stride[OPERANDS][MD__EINSUM_LABELS_MAX]; /* of every operand along each label */
};

/* As a product of operands `left` and 1 - left. */
struct form {
    int left;
    struct labels batch, rows, columns, inner, order; /* the last: of the product's result */
    bool turned;                                      /* the equation wants another order */
    int64_t row_step[2], inner_step[2];               /* of the left side, of the right one */
};

static bool einsum_read(const struct md_node *node, const struct md_device_value *in, int in_count,
                        struct einsum *einsum)
{
    const struct md_shape *shapes[OPERANDS];
    struct md_error unused;
    if (in_count > OPERANDS)
        return false;
    for (int k = 0; k < in_count; k++)
        shapes[k] = &in[k].shape;
    *einsum = (struct einsum){0};
    if (md__einsum_parse(md_node_string(node, "equation", ""), shapes, in_count, &einsum->parsed,
                         &unused))
        return false;
    for (int k = 0; k < in_count; k++) {
        int64_t stride[MD_RANK_MAX];
        md__strides(shapes[k], stride);
        for (int axis = 0; axis < shapes[k]->rank; axis++)
            if (shapes[k]->dim[axis] != 1)
                einsum->stride[k][einsum->parsed.label[k][axis]] += stride[axis];
    }
    return true;
}

/* ---- as a product ---------------------------------------------------------------------------- */

static bool put(struct labels *labels, int label)
{
    if (labels->count == MD__CUDA_RANK)
        return false;
    labels->label[labels->count++] = label;
    return true;
}

static int64_t size_of(const struct einsum *einsum, const struct labels *labels)
{
    int64_t size = 1;
    for (int i = 0; i < labels->count; i++)
        size *= einsum->parsed.dim[labels->label[i]];
    return size;
}

/* Whether these labels of an operand are like one axis, and its stride. */
static bool is_line(const struct einsum *einsum, const struct labels *labels, int operand,
                    int64_t *step)
{
    const int64_t *stride = einsum->stride[operand];
    *step = labels->count ? stride[labels->label[labels->count - 1]] : 0;
    for (int i = 0; i + 1 < labels->count; i++) {
        int next = labels->label[i + 1];
        if (stride[labels->label[i]] != stride[next] * einsum->parsed.dim[next])
            return false;
    }
    return true;
}

static bool sort_labels(const struct einsum *einsum, struct form *form)
{
    bool fits = true;
    for (int label = 0; fits && label < einsum->parsed.labels; label++) {
        bool first = einsum->stride[0][label] != 0, second = einsum->stride[1][label] != 0;
        if (einsum->parsed.dim[label] == 0)
            return false;
        if (einsum->parsed.dim[label] != 1)
            fits = put(label >= einsum->parsed.out_rank ? &form->inner
                       : first && second                ? &form->batch
                       : first                          ? &form->rows
                                                        : &form->columns,
                       label);
    }
    return fits;
}

/* False: no product. */
static bool form_of(const struct einsum *einsum, int in_count, struct form *form)
{
    *form = (struct form){0};
    if (in_count != 2 || !sort_labels(einsum, form))
        return false;
    if (form->columns.count && form->rows.count && form->columns.label[0] < form->rows.label[0]) {
        struct labels rows = form->rows;
        form->rows = form->columns;
        form->columns = rows;
        form->left = 1;
    }
    const struct labels *parts[] = {&form->batch, &form->rows, &form->columns};
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < parts[p]->count; i++)
            if (!put(&form->order, parts[p]->label[i]))
                return false;
    for (int i = 0; i + 1 < form->order.count; i++)
        form->turned |= form->order.label[i] > form->order.label[i + 1];
    int left = form->left, right = 1 - left;
    return is_line(einsum, &form->rows, left, &form->row_step[0]) &&
           is_line(einsum, &form->columns, right, &form->row_step[1]) &&
           is_line(einsum, &form->inner, left, &form->inner_step[0]) &&
           is_line(einsum, &form->inner, right, &form->inner_step[1]);
}

static enum md_status multiply(const struct md_device_call *call, const struct einsum *einsum,
                               const struct form *form, void *y, struct md_error *err)
{
    struct md__cuda_product product = {.storage = (int)call->out[0].storage,
                                       .rows = size_of(einsum, &form->rows),
                                       .inner = size_of(einsum, &form->inner),
                                       .columns = size_of(einsum, &form->columns),
                                       .a_row = form->row_step[0],
                                       .a_column = form->inner_step[0],
                                       .b_row = form->inner_step[1],
                                       .b_column = form->row_step[1],
                                       .a = call->in[form->left].data,
                                       .b = call->in[1 - form->left].data,
                                       .y = y,
                                       .alpha = 1};
    product.batch.rank = form->batch.count;
    for (int i = 0; i < form->batch.count; i++) {
        int label = form->batch.label[i];
        product.batch.dim[i] = einsum->parsed.dim[label];
        product.batch.stride[0][i] = einsum->stride[form->left][label];
        product.batch.stride[1][i] = einsum->stride[1 - form->left][label];
    }
    md__map_merge(&product.batch, 2);
    return md__product_enqueue(call, &product, err);
}

/* From the product's order to the equation's. */
static enum md_status turn(const struct md_device_call *call, const struct einsum *einsum,
                           const struct form *form, struct md_error *err)
{
    const struct md_shape *shape = &call->out[0].shape;
    struct md__cuda_map map = {.rank = shape->rank};
    int64_t step = 1;
    for (int i = form->order.count - 1; i >= 0; i--) {
        map.stride[0][form->order.label[i]] = step;
        step *= einsum->parsed.dim[form->order.label[i]];
    }
    for (int axis = 0; axis < shape->rank; axis++)
        map.dim[axis] = shape->dim[axis];
    md__strides(shape, map.stride[1]);
    md__map_merge(&map, 2);
    return md__launched(md__cuda_move(md__cuda_stream_of(call->stream),
                                      (int)md_dtype_bytes(call->out[0].storage), &map,
                                      call->scratch, call->out[0].data),
                        err);
}

/* ---- as sums --------------------------------------------------------------------------------- */

/* Labels [begin, end); false: too many. */
static bool map_of(const struct einsum *einsum, int begin, int end, struct md__cuda_map *map)
{
    map->rank = 0;
    for (int label = begin; label < end; label++) {
        if (einsum->parsed.dim[label] == 1)
            continue;
        if (map->rank == MD__CUDA_RANK)
            return false;
        map->dim[map->rank] = einsum->parsed.dim[label];
        for (int k = 0; k < OPERANDS; k++)
            map->stride[k][map->rank] = einsum->stride[k][label];
        map->rank++;
    }
    md__map_merge(map, OPERANDS);
    return true;
}

static bool einsum_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    struct einsum einsum;
    struct md__cuda_map map;
    return md__one_float(in, in_count, out, out_count) &&
           einsum_read(node, in, in_count, &einsum) &&
           map_of(&einsum, einsum.parsed.out_rank, einsum.parsed.labels, &map);
}

static size_t einsum_scratch(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    struct einsum einsum;
    struct form form;
    (void)out_count;
    bool turned = einsum_read(node, in, in_count, &einsum) && form_of(&einsum, in_count, &form) &&
                  form.turned;
    return turned ? (size_t)md__elements(&out[0]) * md_dtype_bytes(out[0].storage) : 0;
}

static enum md_status einsum_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct einsum einsum;
    struct form form;
    struct md__cuda_contraction sums = {
        .storage = (int)call->out[0].storage, .operands = call->in_count, .y = call->out[0].data};
    einsum_read(call->node, call->in, call->in_count, &einsum);
    if (form_of(&einsum, call->in_count, &form)) {
        enum md_status status =
            multiply(call, &einsum, &form, form.turned ? call->scratch : call->out[0].data, err);
        return status || !form.turned ? status : turn(call, &einsum, &form, err);
    }
    for (int k = 0; k < call->in_count; k++)
        sums.x[k] = call->in[k].data;
    map_of(&einsum, 0, einsum.parsed.out_rank, &sums.kept);
    map_of(&einsum, einsum.parsed.out_rank, einsum.parsed.labels, &sums.inside);
    return md__launched(md__cuda_contract(md__cuda_stream_of(call->stream), &sums), err);
}

const struct md_device_kernel md__cuda_op_einsum = {
    .supports = einsum_supports, .scratch_bytes = einsum_scratch, .enqueue = einsum_enqueue};
