/*
 * Norms of channels on channels-last tensors: InstanceNormalization, GroupNormalization and
 * BatchNormalization with a residual and an activation, y = activation(x * factor + shift + z).
 *
 * Statistics are taken chunk by chunk, mean and squared deviations from it while the chunk lies in
 * the cache, and put together in double: memory is read once, and no large mean drowns a small
 * variance. Chunks depend on shapes only, so the result does not depend on the threads.
 */
#include <math.h>

#include "kernels/cpu/isa/activation.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"

#define CHUNK_FLOATS ((size_t)8 << 10)
#define COLUMNS      4 /* vectors whose statistics are taken together */

struct norm {
    const struct md_kernel_call *call;
    struct md_activation activation;
    const float *z;                     /* NULL: none */
    size_t batch, plane, channels, row; /* row: channels, padded */
    size_t x_pitch, y_pitch, z_pitch;   /* floats from pixel to pixel */
    size_t groups;                      /* 0: every channel for itself; BatchNormalization too */
    size_t chunk, chunks;               /* rows of one; in one image */
    double epsilon;
    bool batch_norm;
    float *partials; /* [batch][chunks][mean, squares][row] */
    float *factors;  /* [batch or 1][factor, shift][row] */
};

/* ---- Statistics ------------------------------------------------------------------------------ */

/* Means and squared deviations of `rows` rows in nv vectors of channels, the last of `left`. */
INLINE void column_statistics(const float *x, size_t rows, size_t stride, size_t left, float *mean,
                              float *squares, const int nv)
{
    vf sum[COLUMNS] = {0}, square[COLUMNS] = {0};
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            sum[v] += load_upto(x + r * stride + v * VL, left - (size_t)v * VL);
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++)
        sum[v] = sum[v] / (float)rows;
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            vf d = load_upto(x + r * stride + v * VL, left - (size_t)v * VL) - sum[v];
            square[v] += d * d;
        }
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) {
        store(mean + v * VL, sum[v]);
        store(squares + v * VL, square[v]);
    }
}

static void chunk_statistics(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct norm *norm = context;
    for (size_t task = begin; task < end; task++) {
        size_t image = task / norm->chunks, row = task % norm->chunks * norm->chunk;
        size_t rows = norm->plane - row < norm->chunk ? norm->plane - row : norm->chunk;
        const float *x =
            (const float *)norm->call->in[0].data + (image * norm->plane + row) * norm->x_pitch;
        float *mean = norm->partials + task * 2 * norm->row, *squares = mean + norm->row;
        for (size_t c = 0; c < norm->channels; c += COLUMNS * VL) {
            size_t left = norm->channels - c;
            switch (left >= COLUMNS * VL ? COLUMNS : vectors_of(left)) {
            case 4:
                column_statistics(x + c, rows, norm->x_pitch, left, mean + c, squares + c, 4);
                break;
            case 3:
                column_statistics(x + c, rows, norm->x_pitch, left, mean + c, squares + c, 3);
                break;
            case 2:
                column_statistics(x + c, rows, norm->x_pitch, left, mean + c, squares + c, 2);
                break;
            default:
                column_statistics(x + c, rows, norm->x_pitch, left, mean + c, squares + c, 1);
            }
        }
    }
}

/*
 * What a set of numbers is known by; two sets are one by Chan, Golub and LeVeque (1983), Updating
 * Formulae and a Pairwise Algorithm for Computing Sample Variances.
 */
struct moments {
    double count, mean, squares;
};

static void add_moments(struct moments *all, double count, double mean, double squares)
{
    double both = all->count + count, apart = mean - all->mean;
    all->squares += squares + apart * apart * all->count * count / both;
    all->mean += apart * count / both;
    all->count = both;
}

static struct moments channel_moments(const struct norm *norm, size_t image, size_t channel)
{
    struct moments all = {0};
    for (size_t k = 0; k < norm->chunks; k++) {
        const float *partial = norm->partials + (image * norm->chunks + k) * 2 * norm->row;
        size_t left = norm->plane - k * norm->chunk;
        add_moments(&all, (double)(left < norm->chunk ? left : norm->chunk), partial[channel],
                    partial[norm->row + channel]);
    }
    return all;
}

static void set_factor(const struct norm *norm, size_t image, size_t channel, double mean,
                       double variance)
{
    const struct md_kernel_call *call = norm->call;
    float *factors = norm->factors + image * 2 * norm->row;
    double factor = ((const float *)call->in[1].data)[channel] / sqrt(variance + norm->epsilon);
    factors[channel] = (float)factor;
    factors[norm->row + channel] =
        (float)(((const float *)call->in[2].data)[channel] - mean * factor);
}

static void image_factors(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct norm *norm = context;
    size_t width = norm->channels / norm->groups; /* channels of a group */
    for (size_t task = begin; task < end; task++) {
        size_t image = task / norm->groups, first = task % norm->groups * width;
        struct moments all = {0};
        for (size_t c = first; c < first + width; c++) {
            struct moments one = channel_moments(norm, image, c);
            add_moments(&all, one.count, one.mean, one.squares);
        }
        for (size_t c = first; c < first + width; c++)
            set_factor(norm, image, c, all.mean, all.squares / all.count);
    }
}

/* ---- Applying -------------------------------------------------------------------------------- */

INLINE void apply_row(const float *x, const float *z, const float *factor, const float *shift,
                      float *y, size_t channels, const bool has_z, const bool relu)
{
    for (size_t c = 0; c < channels; c += VL) {
        size_t left = channels - c;
        vf out = load_upto(x + c, left) * load(factor + c) + load(shift + c);
        if (has_z)
            out += load_upto(z + c, left);
        if (relu)
            out = vmax(splat(0), out);
        store_upto(y + c, out, left);
    }
}

INLINE void apply_rows(const struct norm *norm, size_t begin, size_t end, const bool has_z,
                       const bool relu)
{
    const float *x = norm->call->in[0].data;
    float *y = norm->call->out[0].data;
    for (size_t r = begin; r < end; r++) {
        const float *factor =
            norm->factors + (norm->batch_norm ? 0 : r / norm->plane) * 2 * norm->row;
        apply_row(x + r * norm->x_pitch, has_z ? norm->z + r * norm->z_pitch : NULL, factor,
                  factor + norm->row, y + r * norm->y_pitch, norm->channels, has_z, relu);
    }
}

static void apply_chunk(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct norm *norm = context;
    bool relu = norm->activation.op == MD_OP_RELU && !norm->activation.shifts;
    size_t rows = norm->batch * norm->plane;
    for (size_t k = begin; k < end; k++) {
        size_t first = k * norm->chunk;
        size_t stop = rows - first < norm->chunk ? rows : first + norm->chunk;
        if (norm->z && relu)
            apply_rows(norm, first, stop, true, true);
        else if (norm->z)
            apply_rows(norm, first, stop, true, false);
        else if (relu)
            apply_rows(norm, first, stop, false, true);
        else
            apply_rows(norm, first, stop, false, false);
        if (!relu)
            md__activate(&norm->activation,
                         (float *)norm->call->out[0].data + first * norm->y_pitch, norm->y_pitch,
                         stop - first, norm->channels);
    }
}

/* ---- The kernel ------------------------------------------------------------------------------ */

static struct norm describe(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    const struct md_shape *shape = &in[0].shape;
    bool batch_norm = node->op == MD_OP_BATCH_NORM_LAST;
    int z = batch_norm ? 5 : 3;
    struct norm norm = {.activation = md_activation_of(node),
                        .z = md__has(in, in_count, z) ? in[z].data : NULL,
                        .batch = (size_t)shape->dim[0],
                        .plane = last_plane(shape),
                        .channels = last_channels(shape),
                        .batch_norm = batch_norm,
                        .epsilon = md_node_float(node, "epsilon", 1e-5)};
    norm.groups = node->op == MD_OP_GROUP_NORM_LAST ? (size_t)md_node_int(node, "num_groups", 1)
                                                    : norm.channels;
    norm.row = padded(norm.channels);
    norm.chunk = CHUNK_FLOATS / (norm.row ? norm.row : 1);
    norm.chunk = norm.chunk ? norm.chunk : 1;
    norm.chunks = (norm.plane + norm.chunk - 1) / norm.chunk;
    return norm;
}

static size_t factor_floats(const struct norm *norm)
{
    return (norm->batch_norm ? 1 : norm->batch) * 2 * norm->row;
}

static size_t norm_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)threads;
    struct norm norm = describe(node, in, in_count);
    size_t partials = norm.batch_norm ? 0 : norm.batch * norm.chunks * 2 * norm.row;
    return (factor_floats(&norm) + partials) * sizeof(float);
}

static enum md_status norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct norm norm = describe(call->node, call->in, call->in_count);
    norm.call = call;
    norm.x_pitch = md_kernel_pitch(call, 0, norm.channels);
    norm.z_pitch = norm.z ? md_kernel_pitch(call, norm.batch_norm ? 5 : 3, norm.channels) : 0;
    norm.y_pitch = md_kernel_pitch(call, call->in_count, norm.channels);
    norm.factors = call->scratch;
    norm.partials = norm.factors + factor_floats(&norm);
    if (norm.batch == 0 || norm.plane == 0 || norm.channels == 0)
        return MD_OK;
    memset(norm.factors, 0, factor_floats(&norm) * sizeof *norm.factors);
    for (size_t c = 0; norm.batch_norm && c < norm.channels; c++)
        set_factor(&norm, 0, c, ((const float *)call->in[3].data)[c],
                   ((const float *)call->in[4].data)[c]);
    size_t cost = norm.chunk * norm.row / 4;
    if (!norm.batch_norm) {
        md__parallel(call->pool, norm.batch * norm.chunks, md__grain(cost), chunk_statistics,
                     &norm);
        md__parallel(call->pool, norm.batch * norm.groups,
                     md__grain(norm.channels / norm.groups * norm.chunks * 16), image_factors,
                     &norm);
    }
    size_t rows = norm.batch * norm.plane;
    md__parallel(call->pool, (rows + norm.chunk - 1) / norm.chunk, md__grain(cost), apply_chunk,
                 &norm);
    return MD_OK;
}

static bool norm_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__all_f32(node, in, in_count) && node->out_count <= 1 &&
           !md_node_int(node, "training_mode", 0);
}

const struct md_kernel md__norm_last = {.supports = norm_supports,
                                        .scratch_bytes = norm_scratch,
                                        .run = norm_run,
                                        .in_place = true,
                                        .pitched = MD_PITCHED_IN(0) | MD_PITCHED_IN(3) |
                                                   MD_PITCHED_IN(5) | MD_PITCHED_OUT};
