/*
 * Convolutions and transposed ones over up to three spatial axes, in either layout, with bias,
 * residual and activation.
 *
 * Our own kernels, for what cuDNN is not given. Wide ones are a product whose left side, the
 * patches of the input, is gathered while its tiles are loaded; terms run through channels first,
 * then taps, so that channels-last inputs are read along. Narrow groups (depthwise) have a thread
 * for each result. Sums are float32.
 */
#include "kernels/cuda/tile.cuh"

#define TILE   32
#define NARROW 8 /* outputs of a group */

/* The input's place for tap `tap` of output place `out`; -1: in the padding, or between two. */
MD__DEVICE int64_t source_place(const struct md__cuda_window &w, bool transposed, int64_t out,
                                int64_t tap)
{
    int64_t o[3], k[3], at = 0;
    for (int i = 2; i >= 0; i--) {
        o[i] = out % w.out[i];
        out /= w.out[i];
        k[i] = tap % w.kernel[i];
        tap /= w.kernel[i];
    }
    for (int i = 0; i < 3; i++) {
        int64_t x = transposed ? o[i] + w.before[i] - k[i] * w.dilation[i]
                               : o[i] * w.stride[i] - w.before[i] + k[i] * w.dilation[i];
        if (transposed && (x < 0 || x % w.stride[i] != 0))
            return -1;
        x = transposed ? x / w.stride[i] : x;
        if (x < 0 || x >= w.in[i])
            return -1;
        at = at * w.in[i] + x;
    }
    return at;
}

/* The weight of output m of group g for channel c of the group. */
MD__DEVICE int64_t weight_at(const struct md__cuda_convolution &p, int64_t g, int64_t m, int64_t c,
                             int64_t tap)
{
    int64_t outputs = p.outputs / p.groups, channels = p.channels / p.groups;
    int64_t row =
        p.transposed ? (g * channels + c) * outputs + m : (g * outputs + m) * channels + c;
    return row * p.taps + tap;
}

template <class T>
MD__DEVICE void finish(const struct md__cuda_convolution &p, int64_t n, int64_t place, int64_t m,
                       float sum)
{
    int64_t at = n * p.outputs * p.out_places + m * p.y_channel + place * p.y_place;
    sum += p.bias ? md__load((const T *)p.bias + m) : 0.0f;
    sum += p.z ? md__load((const T *)p.z + at) : 0.0f;
    md__store((T *)p.y + at, md__function(p.function, sum, p.function_a, p.function_b));
}

/* Rows are places of all batch elements, columns the outputs of group blockIdx.z. */
template <class T> static __global__ void conv_tile_kernel(struct md__cuda_convolution p)
{
    __shared__ float left[DEPTH][TILE + 1], right[DEPTH][TILE + 1];
    int64_t rows = p.batch * p.out_places, row = (int64_t)blockIdx.x * TILE;
    int64_t column = (int64_t)blockIdx.y * TILE, g = blockIdx.z;
    int64_t outputs = p.outputs / p.groups, channels = p.channels / p.groups;
    int64_t inner = channels * p.taps;
    int across = (int)threadIdx.x % (TILE / SIDE), down = (int)threadIdx.x / (TILE / SIDE);
    float sums[SIDE][SIDE] = {{0}};
    for (int64_t k0 = 0; k0 < inner; k0 += DEPTH) {
        for (int i = (int)threadIdx.x; i < DEPTH * TILE; i += (int)blockDim.x) {
            int k = i % DEPTH, r = i / DEPTH;
            int64_t tap = (k0 + k) / channels, c = (k0 + k) % channels;
            int64_t n = (row + r) / p.out_places, from = -1;
            if (row + r < rows && k0 + k < inner)
                from = source_place(p.window, p.transposed, (row + r) % p.out_places, tap);
            int64_t at =
                n * p.channels * p.in_places + (g * channels + c) * p.x_channel + from * p.x_place;
            left[k][r] = from >= 0 ? md__load((const T *)p.x + at) : 0.0f;
            right[k][r] = column + r < outputs && k0 + k < inner
                              ? md__load((const T *)p.w + weight_at(p, g, column + r, c, tap))
                              : 0.0f;
        }
        __syncthreads();
        add_products<TILE>(left, right, down, across, sums);
        __syncthreads();
    }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int64_t r = row + down * SIDE + i, m = column + across * SIDE + j;
            if (r < rows && m < outputs)
                finish<T>(p, r / p.out_places, r % p.out_places, g * outputs + m, sums[i][j]);
        }
}

/* Neighbouring threads take what lies side by side in the output. */
template <class T> static __global__ void conv_narrow_kernel(struct md__cuda_convolution p)
{
    int64_t outputs = p.outputs / p.groups, channels = p.channels / p.groups;
    int64_t count = p.batch * p.outputs * p.out_places;
    for (int64_t i = md__first(); i < count; i += md__stride()) {
        int64_t m = i / p.y_channel % p.outputs, place = i / p.y_place % p.out_places;
        int64_t n = i / (p.outputs * p.out_places), g = m / outputs;
        float sum = 0;
        for (int64_t tap = 0; tap < p.taps; tap++) {
            int64_t from = source_place(p.window, p.transposed, place, tap);
            if (from < 0)
                continue;
            const T *x = (const T *)p.x + n * p.channels * p.in_places + from * p.x_place;
            for (int64_t c = 0; c < channels; c++)
                sum += md__load(&x[(g * channels + c) * p.x_channel]) *
                       md__load((const T *)p.w + weight_at(p, g, m - g * outputs, c, tap));
        }
        finish<T>(p, n, place, m, sum);
    }
}

int md__cuda_convolve(md__cuda_stream stream, const struct md__cuda_convolution *p)
{
    int64_t rows = p->batch * p->out_places, outputs = p->outputs / p->groups;
    if (rows * p->outputs == 0)
        return 0;
    bool narrow = outputs < NARROW || p->groups > 65535;
    dim3 grid((unsigned)((rows + TILE - 1) / TILE), (unsigned)((outputs + TILE - 1) / TILE),
              (unsigned)p->groups);
    MD__BY_FLOAT(p->storage, {
        if (narrow)
            return md__launch(stream, "conv_narrow", conv_narrow_kernel<T>,
                              md__blocks(rows * p->outputs, 128), dim3(128), 0, *p);
        return md__launch(stream, "conv_tile", conv_tile_kernel<T>, grid,
                          dim3(TILE / SIDE * (TILE / SIDE)), 0, *p);
    })
}
