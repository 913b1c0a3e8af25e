/*
 * Blocks of elements as doubles or int64s: see blocks.h. One loop a dtype, written once as a macro
 * over the table of C types.
 */
#include "kernels/cpu/blocks.h"

#include <math.h>
#include <string.h>

/* What a narrow float is made of: the double rounded to float32 towards odd, so that the second
 * rounding sees what the first one dropped. */
static float odd_float(double value)
{
    float near = (float)value;
    uint32_t bits;
    memcpy(&bits, &near, 4);
    if ((double)near == value || isnan(value) || isinf(near) || bits & 1)
        return near;
    bits += fabs((double)near) < fabs(value) ? 1u : UINT32_MAX;
    memcpy(&near, &bits, 4);
    return near;
}

static int64_t truncated(double value)
{
    if (isnan(value))
        return 0;
    if (value >= 0x1p63)
        return INT64_MAX;
    return value <= -0x1p63 ? INT64_MIN : (int64_t)value;
}

static uint64_t truncated_u64(double value)
{
    if (value < 0x1p63)
        return (uint64_t)truncated(value);
    return value >= 0x1p64 ? UINT64_MAX : isnan(value) ? 0 : (uint64_t)value;
}

static double same(double value)
{
    return value;
}

/* dtype, C type, element to double, double to element */
#define FLOATS(X)                                                                                  \
    X(MD_F32, float, (double), (float))                                                            \
    X(MD_F64, double, same, same)                                                                  \
    X(MD_F16, uint16_t, md_f16_to_f32, half)                                                       \
    X(MD_BF16, uint16_t, md_bf16_to_f32, brain)

/* dtype, C type, double to integer, int64 to element */
#define INTEGERS(X)                                                                                \
    X(MD_BOOL, uint8_t, 0 !=, 0 !=)                                                                \
    X(MD_U8, uint8_t, (uint8_t)truncated, (uint8_t))                                               \
    X(MD_I8, int8_t, (int8_t)truncated, (int8_t))                                                  \
    X(MD_U16, uint16_t, (uint16_t)truncated, (uint16_t))                                           \
    X(MD_I16, int16_t, (int16_t)truncated, (int16_t))                                              \
    X(MD_I32, int32_t, (int32_t)truncated, (int32_t))                                              \
    X(MD_U32, uint32_t, (uint32_t)truncated, (uint32_t))                                           \
    X(MD_I64, int64_t, truncated, (int64_t))                                                       \
    X(MD_U64, uint64_t, truncated_u64, (uint64_t))

static uint16_t half(double value)
{
    return md_f32_to_f16(odd_float(value));
}

static uint16_t brain(double value)
{
    return md_f32_to_bf16(odd_float(value));
}

void md__load_floats(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                     double *to)
{
    int64_t from = (int64_t)at;
    switch (tensor->dtype) {
#define X(code, type, read, write)                                                                 \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, from += step)                                           \
            to[i] = read(((const type *)tensor->data)[from]);                                      \
        break;
        FLOATS(X)
#undef X
#define X(code, type, convert, write)                                                              \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, from += step)                                           \
            to[i] = (double)((const type *)tensor->data)[from];                                    \
        break;
        INTEGERS(X)
#undef X
    }
}

void md__load_ints(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                   int64_t *to)
{
    int64_t from = (int64_t)at;
    switch (tensor->dtype) {
#define X(code, type, read, write)                                                                 \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, from += step)                                           \
            to[i] = truncated(read(((const type *)tensor->data)[from]));                           \
        break;
        FLOATS(X)
#undef X
#define X(code, type, convert, write)                                                              \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, from += step)                                           \
            to[i] = (int64_t)((const type *)tensor->data)[from];                                   \
        break;
        INTEGERS(X)
#undef X
    }
}

void md__store_floats(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                      const double *from)
{
    int64_t to = (int64_t)at;
    switch (tensor->dtype) {
#define X(code, type, read, write)                                                                 \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, to += step)                                             \
            ((type *)tensor->data)[to] = write(from[i]);                                           \
        break;
        FLOATS(X)
#undef X
#define X(code, type, convert, write)                                                              \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, to += step)                                             \
            ((type *)tensor->data)[to] = convert(from[i]);                                         \
        break;
        INTEGERS(X)
#undef X
    }
}

void md__store_ints(const struct md_tensor *tensor, size_t at, int64_t step, size_t count,
                    const int64_t *from)
{
    int64_t to = (int64_t)at;
    switch (tensor->dtype) {
    case MD_F32: /* straight from the integer: through a double it would be rounded twice */
        for (size_t i = 0; i < count; i++, to += step)
            ((float *)tensor->data)[to] = (float)from[i];
        break;
    case MD_F64:
        for (size_t i = 0; i < count; i++, to += step)
            ((double *)tensor->data)[to] = (double)from[i];
        break;
    case MD_F16:
        for (size_t i = 0; i < count; i++, to += step)
            ((uint16_t *)tensor->data)[to] = half((double)from[i]);
        break;
    case MD_BF16:
        for (size_t i = 0; i < count; i++, to += step)
            ((uint16_t *)tensor->data)[to] = brain((double)from[i]);
        break;
#define X(code, type, convert, write)                                                              \
    case code:                                                                                     \
        for (size_t i = 0; i < count; i++, to += step)                                             \
            ((type *)tensor->data)[to] = write(from[i]);                                           \
        break;
        INTEGERS(X)
#undef X
    }
}

void md__round_floats(enum md_dtype dtype, size_t count, double *x)
{
    float held[MD__BLOCK];
    const struct md_tensor block = {.dtype = dtype, .data = held};
    for (size_t i = 0; i < count && dtype != MD_F64; i += MD__BLOCK) {
        size_t some = count - i < MD__BLOCK ? count - i : MD__BLOCK;
        md__store_floats(&block, 0, 1, some, x + i);
        md__load_floats(&block, 0, 1, some, x + i);
    }
}

void md__view_init(struct md__view *view, const struct md_tensor *tensor,
                   const struct md_shape *shape)
{
    view->tensor = tensor;
    md__walk_init(&view->walk, shape->rank, shape->dim);
    md__walk_broadcast(&view->walk, 0, &tensor->shape);
    md__walk_merge(&view->walk);
}

/* Cuts a block into runs along the view's last axis. */
struct run {
    struct md__walk walk; /* over the outer axes */
    size_t inner, skip;
    int64_t step;
};

static void run_init(struct run *run, const struct md__view *view, size_t begin)
{
    run->walk = view->walk;
    int last = --run->walk.rank;
    run->inner = (size_t)view->walk.dim[last];
    run->step = view->walk.stride[0][last];
    run->skip = begin % run->inner;
    md__walk_seek(&run->walk, begin / run->inner);
}

/* Elements of the next run, at most `left`; *at is where it starts. */
static size_t run_next(struct run *run, size_t left, size_t *at)
{
    size_t count = run->inner - run->skip < left ? run->inner - run->skip : left;
    *at = (size_t)(run->walk.at[0] + (int64_t)run->skip * run->step);
    run->skip = 0;
    md__walk_next(&run->walk);
    return count;
}

void md__view_floats(const struct md__view *view, size_t begin, size_t count, double *to)
{
    struct run run;
    run_init(&run, view, begin);
    for (size_t done = 0, at; done < count;) {
        size_t some = run_next(&run, count - done, &at);
        md__load_floats(view->tensor, at, run.step, some, to + done);
        done += some;
    }
}

void md__view_ints(const struct md__view *view, size_t begin, size_t count, int64_t *to)
{
    struct run run;
    run_init(&run, view, begin);
    for (size_t done = 0, at; done < count;) {
        size_t some = run_next(&run, count - done, &at);
        md__load_ints(view->tensor, at, run.step, some, to + done);
        done += some;
    }
}

int64_t md__int_min(enum md_dtype dtype)
{
    switch (dtype) {
    case MD_I8:
        return INT8_MIN;
    case MD_I16:
        return INT16_MIN;
    case MD_I32:
        return INT32_MIN;
    case MD_I64:
        return INT64_MIN;
    default:
        return 0;
    }
}

int64_t md__int_max(enum md_dtype dtype)
{
    if (dtype == MD_BOOL)
        return 1;
    int bits = 8 * (int)md_dtype_bytes(dtype);
    return md__int_min(dtype) < 0 ? -(md__int_min(dtype) + 1)
                                  : (int64_t)(UINT64_MAX >> (64 - bits));
}
