/*
 * Extremes of a formula's rows that need not be looked for.
 *
 * Every step that is known here gives values between what it gives of its operands' ends: sums,
 * products, comparisons and the like never turn around in between, also where they are rounded. So
 * a few operations bound all values of a row, however many there are, and when the first or the
 * last of them reaches that bound it is the extreme: of lines that only rise or fall, and of
 * comparisons that say the same all along. The others remain to be worked out.
 *
 * A row is bounded when all its values are missing, with NaN as bounds, or none is. Sums and
 * products of infinite numbers could be missing in between: there nothing is said at all.
 */
#include <assert.h>
#include <float.h>
#include <math.h>

#include "script/lazy_program.h"

/* Of each row: low and high are the same place where its values stand still. */
struct bounds {
    const float *low, *high;
    ptrdiff_t stride;
};

struct bounding {
    const struct md__program *program;
    const int8_t *picks;
    ptrdiff_t rows;
    float *registers;
    size_t size;
    float ends[MD__LEAVES_MAX][2]; /* of leaves that are the same for all rows */
    struct bounds leaves[MD__LEAVES_MAX], steps[MD__STEPS_MAX];
};

static bool stands_still(const struct bounds *bounds)
{
    return bounds->low == bounds->high;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

/* A leaf that differs along the rows as well as from one to the other has no bounds here: to look
 * at all of it would be as much work. */
static bool bound_leaf(struct bounding *bounding, int k, const struct md_plane *leaf,
                       ptrdiff_t count)
{
    float low = INFINITY, high = -INFINITY;
    if (leaf->row_stride == 0) {
        bounding->leaves[k] = (struct bounds){leaf->data, leaf->data, leaf->stride};
        return true;
    }
    if (leaf->stride != 0)
        return false;
    for (ptrdiff_t i = 0; i < count && leaf->row_stride != 1; i++) {
        float value = leaf->data[i * leaf->row_stride];
        if (!isfinite(value))
            return false;
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    if (leaf->row_stride == 1) {
        low = md_vector_extreme(leaf->data, count, -1);
        high = md_vector_extreme(leaf->data, count, 1);
    }
    if (!isfinite(low) || !isfinite(high))
        return false;
    bounding->ends[k][0] = low;
    bounding->ends[k][1] = high;
    bounding->leaves[k] = (struct bounds){&bounding->ends[k][0], &bounding->ends[k][1], 0};
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static bool is_finite_or_missing(const float *values, ptrdiff_t stride, ptrdiff_t rows)
{
    int infinite = 0;
    if (stride == 0)
        return !(fabsf(*values) > FLT_MAX);
    assert(stride == 1);
    for (ptrdiff_t r = 0; r < rows; r++)
        infinite |= fabsf(values[r]) > FLT_MAX;
    return infinite == 0;
}

static bool can_be_added(const struct bounding *bounding, const struct bounds *in)
{
    bool good = true;
    for (int k = 0; k < 2; k++) {
        good = good && is_finite_or_missing(in[k].low, in[k].stride, bounding->rows);
        if (!stands_still(&in[k]))
            good = good && is_finite_or_missing(in[k].high, in[k].stride, bounding->rows);
    }
    return good;
}

static void apply(const struct bounding *bounding, enum md_vector_op op, float *out, const float *a,
                  ptrdiff_t a_stride, const float *b, ptrdiff_t b_stride)
{
    struct md_plane in[2] = {{a, 0, a_stride}, {b, 0, b_stride}};
    md_vector_body_of(op)(out, in, 1, bounding->rows);
}

/* The least and the largest of two, in out and out + MD_REDUCE_RUNS_MAX. */
static void order(const struct bounding *bounding, const float *a, const float *b, float *out)
{
    apply(bounding, MD_VECTOR_min, out, a, 1, b, 1);
    apply(bounding, MD_VECTOR_max, out + MD_REDUCE_RUNS_MAX, a, 1, b, 1);
}

/* Products of one number of each row with the ends of the other operand, least first, in out. */
static void order_products(const struct bounding *bounding, const float *number, ptrdiff_t stride,
                           const struct bounds *other, float *products, float *out)
{
    float *second = products + MD_REDUCE_RUNS_MAX;
    apply(bounding, MD_VECTOR_mul, products, number, stride, other->low, other->stride);
    apply(bounding, MD_VECTOR_mul, second, number, stride, other->high, other->stride);
    order(bounding, products, second, out);
}

/* Between the least and the largest of the ends' products: low, and high behind it. */
static void bound_product(const struct bounding *bounding, const struct bounds *in, float *low)
{
    float *products = low + 2 * (ptrdiff_t)MD_REDUCE_RUNS_MAX;
    float *first = products + 2 * (ptrdiff_t)MD_REDUCE_RUNS_MAX;
    float *second = first + 2 * (ptrdiff_t)MD_REDUCE_RUNS_MAX;
    const struct bounds *a = &in[0], *b = &in[1];
    if (stands_still(a)) {
        order_products(bounding, a->low, a->stride, b, products, low);
    } else if (stands_still(b)) {
        order_products(bounding, b->low, b->stride, a, products, low);
    } else {
        order_products(bounding, a->low, a->stride, b, products, first);
        order_products(bounding, a->high, a->stride, b, products, second);
        apply(bounding, MD_VECTOR_min, low, first, 1, second, 1);
        apply(bounding, MD_VECTOR_max, low + MD_REDUCE_RUNS_MAX, first + MD_REDUCE_RUNS_MAX, 1,
              second + MD_REDUCE_RUNS_MAX, 1);
    }
}

/* A step whose operands all stand still does, too, whatever it is. */
static struct bounds bound_still(const struct bounding *bounding, const struct md__step *step,
                                 const struct bounds *in, float *out)
{
    struct md_plane planes[MD_VECTOR_OPERANDS_MAX];
    for (int k = 0; k < step->operands; k++)
        planes[k] = (struct md_plane){in[k].low, 0, in[k].stride};
    step->body(out, planes, 1, bounding->rows);
    return (struct bounds){out, out, 1};
}

/* False: this step can turn around. */
static bool bound_moving(const struct bounding *bounding, enum md_vector_op op,
                         const struct bounds *in, float *low, float *high)
{
    const struct bounds *a = &in[0], *b = &in[1];
    switch (op) {
    case MD_VECTOR_mul:
        bound_product(bounding, in, low);
        return can_be_added(bounding, in);
    case MD_VECTOR_add:
    case MD_VECTOR_min:
    case MD_VECTOR_max: /* the more of either, the more */
        apply(bounding, op, low, a->low, a->stride, b->low, b->stride);
        apply(bounding, op, high, a->high, a->stride, b->high, b->stride);
        return op != MD_VECTOR_add || can_be_added(bounding, in);
    case MD_VECTOR_sub:
    case MD_VECTOR_ge:
    case MD_VECTOR_gt: /* the more of the first and the less of the second, the more */
        apply(bounding, op, low, a->low, a->stride, b->high, b->stride);
        apply(bounding, op, high, a->high, a->stride, b->low, b->stride);
        return op != MD_VECTOR_sub || can_be_added(bounding, in);
    case MD_VECTOR_le:
    case MD_VECTOR_lt:
        apply(bounding, op, low, a->high, a->stride, b->low, b->stride);
        apply(bounding, op, high, a->low, a->stride, b->high, b->stride);
        return true;
    case MD_VECTOR_floor:
    case MD_VECTOR_copy: /* the second operand is none */
        apply(bounding, op, low, a->low, a->stride, a->low, a->stride);
        apply(bounding, op, high, a->high, a->stride, a->high, a->stride);
        return true;
    default:
        return false;
    }
}

static bool bound_step(struct bounding *bounding, int i)
{
    const struct md__step *step = &bounding->program->steps[i];
    struct bounds in[MD_VECTOR_OPERANDS_MAX];
    float *low = bounding->registers + step->reg * bounding->size;
    float *high = low + MD_REDUCE_RUNS_MAX;
    bool still = true;
    for (int k = 0; k < step->operands; k++) {
        int value = step->in[k];
        if (bounding->picks[i] > 0 && bounding->picks[i] != k)
            continue;
        in[k] = value < 0 ? bounding->leaves[~value] : bounding->steps[value];
        still = still && stands_still(&in[k]);
    }
    if (bounding->picks[i] > 0) {
        bounding->steps[i] = in[(int)bounding->picks[i]];
        return true;
    }
    bounding->steps[i] = (struct bounds){low, high, 1};
    if (still)
        bounding->steps[i] = bound_still(bounding, step, in, low);
    return still || bound_moving(bounding, step->op, in, low, high);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Bounds of all that is needed. */
static bool bound_all(struct bounding *bounding, const struct md_plane *leaves, ptrdiff_t count)
{
    const struct md__program *program = bounding->program;
    bool known[MD__LEAVES_MAX] = {false};
    for (int i = 0; i < program->step_count; i++) {
        for (int k = 0; k < program->steps[i].operands; k++) {
            int leaf = ~program->steps[i].in[k], pick = bounding->picks[i];
            if (leaf < 0 || known[leaf] || (pick != 0 && pick != k))
                continue;
            known[leaf] = bound_leaf(bounding, leaf, &leaves[leaf], count);
            if (!known[leaf])
                return false;
        }
        if (bounding->picks[i] >= 0 && !bound_step(bounding, i))
            return false;
    }
    return true;
}

/* The larger one (of sign 1) of the values at both ends; NaN where they are missing, as both are or
 * none is. */
static float outer_of(float first, float last, float sign)
{
    return (sign * first > sign * last ? first : last) + 0.0f; /* -0 becomes 0 */
}

bool md__program_extremes(const struct md__program *program, const struct md_plane *leaves,
                          const int8_t *picks, ptrdiff_t rows, ptrdiff_t count, float sign,
                          float *registers, size_t size, float *ends, float *best, bool *known)
{
    struct bounding bounding; /* too large to be cleared each time */
    struct md_plane outer[MD__LEAVES_MAX];
    bounding.program = program;
    bounding.picks = picks;
    bounding.rows = rows;
    bounding.registers = registers;
    bounding.size = size;
    for (int k = 0; k < program->leaf_count; k++)
        outer[k] =
            (struct md_plane){leaves[k].data, leaves[k].row_stride * (count - 1), leaves[k].stride};
    md__program_run(program, outer, picks, 2, rows, registers, size, ends);
    if (!bound_all(&bounding, leaves, count))
        return false;
    const struct bounds *all = &bounding.steps[program->step_count - 1];
    const float *bound = sign > 0 ? all->high : all->low;
    for (ptrdiff_t r = 0; r < rows; r++)
        best[r] = outer_of(ends[r], ends[rows + r], sign);
    for (ptrdiff_t r = 0; r < rows; r++) {
        float most = bound[all->stride == 0 ? 0 : r];
        known[r] = (best[r] == most) | (most != most);
    }
    return true;
}
