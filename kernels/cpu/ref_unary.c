/*
 * Reference kernels of elementwise operators with one input: one row an operator, which names its
 * function on doubles, its exact function on integers where the standard allows those, and up to
 * two float attributes with their defaults. A row without a function for a dtype refuses it.
 *
 * Floats are computed in double precision and rounded once. Formulas are those of the operators'
 * pages (https://onnx.ai/onnx/operators/), arranged so that nothing overflows on the way to a
 * finite result.
 */
#include <math.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

typedef int64_t (*integer_function)(int64_t x, enum md_dtype dtype);

#define REAL(name, expression)                                                                     \
    static double real_##name(double x, const struct md__unary_parameters *with)                   \
    {                                                                                              \
        (void)with;                                                                                \
        return expression;                                                                         \
    }

static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

static double softplus(double x) /* log(1 + e^x) */
{
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

/* A NaN fails every comparison, and so comes through. */
static double above_zero(double x)
{
    return x < 0 ? 0 : x;
}

static double gelu_tanh(double x)
{
    const double root_2_over_pi = 0.79788456080286535588;
    return 0.5 * x * (1 + tanh(root_2_over_pi * (x + 0.044715 * x * x * x)));
}

static double selu(double x, double alpha, double gamma)
{
    return gamma * (x > 0 || isnan(x) ? x : alpha * expm1(x));
}

static double shrunk(double x, double bias, double threshold)
{
    if (x < -threshold)
        return x + bias;
    return x > threshold ? x - bias : 0;
}

static double sign(double x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

REAL(abs, fabs(x))
REAL(acos, acos(x))
REAL(acosh, acosh(x))
REAL(asin, asin(x))
REAL(asinh, asinh(x))
REAL(atan, atan(x))
REAL(atanh, atanh(x))
REAL(ceil, ceil(x))
REAL(celu, x < 0 ? with->a * expm1(x / with->a) : x)
REAL(cos, cos(x))
REAL(cosh, cosh(x))
REAL(elu, x < 0 ? with->a * expm1(x) : x)
REAL(erf, erf(x))
REAL(exp, exp(x))
REAL(floor, floor(x))
REAL(gelu, 0.5 * x * erfc(-x * M_SQRT1_2)) /* 1 + erf would cancel far below zero */
REAL(gelu_tanh, gelu_tanh(x))
REAL(hard_sigmoid, md__clamped(with->a *x + with->b, 0, 1))
REAL(hard_swish, x *md__clamped(x / 6 + 0.5, 0, 1))
REAL(is_inf, isinf(x) && (x < 0 ? with->a : with->b) != 0)
REAL(is_nan, isnan(x))
REAL(leaky_relu, x < 0 ? with->a * x : x)
REAL(log, log(x))
REAL(mish, x *tanh(softplus(x)))
REAL(neg, -x)
REAL(reciprocal, 1 / x)
REAL(relu, above_zero(x))
REAL(round, nearbyint(x)) /* ties to even: the default rounding mode, which nobody changes */
REAL(selu, selu(x, with->a, with->b))
REAL(shrink, shrunk(x, with->a, with->b))
REAL(sigmoid, sigmoid(x))
REAL(sign, sign(x))
REAL(sin, sin(x))
REAL(sinh, sinh(x))
REAL(softplus, softplus(x))
REAL(softsign, x / (1 + fabs(x)))
REAL(sqrt, sqrt(x))
REAL(swish, x *sigmoid(with->a *x))
REAL(tan, tan(x))
REAL(tanh, tanh(x))
REAL(thresholded_relu, x > with->a ? x : 0)

/* Wraps where -x would overflow. */
static int64_t integer_neg(int64_t x, enum md_dtype dtype)
{
    (void)dtype;
    return (int64_t)(0 - (uint64_t)x);
}

static int64_t integer_abs(int64_t x, enum md_dtype dtype)
{
    return md__int_less(x, 0, dtype) ? integer_neg(x, dtype) : x;
}

static int64_t integer_relu(int64_t x, enum md_dtype dtype)
{
    return md__int_less(x, 0, dtype) ? 0 : x;
}

static int64_t integer_sign(int64_t x, enum md_dtype dtype)
{
    return md__int_less(x, 0, dtype) ? -1 : x != 0;
}

static int64_t integer_not(int64_t x, enum md_dtype dtype)
{
    return dtype == MD_BOOL ? !x : ~x;
}

struct row {
    enum md_op op;
    md__unary_function real;
    integer_function integer;
    struct {
        const char *name;
        float otherwise; /* what the schema says, which holds floats */
    } attrs[2];
};

static const struct row rows[] = {
    {MD_OP_ABS, real_abs, integer_abs, {{0}}},
    {MD_OP_ACOS, real_acos, NULL, {{0}}},
    {MD_OP_ACOSH, real_acosh, NULL, {{0}}},
    {MD_OP_ASIN, real_asin, NULL, {{0}}},
    {MD_OP_ASINH, real_asinh, NULL, {{0}}},
    {MD_OP_ATAN, real_atan, NULL, {{0}}},
    {MD_OP_ATANH, real_atanh, NULL, {{0}}},
    {MD_OP_BITWISE_NOT, NULL, integer_not, {{0}}},
    {MD_OP_CEIL, real_ceil, NULL, {{0}}},
    {MD_OP_CELU, real_celu, NULL, {{"alpha", 1}}},
    {MD_OP_COS, real_cos, NULL, {{0}}},
    {MD_OP_COSH, real_cosh, NULL, {{0}}},
    {MD_OP_ELU, real_elu, NULL, {{"alpha", 1}}},
    {MD_OP_ERF, real_erf, NULL, {{0}}},
    {MD_OP_EXP, real_exp, NULL, {{0}}},
    {MD_OP_FLOOR, real_floor, NULL, {{0}}},
    {MD_OP_GELU, real_gelu, NULL, {{0}}},
    {MD_OP_HARD_SIGMOID, real_hard_sigmoid, NULL, {{"alpha", 0.2f}, {"beta", 0.5f}}},
    {MD_OP_HARD_SWISH, real_hard_swish, NULL, {{0}}},
    {MD_OP_IS_INF, real_is_inf, NULL, {{"detect_negative", 1}, {"detect_positive", 1}}},
    {MD_OP_IS_NAN, real_is_nan, NULL, {{0}}},
    {MD_OP_LEAKY_RELU, real_leaky_relu, NULL, {{"alpha", 0.01f}}},
    {MD_OP_LOG, real_log, NULL, {{0}}},
    {MD_OP_MISH, real_mish, NULL, {{0}}},
    {MD_OP_NEG, real_neg, integer_neg, {{0}}},
    {MD_OP_NOT, NULL, integer_not, {{0}}},
    {MD_OP_RECIPROCAL, real_reciprocal, NULL, {{0}}},
    {MD_OP_RELU, real_relu, integer_relu, {{0}}},
    {MD_OP_ROUND, real_round, NULL, {{0}}},
    {MD_OP_SELU,
     real_selu,
     NULL,
     {{"alpha", 1.67326319217681884765625f}, {"gamma", 1.05070102214813232421875f}}},
    {MD_OP_SHRINK, real_shrink, NULL, {{"bias", 0}, {"lambd", 0.5f}}},
    {MD_OP_SIGMOID, real_sigmoid, NULL, {{0}}},
    {MD_OP_SIGN, real_sign, integer_sign, {{0}}},
    {MD_OP_SIN, real_sin, NULL, {{0}}},
    {MD_OP_SINH, real_sinh, NULL, {{0}}},
    {MD_OP_SOFTPLUS, real_softplus, NULL, {{0}}},
    {MD_OP_SOFTSIGN, real_softsign, NULL, {{0}}},
    {MD_OP_SQRT, real_sqrt, NULL, {{0}}},
    {MD_OP_SWISH, real_swish, NULL, {{"alpha", 1}}},
    {MD_OP_TAN, real_tan, NULL, {{0}}},
    {MD_OP_TANH, real_tanh, NULL, {{0}}},
    {MD_OP_THRESHOLDED_RELU, real_thresholded_relu, NULL, {{"alpha", 1}}},
};

static const struct row *row_of(enum md_op op)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].op == op)
            return &rows[i];
    return NULL;
}

/* Shrink alone takes integers without an exact function: its bias and threshold are floats. */
static bool unary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)in_count;
    const struct row *row = row_of(node->op);
    if (md__dtype_is_float(in[0].dtype))
        return row->real != NULL;
    if (in[0].dtype == MD_BOOL)
        return node->op == MD_OP_NOT;
    return node->op != MD_OP_NOT && (row->integer || node->op == MD_OP_SHRINK);
}

struct unary {
    const struct md_tensor *in, *out;
    const struct row *row;
    md__unary_function real;
    struct md__unary_parameters with;
};

static void unary_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct unary *unary = context;
    bool exact = !md__dtype_is_float(unary->in->dtype) && unary->row->integer;
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        double x[MD__BLOCK];
        int64_t n[MD__BLOCK];
        if (exact) {
            md__load_ints(unary->in, at, 1, count, n);
            for (size_t i = 0; i < count; i++)
                n[i] = unary->row->integer(n[i], unary->in->dtype);
            md__store_ints(unary->out, at, 1, count, n);
        } else {
            md__load_floats(unary->in, at, 1, count, x);
            for (size_t i = 0; i < count; i++)
                x[i] = unary->real(x[i], &unary->with);
            md__store_floats(unary->out, at, 1, count, x);
        }
    }
}

md__unary_function md__unary_function_of(enum md_op op, bool by_tanh)
{
    const struct row *row = row_of(op);
    return op == MD_OP_GELU && by_tanh ? real_gelu_tanh : row ? row->real : NULL;
}

void md__unary_read_parameters(const struct md_node *node, double *a, double *b)
{
    const struct row *row = row_of(node->op);
    double *parameters[2] = {a, b};
    *a = *b = 0;
    for (int i = 0; i < 2 && row->attrs[i].name; i++)
        *parameters[i] = md_node_float(node, row->attrs[i].name, (double)row->attrs[i].otherwise);
}

static enum md_status unary_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_node *node = call->node;
    const struct row *row = row_of(node->op);
    bool by_tanh = md_node_string(node, "approximate", "none")[0] == 't';
    struct unary unary = {.in = &call->in[0],
                          .out = &call->out[0],
                          .row = row,
                          .real = md__unary_function_of(node->op, by_tanh)};
    md__unary_read_parameters(node, &unary.with.a, &unary.with.b);
    md__parallel(call->pool, md__count(&call->out[0]), 2048, unary_some, &unary);
    return MD_OK;
}

const struct md_kernel md__ref_unary = {
    .supports = unary_supports, .run = unary_run, .in_place = true};

/* Clip(x, min?, max?) is Min(max, Max(x, min)): when min > max, max wins; a NaN stays. */
struct clip {
    const struct md_tensor *in, *out;
    double low, high;
    int64_t low_int, high_int;
};

static void clip_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct clip *clip = context;
    enum md_dtype dtype = clip->in->dtype;
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        double x[MD__BLOCK];
        int64_t n[MD__BLOCK];
        if (md__dtype_is_float(dtype)) {
            md__load_floats(clip->in, at, 1, count, x);
            for (size_t i = 0; i < count; i++) {
                x[i] = x[i] < clip->low ? clip->low : x[i];
                x[i] = x[i] > clip->high ? clip->high : x[i];
            }
            md__store_floats(clip->out, at, 1, count, x);
        } else {
            md__load_ints(clip->in, at, 1, count, n);
            for (size_t i = 0; i < count; i++) {
                n[i] = md__int_less(n[i], clip->low_int, dtype) ? clip->low_int : n[i];
                n[i] = md__int_less(clip->high_int, n[i], dtype) ? clip->high_int : n[i];
            }
            md__store_ints(clip->out, at, 1, count, n);
        }
    }
}

static enum md_status clip_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in;
    enum md_dtype dtype = in[0].dtype;
    bool has_low = md__has(in, call->in_count, 1), has_high = md__has(in, call->in_count, 2);
    struct clip clip = {.in = &in[0], .out = &call->out[0], .low = -INFINITY, .high = INFINITY};
    if (md__dtype_is_float(dtype)) {
        clip.low = has_low ? md__get_float(&in[1], 0) : clip.low;
        clip.high = has_high ? md__get_float(&in[2], 0) : clip.high;
    } else {
        clip.low_int = has_low ? md__get_int(&in[1], 0) : md__int_min(dtype);
        clip.high_int = has_high ? md__get_int(&in[2], 0) : md__int_max(dtype);
    }
    md__parallel(call->pool, md__count(&call->out[0]), 16384, clip_some, &clip);
    return MD_OK;
}

const struct md_kernel md__ref_clip = {.run = clip_run, .in_place = true};
