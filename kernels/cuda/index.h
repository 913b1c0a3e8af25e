/*
 * The launchers of index.cu, under the rules of launch.h.
 */
#ifndef MD_KERNELS_CUDA_INDEX_H
#define MD_KERNELS_CUDA_INDEX_H

#include "kernels/cuda/launch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `rows` indices of `depth` numbers each, which name slices of `slice` elements; in `batches` equal
 * parts, each with a part of the data, batch_stride elements apart. */
struct md__cuda_slices {
    int depth;
    bool ids_are_wide; /* int64, not int32 */
    int64_t rows, slice, batches, batch_stride, dim[MD__CUDA_RANK], stride[MD__CUDA_RANK];
    const void *ids;
};
/* y [rows, slice]; what lies outside gives NaN or 0. */
int md__cuda_gather_slices(md__cuda_stream stream, int storage,
                           const struct md__cuda_slices *slices, const void *x, void *y);

enum md__cuda_scatter {
    MD__CUDA_SCATTER_NONE,
    MD__CUDA_SCATTER_ADD,
    MD__CUDA_SCATTER_MUL,
    MD__CUDA_SCATTER_MAX,
    MD__CUDA_SCATTER_MIN
};
/* updates [rows, slice] into y; what lies outside is left out. Reductions (float storage, I32, I64)
 * compare every row with every other. */
int md__cuda_scatter_slices(md__cuda_stream stream, int storage, enum md__cuda_scatter how,
                            const struct md__cuda_slices *slices, const void *updates, void *y);
/* Indices [outer, count, inner] of updates of that shape, along an axis of n; tensor 0 of the map,
 * which is not merged over `count`, leads from an update to y without that axis. */
struct md__cuda_lines {
    int index_storage;
    int64_t count, inner, n, axis_stride;
    struct md__cuda_map map;
};
int md__cuda_scatter_elements(md__cuda_stream stream, int storage, enum md__cuda_scatter how,
                              const struct md__cuda_lines *lines, const void *updates,
                              const void *indices, void *y);

/* y [outer, depth, inner]: off, and on where the index [outer, inner] says, elements of `bytes`
 * bytes; an index outside [-depth, depth) marks nothing. values: off, on. */
int md__cuda_one_hot(md__cuda_stream stream, int bytes, int index_storage, const void *indices,
                     const void *values, void *y, int64_t outer, int64_t depth, int64_t inner);
/* x [rows, columns, run]: the first of each batch element turned round; `time` of the two first
 * axes is time, lengths [the other]. */
int md__cuda_reverse(md__cuda_stream stream, int bytes, int time, const void *x,
                     const int64_t *lengths, void *y, int64_t rows, int64_t columns, int64_t run);
/* updates [outer, length, run] into a cache y [outer, most, run] from step begins[] of their batch
 * element on (NULL: 0), of per_batch lines each; a circular one goes on at its beginning. */
struct md__cuda_cache_fill {
    bool circular;
    int64_t outer, per_batch, length, most, run;
    const int64_t *begins;
};
int md__cuda_fill_cache(md__cuda_stream stream, int bytes, const struct md__cuda_cache_fill *fill,
                        const void *updates, void *y);
/* How many ones each row of the mask has; mask NULL: none. */
int md__cuda_count_ones(md__cuda_stream stream, const int32_t *mask, int32_t *y, int64_t rows,
                        int64_t columns);
/* Zeros, and x [count] at indices into a tensor of `from`, which y of `to` is a part of. */
struct md__cuda_unpooling {
    int bytes, rank;
    int64_t count, y_count, from[MD__CUDA_RANK], to[MD__CUDA_RANK];
    const void *x;
    const int64_t *indices;
    void *y;
};
int md__cuda_unpool(md__cuda_stream stream, const struct md__cuda_unpooling *unpooling);

#ifdef __cplusplus
}
#endif
#endif
