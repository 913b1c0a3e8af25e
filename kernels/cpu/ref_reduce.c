/*
 * Reference reductions: ReduceSum and its nine kin, any axes, every dtype.
 *
 * Two odometers walk the input: `kept` goes to the first element of each result, `inside` over what
 * goes into one, a run of its last axis at a time. Floats are reduced in double, integers exactly
 * with wrap-around. What an empty set gives follows from how each starts: 0, 1, or the worst value
 * of its dtype; the mean of nothing is NaN, or 0 in integers.
 */
#include <math.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

struct reduction {
    enum md_op op;
    const struct md_tensor *in, *out;
    struct md__walk kept, inside;
    size_t inner; /* length of inside's last axis, which is taken off it */
    int64_t step;
    size_t runs; /* of `inner` elements in one result */
};

typedef void (*fold_function)(const struct reduction *reduction, size_t at, size_t count,
                              void *total);

/* Feeds the elements of the result that starts at `base` to `fold`, a block at a time. */
static void each_block(const struct reduction *reduction, size_t base, fold_function fold,
                       void *total)
{
    struct md__walk walk = reduction->inside;
    for (size_t r = 0; r < reduction->runs; r++, md__walk_next(&walk))
        for (size_t i = 0; i < reduction->inner; i += MD__BLOCK) {
            size_t left = reduction->inner - i;
            int64_t at = (int64_t)base + walk.at[0] + (int64_t)i * reduction->step;
            fold(reduction, (size_t)at, left < MD__BLOCK ? left : MD__BLOCK, total);
        }
}

/* ---- floats ---------------------------------------------------------------------------------- */

struct reals {
    double total, shift; /* shift: the largest element, of LogSumExp */
};

/* A NaN, once met, stays. */
static double larger(double a, double b)
{
    return b > a || isnan(b) ? b : a;
}

static void fold_largest(const struct reduction *reduction, size_t at, size_t count, void *into)
{
    double *largest = into, x[MD__BLOCK];
    md__load_floats(reduction->in, at, reduction->step, count, x);
    for (size_t i = 0; i < count; i++)
        *largest = larger(*largest, x[i]);
}

static void fold_reals(const struct reduction *reduction, size_t at, size_t count, void *into)
{
    struct reals *reals = into;
    double x[MD__BLOCK], total = reals->total;
    md__load_floats(reduction->in, at, reduction->step, count, x);
    switch (reduction->op) {
    case MD_OP_REDUCE_MAX:
        for (size_t i = 0; i < count; i++)
            total = larger(total, x[i]);
        break;
    case MD_OP_REDUCE_MIN:
        for (size_t i = 0; i < count; i++)
            total = -larger(-total, -x[i]);
        break;
    case MD_OP_REDUCE_PROD:
        for (size_t i = 0; i < count; i++)
            total *= x[i];
        break;
    case MD_OP_REDUCE_L1:
        for (size_t i = 0; i < count; i++)
            total += fabs(x[i]);
        break;
    case MD_OP_REDUCE_L2:
    case MD_OP_REDUCE_SUM_SQUARE:
        for (size_t i = 0; i < count; i++)
            total += x[i] * x[i];
        break;
    case MD_OP_REDUCE_LOG_SUM_EXP:
        for (size_t i = 0; i < count; i++)
            total += exp(x[i] - reals->shift);
        break;
    default:
        for (size_t i = 0; i < count; i++)
            total += x[i];
    }
    reals->total = total;
}

static double reduce_reals(const struct reduction *reduction, size_t base)
{
    enum md_op op = reduction->op;
    struct reals reals = {.total = op == MD_OP_REDUCE_MAX    ? -INFINITY
                                   : op == MD_OP_REDUCE_MIN  ? INFINITY
                                   : op == MD_OP_REDUCE_PROD ? 1
                                                             : 0};
    if (op == MD_OP_REDUCE_LOG_SUM_EXP) {
        reals.shift = -INFINITY;
        each_block(reduction, base, fold_largest, &reals.shift);
        if (!isfinite(reals.shift)) /* it decides alone, and inf - inf would not */
            return reals.shift;
    }
    each_block(reduction, base, fold_reals, &reals);
    switch (op) {
    case MD_OP_REDUCE_MEAN:
        return reals.total / (double)(reduction->runs * reduction->inner);
    case MD_OP_REDUCE_L2:
        return sqrt(reals.total);
    case MD_OP_REDUCE_LOG_SUM:
        return log(reals.total);
    case MD_OP_REDUCE_LOG_SUM_EXP:
        return reals.shift + log(reals.total);
    default:
        return reals.total;
    }
}

/* ---- integers -------------------------------------------------------------------------------- */

static void fold_integers(const struct reduction *reduction, size_t at, size_t count, void *into)
{
    int64_t *result = into, x[MD__BLOCK];
    uint64_t total = (uint64_t)*result;
    enum md_dtype dtype = reduction->in->dtype;
    md__load_ints(reduction->in, at, reduction->step, count, x);
    for (size_t i = 0; i < count; i++) {
        uint64_t n = (uint64_t)x[i];
        switch (reduction->op) {
        case MD_OP_REDUCE_MAX:
            total = md__int_less((int64_t)total, x[i], dtype) ? n : total;
            break;
        case MD_OP_REDUCE_MIN:
            total = md__int_less(x[i], (int64_t)total, dtype) ? n : total;
            break;
        case MD_OP_REDUCE_PROD:
            total *= n;
            break;
        case MD_OP_REDUCE_L1:
            total += md__int_less(x[i], 0, dtype) ? 0 - n : n;
            break;
        case MD_OP_REDUCE_L2:
        case MD_OP_REDUCE_SUM_SQUARE:
            total += n * n;
            break;
        default:
            total += n;
        }
    }
    *result = (int64_t)total;
}

static int64_t reduce_integers(const struct reduction *reduction, size_t base)
{
    enum md_op op = reduction->op;
    enum md_dtype dtype = reduction->in->dtype;
    int64_t count = (int64_t)(reduction->runs * reduction->inner);
    int64_t total = op == MD_OP_REDUCE_MAX    ? md__int_min(dtype)
                    : op == MD_OP_REDUCE_MIN  ? md__int_max(dtype)
                    : op == MD_OP_REDUCE_PROD ? 1
                                              : 0;
    each_block(reduction, base, fold_integers, &total);
    if (op == MD_OP_REDUCE_L2)
        return (int64_t)sqrt((double)total);
    if (op != MD_OP_REDUCE_MEAN || count == 0)
        return total;
    return dtype == MD_U64 ? (int64_t)((uint64_t)total / (uint64_t)count) : total / count;
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void reduce_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct reduction *reduction = context;
    struct md__walk kept = reduction->kept;
    md__walk_seek(&kept, begin);
    for (size_t r = begin; r < end; r++, md__walk_next(&kept)) {
        if (md__dtype_is_float(reduction->in->dtype))
            md__set_float(reduction->out, r, reduce_reals(reduction, (size_t)kept.at[0]));
        else
            md__set_int(reduction->out, r, reduce_integers(reduction, (size_t)kept.at[0]));
    }
}

/* Marks the axes that the node reduces: input 1, or all when it is absent or empty and
 * noop_with_empty_axes is 0. */
enum md_status md__reduced_axes(const struct md_kernel_call *call, bool *reduced,
                                struct md_error *err)
{
    int rank = call->in[0].shape.rank;
    size_t count = md__has(call->in, call->in_count, 1) ? md__count(&call->in[1]) : 0;
    bool all = count == 0 && !md_node_int(call->node, "noop_with_empty_axes", 0);
    for (int i = 0; i < rank; i++)
        reduced[i] = all;
    for (size_t i = 0; i < count; i++) {
        int axis = md__axis(md__get_int(&call->in[1], i), rank);
        if (axis == MD_NONE)
            return md_fail(err, MD_ERR_INVALID, "axis outside rank %d", rank);
        reduced[axis] = true;
    }
    return MD_OK;
}

static void set_walks(struct reduction *reduction, const bool *reduced)
{
    const struct md_shape *shape = &reduction->in->shape;
    int64_t kept_dim[MD_RANK_MAX], inside_dim[MD_RANK_MAX];
    for (int i = 0; i < shape->rank; i++) {
        kept_dim[i] = reduced[i] ? 1 : shape->dim[i];
        inside_dim[i] = reduced[i] ? shape->dim[i] : 1;
    }
    md__walk_init(&reduction->kept, shape->rank, kept_dim);
    md__walk_init(&reduction->inside, shape->rank, inside_dim);
    md__strides(shape, reduction->kept.stride[0]);
    md__strides(shape, reduction->inside.stride[0]);
    md__walk_merge(&reduction->kept);
    md__walk_merge(&reduction->inside);
    int last = --reduction->inside.rank;
    reduction->inner = (size_t)reduction->inside.dim[last];
    reduction->step = reduction->inside.stride[0][last];
    reduction->runs = 1;
    for (int i = 0; i < last; i++)
        reduction->runs *= (size_t)reduction->inside.dim[i];
}

static enum md_status reduce_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct reduction reduction = {.op = call->node->op, .in = &call->in[0], .out = &call->out[0]};
    bool reduced[MD_RANK_MAX];
    enum md_status status = md__reduced_axes(call, reduced, err);
    if (status != MD_OK)
        return status;
    set_walks(&reduction, reduced);
    size_t cost = reduction.runs * reduction.inner;
    md__parallel(call->pool, md__count(reduction.out), md__grain(cost + 32), reduce_some,
                 &reduction);
    return MD_OK;
}

/* Logarithms make no sense of integers, and only an order makes sense of bools. */
static bool reduce_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)in_count;
    if (in[0].dtype == MD_BOOL)
        return node->op == MD_OP_REDUCE_MAX || node->op == MD_OP_REDUCE_MIN;
    bool logarithm = node->op == MD_OP_REDUCE_LOG_SUM || node->op == MD_OP_REDUCE_LOG_SUM_EXP;
    return !logarithm || md__dtype_is_float(in[0].dtype);
}

const struct md_kernel md__ref_reduce = {.supports = reduce_supports, .run = reduce_run};
