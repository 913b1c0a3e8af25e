/*
 * GatherND, ScatterND, ScatterElements: slices and elements named by indices in device memory.
 *
 * An index outside its axis reads a NaN (of integers 0), writes nothing, and is noted. Where two
 * indices name one place, either may win, as the standard has it.
 */
#include "kernels/cuda/device.cuh"

#define THREADS 256

/* Where the slice that row `row` of the indices names begins; -1: nowhere. */
MD__DEVICE int64_t slice_at(const struct md__cuda_slices &p, int64_t row)
{
    int64_t at = p.batches > 1 ? row / (p.rows / p.batches) * p.batch_stride : 0;
    for (int k = 0; k < p.depth; k++) {
        int64_t i = row * p.depth + k;
        int64_t index = p.ids_are_wide ? static_cast<const int64_t *>(p.ids)[i]
                                       : static_cast<const int32_t *>(p.ids)[i];
        index += index < 0 ? p.dim[k] : 0;
        if (index < 0 || index >= p.dim[k]) {
            md__note(MD__CUDA_OUTSIDE);
            return -1;
        }
        at += index * p.stride[k];
    }
    return at;
}

template <class T>
static __global__ void gather_slices_kernel(struct md__cuda_slices p, const T *x, T *y, T nothing)
{
    for (int64_t i = md__first(); i < p.rows * p.slice; i += md__stride()) {
        int64_t at = slice_at(p, i / p.slice);
        y[i] = at < 0 ? nothing : x[at + i % p.slice];
    }
}

template <class T>
static __global__ void scatter_slices_kernel(struct md__cuda_slices p, const T *updates, T *y)
{
    for (int64_t i = md__first(); i < p.rows * p.slice; i += md__stride()) {
        int64_t at = slice_at(p, i / p.slice);
        if (at >= 0)
            y[at + i % p.slice] = updates[i];
    }
}

int md__cuda_gather_slices(md__cuda_stream stream, int storage, const struct md__cuda_slices *p,
                           const void *x, void *y)
{
    int64_t count = p->rows * p->slice;
    if (count == 0)
        return 0;
    MD__BY_BYTES(md__storage_bytes(storage),
                 return md__launch(stream, "gather_slices", gather_slices_kernel<T>,
                                   md__blocks(count, THREADS), dim3(THREADS), 0, *p, (const T *)x,
                                   (T *)y, (T)md__nothing_of(storage)))
}

int md__cuda_scatter_slices(md__cuda_stream stream, int storage, const struct md__cuda_slices *p,
                            const void *updates, void *y)
{
    int64_t count = p->rows * p->slice;
    if (count == 0)
        return 0;
    MD__BY_BYTES(md__storage_bytes(storage),
                 return md__launch(stream, "scatter_slices", scatter_slices_kernel<T>,
                                   md__blocks(count, THREADS), dim3(THREADS), 0, *p,
                                   (const T *)updates, (T *)y))
}

/* The map leads from an index to its place in y without the axis. */
template <class T>
static __global__ void scatter_elements_kernel(struct md__cuda_map map, const T *updates,
                                               const void *ids, bool wide, T *y, int64_t n,
                                               int64_t axis_stride)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t to = 0, rest = i;
        int64_t at =
            wide ? static_cast<const int64_t *>(ids)[i] : static_cast<const int32_t *>(ids)[i];
        for (int axis = map.rank - 1; axis >= 0; axis--) {
            to += rest % map.dim[axis] * map.stride[0][axis];
            rest /= map.dim[axis];
        }
        at += at < 0 ? n : 0;
        if (at < 0 || at >= n)
            md__note(MD__CUDA_OUTSIDE);
        else
            y[to + at * axis_stride] = updates[i];
    }
}

int md__cuda_scatter_elements(md__cuda_stream stream, int storage, int index_storage,
                              const struct md__cuda_map *map, const void *updates,
                              const void *indices, void *y, int64_t n, int64_t axis_stride)
{
    if (map->count == 0)
        return 0;
    bool wide = index_storage == MD__CUDA_I64;
    MD__BY_BYTES(md__storage_bytes(storage),
                 return md__launch(stream, "scatter_elements", scatter_elements_kernel<T>,
                                   md__blocks(map->count, THREADS), dim3(THREADS), 0, *map,
                                   (const T *)updates, indices, wide, (T *)y, n, axis_stride))
}
