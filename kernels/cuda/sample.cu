/*
 * GridSample and RoiAlign: each result is a blend of elements around a place that other numbers
 * name. Places are worked out in double, as on the CPU (kernels/cpu/ref_grid.c, ref_detect.c),
 * because a last bit may name another element; what is added up is float32.
 */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/sample.h"

#define THREADS 128

/* ---- GridSample ------------------------------------------------------------------------------ */

/* Folds x back into [low, high] as often as needed. */
MD__DEVICE double reflected(double x, double low, double high)
{
    double range = high - low, over = x < low ? low - x : x > high ? x - high : 0;
    if (range <= 0)
        return low;
    if (over == 0)
        return x;
    double times = floor(over / range), rest = over - times * range;
    bool even = fmod(times, 2.0) == 0;
    return (x < low) == even ? low + rest : high - rest;
}

struct edges {
    double low, high, last;
};

MD__DEVICE struct edges edges_of(const struct md__cuda_sampling &p, int axis)
{
    double length = (double)p.length[axis];
    return {p.corners ? 0 : -0.5, length - (p.corners ? 1 : 0.5), length - 1};
}

/* Of one or two neighbours the place is moved into the image; of four, each neighbour is. */
MD__DEVICE double place_of(const struct md__cuda_sampling &p, int axis, double share)
{
    double length = (double)p.length[axis];
    double x = p.corners ? (share + 1) / 2 * (length - 1) : ((share + 1) * length - 1) / 2;
    struct edges e = edges_of(p, axis);
    if (p.method == MD__CUDA_SAMPLE_NEAREST)
        x = rint(x);
    if (p.method == MD__CUDA_SAMPLE_CUBIC || (x >= e.low && x <= e.high))
        return x;
    if (p.border == MD__CUDA_BORDER_EDGE)
        return fmin(fmax(x, 0.0), e.last);
    return p.border == MD__CUDA_BORDER_REFLECT ? reflected(x, e.low, e.high) : x;
}

/* The element at an axis; -1: a zero. */
MD__DEVICE int64_t element_of(const struct md__cuda_sampling &p, int axis, double at)
{
    struct edges e = edges_of(p, axis);
    if (p.border == MD__CUDA_BORDER_REFLECT)
        at = reflected(at, e.low, e.high);
    if (p.border != MD__CUDA_BORDER_ZEROS)
        at = fmin(fmax(at, 0.0), e.last);
    return at >= 0 && at <= e.last ? (int64_t)at : -1;
}

MD__DEVICE float weight_of(enum md__cuda_sampler method, float part, int k)
{
    if (method == MD__CUDA_SAMPLE_NEAREST)
        return 1;
    if (method == MD__CUDA_SAMPLE_LINEAR)
        return k ? part : 1 - part;
    return md__cubic(fabsf(part + 1 - (float)k), -0.75f);
}

template <class T> static __global__ void sample_kernel(struct md__cuda_sampling p)
{
    int taps = p.method == MD__CUDA_SAMPLE_NEAREST ? 1 : p.method == MD__CUDA_SAMPLE_LINEAR ? 2 : 4;
    int64_t plane = 1, all = 1;
    for (int axis = 0; axis < p.axes; axis++) {
        plane *= p.length[axis];
        all *= taps;
    }
    for (int64_t i = md__first(); i < p.batch * p.channels * p.places; i += md__stride()) {
        int64_t n = i / (p.channels * p.places), place = i % p.places;
        const T *x = (const T *)p.x + i / p.places * plane;
        const T *shares = (const T *)p.grid + (n * p.places + place) * p.axes;
        double left[3];
        float part[3], sum = 0;
        bool finite = true;
        for (int axis = 0; axis < p.axes; axis++) {
            double at = place_of(p, axis, (double)md__load(&shares[p.axes - 1 - axis]));
            left[axis] = p.method == MD__CUDA_SAMPLE_NEAREST ? at : floor(at);
            part[axis] = (float)(at - left[axis]);
            left[axis] -= p.method == MD__CUDA_SAMPLE_CUBIC ? 1 : 0;
            finite = finite && fabs(at) < INFINITY;
        }
        for (int64_t tap = 0; finite && tap < all; tap++) {
            int64_t rest = tap, step = 1, at = 0;
            float weight = 1;
            for (int axis = p.axes - 1; axis >= 0 && weight != 0; axis--) {
                int k = (int)(rest % taps);
                int64_t element = element_of(p, axis, left[axis] + k);
                weight = element < 0 ? 0 : weight * weight_of(p.method, part[axis], k);
                at += element * step;
                step *= p.length[axis];
                rest /= taps;
            }
            if (weight != 0)
                sum += weight * md__load(&x[at]);
        }
        md__store((T *)p.y + i, sum);
    }
}

int md__cuda_sample(md__cuda_stream stream, const struct md__cuda_sampling *p)
{
    int64_t count = p->batch * p->channels * p->places;
    if (count == 0)
        return 0;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "sample", sample_kernel<T>,
                                               md__blocks(count, THREADS), dim3(THREADS), 0, *p))
}

/* ---- RoiAlign -------------------------------------------------------------------------------- */

struct region {
    double start[2], cell[2]; /* rows, columns */
    int64_t samples[2];       /* of a cell */
};

template <class T> MD__DEVICE struct region region_of(const struct md__cuda_regions &p, int64_t r)
{
    struct region region;
    const T *corners = (const T *)p.regions + r * 4;
    double offset = p.half_pixel ? 0.5 : 0;
    for (int a = 0; a < 2; a++) {
        double low = (double)md__load(&corners[1 - a]) * p.scale - offset;
        double size = (double)md__load(&corners[3 - a]) * p.scale - offset - low;
        region.start[a] = low;
        region.cell[a] = (p.half_pixel || size > 1 ? size : 1) / (double)p.cells[a];
        double needed = ceil(region.cell[a]);
        region.samples[a] = p.ratio > 0                       ? p.ratio
                            : !(needed >= 1)                  ? 1
                            : needed <= (double)p.samples_max ? (int64_t)needed
                                                              : p.samples_max + 1;
    }
    return region;
}

/* Between four elements; the largest of their parts, or their sum. */
template <class T>
MD__DEVICE float blend(const struct md__cuda_regions &p, const T *plane, const double *place)
{
    float part[2], value = p.largest ? -INFINITY : 0.0f;
    int64_t low[2], high[2];
    for (int a = 0; a < 2; a++) {
        if (!(place[a] >= -1 && place[a] <= (double)p.length[a]))
            return 0;
        double at = fmax(place[a], 0.0);
        low[a] = (int64_t)at;
        if (low[a] >= p.length[a] - 1)
            at = (double)(low[a] = p.length[a] - 1);
        high[a] = low[a] < p.length[a] - 1 ? low[a] + 1 : low[a];
        part[a] = (float)(at - (double)low[a]);
    }
    for (int k = 0; k < 4; k++) {
        int64_t row = k & 2 ? high[0] : low[0], column = k & 1 ? high[1] : low[1];
        float share = (k & 2 ? part[0] : 1 - part[0]) * (k & 1 ? part[1] : 1 - part[1]);
        float one = share * md__load(&plane[row * p.length[1] + column]);
        value = p.largest ? md__larger()(one, value) : value + one;
    }
    return value;
}

template <class T> static __global__ void region_kernel(struct md__cuda_regions p)
{
    int64_t cells = p.cells[0] * p.cells[1], plane = p.length[0] * p.length[1];
    for (int64_t i = md__first(); i < p.count * p.channels * cells; i += md__stride()) {
        int64_t r = i / (p.channels * cells), image = p.image_of[r];
        struct region region = region_of<T>(p, r);
        if (image < 0 || image >= p.images || region.samples[0] > p.samples_max ||
            region.samples[1] > p.samples_max) {
            md__note(MD__CUDA_OUTSIDE);
            md__store((T *)p.y + i, NAN);
            continue;
        }
        const T *x = (const T *)p.x + (image * p.channels + i / cells % p.channels) * plane;
        const int64_t cell[2] = {i % cells / p.cells[1], i % p.cells[1]};
        float result = p.largest ? -INFINITY : 0.0f;
        for (int64_t k = 0; k < region.samples[0] * region.samples[1]; k++) {
            const int64_t sample[2] = {k / region.samples[1], k % region.samples[1]};
            double place[2];
            for (int a = 0; a < 2; a++)
                place[a] = region.start[a] +
                           region.cell[a] * ((double)cell[a] +
                                             ((double)sample[a] + 0.5) / (double)region.samples[a]);
            float one = blend(p, x, place);
            result = p.largest ? md__larger()(one, result) : result + one;
        }
        result /= p.largest ? 1.0f : (float)(region.samples[0] * region.samples[1]);
        md__store((T *)p.y + i, result);
    }
}

int md__cuda_region_align(md__cuda_stream stream, const struct md__cuda_regions *p)
{
    int64_t count = p->count * p->channels * p->cells[0] * p->cells[1];
    if (count == 0)
        return 0;
    if (p->length[0] * p->length[1] == 0)
        return MD__CUDA_REFUSED;
    MD__BY_FLOAT(p->storage, return md__launch(stream, "region_align", region_kernel<T>,
                                               md__blocks(count, THREADS), dim3(THREADS), 0, *p))
}
