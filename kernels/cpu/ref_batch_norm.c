/*
 * Reference normalisations of channels, in double: BatchNormalization (also in training mode),
 * InstanceNormalization, GroupNormalization, LRN, MeanVarianceNormalization. Tensors are [batch,
 * channels, ...]; a plane is one channel of one batch element.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* y = (x - mean) * factor + shift over `count` elements from `at`. */
static void rescale(const struct md_tensor *x, const struct md_tensor *y, size_t at, size_t count,
                    double mean, double factor, double shift)
{
    double block[MD__BLOCK];
    for (size_t size; count > 0; at += size, count -= size) {
        size = least(count, MD__BLOCK);
        md__load_floats(x, at, 1, size, block);
        for (size_t i = 0; i < size; i++)
            block[i] = (block[i] - mean) * factor + shift;
        md__store_floats(y, at, 1, size, block);
    }
}

/* Adds (x - mean)^power over a run to *sum. */
static void add_powers(const struct md_tensor *x, size_t at, size_t count, double mean, bool square,
                       double *sum)
{
    double block[MD__BLOCK];
    for (size_t size; count > 0; at += size, count -= size) {
        size = least(count, MD__BLOCK);
        md__load_floats(x, at, 1, size, block);
        for (size_t i = 0; i < size; i++)
            *sum += square ? (block[i] - mean) * (block[i] - mean) : block[i];
    }
}

/* Mean and variance over `runs` runs of `count` elements, `stride` apart. */
static void statistics(const struct md_tensor *x, size_t at, size_t count, size_t runs,
                       size_t stride, double *mean, double *variance)
{
    double sum = 0, squares = 0, all = (double)(count * runs);
    for (size_t r = 0; r < runs; r++)
        add_powers(x, at + r * stride, count, 0, false, &sum);
    *mean = sum / all;
    for (size_t r = 0; r < runs; r++)
        add_powers(x, at + r * stride, count, *mean, true, &squares);
    *variance = squares / all;
}

struct channels {
    const struct md_kernel_call *call;
    size_t batch, count, plane; /* count: channels */
    double epsilon;
    size_t groups;
};

static struct channels channels_of(const struct md_kernel_call *call)
{
    const struct md_shape *shape = &call->in[0].shape;
    return (struct channels){.call = call,
                             .batch = (size_t)shape->dim[0],
                             .count = shape->rank > 1 ? (size_t)shape->dim[1] : 1,
                             .plane = md__span(shape, 2, shape->rank),
                             .epsilon = md_node_float(call->node, "epsilon", 1e-5)};
}

/* ---- BatchNormalization ---------------------------------------------------------------------- */

/* In training mode the statistics are the batch's own, and running ones move towards them. */
static void batch_norm_channel(const struct channels *all, size_t channel, bool training)
{
    const struct md_kernel_call *call = all->call;
    const struct md_tensor *x = &call->in[0];
    double mean = md__get_float(&call->in[3], channel);
    double variance = md__get_float(&call->in[4], channel);
    if (training) {
        double keep = md_node_float(call->node, "momentum", 0.9f), own[2];
        statistics(x, channel * all->plane, all->plane, all->batch, all->count * all->plane,
                   &own[0], &own[1]);
        if (call->out_count > 1 && call->out[1].data)
            md__set_float(&call->out[1], channel, mean * keep + own[0] * (1 - keep));
        if (call->out_count > 2 && call->out[2].data)
            md__set_float(&call->out[2], channel, variance * keep + own[1] * (1 - keep));
        mean = own[0];
        variance = own[1];
    }
    double factor = md__get_float(&call->in[1], channel) / sqrt(variance + all->epsilon);
    double shift = md__get_float(&call->in[2], channel);
    for (size_t n = 0; n < all->batch; n++)
        rescale(x, &call->out[0], (n * all->count + channel) * all->plane, all->plane, mean, factor,
                shift);
}

static void batch_norm_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct channels *all = context;
    bool training = md_node_int(all->call->node, "training_mode", 0) != 0;
    for (size_t channel = begin; channel < end; channel++)
        batch_norm_channel(all, channel, training);
}

static enum md_status batch_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct channels all = channels_of(call);
    md__parallel(call->pool, all.count, md__grain(all.batch * all.plane * 4), batch_norm_some,
                 &all);
    return MD_OK;
}

/* ---- InstanceNormalization, GroupNormalization ----------------------------------------------- */

/* Groups [begin, end) of all batch elements. */
static void group_norm_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct channels *all = context;
    const struct md_kernel_call *call = all->call;
    size_t members = all->count / all->groups;
    for (size_t group = begin; group < end; group++) {
        double mean, variance;
        size_t first = group * members; /* plane */
        statistics(&call->in[0], first * all->plane, members * all->plane, 1, 0, &mean, &variance);
        for (size_t k = 0; k < members; k++) {
            size_t channel = (first + k) % all->count;
            rescale(&call->in[0], &call->out[0], (first + k) * all->plane, all->plane, mean,
                    md__get_float(&call->in[1], channel) / sqrt(variance + all->epsilon),
                    md__get_float(&call->in[2], channel));
        }
    }
}

static enum md_status group_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct channels all = channels_of(call);
    bool instance = call->node->op == MD_OP_INSTANCE_NORM;
    all.groups = instance ? all.count : (size_t)md_node_int(call->node, "num_groups", 1);
    md__parallel(call->pool, all.batch * all.groups,
                 md__grain(all.count / all.groups * all.plane * 4), group_norm_some, &all);
    return MD_OK;
}

/* ---- LRN ------------------------------------------------------------------------------------- */

static enum md_status lrn_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *x = &call->in[0];
    struct channels all = channels_of(call);
    int64_t size = md_node_int(call->node, "size", 1), count = (int64_t)all.count;
    double alpha = md_node_float(call->node, "alpha", 1e-4f) / (double)size;
    double beta = md_node_float(call->node, "beta", 0.75),
           bias = md_node_float(call->node, "bias", 1);
    for (size_t n = 0; n < all.batch; n++)
        for (int64_t c = 0; c < count; c++) {
            int64_t low = c - (size - 1) / 2, high = c + size / 2;
            low = low < 0 ? 0 : low;
            high = high >= count ? count - 1 : high;
            for (size_t i = 0; i < all.plane; i++) {
                size_t base = n * all.count * all.plane + i;
                double squares = 0;
                for (int64_t k = low; k <= high; k++) {
                    double other = md__get_float(x, base + (size_t)k * all.plane);
                    squares += other * other;
                }
                size_t at = base + (size_t)c * all.plane;
                md__set_float(&call->out[0], at,
                              md__get_float(x, at) / pow(bias + alpha * squares, beta));
            }
        }
    return MD_OK;
}

/* ---- MeanVarianceNormalization --------------------------------------------------------------- */

/* Walks over what is normalised together (`inside`) and over such sets (`sets`). */
static void split_axes(const struct md_kernel_call *call, struct md__walk *sets,
                       struct md__walk *inside)
{
    static const int64_t usual[] = {0, 2, 3};
    const struct md_shape *shape = &call->in[0].shape;
    const struct md_attr *attr = md_node_attr(call->node, "axes");
    const int64_t *axes = attr ? attr->ints : usual;
    int64_t stride[MD_RANK_MAX];
    bool chosen[MD_RANK_MAX] = {false};
    for (int k = 0; k < (attr ? attr->count : 3); k++)
        if (md__axis(axes[k], shape->rank) != MD_NONE)
            chosen[md__axis(axes[k], shape->rank)] = true;
    md__strides(shape, stride);
    md__walk_init(sets, shape->rank, shape->dim);
    md__walk_init(inside, shape->rank, shape->dim);
    for (int i = 0; i < shape->rank; i++) {
        (chosen[i] ? sets : inside)->dim[i] = 1;
        sets->stride[0][i] = inside->stride[0][i] = stride[i];
    }
}

static size_t positions(const struct md__walk *walk)
{
    size_t count = 1;
    for (int i = 0; i < walk->rank; i++)
        count *= (size_t)walk->dim[i];
    return count;
}

static enum md_status mean_variance_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *x = &call->in[0];
    struct md__walk sets, start;
    split_axes(call, &sets, &start);
    size_t set_count = positions(&sets), count = positions(&start);
    for (size_t s = 0; s < set_count; s++, md__walk_next(&sets)) {
        double mean = 0, squares = 0;
        struct md__walk walk = start;
        for (size_t i = 0; i < count; i++, md__walk_next(&walk))
            mean += md__get_float(x, (size_t)(sets.at[0] + walk.at[0]));
        mean /= (double)count;
        for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
            double d = md__get_float(x, (size_t)(sets.at[0] + walk.at[0])) - mean;
            squares += d * d;
        }
        double deviation = sqrt(squares / (double)count) + 1e-9;
        for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
            size_t at = (size_t)(sets.at[0] + walk.at[0]);
            md__set_float(&call->out[0], at, (md__get_float(x, at) - mean) / deviation);
        }
    }
    return MD_OK;
}

const struct md_kernel md__ref_batch_norm = {.run = batch_norm_run, .in_place = true};
const struct md_kernel md__ref_group_norm = {.run = group_norm_run, .in_place = true};
const struct md_kernel md__ref_lrn = {.run = lrn_run};
const struct md_kernel md__ref_mean_variance = {.run = mean_variance_run};
