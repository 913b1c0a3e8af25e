/*
 * Reference kernels of elementwise operators that broadcast: arithmetic, comparison, logic, Where,
 * Expand.
 *
 * Min and Max take any number of inputs: the first two give the output, each further one is folded
 * into it. Float arithmetic runs in double and is rounded once, which gives the float result of + -
 * * / exactly.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref.h"

static double lesser(double a, double b)
{
    if (isnan(a) || isnan(b))
        return NAN;
    return a < b ? a : b;
}

static double apply(enum md_op op, double a, double b)
{
    switch (op) {
    case MD_OP_ADD:
        return a + b;
    case MD_OP_SUB:
        return a - b;
    case MD_OP_MUL:
        return a * b;
    case MD_OP_DIV:
        return a / b;
    case MD_OP_POW:
        return pow(a, b);
    case MD_OP_MIN:
        return lesser(a, b);
    case MD_OP_MAX:
        return -lesser(-a, -b);
    case MD_OP_EQUAL:
        return a == b;
    case MD_OP_LESS:
        return a < b;
    case MD_OP_LESS_OR_EQUAL:
        return a <= b;
    case MD_OP_GREATER:
        return a > b;
    default:
        return a >= b;
    }
}

/* Two's-complement arithmetic; division truncates, and by zero gives 0 where the processor would
 * trap. */
static int64_t apply_int(enum md_op op, int64_t a, int64_t b)
{
    switch (op) {
    case MD_OP_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case MD_OP_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case MD_OP_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case MD_OP_DIV:
        if (b == -1)
            return (int64_t)(0 - (uint64_t)a);
        return b == 0 ? 0 : a / b;
    case MD_OP_MIN:
        return a < b ? a : b;
    case MD_OP_MAX:
        return a > b ? a : b;
    case MD_OP_EQUAL:
        return a == b;
    case MD_OP_LESS:
        return a < b;
    case MD_OP_LESS_OR_EQUAL:
        return a <= b;
    case MD_OP_GREATER:
        return a > b;
    case MD_OP_GREATER_OR_EQUAL:
        return a >= b;
    case MD_OP_AND:
        return a && b;
    default:
        return a || b;
    }
}

static void combine(enum md_op op, const struct md_tensor *a, const struct md_tensor *b,
                    const struct md_tensor *out)
{
    struct md__walk walk;
    md__walk_init(&walk, out->shape.rank, out->shape.dim);
    md__walk_broadcast(&walk, 0, &a->shape);
    md__walk_broadcast(&walk, 1, &b->shape);
    size_t count = md__count(out);
    bool is_float = md__dtype_is_float(a->dtype) || op == MD_OP_POW;
    for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
        size_t at = (size_t)walk.at[0], bt = (size_t)walk.at[1];
        if (is_float)
            md__set_float(out, i, apply(op, md__get_float(a, at), md__get_float(b, bt)));
        else
            md__set_int(out, i, apply_int(op, md__get_int(a, at), md__get_int(b, bt)));
    }
}

/* out = condition ? a : b for elements of any size; condition NULL copies a. */
static void choose(const struct md_tensor *condition, const struct md_tensor *a,
                   const struct md_tensor *b, const struct md_tensor *out)
{
    struct md__walk walk;
    md__walk_init(&walk, out->shape.rank, out->shape.dim);
    md__walk_broadcast(&walk, 0, &a->shape);
    if (condition) {
        md__walk_broadcast(&walk, 1, &b->shape);
        md__walk_broadcast(&walk, 2, &condition->shape);
    }
    size_t count = md__count(out), bytes = md_dtype_bytes(out->dtype);
    char *to = out->data;
    for (size_t i = 0; i < count; i++, md__walk_next(&walk)) {
        bool take_b = condition && !((const uint8_t *)condition->data)[walk.at[2]];
        const char *from = take_b ? b->data : a->data;
        memcpy(to + i * bytes, from + (size_t)walk.at[take_b] * bytes, bytes);
    }
}

static bool binary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    bool logic = node->op == MD_OP_AND || node->op == MD_OP_OR;
    if (logic && in[0].dtype != MD_BOOL)
        return false;
    for (int i = 1; i < in_count; i++)
        if (in[i].dtype != in[0].dtype && node->op != MD_OP_POW)
            return false;
    return true;
}

static enum md_status binary_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in, *out = &call->out[0];
    if (call->in_count == 1)
        choose(NULL, &in[0], NULL, out);
    else
        combine(call->node->op, &in[0], &in[1], out);
    for (int i = 2; i < call->in_count; i++)
        combine(call->node->op, out, &in[i], out);
    return MD_OK;
}

static enum md_status where_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    choose(&call->in[0], &call->in[1], &call->in[2], &call->out[0]);
    return MD_OK;
}

static enum md_status expand_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    choose(NULL, &call->in[0], NULL, &call->out[0]);
    return MD_OK;
}

const struct md_kernel md__ref_binary = {.supports = binary_supports, .run = binary_run};
const struct md_kernel md__ref_where = {.run = where_run};
const struct md_kernel md__ref_expand = {.run = expand_run};
