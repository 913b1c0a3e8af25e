/*
 * What moves elements without looking at them: transposes, slices, joins (all of them strides),
 * gathers by index, padding, triangles.
 *
 * A transpose that turns the innermost axes goes by tiles through shared memory, so that both its
 * reads and its writes follow each other; any other map is one thread an element in the order of
 * the target.
 */
#include "kernels/cuda/map.cuh"

#define THREADS 256
#define TILE    32
#define ROWS    8 /* of a tile a block moves at a time */

/* ---- strides --------------------------------------------------------------------------------- */

template <class T> static __global__ void move_kernel(struct md__cuda_map map, const T *from, T *to)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t at[2];
        md__locate(map, i, at);
        to[at[1]] = from[at[0]];
    }
}

/* The last axis follows in the target, axis `turned` in the source; the others are counted through
 * by blockIdx.z. */
template <class T>
static __global__ void turn_kernel(struct md__cuda_map map, int turned, const T *from, T *to)
{
    __shared__ T tile[TILE][TILE + 1];
    int last = map.rank - 1;
    int64_t columns = map.dim[last], rows = map.dim[turned], others = 1;
    for (int axis = 0; axis < last; axis++)
        others *= axis == turned ? 1 : map.dim[axis];
    int64_t column = (int64_t)blockIdx.x * TILE, row = (int64_t)blockIdx.y * TILE;
    for (int64_t plane = blockIdx.z; plane < others; plane += gridDim.z) {
        int64_t a = 0, b = 0, rest = plane;
        for (int axis = last - 1; axis >= 0; axis--) {
            if (axis == turned)
                continue;
            a += rest % map.dim[axis] * map.stride[0][axis];
            b += rest % map.dim[axis] * map.stride[1][axis];
            rest /= map.dim[axis];
        }
        for (int k = (int)threadIdx.y; k < TILE; k += ROWS) {
            int64_t r = row + threadIdx.x, c = column + k;
            if (r < rows && c < columns)
                tile[k][threadIdx.x] =
                    from[a + r * map.stride[0][turned] + c * map.stride[0][last]];
        }
        __syncthreads();
        for (int k = (int)threadIdx.y; k < TILE; k += ROWS) {
            int64_t r = row + k, c = column + threadIdx.x;
            if (r < rows && c < columns)
                to[b + r * map.stride[1][turned] + c * map.stride[1][last]] = tile[threadIdx.x][k];
        }
        __syncthreads();
    }
}

/* The axis that follows in the source while the last one follows in the target; -1: no turn that
 * is worth tiles. */
static int turned_axis(const struct md__cuda_map *map)
{
    int last = map->rank - 1;
    if (map->stride[1][last] != 1 || map->stride[0][last] == 1 || map->dim[last] < 8)
        return -1;
    for (int axis = 0; axis < last; axis++)
        if (map->stride[0][axis] == 1 && map->dim[axis] >= 8 &&
            map->dim[axis] <= (int64_t)65535 * TILE)
            return axis;
    return -1;
}

int md__cuda_move(md__cuda_stream stream, int bytes, const struct md__cuda_map *map,
                  const void *from, void *to)
{
    if (map->count == 0)
        return 0;
    int turned = turned_axis(map);
    MD__BY_BYTES(bytes, {
        if (turned < 0)
            return md__launch(stream, "move", move_kernel<T>, md__blocks(map->count, THREADS),
                              dim3(THREADS), 0, *map, (const T *)from, (T *)to);
        int64_t columns = map->dim[map->rank - 1], rows = map->dim[turned];
        int64_t others = map->count / columns / rows;
        dim3 grid((unsigned)((columns + TILE - 1) / TILE), (unsigned)((rows + TILE - 1) / TILE),
                  (unsigned)(others < 65535 ? others : 65535));
        return md__launch(stream, "turn", turn_kernel<T>, grid, dim3(TILE, ROWS), 0, *map, turned,
                          (const T *)from, (T *)to);
    })
}

/* ---- by index -------------------------------------------------------------------------------- */

/* Index i, from the beginning of an axis of n; -1: it lies outside. */
MD__DEVICE int64_t index_at(const void *indices, bool wide, int64_t i, int64_t n)
{
    int64_t at =
        wide ? static_cast<const int64_t *>(indices)[i] : static_cast<const int32_t *>(indices)[i];
    at += at < 0 ? n : 0;
    if (at >= 0 && at < n)
        return at;
    md__note(MD__CUDA_OUTSIDE);
    return -1;
}

template <class T>
static __global__ void gather_kernel(const T *x, const void *indices, bool wide, T *y, T nothing,
                                     int64_t n, int64_t inner, int64_t count, int64_t total)
{
    for (int64_t i = md__first(); i < total; i += md__stride()) {
        int64_t at = index_at(indices, wide, i / inner % count, n);
        int64_t from = (i / inner / count * n + at) * inner + i % inner;
        y[i] = at >= 0 ? x[from] : nothing;
    }
}

int md__cuda_gather(md__cuda_stream stream, int storage, int index_storage, const void *x,
                    const void *indices, void *y, int64_t outer, int64_t n, int64_t inner,
                    int64_t count)
{
    int64_t total = outer * count * inner;
    if (total == 0)
        return 0;
    bool wide = index_storage == MD__CUDA_I64;
    MD__BY_BYTES(md__storage_bytes(storage),
                 return md__launch(stream, "gather", gather_kernel<T>, md__blocks(total, THREADS),
                                   dim3(THREADS), 0, (const T *)x, indices, wide, (T *)y,
                                   (T)md__nothing_of(storage), n, inner, count, total))
}

template <class T>
static __global__ void gather_elements_kernel(struct md__cuda_map map, const T *x,
                                              const void *indices, bool wide, T *y, T nothing,
                                              int64_t n, int64_t axis_stride)
{
    for (int64_t i = md__first(); i < map.count; i += md__stride()) {
        int64_t at = index_at(indices, wide, i, n);
        y[i] = at >= 0 ? x[md__place(map, i) + at * axis_stride] : nothing;
    }
}

int md__cuda_gather_elements(md__cuda_stream stream, int storage, int index_storage,
                             const struct md__cuda_map *map, const void *x, const void *indices,
                             void *y, int64_t n, int64_t axis_stride)
{
    if (map->count == 0)
        return 0;
    bool wide = index_storage == MD__CUDA_I64;
    MD__BY_BYTES(md__storage_bytes(storage),
                 return md__launch(stream, "gather_elements", gather_elements_kernel<T>,
                                   md__blocks(map->count, THREADS), dim3(THREADS), 0, *map,
                                   (const T *)x, indices, wide, (T *)y, (T)md__nothing_of(storage),
                                   n, axis_stride))
}

/* ---- padding, triangles ---------------------------------------------------------------------- */

/* Where position i of a padded axis comes from; -1: from the value. */
MD__DEVICE int64_t unpadded(enum md__cuda_padding mode, int64_t i, int64_t n)
{
    if (i >= 0 && i < n)
        return i;
    switch (mode) {
    case MD__CUDA_PAD_EDGE:
        return i < 0 ? 0 : n - 1;
    case MD__CUDA_PAD_WRAP:
        return (i % n + n) % n;
    case MD__CUDA_PAD_REFLECT: {
        int64_t period = n > 1 ? 2 * (n - 1) : 1;
        i = (i % period + period) % period;
        return i < n ? i : period - i;
    }
    default:
        return -1;
    }
}

template <class T> static __global__ void pad_kernel(struct md__cuda_pad p)
{
    const T *x = (const T *)p.x;
    T value = p.value ? *(const T *)p.value : (T)0;
    for (int64_t i = md__first(); i < p.count; i += md__stride()) {
        int64_t rest = i, from = 0;
        bool inside = true;
        for (int axis = p.rank - 1; axis >= 0; axis--) {
            int64_t at = unpadded(p.mode, rest % p.out[axis] - p.before[axis], p.in[axis]);
            rest /= p.out[axis];
            inside = inside && at >= 0;
            from += at * p.stride[axis];
        }
        ((T *)p.y)[i] = inside ? x[from] : value;
    }
}

int md__cuda_pad(md__cuda_stream stream, const struct md__cuda_pad *p)
{
    if (p->count == 0)
        return 0;
    MD__BY_BYTES(p->bytes, return md__launch(stream, "pad", pad_kernel<T>,
                                             md__blocks(p->count, THREADS), dim3(THREADS), 0, *p))
}

template <class T>
static __global__ void trilu_kernel(bool upper, int64_t diagonal, const T *x, T *y, int64_t rows,
                                    int64_t columns, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t above = i % columns - i / columns % rows - diagonal;
        y[i] = (upper ? above >= 0 : above <= 0) ? x[i] : (T)0;
    }
}

int md__cuda_trilu(md__cuda_stream stream, int bytes, bool upper, int64_t diagonal, const void *x,
                   void *y, int64_t batch, int64_t rows, int64_t columns)
{
    int64_t count = batch * rows * columns;
    if (count == 0)
        return 0;
    MD__BY_BYTES(bytes, return md__launch(stream, "trilu", trilu_kernel<T>,
                                          md__blocks(count, THREADS), dim3(THREADS), 0, upper,
                                          diagonal, (const T *)x, (T *)y, rows, columns, count))
}
