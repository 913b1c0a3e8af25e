/*
 * The dense product, with what ends it: y = function(alpha * a b + beta * bias + z).
 *
 * Our own kernel, for what cuBLASLt is not given: tiles in shared memory as float32, four by four
 * results in a thread's registers, sums in float32. Strides are free, so transposed and broadcast
 * sides need no copies. Small problems take the small tile.
 */
#include "kernels/cuda/map.cuh"
#include "kernels/cuda/tile.cuh"

/* One matrix of the batch, for tile_product. */
template <class T> struct dense_problem {
    const struct md__cuda_product &p;
    int64_t matrix, rows, inner, columns;
    const T *a, *b;
    bool left_along, right_along;

    MD__DEVICE_MEMBER float left(int64_t row, int64_t k) const
    {
        return md__load(&a[row * p.a_row + k * p.a_column]);
    }
    MD__DEVICE_MEMBER float right(int64_t k, int64_t column) const
    {
        return md__load(&b[k * p.b_row + column * p.b_column]);
    }
    MD__DEVICE_MEMBER void finish(int64_t row, int64_t column, float sum) const
    {
        int64_t at = p.y_row ? row * p.y_row + column : (matrix * rows + row) * columns + column;
        int64_t z_row = p.z_repeat ? row / p.z_repeat : matrix * rows + row;
        sum *= p.alpha;
        if (p.bias)
            sum += p.beta * md__load((const T *)p.bias + row * p.bias_row + column * p.bias_column);
        if (p.z)
            sum += md__load((const T *)p.z + z_row * columns + column);
        sum = md__function(p.function, sum, p.function_a, p.function_b);
        if (p.wide)
            md__store((float *)p.y + at, sum);
        else
            md__store((T *)p.y + at, sum);
    }
};

template <class T, int TILE> static __global__ void product_kernel(struct md__cuda_product p)
{
    for (int64_t matrix = blockIdx.z; matrix < p.batch.count; matrix += gridDim.z) {
        int64_t at[2];
        md__locate(p.batch, matrix, at);
        tile_product<TILE, float>(dense_problem<T>{p, matrix, p.rows, p.inner, p.columns,
                                                   (const T *)p.a + at[0], (const T *)p.b + at[1],
                                                   p.a_column == 1, p.b_column != 1});
    }
}

int md__cuda_product(md__cuda_stream stream, const struct md__cuda_product *p)
{
    if (p->batch.count == 0 || p->rows == 0 || p->columns == 0)
        return 0;
    int tile = p->rows > 32 && p->columns > 32 ? 64 : 32;
    MD__BY_FLOAT(p->storage, {
        auto kernel = tile == 64 ? product_kernel<T, 64> : product_kernel<T, 32>;
        return md__launch(stream, "product", kernel,
                          tile_grid(tile, p->rows, p->columns, p->batch.count), tile_block(tile), 0,
                          *p);
    })
}

/* y has the sums. */
template <class T> static __global__ void product_end_kernel(struct md__cuda_product p)
{
    int64_t matrix = p.rows * p.columns;
    for (int64_t i = md__first(); i < p.batch.count * matrix; i += md__stride()) {
        float sum = p.wide ? ((const float *)p.y)[i] : md__load((const T *)p.y + i);
        dense_problem<T>{p, i / matrix, p.rows, 0, p.columns, NULL, NULL, false, false}.finish(
            i / p.columns % p.rows, i % p.columns, sum);
    }
}

int md__cuda_product_end(md__cuda_stream stream, const struct md__cuda_product *p)
{
    int64_t count = p->batch.count * p->rows * p->columns;
    if (count == 0)
        return 0;
    if (p->y_row != 0)
        return MD__CUDA_REFUSED;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "product_end", product_end_kernel<T>,
                                               md__blocks(count, 256), dim3(256), 0, *p))
}

/* ---- the gate ahead of a GLU ----------------------------------------------------------------- */

/* y[r, c] = x[r, c] sigmoid(x[r, columns + c]) */
template <class T>
static __global__ void glu_kernel(const T *x, T *y, int64_t columns, int64_t count)
{
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        const T *row = x + i / columns * 2 * columns + i % columns;
        md__store(&y[i], md__load(row) * md__sigmoid(md__load(row + columns)));
    }
}

int md__cuda_glu(md__cuda_stream stream, int storage, const void *x, void *y, int64_t rows,
                 int64_t columns)
{
    int64_t count = rows * columns;
    if (count == 0)
        return 0;
    MD__BY_FLOAT(storage, return md__launch(stream, "glu", glu_kernel<T>, md__blocks(count, 256),
                                            dim3(256), 0, (const T *)x, (T *)y, columns, count))
}
