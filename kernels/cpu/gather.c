/*
 * Gather, for every instruction set alike: runs of a table, by their indices. One index is a
 * strided copy; many, as of an embedding for each step of a window, are cut among the threads.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/move.h"
#include "kernels/cpu/ref.h"

#define GATHER_GRAIN_BYTES 16384

enum { GATHER_INDICES = 64 }; /* read at a time */

struct gather {
    const struct md_tensor *indices;
    size_t index_count, dim, run; /* run: bytes that an index stands for */
    const char *from;
    char *to;
    _Atomic bool outside; /* an index is */
};

/* One run; those of a table of few columns without a call. */
static inline void copy_run(const char *from, char *to, size_t run)
{
    switch (run) {
    case 4:
        memcpy(to, from, 4);
        break;
    case 8:
        memcpy(to, from, 8);
        break;
    case 16:
        memcpy(to, from, 16);
        break;
    case 20:
        memcpy(to, from, 20);
        break;
    default:
        memcpy(to, from, run);
    }
}

/* Runs of the output: all indices of one row of the outer axes, then of the next. */
static void gather_some(void *context, size_t begin, size_t end, int thread)
{
    struct gather *gather = context;
    int64_t index[GATHER_INDICES], dim = (int64_t)gather->dim;
    (void)thread;
    for (size_t at = begin, count; at < end; at += count) {
        size_t first = at % gather->index_count, left = gather->index_count - first;
        count = end - at < GATHER_INDICES ? end - at : GATHER_INDICES;
        count = count < left ? count : left;
        md__load_ints(gather->indices, first, 1, count, index);
        bool outside = false;
        for (size_t i = 0; i < count; i++) {
            outside |= index[i] < -dim || index[i] >= dim;
            index[i] += index[i] < 0 ? dim : 0;
        }
        if (outside) {
            gather->outside = true;
            return;
        }
        const char *table = gather->from + at / gather->index_count * gather->dim * gather->run;
        for (size_t i = 0; i < count; i++)
            copy_run(table + (size_t)index[i] * gather->run, gather->to + (at + i) * gather->run,
                     gather->run);
    }
}

/* Along an axis of the input; the reference says which index is outside. */
static enum md_status gather_many(const struct md_kernel_call *call, int axis, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0];
    struct gather gather = {.indices = &call->in[1],
                            .index_count = md__count(&call->in[1]),
                            .dim = (size_t)in->shape.dim[axis],
                            .run = md__span(&in->shape, axis + 1, in->shape.rank) *
                                   md_dtype_bytes(in->dtype),
                            .from = in->data,
                            .to = call->out[0].data};
    size_t outer = md__span(&in->shape, 0, axis);
    md__parallel(call->pool, outer * gather.index_count, 1 + GATHER_GRAIN_BYTES / (gather.run + 8),
                 gather_some, &gather);
    return gather.outside ? md__ref_gather.run(call, err) : MD_OK;
}

/* One index is a strided copy. */
static enum md_status gather_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = &call->in[0];
    int axis = md__axis(md_node_int(call->node, "axis", 0), in->shape.rank);
    if (axis == MD_NONE)
        return md__ref_gather.run(call, err);
    if (md__count(&call->in[1]) != 1)
        return gather_many(call, axis, err);
    int64_t index = md__get_int(&call->in[1], 0);
    if (index < -in->shape.dim[axis] || index >= in->shape.dim[axis])
        return md__ref_gather.run(call, err);
    if (index < 0)
        index += in->shape.dim[axis];
    int64_t inner = (int64_t)md__span(&in->shape, axis + 1, in->shape.rank);
    int64_t dim[] = {(int64_t)md__span(&in->shape, 0, axis), inner};
    struct md__move move = {
        .from = in->data, .to = call->out[0].data, .bytes = md_dtype_bytes(in->dtype)};
    move.from += index * inner * (int64_t)move.bytes;
    md__walk_init(&move.walk, 2, dim);
    move.walk.stride[0][0] = inner * in->shape.dim[axis];
    move.walk.stride[1][0] = inner;
    move.walk.stride[0][1] = move.walk.stride[1][1] = 1;
    md__move_run(&move, call->pool);
    return MD_OK;
}

const struct md_kernel md__gather = {.run = gather_run};
