/*
 * Comparisons, And, Or, Where and Cast between the types that exported graphs mix: float32, int64,
 * int32 and bool. Plain loops over one type each, which the compiler turns into vectors of this
 * instruction set; everything else is the reference's.
 *
 * Broadcasting is that of elementwise.c: merged axes, of which the last is a plain loop where an
 * input runs along (step 1) or stands still (step 0).
 */
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/ref.h"

enum { INPUTS = 3, GRAIN = 16384 };

struct line {
    const void *in[INPUTS];
    void *out;
    int step[INPUTS];
    size_t count;
};

typedef void (*line_loop)(const struct line *line);

/* y[i] = expression of a[i] and b[i], with constant steps in each copy. */
#define LOOP2(type, result, expression, a_step, b_step)                                            \
    for (size_t i = 0; i < line->count; i++) {                                                     \
        const type a = p[(a_step) ? i : 0], b = q[(b_step) ? i : 0];                               \
        y[i] = (result)(expression);                                                               \
    }
#define LINE2(name, type, result, expression)                                                      \
    static void name(const struct line *line)                                                      \
    {                                                                                              \
        const type *p = line->in[0], *q = line->in[1];                                             \
        result *y = line->out;                                                                     \
        if (line->step[0] && line->step[1])                                                        \
            LOOP2(type, result, expression, 1, 1)                                                  \
        else if (line->step[0])                                                                    \
            LOOP2(type, result, expression, 1, 0)                                                  \
        else                                                                                       \
            LOOP2(type, result, expression, 0, line->step[1])                                      \
    }
#define COMPARISONS(suffix, type)                                                                  \
    LINE2(equal_##suffix, type, uint8_t, a == b)                                                   \
    LINE2(less_##suffix, type, uint8_t, a < b)                                                     \
    LINE2(less_or_equal_##suffix, type, uint8_t, a <= b)                                           \
    LINE2(greater_##suffix, type, uint8_t, a > b)                                                  \
    LINE2(greater_or_equal_##suffix, type, uint8_t, a >= b)

COMPARISONS(f32, float)
COMPARISONS(i32, int32_t)
COMPARISONS(i64, int64_t)
LINE2(equal_bool, uint8_t, uint8_t, (a != 0) == (b != 0))
LINE2(and_bool, uint8_t, uint8_t, (a != 0) & (b != 0))
LINE2(or_bool, uint8_t, uint8_t, (a != 0) | (b != 0))

#define WHERE_LOOP(a_step, b_step)                                                                 \
    for (size_t i = 0; i < line->count; i++)                                                       \
        y[i] = flag[line->step[0] ? i : 0] ? p[(a_step) ? i : 0] : q[(b_step) ? i : 0];
#define WHERE(name, type)                                                                          \
    static void name(const struct line *line)                                                      \
    {                                                                                              \
        const uint8_t *flag = line->in[0];                                                         \
        const type *p = line->in[1], *q = line->in[2];                                             \
        type *y = line->out;                                                                       \
        if (line->step[1] && line->step[2])                                                        \
            WHERE_LOOP(1, 1)                                                                       \
        else if (line->step[1])                                                                    \
            WHERE_LOOP(1, 0)                                                                       \
        else                                                                                       \
            WHERE_LOOP(0, line->step[2])                                                           \
    }
WHERE(where_4, uint32_t)
WHERE(where_8, uint64_t)

#define CAST(name, from, to, expression)                                                           \
    static void name(const struct line *line)                                                      \
    {                                                                                              \
        const from *p = line->in[0];                                                               \
        to *y = line->out;                                                                         \
        for (size_t i = 0; i < line->count; i++) {                                                 \
            const from a = p[i];                                                                   \
            y[i] = expression;                                                                     \
        }                                                                                          \
    }
CAST(bool_to_f32, uint8_t, float, a ? 1.0f : 0.0f)
CAST(bool_to_i64, uint8_t, int64_t, a != 0)
CAST(bool_to_i32, uint8_t, int32_t, a != 0)
CAST(i64_to_f32, int64_t, float, (float)a)
CAST(i32_to_f32, int32_t, float, (float)a)
CAST(i32_to_i64, int32_t, int64_t, a)
CAST(i64_to_i32, int64_t, int32_t, (int32_t)(uint32_t)(uint64_t)a)
CAST(f32_to_bool, float, uint8_t, a != 0)
CAST(i64_to_bool, int64_t, uint8_t, a != 0)
CAST(i32_to_bool, int32_t, uint8_t, a != 0)

/* Operators by the dtype of their inputs (Where: of what is chosen; Cast: from and to). */
static const struct row {
    enum md_op op;
    enum md_dtype dtype, to;
    line_loop loop;
} rows[] = {
#define ROWS(suffix, dtype)                                                                        \
    {MD_OP_EQUAL, dtype, MD_BOOL, equal_##suffix}, {MD_OP_LESS, dtype, MD_BOOL, less_##suffix},    \
        {MD_OP_LESS_OR_EQUAL, dtype, MD_BOOL, less_or_equal_##suffix},                             \
        {MD_OP_GREATER, dtype, MD_BOOL, greater_##suffix},                                         \
        {MD_OP_GREATER_OR_EQUAL, dtype, MD_BOOL, greater_or_equal_##suffix},
    ROWS(f32, MD_F32) ROWS(i32, MD_I32) ROWS(i64, MD_I64)
#undef ROWS
        {MD_OP_EQUAL, MD_BOOL, MD_BOOL, equal_bool},
    {MD_OP_AND, MD_BOOL, MD_BOOL, and_bool},
    {MD_OP_OR, MD_BOOL, MD_BOOL, or_bool},
    {MD_OP_WHERE, MD_F32, MD_F32, where_4},
    {MD_OP_WHERE, MD_I32, MD_I32, where_4},
    {MD_OP_WHERE, MD_I64, MD_I64, where_8},
    {MD_OP_CAST, MD_BOOL, MD_F32, bool_to_f32},
    {MD_OP_CAST, MD_BOOL, MD_I64, bool_to_i64},
    {MD_OP_CAST, MD_BOOL, MD_I32, bool_to_i32},
    {MD_OP_CAST, MD_I64, MD_F32, i64_to_f32},
    {MD_OP_CAST, MD_I32, MD_F32, i32_to_f32},
    {MD_OP_CAST, MD_I32, MD_I64, i32_to_i64},
    {MD_OP_CAST, MD_I64, MD_I32, i64_to_i32},
    {MD_OP_CAST, MD_F32, MD_BOOL, f32_to_bool},
    {MD_OP_CAST, MD_I64, MD_BOOL, i64_to_bool},
    {MD_OP_CAST, MD_I32, MD_BOOL, i32_to_bool},
};

struct job {
    line_loop loop;
    struct md__walk outer;
    struct line line;
    size_t bytes[INPUTS], out_bytes;
};

/* Elements [begin, end) of the output, line by line. */
static void run_some(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct job *job = context;
    struct md__walk walk = job->outer;
    size_t inner = job->line.count, skip = begin % inner;
    md__walk_seek(&walk, begin / inner);
    for (size_t count; begin < end; begin += count, skip = 0, md__walk_next(&walk)) {
        struct line line = job->line;
        count = inner - skip < end - begin ? inner - skip : end - begin;
        line.count = count;
        for (int i = 0; i < INPUTS; i++)
            if (line.in[i])
                line.in[i] = (const char *)line.in[i] +
                             ((size_t)walk.at[i] + (line.step[i] ? skip : 0)) * job->bytes[i];
        line.out = (char *)line.out + begin * job->out_bytes;
        job->loop(&line);
    }
}

static line_loop find_loop(const struct md_kernel_call *call)
{
    enum md_op op = call->node->op == MD_OP_CAST_LIKE ? MD_OP_CAST : call->node->op;
    const struct md_tensor *chosen = &call->in[op == MD_OP_WHERE ? 1 : 0];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].op == op && rows[i].dtype == chosen->dtype && rows[i].to == call->out[0].dtype)
            return rows[i].loop;
    return NULL;
}

/* Runs the line loop over the inputs broadcast to the output; false: there is none for these. */
static bool run(const struct md_kernel_call *call, int in_count)
{
    const struct md_tensor *out = &call->out[0];
    struct job job = {.loop = find_loop(call), .out_bytes = md_dtype_bytes(out->dtype)};
    size_t count = md__count(out);
    if (!job.loop || count == 0)
        return job.loop != NULL;
    md__walk_init(&job.outer, out->shape.rank, out->shape.dim);
    for (int i = 0; i < in_count; i++) {
        md__walk_broadcast(&job.outer, i, &call->in[i].shape);
        job.line.in[i] = call->in[i].data;
        job.bytes[i] = md_dtype_bytes(call->in[i].dtype);
    }
    md__walk_merge(&job.outer);
    int last = --job.outer.rank;
    job.line.out = out->data;
    job.line.count = (size_t)job.outer.dim[last];
    for (int i = 0; i < in_count; i++)
        job.line.step[i] = job.outer.stride[i][last] != 0;
    md__parallel(call->pool, count, GRAIN, run_some, &job);
    return true;
}

static enum md_status compare_run(const struct md_kernel_call *call, struct md_error *err)
{
    return run(call, 2) ? MD_OK : md__ref_binary.run(call, err);
}

static enum md_status where_run(const struct md_kernel_call *call, struct md_error *err)
{
    return run(call, 3) ? MD_OK : md__ref_where.run(call, err);
}

static enum md_status cast_run(const struct md_kernel_call *call, struct md_error *err)
{
    return run(call, 1) ? MD_OK : md__ref_cast.run(call, err);
}

static bool compare_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_binary.supports(node, in, in_count);
}

const struct md_kernel md__compare = {.supports = compare_supports, .run = compare_run};
const struct md_kernel md__where = {.run = where_run};
const struct md_kernel md__cast = {.run = cast_run};
