/*
 * Helpers of ops.h, and the one table of device kernels: a row an operator.
 */
#include "kernels/cuda/ops.h"

#include <string.h>

#include "kernels/cuda/ops_table.h"

_Static_assert(MD__CUDA_F32 == (int)MD_F32 && MD__CUDA_F16 == (int)MD_F16 &&
                   MD__CUDA_BF16 == (int)MD_BF16 && MD__CUDA_I64 == (int)MD_I64 &&
                   MD__CUDA_I32 == (int)MD_I32 && MD__CUDA_BOOL == (int)MD_BOOL &&
                   MD__CUDA_U8 == (int)MD_U8 && MD__CUDA_I8 == (int)MD_I8,
               "launch.h numbers storages as tensor.h does");

bool md__one_float(const struct md_device_value *in, int in_count,
                   const struct md_device_value *out, int out_count)
{
    enum md_dtype storage = out_count > 0 ? out[0].storage : in[0].storage;
    if (!md__is_float_storage(storage))
        return false;
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype != 0 && in[i].storage != storage)
            return false;
    for (int i = 0; i < out_count; i++)
        if (out[i].dtype != 0 && out[i].storage != storage)
            return false;
    return true;
}

bool md__floats_only(const struct md_node *node, const struct md_device_value *in, int in_count,
                     const struct md_device_value *out, int out_count)
{
    (void)node;
    return md__one_float(in, in_count, out, out_count);
}

enum md_status md__launched(int error, struct md_error *err)
{
    return error == 0 ? MD_OK : md_fail(err, MD_ERR_DEVICE, "%s", md__cuda_error_text(error));
}

int64_t md__known_int(const struct md_device_value *value, int64_t i)
{
    return value->dtype == MD_I32 ? ((const int32_t *)value->known)[i]
                                  : ((const int64_t *)value->known)[i];
}

/* ---- maps ------------------------------------------------------------------------------------ */

void md__map_broadcast(struct md__cuda_map *map, const struct md_shape *shape,
                       const struct md_device_value *const *tensors, int count)
{
    memset(map, 0, sizeof *map);
    map->rank = shape->rank;
    for (int i = 0; i < shape->rank; i++)
        map->dim[i] = shape->dim[i];
    for (int k = 0; k < count; k++) {
        const struct md_shape *from = &tensors[k]->shape;
        int64_t stride[MD_RANK_MAX];
        md__strides(from, stride);
        int lead = shape->rank - from->rank;
        for (int i = 0; i < from->rank; i++)
            map->stride[k][lead + i] = from->dim[i] == 1 ? 0 : stride[i];
    }
    md__map_merge(map, count);
}

static bool merges(const struct md__cuda_map *map, int count, int to, int from)
{
    for (int k = 0; k < count; k++)
        if (map->stride[k][to] != map->stride[k][from] * map->dim[from])
            return false;
    return true;
}

static void put_axis(struct md__cuda_map *map, int count, int to, int from, int64_t times)
{
    map->dim[to] = map->dim[from] * times;
    for (int k = 0; k < count; k++)
        map->stride[k][to] = map->stride[k][from];
}

void md__map_merge(struct md__cuda_map *map, int count)
{
    int rank = 0;
    map->count = 1;
    for (int axis = 0; axis < map->rank; axis++) {
        map->count *= map->dim[axis];
        if (map->dim[axis] == 1)
            continue;
        if (rank > 0 && merges(map, count, rank - 1, axis))
            put_axis(map, count, rank - 1, axis, map->dim[rank - 1]);
        else
            put_axis(map, count, rank++, axis, 1);
    }
    if (rank == 0) {
        map->dim[rank++] = 1;
        for (int k = 0; k < count; k++)
            map->stride[k][0] = 0;
    }
    map->rank = rank;
}

/* ---- the table ------------------------------------------------------------------------------- */

const struct md_device_kernel *const md__cuda_kernels[MD_OP_COUNT] = {MD__CUDA_TABLE};
