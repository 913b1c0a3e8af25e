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

#define TILE       32
#define NARROW     8     /* outputs of a group */
#define GROUPS_MAX 65535 /* blocks of a grid along z */

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

/* Group blockIdx.z for tile_product: rows are places of all batch elements, columns the outputs of
 * the group. */
struct patches {
    const struct md__cuda_convolution &p;
    int64_t group, rows, inner, columns, channels;
    bool left_along, right_along;

    MD__DEVICE_MEMBER explicit patches(const struct md__cuda_convolution &p_)
        : p(p_), group(blockIdx.z), rows(p_.batch * p_.out_places),
          inner(p_.channels / p_.groups * p_.taps), columns(p_.outputs / p_.groups),
          channels(p_.channels / p_.groups), left_along(true), right_along(true)
    {
    }
    /* Where term k of a row lies in x; -1: nowhere. */
    MD__DEVICE_MEMBER int64_t from(int64_t row, int64_t k) const
    {
        int64_t tap = k / channels, c = group * channels + k % channels;
        int64_t place = source_place(p.window, p.transposed, row % p.out_places, tap);
        return place < 0 ? -1
                         : row / p.out_places * p.channels * p.in_places + c * p.x_channel +
                               place * p.x_place;
    }
    MD__DEVICE_MEMBER int64_t weight(int64_t k, int64_t column) const
    {
        return weight_at(p, group, column, k % channels, k / channels);
    }
};

template <class T> struct float_patches : patches {
    using patches::patches;
    MD__DEVICE_MEMBER float left(int64_t row, int64_t k) const
    {
        int64_t at = from(row, k);
        return at >= 0 ? md__load((const T *)p.x + at) : 0.0f;
    }
    MD__DEVICE_MEMBER float right(int64_t k, int64_t column) const
    {
        return md__load((const T *)p.w + weight(k, column));
    }
    MD__DEVICE_MEMBER void finish(int64_t row, int64_t column, float sum) const
    {
        ::finish<T>(p, row / p.out_places, row % p.out_places, group * columns + column, sum);
    }
};

template <class T> static __global__ void conv_tile_kernel(struct md__cuda_convolution p)
{
    tile_product<TILE, float>(float_patches<T>(p));
}

/* Taps that are moved by learnt offsets [n, groups, taps, 2, places] and read between four
 * inputs, times a mask [n, groups, taps, places] or not; around the input there are zeros. */
template <class T> struct deformed_patches : float_patches<T> {
    const struct md__cuda_deformation &d;

    MD__DEVICE_MEMBER deformed_patches(const struct md__cuda_convolution &p_,
                                       const struct md__cuda_deformation &d_)
        : float_patches<T>(p_), d(d_)
    {
    }
    MD__DEVICE_MEMBER float pixel(const T *x, int64_t i, int64_t j) const
    {
        const struct md__cuda_window &w = this->p.window;
        bool inside = i >= 0 && i < w.in[1] && j >= 0 && j < w.in[2];
        return inside ? md__load(&x[(i * w.in[2] + j) * this->p.x_place]) : 0.0f;
    }
    MD__DEVICE_MEMBER float between(const T *x, float y, float column) const
    {
        const struct md__cuda_window &w = this->p.window;
        if (!(y > -1.0f && column > -1.0f && y < (float)w.in[1] && column < (float)w.in[2]))
            return 0.0f;
        float down = y - floorf(y), right = column - floorf(column);
        int64_t i = (int64_t)floorf(y), j = (int64_t)floorf(column);
        return (1 - down) * ((1 - right) * pixel(x, i, j) + right * pixel(x, i, j + 1)) +
               down * ((1 - right) * pixel(x, i + 1, j) + right * pixel(x, i + 1, j + 1));
    }
    MD__DEVICE_MEMBER float left(int64_t row, int64_t k) const
    {
        const struct md__cuda_convolution &p = this->p;
        const struct md__cuda_window &w = p.window;
        int64_t tap = k / this->channels, c = this->group * this->channels + k % this->channels;
        int64_t n = row / p.out_places, place = row % p.out_places;
        int64_t line = (n * d.groups + c / (p.channels / d.groups)) * p.taps + tap;
        const T *moved = (const T *)d.offsets + 2 * line * p.out_places + place;
        float y = (float)(place / w.out[2] * w.stride[1] - w.before[1] +
                          tap / w.kernel[2] * w.dilation[1]);
        float column = (float)(place % w.out[2] * w.stride[2] - w.before[2] +
                               tap % w.kernel[2] * w.dilation[2]);
        const T *x = (const T *)p.x + n * p.channels * p.in_places + c * p.x_channel;
        float value = between(x, y + md__load(moved), column + md__load(moved + p.out_places));
        return d.mask ? value * md__load((const T *)d.mask + line * p.out_places + place) : value;
    }
};

template <class T>
static __global__ void conv_deformed_kernel(struct md__cuda_convolution p,
                                            struct md__cuda_deformation d)
{
    tile_product<TILE, float>(deformed_patches<T>(p, d));
}

/* What lies in the padding is the zero point, so its terms are 0. */
struct byte_patches : patches {
    const struct md__cuda_byte_levels &levels;
    int32_t x_zero;

    MD__DEVICE_MEMBER byte_patches(const struct md__cuda_convolution &p_,
                                   const struct md__cuda_byte_levels &levels_)
        : patches(p_), levels(levels_),
          x_zero(levels_.x_zero ? md__byte_at(levels_.x_zero, levels_.x_is_signed, 0) : 0)
    {
    }
    MD__DEVICE_MEMBER int32_t left(int64_t row, int64_t k) const
    {
        int64_t at = from(row, k);
        return at >= 0 ? md__byte_at(p.x, levels.x_is_signed, at) - x_zero : 0;
    }
    MD__DEVICE_MEMBER int32_t right(int64_t k, int64_t column) const
    {
        int64_t output = levels.w_zero_count == 1 ? 0 : group * columns + column;
        int32_t zero = levels.w_zero ? md__byte_at(levels.w_zero, levels.w_is_signed, output) : 0;
        return md__byte_at(p.w, levels.w_is_signed, weight(k, column)) - zero;
    }
    MD__DEVICE_MEMBER void finish(int64_t row, int64_t column, int32_t sum) const
    {
        int64_t m = group * columns + column;
        ((int32_t *)p.y)[row / p.out_places * p.outputs * p.out_places + m * p.y_channel +
                         row % p.out_places * p.y_place] = sum;
    }
};

static __global__ void conv_byte_kernel(struct md__cuda_convolution p,
                                        struct md__cuda_byte_levels levels)
{
    tile_product<TILE, int32_t>(byte_patches(p, levels));
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

template <class T> static __global__ void conv_end_kernel(struct md__cuda_convolution p)
{
    for (int64_t i = md__first(); i < p.batch * p.outputs * p.out_places; i += md__stride())
        finish<T>(p, i / (p.outputs * p.out_places), i / p.y_place % p.out_places,
                  i / p.y_channel % p.outputs, md__load((const T *)p.y + i));
}

/* ---- launches -------------------------------------------------------------------------------- */

static int64_t results_of(const struct md__cuda_convolution &p)
{
    return p.batch * p.outputs * p.out_places;
}

/* A kernel that is a product for each group. */
template <class... Further>
static int launch_tiles(md__cuda_stream stream, const char *name,
                        void (*kernel)(struct md__cuda_convolution, Further...),
                        const struct md__cuda_convolution &p, const Further &...further)
{
    if (p.groups > GROUPS_MAX)
        return MD__CUDA_REFUSED;
    dim3 grid = tile_grid(TILE, p.batch * p.out_places, p.outputs / p.groups, p.groups);
    return md__launch(stream, name, kernel, grid, tile_block(TILE), 0, p, further...);
}

int md__cuda_convolve(md__cuda_stream stream, const struct md__cuda_convolution *p)
{
    int64_t count = results_of(*p);
    if (count == 0)
        return 0;
    bool narrow = p->outputs / p->groups < NARROW || p->groups > GROUPS_MAX;
    MD__BY_FLOAT(p->storage, {
        if (narrow)
            return md__launch(stream, "conv_narrow", conv_narrow_kernel<T>, md__blocks(count, 128),
                              dim3(128), 0, *p);
        return launch_tiles(stream, "conv_tile", conv_tile_kernel<T>, *p);
    })
}

int md__cuda_convolve_deformed(md__cuda_stream stream, const struct md__cuda_convolution *p,
                               const struct md__cuda_deformation *d)
{
    if (results_of(*p) == 0)
        return 0;
    MD__BY_FLOAT(p->storage,
                 return launch_tiles(stream, "conv_deformed", conv_deformed_kernel<T>, *p, *d))
}

int md__cuda_convolve_bytes(md__cuda_stream stream, const struct md__cuda_convolution *p,
                            const struct md__cuda_byte_levels *levels)
{
    if (results_of(*p) == 0)
        return 0;
    return launch_tiles(stream, "conv_bytes", conv_byte_kernel, *p, *levels);
}

int md__cuda_convolve_end(md__cuda_stream stream, const struct md__cuda_convolution *p)
{
    int64_t count = results_of(*p);
    if (count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "conv_end", conv_end_kernel<T>,
                                               md__blocks(count, 256), dim3(256), 0, *p))
}
