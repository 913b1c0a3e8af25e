/*
 * The dense product, with what ends it: y = function(alpha * a b + beta * bias + z).
 *
 * Our own kernel, for what cuBLASLt is not given: tiles in shared memory as float32, four by four
 * results in a thread's registers, sums in float32. Strides are free, so transposed and broadcast
 * sides need no copies. Small problems take the small tile.
 */
#include "kernels/cuda/tile.cuh"

/* Which matrix of a and b number `index` is. */
MD__DEVICE void batch_offsets(const struct md__cuda_product &p, int64_t index, int64_t *a,
                              int64_t *b)
{
    *a = *b = 0;
    for (int axis = p.batch.rank - 1; axis >= 0; axis--) {
        int64_t dim = p.batch.dim[axis], at = index % dim;
        *a += at * p.batch.stride[0][axis];
        *b += at * p.batch.stride[1][axis];
        index /= dim;
    }
}

template <class T>
MD__DEVICE void finish(const struct md__cuda_product &p, int64_t matrix, int64_t row,
                       int64_t column, float sum)
{
    int64_t at = p.y_row ? row * p.y_row + column : (matrix * p.rows + row) * p.columns + column;
    int64_t z_row = p.z_repeat ? row / p.z_repeat : matrix * p.rows + row;
    sum *= p.alpha;
    if (p.bias)
        sum += p.beta * md__load((const T *)p.bias + row * p.bias_row + column * p.bias_column);
    if (p.z)
        sum += md__load((const T *)p.z + z_row * p.columns + column);
    md__store((T *)p.y + at, md__function(p.function, sum, p.function_a, p.function_b));
}

template <class T, int TILE> static __global__ void product_kernel(struct md__cuda_product p)
{
    constexpr int threads = TILE / SIDE * (TILE / SIDE);
    __shared__ float left[DEPTH][TILE + 1], right[DEPTH][TILE + 1];
    int64_t row = (int64_t)blockIdx.x * TILE, column = (int64_t)blockIdx.y * TILE;
    int across = (int)threadIdx.x % (TILE / SIDE), down = (int)threadIdx.x / (TILE / SIDE);
    for (int64_t matrix = blockIdx.z; matrix < p.batch.count; matrix += gridDim.z) {
        int64_t at_a, at_b;
        batch_offsets(p, matrix, &at_a, &at_b);
        const T *a = (const T *)p.a + at_a, *b = (const T *)p.b + at_b;
        float sums[SIDE][SIDE] = {{0}};
        for (int64_t k0 = 0; k0 < p.inner; k0 += DEPTH) {
            for (int i = (int)threadIdx.x; i < DEPTH * TILE; i += threads) {
                /* neighbouring threads read along the side that lies in memory */
                int ka = p.a_column == 1 ? i % DEPTH : i / TILE;
                int ra = p.a_column == 1 ? i / DEPTH : i % TILE;
                int kb = p.b_column == 1 ? i / TILE : i % DEPTH;
                int cb = p.b_column == 1 ? i % TILE : i / DEPTH;
                left[ka][ra] = row + ra < p.rows && k0 + ka < p.inner
                                   ? md__load(&a[(row + ra) * p.a_row + (k0 + ka) * p.a_column])
                                   : 0.0f;
                right[kb][cb] = column + cb < p.columns && k0 + kb < p.inner
                                    ? md__load(&b[(k0 + kb) * p.b_row + (column + cb) * p.b_column])
                                    : 0.0f;
            }
            __syncthreads();
            add_products<TILE>(left, right, down, across, sums);
            __syncthreads();
        }
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                int64_t r = row + down * SIDE + i, c = column + across * SIDE + j;
                if (r < p.rows && c < p.columns)
                    finish<T>(p, matrix, r, c, sums[i][j]);
            }
    }
}

int md__cuda_product(md__cuda_stream stream, const struct md__cuda_product *p)
{
    if (p->batch.count == 0 || p->rows == 0 || p->columns == 0)
        return 0;
    int tile = p->rows > 32 && p->columns > 32 ? 64 : 32;
    int64_t down = (p->rows + tile - 1) / tile, across = (p->columns + tile - 1) / tile;
    dim3 grid((unsigned)down, (unsigned)across,
              (unsigned)(p->batch.count < 65535 ? p->batch.count : 65535));
    dim3 block((unsigned)(tile / SIDE * (tile / SIDE)));
    MD__BY_FLOAT(p->storage, {
        auto kernel = tile == 64 ? product_kernel<T, 64> : product_kernel<T, 32>;
        return md__launch(stream, "product", kernel, grid, block, 0, *p);
    })
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
