/*
 * GatherND, ScatterND, ScatterElements and what else puts elements where indices in device memory
 * say.
 *
 * An index outside its axis reads a NaN (of integers 0), writes nothing, and is noted. Where two
 * indices name one place, either may win, as the standard has it. With a reduction the first update
 * of a place does the work of all of them, in their order: the same result in every run, without
 * atomics, for a look at all indices by each.
 */
#include "kernels/cuda/index.h"
#include "kernels/cuda/map.cuh"

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

/* Of numbers in float32, of integers as they are; a NaN on either side gives NaN. */
template <class A> MD__DEVICE A reduced(enum md__cuda_scatter how, A a, A b)
{
    switch (how) {
    case MD__CUDA_SCATTER_ADD:
        return a + b;
    case MD__CUDA_SCATTER_MUL:
        return a * b;
    case MD__CUDA_SCATTER_MAX:
        return a > b || a != a ? a : b;
    default:
        return a < b || a != a ? a : b;
    }
}

template <class T>
static __global__ void reduce_slices_kernel(struct md__cuda_slices p, enum md__cuda_scatter how,
                                            const T *updates, T *y)
{
    for (int64_t i = md__first(); i < p.rows * p.slice; i += md__stride()) {
        int64_t row = i / p.slice, at = slice_at(p, row), before = 0;
        while (before < row && slice_at(p, before) != at)
            before++;
        if (at < 0 || before < row)
            continue;
        auto sum = md__load(&y[at + i % p.slice]);
        for (int64_t other = row; other < p.rows; other++)
            if (slice_at(p, other) == at)
                sum = reduced(how, sum, md__load(&updates[other * p.slice + i % p.slice]));
        md__store(&y[at + i % p.slice], sum);
    }
}

/* Runs the statement with T as the type of what can be added up. */
#define BY_NUMBER(storage, ...)                                                                    \
    switch (storage) {                                                                             \
    case MD__CUDA_I32: {                                                                           \
        using T = int32_t;                                                                         \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    case MD__CUDA_I64: {                                                                           \
        using T = int64_t;                                                                         \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    default:                                                                                       \
        MD__BY_FLOAT(storage, __VA_ARGS__)                                                         \
    }

int md__cuda_scatter_slices(md__cuda_stream stream, int storage, enum md__cuda_scatter how,
                            const struct md__cuda_slices *p, const void *updates, void *y)
{
    int64_t count = p->rows * p->slice;
    dim3 grid = md__blocks(count, THREADS), block(THREADS);
    if (count == 0)
        return 0;
    if (how == MD__CUDA_SCATTER_NONE)
        MD__BY_BYTES(md__storage_bytes(storage),
                     return md__launch(stream, "scatter_slices", scatter_slices_kernel<T>, grid,
                                       block, 0, *p, (const T *)updates, (T *)y))
    BY_NUMBER(storage, return md__launch(stream, "reduce_slices", reduce_slices_kernel<T>, grid,
                                         block, 0, *p, how, (const T *)updates, (T *)y))
}

/* ---- elements along an axis ------------------------------------------------------------------ */

/* Index i along the axis; -1: outside. */
MD__DEVICE int64_t element_at(const struct md__cuda_lines &p, const void *ids, int64_t i)
{
    int64_t at = p.index_storage == MD__CUDA_I64 ? static_cast<const int64_t *>(ids)[i]
                                                 : static_cast<const int32_t *>(ids)[i];
    at += at < 0 ? p.n : 0;
    if (at >= 0 && at < p.n)
        return at;
    md__note(MD__CUDA_OUTSIDE);
    return -1;
}

template <class T>
static __global__ void scatter_elements_kernel(struct md__cuda_lines p, const T *updates,
                                               const void *ids, T *y)
{
    for (int64_t i = md__first(); i < p.map.count; i += md__stride()) {
        int64_t at = element_at(p, ids, i);
        if (at >= 0)
            y[md__place(p.map, i) + at * p.axis_stride] = updates[i];
    }
}

template <class T>
static __global__ void reduce_elements_kernel(struct md__cuda_lines p, enum md__cuda_scatter how,
                                              const T *updates, const void *ids, T *y)
{
    for (int64_t i = md__first(); i < p.map.count; i += md__stride()) {
        int64_t at = element_at(p, ids, i), k = i / p.inner % p.count, line = i - k * p.inner;
        int64_t before = 0;
        while (before < k && element_at(p, ids, line + before * p.inner) != at)
            before++;
        if (at < 0 || before < k)
            continue;
        T *to = &y[md__place(p.map, i) + at * p.axis_stride];
        auto sum = md__load(to);
        for (; k < p.count; k++)
            if (element_at(p, ids, line + k * p.inner) == at)
                sum = reduced(how, sum, md__load(&updates[line + k * p.inner]));
        md__store(to, sum);
    }
}

int md__cuda_scatter_elements(md__cuda_stream stream, int storage, enum md__cuda_scatter how,
                              const struct md__cuda_lines *p, const void *updates,
                              const void *indices, void *y)
{
    dim3 grid = md__blocks(p->map.count, THREADS), block(THREADS);
    if (p->map.count == 0)
        return 0;
    if (how == MD__CUDA_SCATTER_NONE)
        MD__BY_BYTES(md__storage_bytes(storage),
                     return md__launch(stream, "scatter_elements", scatter_elements_kernel<T>, grid,
                                       block, 0, *p, (const T *)updates, indices, (T *)y))
    BY_NUMBER(storage, return md__launch(stream, "reduce_elements", reduce_elements_kernel<T>, grid,
                                         block, 0, *p, how, (const T *)updates, indices, (T *)y))
}

/* ---- OneHot, ReverseSequence, MaxUnpool ------------------------------------------------------ */

template <class T>
static __global__ void one_hot_kernel(const void *ids, bool wide, const T *values, T *y,
                                      int64_t depth, int64_t inner, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t from = i / inner / depth * inner + i % inner;
        int64_t at = wide ? static_cast<const int64_t *>(ids)[from]
                          : static_cast<const int32_t *>(ids)[from];
        at += at < 0 ? depth : 0;
        y[i] = values[at == i / inner % depth];
    }
}

int md__cuda_one_hot(md__cuda_stream stream, int bytes, int index_storage, const void *indices,
                     const void *values, void *y, int64_t outer, int64_t depth, int64_t inner)
{
    int64_t count = outer * depth * inner;
    if (count == 0)
        return 0;
    MD__BY_BYTES(bytes,
                 return md__launch(stream, "one_hot", one_hot_kernel<T>, md__blocks(count, THREADS),
                                   dim3(THREADS), 0, indices, index_storage == MD__CUDA_I64,
                                   (const T *)values, (T *)y, depth, inner, count))
}

template <class T>
static __global__ void reverse_kernel(const T *x, const int64_t *lengths, T *y, int time,
                                      int64_t rows, int64_t columns, int64_t run)
{
    for (int64_t i = md__first(); i < rows * columns * run; i += md__stride()) {
        int64_t row = i / run / columns, column = i / run % columns;
        int64_t t = time ? column : row, b = time ? row : column, length = lengths[b];
        if (length < 0 || length > (time ? columns : rows)) {
            md__note(MD__CUDA_OUTSIDE);
            length = 0;
        }
        t = t < length ? length - 1 - t : t;
        y[i] = x[(time ? row * columns + t : t * columns + column) * run + i % run];
    }
}

int md__cuda_reverse(md__cuda_stream stream, int bytes, int time, const void *x,
                     const int64_t *lengths, void *y, int64_t rows, int64_t columns, int64_t run)
{
    int64_t count = rows * columns * run;
    if (count == 0)
        return 0;
    MD__BY_BYTES(bytes, return md__launch(stream, "reverse", reverse_kernel<T>,
                                          md__blocks(count, THREADS), dim3(THREADS), 0,
                                          (const T *)x, lengths, (T *)y, time, rows, columns, run))
}

template <class T>
static __global__ void fill_cache_kernel(struct md__cuda_cache_fill p, const T *updates, T *y)
{
    for (int64_t i = md__first(); i < p.outer * p.length * p.run; i += md__stride()) {
        int64_t o = i / p.run / p.length, step = i / p.run % p.length;
        int64_t begin = p.begins ? p.begins[o / p.per_batch] : 0;
        if (begin < 0 || (!p.circular && begin > p.most - p.length))
            md__note(MD__CUDA_OUTSIDE);
        else
            y[(o * p.most + (begin + step) % p.most) * p.run + i % p.run] = updates[i];
    }
}

int md__cuda_fill_cache(md__cuda_stream stream, int bytes, const struct md__cuda_cache_fill *p,
                        const void *updates, void *y)
{
    int64_t count = p->outer * p->length * p->run;
    if (count == 0)
        return 0;
    MD__BY_BYTES(bytes, return md__launch(stream, "fill_cache", fill_cache_kernel<T>,
                                          md__blocks(count, THREADS), dim3(THREADS), 0, *p,
                                          (const T *)updates, (T *)y))
}

static __global__ void count_ones_kernel(const int32_t *mask, int32_t *y, int64_t rows,
                                         int64_t columns)
{
    for (int64_t r = md__first(); r < rows; r += md__stride()) {
        int32_t ones = 0;
        for (int64_t c = 0; mask && c < columns; c++)
            ones += mask[r * columns + c] == 1;
        y[r] = ones;
    }
}

int md__cuda_count_ones(md__cuda_stream stream, const int32_t *mask, int32_t *y, int64_t rows,
                        int64_t columns)
{
    return rows == 0 ? 0
                     : md__launch(stream, "count_ones", count_ones_kernel, md__blocks(rows, 32),
                                  dim3(32), 0, mask, y, rows, columns);
}

template <class T> static __global__ void zero_kernel(T *y, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride())
        y[i] = 0;
}

template <class T> static __global__ void unpool_kernel(struct md__cuda_unpooling p)
{
    for (int64_t i = md__first(); i < p.count; i += md__stride()) {
        int64_t index = p.indices[i], at = 0, step = 1;
        bool inside = index >= 0;
        for (int axis = p.rank - 1; axis >= 0; axis--) {
            inside = inside && index % p.from[axis] < p.to[axis];
            at += index % p.from[axis] * step;
            index /= p.from[axis];
            step *= p.to[axis];
        }
        if (inside && index == 0)
            ((T *)p.y)[at] = ((const T *)p.x)[i];
        else
            md__note(MD__CUDA_OUTSIDE);
    }
}

int md__cuda_unpool(md__cuda_stream stream, const struct md__cuda_unpooling *p)
{
    if (p->y_count == 0)
        return 0;
    MD__BY_BYTES(p->bytes, {
        int error = md__launch(stream, "zero", zero_kernel<T>, md__blocks(p->y_count, THREADS),
                               dim3(THREADS), 0, (T *)p->y, p->y_count);
        return error || p->count == 0
                   ? error
                   : md__launch(stream, "unpool", unpool_kernel<T>, md__blocks(p->count, THREADS),
                                dim3(THREADS), 0, *p);
    })
}
