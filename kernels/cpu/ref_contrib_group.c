/*
 * Reference GroupQueryAttention and RotaryEmbedding of com.microsoft on the core of attend.h: keys
 * and queries are rotated, keys and values appended to a cache, then attended to.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/contrib_attention.h"
#include "kernels/cpu/ref.h"

/* ---- GroupQueryAttention --------------------------------------------------------------------- */

struct group_query {
    const struct md_kernel_call *call;
    size_t heads, kv_heads, width, steps, half; /* half: pairs that rotate; 0: none */
    struct md__heads q, k, v;
    double *head, *cosine, *sine;
};

/* Vectors of one step and head: loads, rotates by its position, stores. */
static enum md_status turn_head(const struct group_query *all, const struct md__heads *from,
                                size_t b, size_t h, size_t t, size_t position, bool rotate,
                                const struct md_tensor *to, size_t at, struct md_error *err)
{
    const struct md_kernel_call *call = all->call;
    md__load_floats(from->tensor, from->offset + b * from->batch + h * from->head + t * from->step,
                    1, all->width, all->head);
    if (rotate && all->half) {
        if ((int64_t)position >= call->in[7].shape.dim[0] ||
            (int64_t)position >= call->in[8].shape.dim[0])
            return md_fail(err, MD_ERR_UNPROCESSABLE, "position %zu has no cosine", position);
        md__load_floats(&call->in[7], position * all->half, 1, all->half, all->cosine);
        md__load_floats(&call->in[8], position * all->half, 1, all->half, all->sine);
        md__rotate(all->head, all->head, all->cosine, all->sine, all->half,
                   md_node_int(call->node, "rotary_interleaved", 0) != 0);
    }
    md__store_floats(to, at, 1, all->width, all->head);
    return MD_OK;
}

/* The new keys and values of one batch element go behind its `past` old ones. */
static enum md_status extend_cache(const struct group_query *all, size_t b, size_t past,
                                   struct md_error *err)
{
    const struct md_kernel_call *call = all->call;
    size_t room = (size_t)call->out[1].shape.dim[2], width = all->width;
    size_t bytes = md_dtype_bytes(call->out[1].dtype);
    for (int side = 0; side < 2; side++) {
        const struct md_tensor *old = md__input(call, 3 + side), *to = &call->out[1 + side];
        for (size_t h = 0; h < all->kv_heads; h++) {
            size_t line = (b * all->kv_heads + h) * room, old_room = 0;
            memset((char *)to->data + line * width * bytes, 0, room * width * bytes);
            if (old)
                old_room = (size_t)old->shape.dim[2];
            if (old && past > 0)
                memcpy((char *)to->data + line * width * bytes,
                       (const char *)old->data + (b * all->kv_heads + h) * old_room * width * bytes,
                       past * width * bytes);
            for (size_t t = 0; t < all->steps; t++) {
                enum md_status status = turn_head(all, side ? &all->v : &all->k, b, h, t, past + t,
                                                  side == 0, to, (line + past + t) * width, err);
                if (status)
                    return status;
            }
        }
    }
    return MD_OK;
}

static enum md_status turn_queries(const struct group_query *all, size_t b, size_t past,
                                   const struct md_tensor *rows, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (size_t t = 0; t < all->steps; t++)
        for (size_t h = 0; !status && h < all->heads; h++)
            status = turn_head(all, &all->q, b, h, t, past + t, true, rows,
                               ((b * all->steps + t) * all->heads + h) * all->width, err);
    return status;
}

/* query, key, value from their inputs, or all from a packed query. */
static void split_query(struct group_query *all)
{
    const struct md_kernel_call *call = all->call;
    const struct md_node *node = call->node;
    bool packed = !md__has(call->in, call->in_count, 1);
    all->heads = (size_t)md_node_int(node, "num_heads", 1);
    all->kv_heads = (size_t)md_node_int(node, "kv_num_heads", 1);
    size_t parts = all->heads + (packed ? 2 * all->kv_heads : 0);
    all->width = (size_t)call->in[0].shape.dim[2] / parts;
    all->steps = (size_t)call->in[0].shape.dim[1];
    all->q = md__some_columns(&call->in[0], 0, all->width);
    all->k = md__some_columns(&call->in[packed ? 0 : 1], packed ? all->heads * all->width : 0,
                              all->width);
    all->v = md__some_columns(&call->in[packed ? 0 : 2],
                              packed ? (all->heads + all->kv_heads) * all->width : 0, all->width);
    if (md_node_int(node, "do_rotary", 0) != 0)
        all->half = (size_t)call->in[7].shape.dim[1];
}

static enum md_status group_query_run(const struct md_kernel_call *call, struct md_error *err)
{
    struct group_query all = {.call = call};
    split_query(&all);
    size_t batch = (size_t)call->in[0].shape.dim[0], room = (size_t)call->out[1].shape.dim[2];
    char *memory = call->scratch;
    struct md_tensor rows = md__place_rows(&memory, (int64_t)batch, (int64_t)all.steps,
                                           (int64_t)(all.heads * all.width));
    all.head = (double *)memory;
    all.cosine = all.head + all.width;
    all.sine = all.cosine + all.width;
    for (size_t b = 0; b < batch; b++) {
        int64_t past = md__get_int(&call->in[5], b) + 1 - (int64_t)all.steps;
        int64_t kept = md__has(call->in, call->in_count, 3) ? call->in[3].shape.dim[2] : 0;
        if (past < 0 || past > kept || past + (int64_t)all.steps > (int64_t)room)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "seqlens_k %lld does not go with %zu steps",
                           (long long)md__get_int(&call->in[5], b), all.steps);
        enum md_status status = extend_cache(&all, b, (size_t)past, err);
        if (!status)
            status = turn_queries(&all, b, (size_t)past, &rows, err);
        if (status)
            return status;
    }
    struct md__masking how = {.causal = true,
                              .left = md_node_int(call->node, "local_window_size", -1),
                              .queries = all.steps,
                              .keys = room,
                              .lengths = &call->in[5]};
    how.left = how.left > 0 ? how.left - 1 : -1; /* a window counts the query's own place */
    struct md__attend attend = {.batch = batch,
                                .heads = all.heads,
                                .kv_heads = all.kv_heads,
                                .queries = all.steps,
                                .keys = room,
                                .width = all.width,
                                .v_width = all.width,
                                .q = md__heads_last(&rows, all.heads),
                                .k = md__heads_first(&call->out[1]),
                                .v = md__heads_first(&call->out[2]),
                                .y = md__heads_last(&call->out[0], all.heads),
                                .scale = md__attention_scale(call->node, all.width),
                                .softcap = md_node_float(call->node, "softcap", 0),
                                .bias = md__masked,
                                .context = &how};
    md__attend(&attend, call->pool, memory);
    return MD_OK;
}

/* The rotated queries, then what attention needs for all the keys that a cache may hold. */
static size_t group_query_scratch(const struct md_node *node, const struct md_tensor *in,
                                  int in_count, int threads)
{
    size_t heads = (size_t)md_node_int(node, "num_heads", 1);
    size_t parts = heads;
    if (!md__has(in, in_count, 1))
        parts += 2 * (size_t)md_node_int(node, "kv_num_heads", 1);
    size_t width = (size_t)in[0].shape.dim[2] / parts;
    size_t rows = (size_t)(in[0].shape.dim[0] * in[0].shape.dim[1]);
    size_t keys = md__past_steps(in, in_count, 3, 2) + (size_t)in[0].shape.dim[1];
    return md__float_bytes(rows * heads * width) + 3 * width * sizeof(double) +
           md__attend_scratch(keys, width, width, threads);
}

/* ---- RotaryEmbedding ------------------------------------------------------------------------- */

/* input, position ids (one a step, or where the first step is), cosines, sines */
static enum md_status ms_rotary_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *x = &call->in[0], *ids = &call->in[1], *table = &call->in[2];
    size_t half = (size_t)table->shape.dim[1], last = (size_t)x->shape.dim[x->shape.rank - 1];
    size_t asked = (size_t)md_node_int(call->node, "num_heads", 0);
    bool partial = md_node_int(call->node, "rotary_embedding_dim", 0) > 0 && asked > 0;
    size_t width = x->shape.rank == 4 ? last : partial ? last / asked : 2 * half;
    size_t heads = x->shape.rank == 4 ? (size_t)x->shape.dim[1] : last / width;
    size_t steps = (size_t)x->shape.dim[x->shape.rank == 4 ? 2 : 1];
    struct md__heads from = md__heads_of(x, heads);
    double *head = call->scratch, *cosine = head + width, *sine = cosine + half;
    size_t rows = (size_t)x->shape.dim[0] * steps;
    for (size_t row = 0; row < rows; row++) {
        size_t b = row / steps, t = row % steps;
        int64_t at = md__count(ids) == 1 && ids->shape.rank == 1 ? md__get_int(ids, 0) + (int64_t)t
                                                                 : md__get_int(ids, row);
        if (at < 0 || at >= table->shape.dim[0] || at >= call->in[3].shape.dim[0])
            return md_fail(err, MD_ERR_UNPROCESSABLE, "position %lld has no row", (long long)at);
        md__load_floats(table, (size_t)at * half, 1, half, cosine);
        md__load_floats(&call->in[3], (size_t)at * half, 1, half, sine);
        for (size_t h = 0; h < heads; h++) {
            size_t place = b * from.batch + h * from.head + t * from.step;
            md__load_floats(x, place, 1, width, head);
            md__rotate(head, head, cosine, sine, half,
                       md_node_int(call->node, "interleaved", 0) != 0);
            md__store_floats(&call->out[0], place, 1, width, head);
        }
    }
    return MD_OK;
}

static size_t ms_rotary_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    (void)node, (void)in_count, (void)threads;
    return 3 * (size_t)in[0].shape.dim[in[0].shape.rank - 1] * sizeof(double);
}

const struct md_kernel md__ref_group_query = {.scratch_bytes = group_query_scratch,
                                              .run = group_query_run};
const struct md_kernel md__ref_ms_rotary = {.scratch_bytes = ms_rotary_scratch,
                                            .run = ms_rotary_run};
