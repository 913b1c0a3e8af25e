/*
 * Elementwise arithmetic; see base/vectors.h.
 *
 * A plane whose operands stand still or go on by one, as all but transposed ones do, has a loop of
 * its own: the compiler makes vectors of it. No body holds a product and a sum that could be
 * contracted into one rounding, but for `round`, whose product is exact.
 */
#include "base/isa/vectors.h"

#include <math.h>
#include <stdint.h>

#include "base/isa/isa.h"

/* Of any instruction set: rows are cut into so many values and a rest. */
enum { BLOCK = 16 };

/* ---- one operand ----------------------------------------------------------------------------- */

#define UNARY_VALUE(step, expression)                                                              \
    {                                                                                              \
        float a = x[i * (step)];                                                                   \
        out[i] = (expression);                                                                     \
    }

#define UNARY_ROWS(step, expression)                                                               \
    for (ptrdiff_t row = 0; row < rows; row++, out += count) {                                     \
        const float *x = in[0].data + row * in[0].row_stride;                                      \
        ptrdiff_t i = 0;                                                                           \
        for (; i < (count & -BLOCK); i++)                                                          \
            UNARY_VALUE(step, expression)                                                          \
        for (; i < count; i++)                                                                     \
            UNARY_VALUE(step, expression)                                                          \
    }

#define UNARY(name, expression)                                                                    \
    static void name##_body(float *restrict out, const struct md_plane *in, ptrdiff_t rows,        \
                            ptrdiff_t count)                                                       \
    {                                                                                              \
        if (in[0].stride == 1)                                                                     \
            UNARY_ROWS(1, expression)                                                              \
        else                                                                                       \
            UNARY_ROWS(in[0].stride, expression)                                                   \
    }

/* floorf without a call, which baseline x86-64 needs: numbers from 2^23 on are whole already. */
static inline float whole_below(float a)
{
#if defined(__SSE4_1__)
    return floorf(a);
#endif
    float size = fabsf(a), nearest = (size + 0x1p23f) - 0x1p23f;
    float whole = copysignf(nearest, a);
    whole = whole > a ? whole - 1.0f : whole;
    return size < 0x1p23f ? copysignf(whole, a) : a;
}

UNARY(exp, expf(a))
UNARY(log, logf(a))
UNARY(sqrt, sqrtf(a))
UNARY(abs, fabsf(a))
UNARY(neg, -a)
UNARY(floor, whole_below(a))
UNARY(isnan, isnan(a) ? 1.0f : 0.0f)
UNARY(copy, a)

/* ---- two operands ---------------------------------------------------------------------------- */

#define BINARY_VALUE(step_a, step_b, expression)                                                   \
    {                                                                                              \
        float a = x[i * (step_a)], b = y[i * (step_b)];                                            \
        out[i] = (expression);                                                                     \
    }

#define BINARY_ROWS(step_a, step_b, expression)                                                    \
    for (ptrdiff_t row = 0; row < rows; row++, out += count) {                                     \
        const float *x = in[0].data + row * in[0].row_stride;                                      \
        const float *y = in[1].data + row * in[1].row_stride;                                      \
        ptrdiff_t i = 0;                                                                           \
        for (; i < (count & -BLOCK); i++)                                                          \
            BINARY_VALUE(step_a, step_b, expression)                                               \
        for (; i < count; i++)                                                                     \
            BINARY_VALUE(step_a, step_b, expression)                                               \
    }

#define BINARY(name, expression)                                                                   \
    static void name##_body(float *restrict out, const struct md_plane *in, ptrdiff_t rows,        \
                            ptrdiff_t count)                                                       \
    {                                                                                              \
        if (in[0].stride == 1 && in[1].stride == 1)                                                \
            BINARY_ROWS(1, 1, expression)                                                          \
        else if (in[0].stride == 1 && in[1].stride == 0)                                           \
            BINARY_ROWS(1, 0, expression)                                                          \
        else if (in[0].stride == 0 && in[1].stride == 1)                                           \
            BINARY_ROWS(0, 1, expression)                                                          \
        else                                                                                       \
            BINARY_ROWS(in[0].stride, in[1].stride, expression)                                    \
    }

/* Half away from zero: what round() gives for numbers below 2^52, without a call. */
static inline float rounded(float a, float scale)
{
    double scaled = (double)a * (double)scale, size = fabs(scaled);
    double nearest = (size + 0x1p52) - 0x1p52; /* half to even */
    nearest = size - nearest == 0.5 ? nearest + 1.0 : nearest;
    return (float)(copysign(size < 0x1p52 ? nearest : size, scaled) / (double)scale);
}

BINARY(add, a + b)
BINARY(sub, a - b)
BINARY(mul, a *b)
BINARY(div, a / b)
BINARY(pow, powf(a, b))
BINARY(min, b < a ? b : a)
BINARY(max, b > a ? b : a)
BINARY(ge, a >= b ? 1.0f : 0.0f)
BINARY(gt, a > b ? 1.0f : 0.0f)
BINARY(le, a <= b ? 1.0f : 0.0f)
BINARY(lt, a < b ? 1.0f : 0.0f)
BINARY(eq, a == b ? 1.0f : 0.0f)
BINARY(round, rounded(a, b))

/* ---- three operands -------------------------------------------------------------------------- */

/* A row of one operand. */
static void take_row(float *restrict out, const struct md_plane *from, ptrdiff_t row,
                     ptrdiff_t count)
{
    const float *x = from->data + row * from->row_stride;
    if (from->stride == 1)
        for (ptrdiff_t i = 0; i < count; i++)
            out[i] = x[i];
    else
        for (ptrdiff_t i = 0; i < count; i++)
            out[i] = x[i * from->stride];
}

static int is_set(float condition)
{
    return condition != 0.0f && !isnan(condition);
}

#define WHERE_ROW(step_x, step_y)                                                                  \
    for (ptrdiff_t i = 0; i < count; i++) {                                                        \
        float a = x[i * (step_x)], b = y[i * (step_y)];                                            \
        out[i] = is_set(c[i]) ? a : b;                                                             \
    }

/* A row whose condition goes on by one. */
static void where_row(float *restrict out, const float *restrict c, const float *restrict x,
                      ptrdiff_t step_x, const float *restrict y, ptrdiff_t step_y, ptrdiff_t count)
{
    if (step_x == 1 && step_y == 1)
        WHERE_ROW(1, 1)
    else if (step_x == 1 && step_y == 0)
        WHERE_ROW(1, 0)
    else if (step_x == 0 && step_y == 1)
        WHERE_ROW(0, 1)
    else
        WHERE_ROW(step_x, step_y)
}

static void where_body(float *restrict out, const struct md_plane *in, ptrdiff_t rows,
                       ptrdiff_t count)
{
    for (ptrdiff_t row = 0; row < rows; row++, out += count) {
        const float *c = in[0].data + row * in[0].row_stride;
        if (in[0].stride == 0) { /* all of one, or all of the other */
            take_row(out, &in[count > 0 && is_set(*c) ? 1 : 2], row, count);
            continue;
        }
        const float *x = in[1].data + row * in[1].row_stride;
        const float *y = in[2].data + row * in[2].row_stride;
        if (in[0].stride == 1) {
            where_row(out, c, x, in[1].stride, y, in[2].stride, count);
            continue;
        }
        for (ptrdiff_t i = 0; i < count; i++)
            out[i] = is_set(c[i * in[0].stride]) ? x[i * in[1].stride] : y[i * in[2].stride];
    }
}

static void clip_body(float *restrict out, const struct md_plane *in, ptrdiff_t rows,
                      ptrdiff_t count)
{
    for (ptrdiff_t row = 0; row < rows; row++, out += count) {
        const float *x = in[0].data + row * in[0].row_stride;
        const float *low = in[1].data + row * in[1].row_stride;
        const float *high = in[2].data + row * in[2].row_stride;
        for (ptrdiff_t i = 0; i < count; i++) {
            float a = x[i * in[0].stride];
            a = a < low[i * in[1].stride] ? low[i * in[1].stride] : a;
            out[i] = a > high[i * in[2].stride] ? high[i * in[2].stride] : a;
        }
    }
}

/* ---- extremes -------------------------------------------------------------------------------- */

#define LANES (VECTOR_BYTES / 4)

typedef float lanes __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t masks __attribute__((vector_size(VECTOR_BYTES)));

INLINE lanes larger(lanes a, lanes b)
{
    masks first = a > b;
    return (lanes)(((masks)a & first) | ((masks)b & ~first));
}

float MD_ISA_SYMBOL(md__vector_extreme)(const float *values, ptrdiff_t count, float sign)
{
    lanes best = -INFINITY - (lanes){0}, other = best;
    masks missing = {0};
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        lanes a = sign * *(const lanes *)(values + i);
        lanes b = sign * *(const lanes *)(values + i + LANES);
        best = larger(a, best);
        other = larger(b, other);
        missing |= (a != a) | (b != b);
    }
    best = larger(best, other);
    float largest = -INFINITY;
    int any_missing = 0;
    for (int lane = 0; lane < LANES; lane++) {
        largest = best[lane] > largest ? best[lane] : largest;
        any_missing |= missing[lane] != 0;
    }
    for (; i < count; i++) {
        largest = sign * values[i] > largest ? sign * values[i] : largest;
        any_missing |= isnan(values[i]);
    }
    return any_missing ? NAN : sign * largest;
}

/* ---- the tables ------------------------------------------------------------------------------ */

const struct md__vector_table MD_ISA_SYMBOL(md__vector_table) = {
    .extreme = MD_ISA_SYMBOL(md__vector_extreme),
    .folds = MD_ISA_SYMBOL(md__folds),
    .beside = MD_ISA_SYMBOL(md__beside),
    .bodies = {
#define X(name, operands) [MD_VECTOR_##name] = name##_body,
        MD_VECTOR_ALL_OPS(X)
#undef X
    }};
