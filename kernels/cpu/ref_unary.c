/*
 * Reference kernels of elementwise operators with one input. Everything is computed in double
 * precision and rounded once; integers have their own exact path where the operator makes sense for
 * them.
 */
#include <math.h>

#include "kernels/cpu/ref.h"

static double apply(const struct md_node *node, double x, double alpha)
{
    switch (node->op) {
    case MD_OP_ABS:
        return fabs(x);
    case MD_OP_NEG:
        return -x;
    case MD_OP_EXP:
        return exp(x);
    case MD_OP_LOG:
        return log(x);
    case MD_OP_SQRT:
        return sqrt(x);
    case MD_OP_RECIPROCAL:
        return 1 / x;
    case MD_OP_SIGMOID:
        return 1 / (1 + exp(-x));
    case MD_OP_TANH:
        return tanh(x);
    case MD_OP_RELU:
        return x < 0 ? 0 : x;
    case MD_OP_ELU:
        return x < 0 ? alpha * expm1(x) : x;
    case MD_OP_SOFTPLUS: /* log(1 + e^x) without overflow */
        return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
    default:
        return erf(x);
    }
}

static int64_t apply_int(enum md_op op, int64_t x)
{
    uint64_t minus = 0 - (uint64_t)x; /* wraps where -x would overflow */
    if (op == MD_OP_NEG || (op == MD_OP_ABS && x < 0))
        return (int64_t)minus;
    return op == MD_OP_RELU && x < 0 ? 0 : x;
}

static bool unary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    (void)in_count;
    bool exact = node->op == MD_OP_ABS || node->op == MD_OP_NEG || node->op == MD_OP_RELU;
    return exact || md__dtype_is_float(in[0].dtype);
}

static enum md_status unary_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_node *node = call->node;
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    double alpha = md_node_float(node, "alpha", 1.0);
    size_t count = md__count(out);
    bool is_float = md__dtype_is_float(in->dtype);
    for (size_t i = 0; i < count; i++) {
        if (is_float)
            md__set_float(out, i, apply(node, md__get_float(in, i), alpha));
        else
            md__set_int(out, i, apply_int(node->op, md__get_int(in, i)));
    }
    return MD_OK;
}

const struct md_kernel md__ref_unary = {
    .supports = unary_supports, .run = unary_run, .in_place = true};

/* Clip(x, min?, max?): when min > max, max wins, as in NumPy. */
static enum md_status clip_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in, *out = &call->out[0];
    bool has_min = md__has(in, call->in_count, 1), has_max = md__has(in, call->in_count, 2);
    size_t count = md__count(out);
    if (md__dtype_is_float(in[0].dtype)) {
        double min = has_min ? md__get_float(&in[1], 0) : -INFINITY;
        double max = has_max ? md__get_float(&in[2], 0) : INFINITY;
        for (size_t i = 0; i < count; i++) {
            double x = md__get_float(&in[0], i);
            x = x < min ? min : x;
            md__set_float(out, i, x > max ? max : x);
        }
        return MD_OK;
    }
    int64_t min = has_min ? md__get_int(&in[1], 0) : INT64_MIN;
    int64_t max = has_max ? md__get_int(&in[2], 0) : INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        int64_t x = md__get_int(&in[0], i);
        x = x < min ? min : x;
        md__set_int(out, i, x > max ? max : x);
    }
    return MD_OK;
}

const struct md_kernel md__ref_clip = {.run = clip_run, .in_place = true};

/*
 * Cast takes its target from the output's dtype (the shape rule read the attribute); Not is a cast
 * to bool, negated. Not in place: a wider output could overtake its input only when sizes differ,
 * which the planner excludes.
 */
static enum md_status cast_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = &call->in[0], *out = &call->out[0];
    size_t count = md__count(out);
    bool through_float = md__dtype_is_float(in->dtype);
    for (size_t i = 0; i < count; i++) {
        if (call->node->op == MD_OP_NOT)
            md__set_int(out, i, md__get_int(in, i) == 0);
        else if (through_float)
            md__set_float(out, i, md__get_float(in, i));
        else
            md__set_int(out, i, md__get_int(in, i));
    }
    return MD_OK;
}

const struct md_kernel md__ref_cast = {.run = cast_run, .in_place = true};
