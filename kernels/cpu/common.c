/*
 * Helpers of common.h: walking broadcast shapes, scalars of any dtype, the loop over the pool.
 */
#include "kernels/cpu/common.h"

#include <string.h>

#include "kernels/cpu/blocks.h"

void md__strides(const struct md_shape *shape, int64_t *stride)
{
    int64_t step = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= shape->dim[i];
    }
}

void md__strides_apart(int64_t *stride, int rank, int64_t row, size_t pitch)
{
    for (int i = 0; pitch && i < rank - 1; i++)
        stride[i] = stride[i] / row * (int64_t)pitch;
}

void md__walk_init(struct md__walk *walk, int rank, const int64_t *dim)
{
    memset(walk, 0, sizeof *walk);
    walk->rank = rank;
    for (int i = 0; i < rank; i++)
        walk->dim[i] = dim[i];
}

void md__walk_broadcast(struct md__walk *walk, int which, const struct md_shape *shape)
{
    int64_t stride[MD_RANK_MAX];
    md__strides(shape, stride);
    int lead = walk->rank - shape->rank;
    for (int i = 0; i < shape->rank; i++)
        walk->stride[which][lead + i] = shape->dim[i] == 1 ? 0 : stride[i];
}

void md__walk_next(struct md__walk *walk)
{
    for (int i = walk->rank - 1; i >= 0; i--) {
        for (int w = 0; w < 3; w++)
            walk->at[w] += walk->stride[w][i];
        if (++walk->index[i] < walk->dim[i])
            return;
        for (int w = 0; w < 3; w++)
            walk->at[w] -= walk->stride[w][i] * walk->dim[i];
        walk->index[i] = 0;
    }
}

void md__walk_seek(struct md__walk *walk, size_t i)
{
    memset(walk->at, 0, sizeof walk->at);
    for (int axis = walk->rank - 1; axis >= 0; axis--) {
        walk->index[axis] = (int64_t)(i % (size_t)walk->dim[axis]);
        i /= (size_t)walk->dim[axis];
        for (int w = 0; w < 3; w++)
            walk->at[w] += walk->stride[w][axis] * walk->index[axis];
    }
}

/* Whether axis `to` can take over axis `from` right after it. */
static bool merges(const struct md__walk *walk, int to, int from)
{
    for (int w = 0; w < 3; w++)
        if (walk->stride[w][to] != walk->stride[w][from] * walk->dim[from])
            return false;
    return true;
}

static void copy_axis(struct md__walk *walk, int to, int from)
{
    walk->dim[to] = walk->dim[from];
    for (int w = 0; w < 3; w++)
        walk->stride[w][to] = walk->stride[w][from];
}

void md__walk_merge(struct md__walk *walk)
{
    int rank = 0;
    for (int axis = 0; axis < walk->rank; axis++) {
        if (walk->dim[axis] == 1)
            continue;
        if (rank > 0 && merges(walk, rank - 1, axis)) {
            int64_t before = walk->dim[rank - 1];
            copy_axis(walk, rank - 1, axis);
            walk->dim[rank - 1] *= before;
        } else
            copy_axis(walk, rank++, axis);
    }
    if (rank == 0) {
        memset(walk->stride, 0, sizeof walk->stride);
        walk->dim[rank++] = 1;
    }
    walk->rank = rank;
}

bool md__dtype_is_float(enum md_dtype dtype)
{
    return dtype == MD_F32 || dtype == MD_F64 || dtype == MD_F16 || dtype == MD_BF16;
}

double md__get_float(const struct md_tensor *tensor, size_t i)
{
    double value = 0;
    md__load_floats(tensor, i, 0, 1, &value);
    return value;
}

int64_t md__get_int(const struct md_tensor *tensor, size_t i)
{
    int64_t value = 0;
    md__load_ints(tensor, i, 0, 1, &value);
    return value;
}

void md__set_float(const struct md_tensor *tensor, size_t i, double value)
{
    md__store_floats(tensor, i, 0, 1, &value);
}

void md__set_int(const struct md_tensor *tensor, size_t i, int64_t value)
{
    md__store_ints(tensor, i, 0, 1, &value);
}

bool md__all_f32(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)node;
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype != 0 && in[i].dtype != MD_F32)
            return false;
    return true;
}

bool md__float_first(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)node;
    return in_count > 0 && md__dtype_is_float(in[0].dtype);
}

void md__parallel(struct md_pool *pool, size_t count, size_t grain, md_pool_body body,
                  void *context)
{
    if (count == 0)
        return;
    if (pool == NULL || count <= grain)
        body(context, 0, count, 0);
    else
        md_pool_run(pool, count, grain, body, context);
}

bool md__recurrent_is_plain(const struct md_node *node, const char *const *activations, int count)
{
    if (md_node_attr(node, "clip") || md_node_int(node, "input_forget", 0) != 0)
        return false;
    const struct md_attr *asked = md_node_attr(node, "activations");
    for (int i = 0; asked && i < asked->count; i++)
        if (asked->type != MD_ATTR_STRINGS ||
            strcmp(asked->strings[i], activations[i % count]) != 0)
            return false;
    return true;
}
