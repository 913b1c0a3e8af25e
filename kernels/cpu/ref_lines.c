/*
 * Reference kernels of operators that work on every line along one axis: Softmax, LogSoftmax,
 * Hardmax, LpNormalization, CumSum, CumProd, ArgMax, ArgMin.
 *
 * A line is gathered into scratch as doubles or int64s, worked on there and stored back; running
 * backwards is gathering with a negative step. One row an operator, as in ref_unary.c.
 */
#include <math.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

/* ---- floats ---------------------------------------------------------------------------------- */

static double largest(const double *x, size_t count)
{
    double max = -INFINITY;
    for (size_t i = 0; i < count; i++)
        max = x[i] > max || isnan(x[i]) ? x[i] : max;
    return max;
}

/* The sum as the standard's reference adds up: bfloat16 rounds after each step. Only within eights,
 * so that a long line does not stop growing. */
static double narrow_sum(const double *x, size_t count, enum md_dtype dtype)
{
    double sum = 0, eight = 0;
    for (size_t i = 0; i < count; i++) {
        eight += x[i];
        if (dtype == MD_BF16)
            md__round_floats(dtype, 1, &eight);
        if (i % 8 == 7 || i == count - 1) {
            sum += eight;
            eight = 0;
        }
    }
    md__round_floats(dtype, 1, &sum);
    return sum;
}

/* In 16 bits every step is rounded, as in the standard's function of primitives: its tests ask for
 * more digits than bfloat16 has. */
static void softmax(double *x, size_t count, const struct md_tensor *in, const struct md_node *node)
{
    (void)node;
    bool narrow = md_dtype_bytes(in->dtype) == 2;
    double max = largest(x, count), sum = 0;
    for (size_t i = 0; i < count; i++)
        x[i] -= max;
    if (narrow)
        md__round_floats(in->dtype, count, x);
    for (size_t i = 0; i < count; i++)
        sum += x[i] = exp(x[i]);
    if (narrow) {
        md__round_floats(in->dtype, count, x);
        sum = narrow_sum(x, count, in->dtype);
    }
    for (size_t i = 0; i < count; i++)
        x[i] /= sum;
}

static void log_softmax(double *x, size_t count, const struct md_tensor *in,
                        const struct md_node *node)
{
    (void)in, (void)node;
    double max = largest(x, count), sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += exp(x[i] - max);
    for (size_t i = 0; i < count; i++)
        x[i] -= max + log(sum);
}

/* 1 at the first of the largest. */
static void hardmax(double *x, size_t count, const struct md_tensor *in, const struct md_node *node)
{
    (void)in, (void)node;
    size_t first = 0;
    for (size_t i = 1; i < count; i++)
        first = x[i] > x[first] ? i : first;
    for (size_t i = 0; i < count; i++)
        x[i] = i == first;
}

/* A line of zeros stays. */
static void lp_normalization(double *x, size_t count, const struct md_tensor *in,
                             const struct md_node *node)
{
    (void)in;
    bool absolute = md_node_int(node, "p", 2) == 1;
    double norm = 0;
    for (size_t i = 0; i < count; i++)
        norm += absolute ? fabs(x[i]) : x[i] * x[i];
    norm = absolute ? norm : sqrt(norm);
    for (size_t i = 0; i < count; i++)
        x[i] = norm == 0 ? 0 : x[i] / norm;
}

static void running_sum(double *x, size_t count, const struct md_tensor *in,
                        const struct md_node *node)
{
    (void)in;
    bool exclusive = md_node_int(node, "exclusive", 0) != 0;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double before = sum;
        sum += x[i];
        x[i] = exclusive ? before : sum;
    }
}

static void running_product(double *x, size_t count, const struct md_tensor *in,
                            const struct md_node *node)
{
    (void)in;
    bool exclusive = md_node_int(node, "exclusive", 0) != 0;
    double product = 1;
    for (size_t i = 0; i < count; i++) {
        double before = product;
        product *= x[i];
        x[i] = exclusive ? before : product;
    }
}

/* ---- integers -------------------------------------------------------------------------------- */

static void running_sum_int(int64_t *x, size_t count, const struct md_node *node)
{
    bool exclusive = md_node_int(node, "exclusive", 0) != 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t before = sum;
        sum += (uint64_t)x[i];
        x[i] = (int64_t)(exclusive ? before : sum);
    }
}

static void running_product_int(int64_t *x, size_t count, const struct md_node *node)
{
    bool exclusive = md_node_int(node, "exclusive", 0) != 0;
    uint64_t product = 1;
    for (size_t i = 0; i < count; i++) {
        uint64_t before = product;
        product *= (uint64_t)x[i];
        x[i] = (int64_t)(exclusive ? before : product);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------ */

struct row {
    enum md_op op;
    void (*real)(double *x, size_t count, const struct md_tensor *in, const struct md_node *node);
    void (*integer)(int64_t *x, size_t count, const struct md_node *node);
};

static const struct row rows[] = {
    {MD_OP_SOFTMAX, softmax, NULL},
    {MD_OP_LOG_SOFTMAX, log_softmax, NULL},
    {MD_OP_HARDMAX, hardmax, NULL},
    {MD_OP_LP_NORMALIZATION, lp_normalization, NULL},
    {MD_OP_CUM_SUM, running_sum, running_sum_int},
    {MD_OP_CUM_PROD, running_product, running_product_int},
};

static const struct row *row_of(enum md_op op)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].op == op)
            return &rows[i];
    return NULL;
}

struct lines {
    const struct md_kernel_call *call;
    const struct row *row;
    size_t count, inner;            /* elements of a line, and how far apart they lie */
    size_t capacity;                /* elements of scratch a thread has */
    bool is_float, backwards, last; /* last: of equal extremes take the last */
};

static size_t longest_axis(const struct md_tensor *tensor)
{
    int64_t longest = 1;
    for (int i = 0; i < tensor->shape.rank; i++)
        longest = tensor->shape.dim[i] > longest ? tensor->shape.dim[i] : longest;
    return (size_t)longest;
}

static size_t lines_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    (void)node, (void)in_count;
    return longest_axis(&in[0]) * sizeof(double) * (size_t)threads;
}

static enum md_status lines_init(struct lines *lines, const struct md_kernel_call *call,
                                 int64_t given, size_t *count, struct md_error *err)
{
    const struct md_shape *shape = &call->in[0].shape;
    int axis = md__axis(given, shape->rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "axis %lld is outside a tensor of rank %d",
                       (long long)given, shape->rank);
    *lines = (struct lines){.call = call,
                            .row = row_of(call->node->op),
                            .count = (size_t)shape->dim[axis],
                            .inner = md__span(shape, axis + 1, shape->rank),
                            .capacity = longest_axis(&call->in[0]),
                            .is_float = md__dtype_is_float(call->in[0].dtype)};
    *count = md__span(shape, 0, axis) * lines->inner;
    return MD_OK;
}

/* Where line `i` starts, and its step. */
static size_t line_start(const struct lines *lines, size_t i, int64_t *step)
{
    size_t at = i / lines->inner * lines->count * lines->inner + i % lines->inner;
    *step = (int64_t)lines->inner;
    if (!lines->backwards)
        return at;
    *step = -*step;
    return at + (lines->count - 1) * lines->inner;
}

static void lines_some(void *context, size_t begin, size_t end, int thread)
{
    const struct lines *lines = context;
    const struct md_kernel_call *call = lines->call;
    double *x = (double *)call->scratch + (size_t)thread * lines->capacity;
    int64_t *n = (int64_t *)x, step;
    for (size_t i = begin; i < end; i++) {
        size_t at = line_start(lines, i, &step);
        if (lines->is_float) {
            md__load_floats(&call->in[0], at, step, lines->count, x);
            lines->row->real(x, lines->count, &call->in[0], call->node);
            md__store_floats(&call->out[0], at, step, lines->count, x);
        } else {
            md__load_ints(&call->in[0], at, step, lines->count, n);
            lines->row->integer(n, lines->count, call->node);
            md__store_ints(&call->out[0], at, step, lines->count, n);
        }
    }
}

static bool lines_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)in_count;
    if (in[0].dtype == MD_BOOL)
        return false;
    return md__dtype_is_float(in[0].dtype) || row_of(node->op)->integer != NULL;
}

/* Softmax and its kin have the axis as an attribute, running sums and products as input 1. */
static enum md_status lines_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct lines lines;
    size_t count;
    int64_t axis =
        call->in_count > 1 ? md__get_int(&call->in[1], 0) : md_node_int(call->node, "axis", -1);
    enum md_status status = lines_init(&lines, call, axis, &count, err);
    if (status)
        return status;
    lines.backwards = md_node_int(call->node, "reverse", 0) != 0;
    md__parallel(call->pool, count, md__grain(lines.count * 8), lines_some, &lines);
    return MD_OK;
}

const struct md_kernel md__ref_lines = {
    .supports = lines_supports, .scratch_bytes = lines_scratch, .run = lines_run, .in_place = true};

/* ---- where the extremes are ------------------------------------------------------------------ */

/* Whether b takes over from a: a NaN is the most extreme of all. */
static bool beats(double b, double a, bool last)
{
    if (isnan(a) || isnan(b))
        return isnan(b) && (last || !isnan(a));
    return last ? b >= a : b > a;
}

static size_t extreme(const struct lines *lines, double *x, size_t at, int64_t step)
{
    bool least = lines->call->node->op == MD_OP_ARG_MIN;
    enum md_dtype dtype = lines->call->in[0].dtype;
    int64_t *n = (int64_t *)x;
    size_t best = 0;
    if (lines->is_float)
        md__load_floats(&lines->call->in[0], at, step, lines->count, x);
    else
        md__load_ints(&lines->call->in[0], at, step, lines->count, n);
    for (size_t i = 1; i < lines->count; i++) {
        bool better;
        if (lines->is_float)
            better =
                least ? beats(-x[i], -x[best], lines->last) : beats(x[i], x[best], lines->last);
        else if (n[i] == n[best])
            better = lines->last;
        else
            better = md__int_less(n[i], n[best], dtype) == least;
        best = better ? i : best;
    }
    return best;
}

static void arg_some(void *context, size_t begin, size_t end, int thread)
{
    const struct lines *lines = context;
    double *x = (double *)lines->call->scratch + (size_t)thread * lines->capacity;
    int64_t *out = lines->call->out[0].data, step;
    for (size_t i = begin; i < end; i++) {
        size_t at = line_start(lines, i, &step);
        out[i] = (int64_t)extreme(lines, x, at, step);
    }
}

static enum md_status arg_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct lines lines;
    size_t count;
    enum md_status status =
        lines_init(&lines, call, md_node_int(call->node, "axis", 0), &count, err);
    if (status)
        return status;
    lines.last = md_node_int(call->node, "select_last_index", 0) != 0;
    md__parallel(call->pool, count, md__grain(lines.count * 2), arg_some, &lines);
    return MD_OK;
}

static bool arg_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)node, (void)in_count;
    return in[0].dtype != MD_BOOL;
}

const struct md_kernel md__ref_arg = {
    .supports = arg_supports, .scratch_bytes = lines_scratch, .run = arg_run};
