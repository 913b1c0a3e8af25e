/*
 * ReduceSum, ReduceMean, ReduceMax and ReduceMin of float32 over neighbouring axes: the tensor is
 * [outer, count, inner], and `count` goes. Where elements are left over within (inner > 1) they are
 * lanes; otherwise a line is. Sums go by blocks, whose sums are added up: a long one errs little
 * more than a short one. Everything else is the reference's.
 */
#include <math.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/last.h"
#include "kernels/cpu/ref.h"

#define BLOCK 256 /* vectors of a sum that are added one by one */
#define LANES 4   /* vectors of lanes that go together */

enum how { SUM, MAX, MIN };

struct reduction {
    const struct md_kernel_call *call;
    size_t outer, count, inner, groups; /* groups: of LANES vectors in `inner` */
    float factor;                       /* of a sum */
    enum how how;
};

INLINE vf combined(vf total, vf x, const enum how how)
{
    if (how == SUM)
        return total + x;
    return how == MAX ? vmax_nan(x, total) : -vmax_nan(-x, -total);
}

/* ---- lines ----------------------------------------------------------------------------------- */

INLINE float line(const float *x, size_t count, const enum how how)
{
    vf total = splat(how == SUM ? 0 : how == MAX ? -INFINITY : INFINITY);
    size_t i = 0, whole = count / VL * VL;
    while (i < whole) {
        size_t end = whole - i > BLOCK * VL ? i + BLOCK * VL : whole;
        vf part = load(x + i);
        for (i += VL; i < end; i += VL)
            part = combined(part, load(x + i), how);
        total = combined(total, part, how);
    }
    float result = total[0];
    if (how == SUM)
        result = horizontal_sum(total);
    for (int lane = 1; how != SUM && lane < VL; lane++)
        result = combined(splat(result), splat(total[lane]), how)[0];
    for (; i < count; i++)
        result = combined(splat(result), splat(x[i]), how)[0];
    return result;
}

INLINE void lines(const struct reduction *all, size_t begin, size_t end, const enum how how)
{
    const float *x = all->call->in[0].data;
    float *y = all->call->out[0].data;
    for (size_t r = begin; r < end; r++)
        y[r] = line(x + r * all->count, all->count, how) * all->factor;
}

static void some_lines(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct reduction *all = context;
    if (all->how == SUM)
        lines(all, begin, end, SUM);
    else if (all->how == MAX)
        lines(all, begin, end, MAX);
    else
        lines(all, begin, end, MIN);
}

/* ---- lanes ----------------------------------------------------------------------------------- */

/* One vector of lanes, `left` of which are there. */
INLINE vf lane(const float *x, size_t count, size_t stride, size_t left, const enum how how)
{
    vf total = splat(how == SUM ? 0 : how == MAX ? -INFINITY : INFINITY);
    for (size_t i = 0; i < count;) {
        size_t end = count - i > BLOCK ? i + BLOCK : count;
        vf part = load_upto(x + i * stride, left);
        for (i++; i < end; i++)
            part = combined(part, load_upto(x + i * stride, left), how);
        total = combined(total, part, how);
    }
    return total;
}

INLINE void lanes(const struct reduction *all, size_t task, const enum how how)
{
    size_t outer = task / all->groups, first = task % all->groups * LANES * VL;
    const float *x = (const float *)all->call->in[0].data + outer * all->count * all->inner;
    float *y = (float *)all->call->out[0].data + outer * all->inner;
    for (size_t i = first; i < all->inner && i < first + LANES * VL; i += VL) {
        size_t left = all->inner - i;
        store_upto(y + i, lane(x + i, all->count, all->inner, left, how) * all->factor, left);
    }
}

static void some_lanes(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const struct reduction *all = context;
    for (size_t task = begin; task < end; task++)
        if (all->how == SUM)
            lanes(all, task, SUM);
        else if (all->how == MAX)
            lanes(all, task, MAX);
        else
            lanes(all, task, MIN);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

/* False: the axes are no neighbours (axes of one element are between any). */
static bool set_extents(struct reduction *all, const struct md_shape *shape, const bool *reduced)
{
    int state = 0; /* before, among, behind the axes that go */
    all->outer = all->count = all->inner = 1;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 1)
            continue;
        if (reduced[i] && state == 2)
            return false;
        state = reduced[i] ? 1 : state == 1 ? 2 : state;
        *(state == 0   ? &all->outer
          : state == 1 ? &all->count
                       : &all->inner) *= (size_t)shape->dim[i];
    }
    return true;
}

static enum md_status reduce_run(const struct md_kernel_call *call, struct md_error *err)
{
    enum md_op op = call->node->op;
    struct reduction all = {.call = call,
                            .factor = 1,
                            .how = op == MD_OP_REDUCE_MAX   ? MAX
                                   : op == MD_OP_REDUCE_MIN ? MIN
                                                            : SUM};
    bool reduced[MD_RANK_MAX];
    enum md_status status = md__reduced_axes(call, reduced, err);
    if (status)
        return status;
    if (call->in[0].dtype != MD_F32 || !set_extents(&all, &call->in[0].shape, reduced) ||
        all.count * all.inner * all.outer == 0)
        return md__ref_reduce.run(call, err);
    if (op == MD_OP_REDUCE_MEAN)
        all.factor = 1 / (float)all.count;
    all.groups = (vectors_of(all.inner) + LANES - 1) / LANES;
    if (all.inner == 1)
        md__parallel(call->pool, all.outer, md__grain(all.count / VL + 16), some_lines, &all);
    else
        md__parallel(call->pool, all.outer * all.groups, md__grain(all.count * LANES), some_lanes,
                     &all);
    return MD_OK;
}

static bool reduce_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    return md__ref_reduce.supports(node, in, in_count);
}

const struct md_kernel md__reduce = {.supports = reduce_supports, .run = reduce_run};
