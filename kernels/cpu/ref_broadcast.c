/*
 * Reference kernels of elementwise operators that broadcast: one row an operator with its function
 * on doubles and its exact function on integers, as in ref_unary.c. Where and Expand move bytes.
 *
 * Min, Max, Sum and Mean take any number of inputs: each further one is folded into the block that
 * the ones before it gave. Float arithmetic runs in double and is rounded once, which gives the
 * float32 result of + - * / exactly. Predicates give 0 or 1.
 */
#include <math.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

typedef double (*real_function)(double a, double b, double alpha);
typedef int64_t (*integer_function)(int64_t a, int64_t b, enum md_dtype dtype);

#define REAL(name, expression)                                                                     \
    static double real_##name(double a, double b, double alpha)                                    \
    {                                                                                              \
        (void)alpha;                                                                               \
        return expression;                                                                         \
    }
#define INTEGER(name, expression)                                                                  \
    static int64_t integer_##name(int64_t a, int64_t b, enum md_dtype dtype)                       \
    {                                                                                              \
        (void)dtype;                                                                               \
        return expression;                                                                         \
    }

/* A NaN on either side gives NaN. */
static double lesser(double a, double b)
{
    return a < b || isnan(a) ? a : b;
}

/* The remainder with the sign of b; a multiple of b gives a zero with that sign. */
static double floor_mod(double a, double b)
{
    double rest = fmod(a, b);
    if (rest == 0)
        return copysign(0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

static double silu(double a, double alpha)
{
    double e = exp(-fabs(alpha * a));
    return a * (alpha * a < 0 ? e : 1) / (1 + e);
}

REAL(add, a + b)
REAL(sub, a - b)
REAL(mul, a *b)
REAL(div, a / b)
REAL(pow, b == 2 ? a * a : pow(a, b)) /* squares are what most models ask for */
REAL(min, lesser(a, b))
REAL(max, -lesser(-a, -b))
REAL(mod, floor_mod(a, b))
REAL(fmod, fmod(a, b))
REAL(prelu, a < 0 ? a * b : a)
REAL(swiglu, silu(a, alpha) * b)
REAL(equal, a == b)
REAL(less, a < b)
REAL(less_or_equal, a <= b)
REAL(greater, a > b)
REAL(greater_or_equal, a >= b)

/* Two's complement: sums and products of uint64 bits are those of int64. */
INTEGER(add, (int64_t)((uint64_t)a + (uint64_t)b))
INTEGER(sub, (int64_t)((uint64_t)a - (uint64_t)b))
INTEGER(mul, (int64_t)((uint64_t)a *(uint64_t)b))
INTEGER(min, md__int_less(a, b, dtype) ? a : b)
INTEGER(max, md__int_less(a, b, dtype) ? b : a)
INTEGER(prelu, md__int_less(a, 0, dtype) ? (int64_t)((uint64_t)a *(uint64_t)b) : a)
INTEGER(equal, a == b)
INTEGER(less, md__int_less(a, b, dtype))
INTEGER(less_or_equal, !md__int_less(b, a, dtype))
INTEGER(greater, md__int_less(b, a, dtype))
INTEGER(greater_or_equal, !md__int_less(a, b, dtype))
INTEGER(and, a &b)
INTEGER(or, a | b)
INTEGER(xor, a ^ b)

/* Truncates; division by zero gives 0 where the processor would trap, -1 wraps. */
static int64_t integer_div(int64_t a, int64_t b, enum md_dtype dtype)
{
    if (b == 0)
        return 0;
    if (dtype == MD_U64)
        return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

/* The sign of a; 0 where b is 0. */
static int64_t integer_fmod(int64_t a, int64_t b, enum md_dtype dtype)
{
    if (b == 0 || (b == -1 && dtype != MD_U64))
        return 0;
    return dtype == MD_U64 ? (int64_t)((uint64_t)a % (uint64_t)b) : a % b;
}

/* The sign of b; 0 where b is 0. */
static int64_t integer_mod(int64_t a, int64_t b, enum md_dtype dtype)
{
    int64_t rest = integer_fmod(a, b, dtype);
    bool turned = dtype != MD_U64 && rest != 0 && (rest < 0) != (b < 0);
    return turned ? rest + b : rest;
}

/* By squaring, wrapping; a negative power of anything but 1 and -1 truncates to 0. */
static int64_t integer_pow(int64_t a, int64_t b, enum md_dtype dtype)
{
    (void)dtype;
    uint64_t power = 1, base = (uint64_t)a;
    if (b < 0)
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    for (; b; b >>= 1, base *= base)
        if (b & 1)
            power *= base;
    return (int64_t)power;
}

/* Shifts by less than nothing or by the whole width leave copies of the sign. */
static bool shifts_out(int64_t b, enum md_dtype dtype)
{
    return b < 0 || b >= 8 * (int64_t)md_dtype_bytes(dtype);
}

static int64_t integer_shift_left(int64_t a, int64_t b, enum md_dtype dtype)
{
    return shifts_out(b, dtype) ? 0 : (int64_t)((uint64_t)a << b);
}

static int64_t integer_shift_right(int64_t a, int64_t b, enum md_dtype dtype)
{
    if (shifts_out(b, dtype))
        return md__int_less(a, 0, dtype) ? -1 : 0;
    return dtype == MD_U64 ? (int64_t)((uint64_t)a >> b) : a >> b;
}

struct row {
    enum md_op op;
    real_function real;
    integer_function integer;
    /* what an attribute turns the row into: Mod's fmod, BitShift's direction LEFT */
    real_function other_real;
    integer_function other_integer;
};

static const struct row rows[] = {
    {MD_OP_ADD, real_add, integer_add, NULL, NULL},
    {MD_OP_SUB, real_sub, integer_sub, NULL, NULL},
    {MD_OP_MUL, real_mul, integer_mul, NULL, NULL},
    {MD_OP_DIV, real_div, integer_div, NULL, NULL},
    {MD_OP_POW, real_pow, integer_pow, NULL, NULL},
    {MD_OP_MIN, real_min, integer_min, NULL, NULL},
    {MD_OP_MAX, real_max, integer_max, NULL, NULL},
    {MD_OP_SUM, real_add, integer_add, NULL, NULL},
    {MD_OP_MEAN, real_add, NULL, NULL, NULL},
    {MD_OP_MOD, real_mod, integer_mod, real_fmod, integer_fmod},
    {MD_OP_PRELU, real_prelu, integer_prelu, NULL, NULL},
    {MD_OP_SWIGLU, real_swiglu, NULL, NULL, NULL},
    {MD_OP_EQUAL, real_equal, integer_equal, NULL, NULL},
    {MD_OP_LESS, real_less, integer_less, NULL, NULL},
    {MD_OP_LESS_OR_EQUAL, real_less_or_equal, integer_less_or_equal, NULL, NULL},
    {MD_OP_GREATER, real_greater, integer_greater, NULL, NULL},
    {MD_OP_GREATER_OR_EQUAL, real_greater_or_equal, integer_greater_or_equal, NULL, NULL},
    {MD_OP_AND, NULL, integer_and, NULL, NULL},
    {MD_OP_OR, NULL, integer_or, NULL, NULL},
    {MD_OP_XOR, NULL, integer_xor, NULL, NULL},
    {MD_OP_BITWISE_AND, NULL, integer_and, NULL, NULL},
    {MD_OP_BITWISE_OR, NULL, integer_or, NULL, NULL},
    {MD_OP_BITWISE_XOR, NULL, integer_xor, NULL, NULL},
    {MD_OP_BIT_SHIFT, NULL, integer_shift_right, NULL, integer_shift_left},
};

static const struct row *row_of(enum md_op op)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].op == op)
            return &rows[i];
    return NULL;
}

static bool is_logic(enum md_op op)
{
    return op == MD_OP_AND || op == MD_OP_OR || op == MD_OP_XOR;
}

/* Pow alone mixes dtypes: floats on either side make it a float power, rounded to the base's. */
static bool is_real(enum md_op op, const struct md_tensor *in)
{
    return md__dtype_is_float(in[0].dtype) || (op == MD_OP_POW && md__dtype_is_float(in[1].dtype));
}

static bool binary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    const struct row *row = row_of(node->op);
    bool boolean = is_logic(node->op) || node->op == MD_OP_EQUAL;
    for (int i = 0; i < in_count; i++)
        if (in[i].dtype == 0 || (in[i].dtype != in[0].dtype && node->op != MD_OP_POW))
            return false;
    if (in[0].dtype == MD_BOOL ? !boolean : is_logic(node->op))
        return false;
    return is_real(node->op, in) ? row->real != NULL : row->integer != NULL;
}

struct fold {
    const struct md_kernel_call *call;
    real_function real; /* NULL: integers */
    integer_function integer;
    double alpha, scale;
};

static void fold_reals(const struct fold *fold, struct md__view *views, size_t at, size_t count)
{
    double a[MD__BLOCK], b[MD__BLOCK];
    md__view_floats(&views[0], at, count, a);
    for (int k = 1; k < fold->call->in_count; k++) {
        md__view_init(&views[1], &fold->call->in[k], &fold->call->out[0].shape);
        md__view_floats(&views[1], at, count, b);
        for (size_t i = 0; i < count; i++)
            a[i] = fold->real(a[i], b[i], fold->alpha);
    }
    for (size_t i = 0; fold->scale != 1 && i < count; i++)
        a[i] *= fold->scale;
    md__store_floats(&fold->call->out[0], at, 1, count, a);
}

static void fold_integers(const struct fold *fold, struct md__view *views, size_t at, size_t count)
{
    int64_t a[MD__BLOCK], b[MD__BLOCK];
    md__view_ints(&views[0], at, count, a);
    for (int k = 1; k < fold->call->in_count; k++) {
        md__view_init(&views[1], &fold->call->in[k], &fold->call->out[0].shape);
        md__view_ints(&views[1], at, count, b);
        for (size_t i = 0; i < count; i++)
            a[i] = fold->integer(a[i], b[i], fold->call->in[0].dtype);
    }
    md__store_ints(&fold->call->out[0], at, 1, count, a);
}

static void fold_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct fold *fold = context;
    struct md__view views[2];
    md__view_init(&views[0], &fold->call->in[0], &fold->call->out[0].shape);
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        (fold->real ? fold_reals : fold_integers)(fold, views, at, count);
    }
}

static enum md_status binary_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_node *node = call->node;
    const struct row *row = row_of(node->op);
    bool other = node->op == MD_OP_MOD ? md_node_int(node, "fmod", 0) != 0
                                       : md_node_string(node, "direction", "")[0] == 'L';
    struct fold fold = {.call = call,
                        .integer = other && row->other_integer ? row->other_integer : row->integer,
                        .alpha = md_node_float(node, "alpha", 1),
                        .scale = node->op == MD_OP_MEAN ? 1.0 / call->in_count : 1};
    if (is_real(node->op, call->in))
        fold.real = other && row->other_real ? row->other_real : row->real;
    md__parallel(call->pool, md__count(&call->out[0]), 4096, fold_some, &fold);
    return MD_OK;
}

const struct md_kernel md__ref_binary = {.supports = binary_supports, .run = binary_run};

/* ---- bytes: Where and Expand do not look at what they move ----------------------------------- */

/* The tensor as unsigned integers of its width. */
static struct md_tensor as_bits(const struct md_tensor *tensor)
{
    static const enum md_dtype widths[9] = {[1] = MD_U8, [2] = MD_U16, [4] = MD_U32, [8] = MD_U64};
    struct md_tensor bits = *tensor;
    bits.dtype = widths[md_dtype_bytes(tensor->dtype)];
    return bits;
}

static void where_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct md_kernel_call *call = context;
    struct md_tensor tensors[3] = {as_bits(&call->in[0]), as_bits(&call->in[1]),
                                   as_bits(&call->in[2])};
    struct md_tensor out = as_bits(&call->out[0]);
    struct md__view views[3];
    int64_t flag[MD__BLOCK], a[MD__BLOCK], b[MD__BLOCK];
    for (int i = 0; i < 3; i++)
        md__view_init(&views[i], &tensors[i], &out.shape);
    for (size_t at = begin; at < end; at += MD__BLOCK) {
        size_t count = end - at < MD__BLOCK ? end - at : MD__BLOCK;
        md__view_ints(&views[0], at, count, flag);
        md__view_ints(&views[1], at, count, a);
        md__view_ints(&views[2], at, count, b);
        for (size_t i = 0; i < count; i++)
            a[i] = flag[i] ? a[i] : b[i];
        md__store_ints(&out, at, 1, count, a);
    }
}

static enum md_status where_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct md_kernel_call shared = *call;
    md__parallel(call->pool, md__count(&call->out[0]), 8192, where_some, &shared);
    return MD_OK;
}

static enum md_status expand_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    struct md_tensor in = as_bits(&call->in[0]), out = as_bits(&call->out[0]);
    struct md__view view;
    int64_t x[MD__BLOCK];
    size_t whole = md__count(&out);
    md__view_init(&view, &in, &out.shape);
    for (size_t at = 0; at < whole; at += MD__BLOCK) {
        size_t count = whole - at < MD__BLOCK ? whole - at : MD__BLOCK;
        md__view_ints(&view, at, count, x);
        md__store_ints(&out, at, 1, count, x);
    }
    return MD_OK;
}

const struct md_kernel md__ref_where = {.run = where_run};
const struct md_kernel md__ref_expand = {.run = expand_run};
