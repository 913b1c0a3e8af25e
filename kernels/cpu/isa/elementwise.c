/*
 * Elementwise float32 operators. Other element types go to the reference kernels.
 *
 * Broadcasting: neighbouring axes over which both inputs advance alike are merged, so that the last
 * merged axis is a plain loop in which each input either runs along (step 1) or stands still (step
 * 0). What is left of the outer axes is walked by an odometer.
 */
#include <math.h>

#include "kernels/cpu/isa/activation.h"
#include "kernels/cpu/isa/elementwise.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"
#include "kernels/cpu/isa/math.h"
#include "kernels/cpu/ref.h"

/* ---- one input ------------------------------------------------------------------------------- */

/* Gelu's approximation: a loop of its own, in this file only. */
#define MD_OP_GELU_TANH MD_OP_COUNT

INLINE vf clamped(vf x, vf low, vf high)
{
    return vmin(high, vmax(low, x));
}

INLINE vf apply_unary(enum md_op op, vf x, float a, float b)
{
    switch (op) {
    case MD_OP_ABS:
        return vabs(x);
    case MD_OP_NEG:
        return -x;
    case MD_OP_EXP:
        return vexp(x);
    case MD_OP_LOG:
        return vlog(x);
    case MD_OP_SQRT:
        return vsqrt(x);
    case MD_OP_RECIPROCAL:
        return 1.0f / x;
    case MD_OP_SIGMOID:
        return vsigmoid(x);
    case MD_OP_TANH:
        return vtanh(x);
    case MD_OP_RELU:
        return vmax(splat(0.0f), x);
    case MD_OP_ELU:
        return velu(x, splat(a));
    case MD_OP_ERF:
        return verf(x);
    case MD_OP_SWISH:
        return vswish(x, splat(a));
    case MD_OP_MISH:
        return vmish(x);
    case MD_OP_LEAKY_RELU:
        return choose(x < 0.0f, x * a, x);
    case MD_OP_HARD_SIGMOID:
        return clamped(x * a + b, splat(0.0f), splat(1.0f));
    case MD_OP_HARD_SWISH:
        return x * clamped(x * 0x1.555556p-3f + 0.5f, splat(0.0f), splat(1.0f));
    case MD_OP_CLIP:
        return clamped(x, splat(a), splat(b));
    case MD_OP_GELU_TANH:
        return vgelu_tanh(x);
    default:
        return vsoftplus(x);
    }
}

/* One loop an operator: `op` is a constant in each copy. */
INLINE void unary_loop(const struct unary *unary, enum md_op op, size_t begin, size_t end)
{
    size_t i = begin;
    for (; i + VL <= end; i += VL)
        store(unary->y + i, apply_unary(op, load(unary->x + i), unary->a, unary->b));
    if (i < end)
        store_some(unary->y + i,
                   apply_unary(op, load_some(unary->x + i, end - i), unary->a, unary->b), end - i);
}

/* ---- activations of several vectors side by side (math.h) ------------------------------------ */

/* Which: behind sums of products a gate's error of a few 2^-24 of 1 is small enough. */
static bool is_grouped(const struct unary *unary)
{
    return unary->op == MD_OP_SIGMOID || unary->op == MD_OP_GELU || unary->op == MD_OP_GELU_TANH ||
           (unary->op == MD_OP_SWISH && unary->a == 1.0f);
}

/* `n` vectors of `lanes` floats, which lie at `at`; below -85 Swish is 0. */
INLINE void activate_group(enum md_op op, const float *from, float *to, const size_t *at,
                           size_t lanes, const int n)
{
    vf x[GROUP], gate[GROUP], share[GROUP];
    EACH(n) x[i] = load_upto(from + at[i], lanes);
    if (op == MD_OP_GELU) {
        gelu_each(x, n);
        EACH(n) store_upto(to + at[i], x[i], lanes);
        return;
    }
    EACH(n)
    {
        vf held = vmin(splat(16.0f), vmax(splat(-16.0f), x[i]));
        gate[i] = x[i] * (float)GATE_SCALE;
        if (op == MD_OP_GELU_TANH)
            gate[i] = held * (gelu_tanh_factor(held) * (float)GATE_SCALE);
        share[i] = splat(1.0f);
    }
    gate_each(share, gate, n);
    EACH(n)
    {
        if (op != MD_OP_SIGMOID)
            share[i] *= vmax(splat(-85.0f), x[i]);
        store_upto(to + at[i], share[i], lanes);
    }
}

/* All of some rows, a group after the other from however many rows it takes. */
INLINE void activate_rows(enum md_op op, const float *x, float *y, size_t stride, size_t rows,
                          size_t columns)
{
    const int many = VECTOR_REGISTERS == 32 ? GROUP : 3;
    size_t at[GROUP], whole = columns / VL * VL;
    int n = 0;
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < whole; i += VL) {
            at[n++] = r * stride + i;
            if (n == many) {
                activate_group(op, x, y, at, VL, many);
                n = 0;
            }
        }
        size_t tail = r * stride + whole;
        if (whole < columns)
            activate_group(op, x, y, &tail, columns - whole, 1);
    }
    for (int i = 0; i < n; i++)
        activate_group(op, x, y, at + i, VL, 1);
}

static void activate_grouped(const struct unary *unary, size_t stride, size_t rows, size_t columns)
{
    const float *x = unary->x;
    float *y = unary->y;
    if (unary->op == MD_OP_SIGMOID)
        activate_rows(MD_OP_SIGMOID, x, y, stride, rows, columns);
    else if (unary->op == MD_OP_SWISH)
        activate_rows(MD_OP_SWISH, x, y, stride, rows, columns);
    else if (unary->op == MD_OP_GELU)
        activate_rows(MD_OP_GELU, x, y, stride, rows, columns);
    else
        activate_rows(MD_OP_GELU_TANH, x, y, stride, rows, columns);
}

/* ---- one input, vector by vector ------------------------------------------------------------- */

#define UNARY_OPS(X)                                                                               \
    X(ABS)                                                                                         \
    X(NEG)                                                                                         \
    X(EXP)                                                                                         \
    X(LOG)                                                                                         \
    X(SQRT)                                                                                        \
    X(RECIPROCAL)                                                                                  \
    X(SIGMOID)                                                                                     \
    X(TANH)                                                                                        \
    X(RELU)                                                                                        \
    X(ELU)                                                                                         \
    X(SOFTPLUS)                                                                                    \
    X(ERF)                                                                                         \
    X(SWISH)                                                                                       \
    X(MISH) X(LEAKY_RELU) X(HARD_SIGMOID) X(HARD_SWISH) X(CLIP) X(GELU_TANH)

void md__unary_elements(const struct unary *unary, size_t begin, size_t end)
{
    struct unary part = *unary;
    switch (unary->op) {
    case MD_OP_GELU:
        part.x += begin;
        part.y += begin;
        activate_grouped(&part, 0, 1, end - begin);
        break;
#define X(id)                                                                                      \
    case MD_OP_##id:                                                                               \
        unary_loop(unary, MD_OP_##id, begin, end);                                                 \
        break;
        UNARY_OPS(X)
#undef X
    default:
        break;
    }
}

static void unary_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    md__unary_elements(context, begin, end);
}

struct unary md__unary_of(const struct md_activation *activation)
{
    bool tanh = activation->op == MD_OP_GELU && activation->a != 0;
    return (struct unary){.op = tanh ? MD_OP_GELU_TANH : activation->op,
                          .a = (float)activation->a,
                          .b = (float)activation->b};
}

static void shift_row(float *y, size_t columns, vf scale, vf shift)
{
    for (size_t i = 0; i < columns; i += VL)
        store_upto(y + i, load_upto(y + i, columns - i) * scale + shift, columns - i);
}

void md__activate(const struct md_activation *activation, float *y, size_t stride, size_t rows,
                  size_t columns)
{
    struct unary unary = md__unary_of(activation);
    bool shifts = activation->shifts;
    vf scale = splat((float)activation->scale), shift = splat((float)activation->shift);
    bool grouped = is_grouped(&unary);
    unary.x = unary.y = y;
    if (grouped)
        activate_grouped(&unary, stride, rows, columns);
    for (size_t r = 0; r < rows && (!grouped || shifts); r++, y += stride) {
        unary.x = unary.y = y;
        if (!grouped)
            md__unary_elements(&unary, 0, columns);
        if (shifts)
            shift_row(y, columns, scale, shift);
    }
}

static enum md_status unary_run(const struct md_kernel_call *call, struct md_error *err)
{
    if (call->in[0].dtype != MD_F32)
        return md__ref_unary.run(call, err);
    const struct md_node *node = call->node;
    struct unary unary = {.op = node->op, .x = call->in[0].data, .y = call->out[0].data};
    double a, b;
    md__unary_read_parameters(node, &a, &b);
    unary.a = (float)a;
    unary.b = (float)b;
    if (node->op == MD_OP_GELU && md_node_string(node, "approximate", "none")[0] == 't')
        unary.op = MD_OP_GELU_TANH;
    md__parallel(call->pool, md__count(&call->out[0]), 16384, unary_some, &unary);
    return MD_OK;
}

static bool unary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_unary.supports(node, in, in_count);
}

const struct md_kernel md__unary = {.supports = unary_supports, .run = unary_run, .in_place = true};

/* ---- Pow by one number ----------------------------------------------------------------------- */

enum power { SQUARE, CUBE, ROOT, INVERSE, OTHER };

INLINE vf apply_power(enum power power, vf x)
{
    switch (power) {
    case SQUARE:
        return x * x;
    case CUBE:
        return x * x * x;
    case ROOT: /* of -infinity Pow gives infinity */
        return choose(x == -INFINITY, splat(INFINITY), vsqrt(x));
    default:
        return 1.0f / x;
    }
}

struct powers {
    const float *x;
    float *y;
    enum power power;
};

INLINE void power_loop(const struct powers *powers, enum power power, size_t begin, size_t end)
{
    size_t i = begin;
    for (; i + VL <= end; i += VL)
        store(powers->y + i, apply_power(power, load(powers->x + i)));
    if (i < end)
        store_some(powers->y + i, apply_power(power, load_some(powers->x + i, end - i)), end - i);
}

static void power_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct powers *powers = context;
    if (powers->power == SQUARE)
        power_loop(powers, SQUARE, begin, end);
    else if (powers->power == CUBE)
        power_loop(powers, CUBE, begin, end);
    else if (powers->power == ROOT)
        power_loop(powers, ROOT, begin, end);
    else
        power_loop(powers, INVERSE, begin, end);
}

static enum power power_of(const struct md_tensor *exponent)
{
    double number = md__count(exponent) == 1 ? md__get_float(exponent, 0) : 0;
    return number == 2     ? SQUARE
           : number == 3   ? CUBE
           : number == 0.5 ? ROOT
           : number == -1  ? INVERSE
                           : OTHER;
}

static enum md_status power_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = call->in, *out = &call->out[0];
    struct powers powers = {.x = in[0].data, .y = out->data, .power = power_of(&in[1])};
    if (in[0].dtype != MD_F32 || !md__dtype_is_float(in[1].dtype) || powers.power == OTHER ||
        md__count(&in[0]) != md__count(out))
        return md__ref_binary.run(call, err);
    md__parallel(call->pool, md__count(out), 16384, power_some, &powers);
    return MD_OK;
}

static bool power_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_binary.supports(node, in, in_count);
}

const struct md_kernel md__power = {.supports = power_supports, .run = power_run};

/* ---- Clip ------------------------------------------------------------------------------------ */

static enum md_status clip_run(const struct md_kernel_call *call, struct md_error *err)
{
    if (call->in[0].dtype != MD_F32)
        return md__ref_clip.run(call, err);
    struct unary unary = {.op = MD_OP_CLIP, .x = call->in[0].data, .y = call->out[0].data};
    bool low = md__has(call->in, call->in_count, 1), high = md__has(call->in, call->in_count, 2);
    unary.a = low ? *(const float *)call->in[1].data : -INFINITY;
    unary.b = high ? *(const float *)call->in[2].data : INFINITY;
    md__parallel(call->pool, md__count(&call->out[0]), 16384, unary_some, &unary);
    return MD_OK;
}

const struct md_kernel md__clip = {.run = clip_run, .in_place = true};

/* ---- two inputs ------------------------------------------------------------------------------ */

INLINE vf apply_binary(enum md_op op, vf a, vf b)
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
    case MD_OP_MIN: /* vmin and vmax let a NaN in b through */
        return choose(a != a, a, vmin(a, b));
    default:
        return choose(a != a, a, vmax(a, b));
    }
}

INLINE vf operand(const float *from, size_t i, size_t left, int step)
{
    if (step == 0)
        return splat(*from);
    return left >= VL ? load(from + i) : load_some(from + i, left);
}

INLINE void binary_row(enum md_op op, const float *a, int a_step, const float *b, int b_step,
                       float *y, size_t count)
{
    size_t i = 0;
    for (; i + VL <= count; i += VL)
        store(y + i, apply_binary(op, operand(a, i, VL, a_step), operand(b, i, VL, b_step)));
    size_t left = count - i;
    if (left)
        store_some(y + i,
                   apply_binary(op, operand(a, i, left, a_step), operand(b, i, left, b_step)),
                   left);
}

/* Elements [begin, end) of the output, in rows of `inner`; op and steps are constants in each copy.
 */
INLINE void binary_loop(const struct binary *binary, enum md_op op, int a_step, int b_step,
                        size_t begin, size_t end)
{
    struct md__walk walk = binary->outer;
    size_t inner = binary->inner, skip = begin % inner;
    md__walk_seek(&walk, begin / inner);
    while (begin < end) {
        size_t count = inner - skip < end - begin ? inner - skip : end - begin;
        size_t a = (size_t)walk.at[0] + (a_step ? skip : 0) - binary->first[0];
        size_t b = (size_t)walk.at[1] + (b_step ? skip : 0) - binary->first[1];
        binary_row(op, binary->a + a, a_step, binary->b + b, b_step,
                   binary->y + ((size_t)walk.at[2] + skip - binary->first[2]), count);
        begin += count;
        skip = 0;
        md__walk_next(&walk);
    }
}

INLINE void binary_steps(const struct binary *binary, enum md_op op, size_t begin, size_t end)
{
    if (binary->a_step && binary->b_step)
        binary_loop(binary, op, 1, 1, begin, end);
    else if (binary->a_step)
        binary_loop(binary, op, 1, 0, begin, end);
    else
        binary_loop(binary, op, 0, binary->b_step ? 1 : 0, begin, end);
}

#define BINARY_OPS(X) X(ADD) X(SUB) X(MUL) X(DIV) X(MIN) X(MAX)

void md__binary_elements(const struct binary *binary, size_t begin, size_t end)
{
    switch (binary->op) {
#define X(id)                                                                                      \
    case MD_OP_##id:                                                                               \
        binary_steps(binary, MD_OP_##id, begin, end);                                              \
        break;
        BINARY_OPS(X)
#undef X
    default:
        break;
    }
}

static void binary_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    md__binary_elements(context, begin, end);
}

/* The last merged axis is split off the walk. */
void md__binary_shapes(struct binary *binary, const struct md_shape *a, const struct md_shape *b,
                       const struct md_shape *y, const size_t *pitch)
{
    struct md__walk *walk = &binary->outer;
    const struct md_shape *shapes[] = {a, b, y};
    md__walk_init(walk, y->rank, y->dim);
    for (int i = 0; i < 3; i++) {
        const struct md_shape *shape = shapes[i];
        md__walk_broadcast(walk, i, shape);
        if (pitch && shape->rank)
            md__strides_apart(walk->stride[i], y->rank, shape->dim[shape->rank - 1], pitch[i]);
    }
    md__walk_merge(walk);
    int last = --walk->rank;
    binary->inner = (size_t)walk->dim[last];
    binary->a_step = walk->stride[0][last] != 0;
    binary->b_step = walk->stride[1][last] != 0;
}

static enum md_status binary_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = call->in, *out = &call->out[0];
    if (in[0].dtype != MD_F32 || call->in_count != 2)
        return md__ref_binary.run(call, err);
    size_t count = md__count(out);
    if (count == 0)
        return MD_OK;
    struct binary binary = {.op = call->node->op, .a = in[0].data, .b = in[1].data, .y = out->data};
    const size_t pitch[3] = {md_kernel_pitch(call, 0, 0), md_kernel_pitch(call, 1, 0),
                             md_kernel_pitch(call, 2, 0)};
    md__binary_shapes(&binary, &in[0].shape, &in[1].shape, &out->shape, pitch);
    md__parallel(call->pool, count, 16384, binary_some, &binary);
    return MD_OK;
}

static bool binary_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_binary.supports(node, in, in_count);
}

const struct md_kernel md__binary = {
    .supports = binary_supports, .run = binary_run, .in_place = true};
const struct md_kernel md__binary_of_two = {.supports = binary_supports,
                                            .run = binary_run,
                                            .in_place = true,
                                            .pitched = MD_PITCHED_EVERYWHERE};
