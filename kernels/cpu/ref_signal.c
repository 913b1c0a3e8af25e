/*
 * Reference kernels of signal processing: DFT, STFT, windows, the mel weight matrix.
 *
 * The transform is the mixed-radix one of Cooley and Tukey (Mathematics of Computation 19, 1965),
 * decimating in frequency: a length n = p * m becomes p sums of p values each, turned by roots of
 * unity, and then p transforms of length m. All runs in double but complex input of narrower
 * dtypes: that runs in float32, where a result that should cancel to 0 keeps the rounding that the
 * standard's tests expect of it.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

#define PI 3.14159265358979323846

struct complex_pair {
    double re, im;
};

/* ---- the transform --------------------------------------------------------------------------- */

struct transform {
    size_t length;
    bool single;                      /* round every step to float32 */
    const struct complex_pair *roots; /* e^(-+2 pi i k / length) */
    struct complex_pair *spare;       /* as many as the largest prime factor needs: length */
};

static double held(double x, bool single)
{
    return single ? (double)(float)x : x;
}

static struct complex_pair plus(struct complex_pair a, struct complex_pair b, bool single)
{
    return (struct complex_pair){held(a.re + b.re, single), held(a.im + b.im, single)};
}

static struct complex_pair times(struct complex_pair a, struct complex_pair b, bool single)
{
    return (struct complex_pair){
        held(held(a.re * b.re, single) - held(a.im * b.im, single), single),
        held(held(a.re * b.im, single) + held(a.im * b.re, single), single)};
}

static size_t smallest_factor(size_t n)
{
    for (size_t p = 2; p * p <= n; p++)
        if (n % p == 0)
            return p;
    return n;
}

/* Replaces x[i], x[i + m], ...: p of them, by their p sums, each turned for its own transform. */
static void butterfly(const struct transform *transform, struct complex_pair *x, size_t i, size_t p,
                      size_t m)
{
    size_t turn = transform->length / (p * m);
    for (size_t q = 0; q < p; q++)
        transform->spare[q] = x[i + q * m];
    for (size_t r = 0; r < p; r++) {
        struct complex_pair sum = transform->spare[0];
        for (size_t q = 1; q < p; q++)
            sum = plus(sum,
                       times(transform->spare[q], transform->roots[q * r % p * m * turn],
                             transform->single),
                       transform->single);
        x[i + r * m] =
            i > 0 && r > 0 ? times(sum, transform->roots[i * r * turn], transform->single) : sum;
    }
}

/* out[0], out[stride], ... = the transform of x[0 .. n), which is used up. Recursion is as deep as
 * n has prime factors. */
static void transform_some(const struct transform *transform, struct complex_pair *x, size_t n,
                           size_t stride, struct complex_pair *out)
{
    if (n <= 1) {
        if (n == 1)
            *out = *x;
        return;
    }
    size_t p = smallest_factor(n), m = n / p;
    for (size_t i = 0; i < m; i++)
        butterfly(transform, x, i, p, m);
    for (size_t r = 0; r < p; r++)
        transform_some(transform, x + r * m, m, stride * p, out + r * stride);
}

/* Scratch: the roots, then per thread input, output and spare, `length` pairs each. */
static size_t transform_scratch(size_t length, int threads)
{
    size_t pairs;
    if (__builtin_mul_overflow(length + 1, 1 + 3 * (size_t)threads, &pairs) ||
        pairs > SIZE_MAX / 64)
        return SIZE_MAX / 4; /* no plan has room for that */
    return pairs * sizeof(struct complex_pair);
}

static struct transform transform_init(const struct md_kernel_call *call, size_t length,
                                       bool inverse)
{
    struct complex_pair *roots = call->scratch;
    const struct md_tensor *in = &call->in[0];
    bool single = in->dtype != MD_F64 && in->shape.dim[in->shape.rank - 1] == 2;
    for (size_t k = 0; k < length; k++) {
        double angle = 2 * PI * (double)k / (double)length;
        roots[k].re = held(cos(angle), single);
        roots[k].im = held(inverse ? sin(angle) : -sin(angle), single);
    }
    return (struct transform){.length = length, .single = single, .roots = roots};
}

/* One thread's share of the scratch. */
struct bench {
    struct transform transform;
    struct complex_pair *in, *out;
};

static struct bench bench_of(const struct transform *transform, void *scratch, int thread)
{
    size_t room = transform->length + 1;
    struct complex_pair *mine = (struct complex_pair *)scratch + room * (1 + 3 * (size_t)thread);
    struct bench bench = {.transform = *transform, .in = mine, .out = mine + room};
    bench.transform.spare = mine + 2 * room;
    return bench;
}

/* Element `at` of a tensor whose last axis holds 1 or 2 parts. */
static struct complex_pair read_pair(const struct md_tensor *tensor, size_t at, size_t parts)
{
    struct complex_pair pair = {md__get_float(tensor, at), 0};
    if (parts == 2)
        pair.im = md__get_float(tensor, at + 1);
    return pair;
}

/* ---- DFT ------------------------------------------------------------------------------------- */

struct dft {
    const struct md_kernel_call *call;
    struct transform transform;
    size_t have, made, inner, parts, parts_out; /* along the axis, behind it, and of a number */
    bool inverse, mirrored;                     /* mirrored: the input is half a spectrum */
};

/* Line i of the input, padded with zeros or cut to the transform's length. */
static void gather_line(const struct dft *dft, size_t i, struct complex_pair *line)
{
    size_t length = dft->transform.length, half = length / 2;
    size_t known = dft->mirrored ? half + 1 : length;
    size_t start = i / dft->inner * dft->have * dft->inner + i % dft->inner;
    memset(line, 0, (length + 1) * sizeof *line);
    for (size_t k = 0; k < known && k < dft->have; k++)
        line[k] = read_pair(&dft->call->in[0], (start + k * dft->inner) * dft->parts, dft->parts);
    if (!dft->mirrored)
        return;
    line[0].im = 0; /* what a real signal's spectrum has there */
    if (length % 2 == 0)
        line[half].im = 0;
    for (size_t k = half + 1; k < length; k++)
        line[k] = (struct complex_pair){line[length - k].re, -line[length - k].im};
}

static void dft_some(void *context, size_t begin, size_t end, int thread)
{
    const struct dft *dft = context;
    const struct md_tensor *out = &dft->call->out[0];
    size_t length = dft->transform.length;
    struct bench bench = bench_of(&dft->transform, dft->call->scratch, thread);
    double scale = dft->inverse ? 1 / (double)length : 1;
    for (size_t i = begin; i < end; i++) {
        gather_line(dft, i, bench.in);
        transform_some(&bench.transform, bench.in, length, 1, bench.out);
        size_t start = i / dft->inner * dft->made * dft->inner + i % dft->inner;
        for (size_t k = 0; k < dft->made; k++) {
            size_t at = (start + k * dft->inner) * dft->parts_out;
            struct complex_pair y = k < length ? bench.out[k] : (struct complex_pair){0, 0};
            md__set_float(out, at, scale * y.re);
            if (dft->parts_out == 2)
                md__set_float(out, at + 1, scale * y.im);
        }
    }
}

static int dft_axis(const struct md_tensor *in, int in_count)
{
    int64_t given = md__has(in, in_count, 2) ? md__get_int(&in[2], 0) : -2;
    int axis = md__axis(given, in[0].shape.rank);
    return axis < 0 ? 0 : axis; /* the rule refused such */
}

/* The rule put the length into the output's axis; only a one-sided forward transform hides it. */
static size_t dft_length(const struct md_kernel_call *call, int axis)
{
    bool hidden = md_node_int(call->node, "onesided", 0) && !md_node_int(call->node, "inverse", 0);
    if (!hidden)
        return (size_t)call->out[0].shape.dim[axis];
    if (md__has(call->in, call->in_count, 1))
        return (size_t)md__get_int(&call->in[1], 0);
    return (size_t)call->in[0].shape.dim[axis];
}

static enum md_status dft_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *from = &call->in[0].shape, *to = &call->out[0].shape;
    int axis = dft_axis(call->in, call->in_count), last = from->rank - 1;
    struct dft dft = {.call = call,
                      .have = (size_t)from->dim[axis],
                      .made = (size_t)to->dim[axis],
                      .inner = md__span(from, axis + 1, last),
                      .parts = (size_t)from->dim[last],
                      .parts_out = (size_t)to->dim[last],
                      .inverse = md_node_int(call->node, "inverse", 0) != 0};
    dft.mirrored = dft.inverse && md_node_int(call->node, "onesided", 0) != 0;
    size_t lines = md__span(from, 0, axis) * dft.inner;
    if (lines == 0)
        return MD_OK;
    dft.transform = transform_init(call, dft_length(call, axis), dft.inverse);
    md__parallel(call->pool, lines, md__grain(dft.transform.length * 64), dft_some, &dft);
    return MD_OK;
}

/* What the shape rule read: an axis and perhaps a length; without one, a mirrored half doubles. */
static size_t dft_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                          int threads)
{
    (void)node;
    int axis = dft_axis(in, in_count);
    int64_t length = 2 * in[0].shape.dim[axis];
    if (md__has(in, in_count, 1))
        length = md__get_int(&in[1], 0);
    return transform_scratch((size_t)length, threads);
}

const struct md_kernel md__ref_dft = {
    .supports = md__float_first, .scratch_bytes = dft_scratch, .run = dft_run};

/* ---- STFT ------------------------------------------------------------------------------------ */

struct stft {
    const struct md_kernel_call *call;
    struct transform transform;
    size_t samples, step, parts, frames, bins;
    bool windowed;
};

static void stft_some(void *context, size_t begin, size_t end, int thread)
{
    const struct stft *stft = context;
    const struct md_kernel_call *call = stft->call;
    size_t length = stft->transform.length;
    struct bench bench = bench_of(&stft->transform, call->scratch, thread);
    for (size_t i = begin; i < end; i++) {
        size_t start = i / stft->frames * stft->samples + i % stft->frames * stft->step;
        for (size_t k = 0; k < length; k++) {
            double weight = stft->windowed ? md__get_float(&call->in[2], k) : 1;
            bench.in[k] = read_pair(&call->in[0], (start + k) * stft->parts, stft->parts);
            bench.in[k].re = held(bench.in[k].re * weight, stft->transform.single);
            bench.in[k].im = held(bench.in[k].im * weight, stft->transform.single);
        }
        transform_some(&bench.transform, bench.in, length, 1, bench.out);
        md__store_floats(&call->out[0], i * stft->bins * 2, 1, stft->bins * 2, &bench.out->re);
    }
}

static size_t frame_length(const struct md_tensor *in, int in_count)
{
    if (md__has(in, in_count, 3))
        return (size_t)md__get_int(&in[3], 0);
    return (size_t)(md__has(in, in_count, 2) ? in[2].shape.dim[0] : in[0].shape.dim[1]);
}

static enum md_status stft_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct stft stft = {.call = call,
                        .samples = (size_t)call->in[0].shape.dim[1],
                        .parts = md__span(&call->in[0].shape, 2, call->in[0].shape.rank),
                        .step = (size_t)md__get_int(&call->in[1], 0),
                        .frames = (size_t)call->out[0].shape.dim[1],
                        .bins = (size_t)call->out[0].shape.dim[2],
                        .windowed = md__has(call->in, call->in_count, 2)};
    size_t length = frame_length(call->in, call->in_count);
    stft.transform = transform_init(call, length, false);
    md__parallel(call->pool, (size_t)call->out[0].shape.dim[0] * stft.frames,
                 md__grain(length * 64), stft_some, &stft);
    return MD_OK;
}

static size_t stft_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)node;
    return transform_scratch(frame_length(in, in_count), threads);
}

const struct md_kernel md__ref_stft = {
    .supports = md__float_first, .scratch_bytes = stft_scratch, .run = stft_run};

/* ---- windows and the mel scale --------------------------------------------------------------- */

/* Sums of cosines over one period: a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n), n = size when
 * periodic, else size - 1. */
static enum md_status window_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    static const double hann[3] = {0.5, 0.5, 0}, blackman[3] = {0.42, 0.5, 0.08},
                        hamming[3] = {25.0 / 46, 21.0 / 46, 0};
    const double *a = call->node->op == MD_OP_HANN_WINDOW       ? hann
                      : call->node->op == MD_OP_BLACKMAN_WINDOW ? blackman
                                                                : hamming;
    size_t size = md__count(&call->out[0]);
    size_t period = size - (md_node_int(call->node, "periodic", 1) ? 0 : 1);
    for (size_t i = 0; i < size; i++) {
        double turn = period ? 2 * PI * (double)i / (double)period : PI; /* of one: its middle */
        md__set_float(&call->out[0], i, a[0] - a[1] * cos(turn) + a[2] * cos(2 * turn));
    }
    return MD_OK;
}

const struct md_kernel md__ref_window = {.run = window_run};

static double mel_of_hertz(double hertz)
{
    return 2595 * log10(1 + hertz / 700);
}

static double hertz_of_mel(double mel)
{
    return 700 * (pow(10, mel / 2595) - 1);
}

/* The spectrogram bin of edge i of the triangles. */
static int64_t mel_edge(const struct md_tensor *in, int64_t i)
{
    double low = mel_of_hertz(md__get_float(&in[3], 0));
    double high = mel_of_hertz(md__get_float(&in[4], 0));
    double step = (high - low) / (double)(md__get_int(&in[0], 0) + 2);
    double bins = (double)(md__get_int(&in[1], 0) + 1);
    double bin = floor(bins * hertz_of_mel(low + (double)i * step) / md__get_float(&in[2], 0));
    return bin >= 0 && bin < 0x1p40 ? (int64_t)bin : bin > 0 ? INT64_C(1) << 40 : 0;
}

/* Weight of a bin in a triangle that rises from low to center and falls to high; a triangle
 * without a rise has 1 at its center. */
static double triangle(int64_t bin, int64_t low, int64_t center, int64_t high)
{
    if (bin == center)
        return 1;
    if (bin > low && bin < center)
        return (double)(bin - low) / (double)(center - low);
    return bin > center && bin < high ? (double)(high - bin) / (double)(high - center) : 0;
}

static enum md_status mel_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    int64_t spectrogram = call->out[0].shape.dim[0], bands = call->out[0].shape.dim[1];
    for (int64_t band = 0; band < bands; band++) {
        int64_t low = mel_edge(call->in, band), center = mel_edge(call->in, band + 1);
        int64_t high = mel_edge(call->in, band + 2);
        for (int64_t bin = 0; bin < spectrogram; bin++)
            md__set_float(&call->out[0], (size_t)(bin * bands + band),
                          triangle(bin, low, center, high));
    }
    return MD_OK;
}

const struct md_kernel md__ref_mel_weight_matrix = {.run = mel_run};
