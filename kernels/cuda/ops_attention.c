/*
 * Nodes of attention: attention.cu. Outputs of scores are left to the CPU.
 */
#include "kernels/cuda/ops_attention.h"

#include <math.h>

#define SHARED_BYTES_MAX (48 << 10)

/* ---- sides ----------------------------------------------------------------------------------- */

struct md__side md__side_of(const struct md_device_value *value, int64_t heads)
{
    const int64_t *dim = value->shape.dim;
    if (value->shape.rank == 4)
        return (struct md__side){.data = value->data,
                                 .heads = dim[1],
                                 .steps = dim[2],
                                 .width = dim[3],
                                 .at = {dim[1] * dim[2] * dim[3], dim[2] * dim[3], dim[3]}};
    return md__side_columns(value->data, value->storage, dim[1], dim[2], 0, heads,
                            heads > 0 ? dim[2] / heads : 0);
}

struct md__side md__side_columns(const void *rows, enum md_dtype storage, int64_t steps,
                                 int64_t columns, int64_t first, int64_t heads, int64_t width)
{
    size_t offset = (size_t)first * md_dtype_bytes(storage);
    return (struct md__side){.data = rows ? (const char *)rows + offset : NULL,
                             .heads = heads,
                             .steps = steps,
                             .width = width,
                             .at = {steps * columns, width, columns}};
}

size_t md__side_bytes(const struct md__side *side, int64_t batch, enum md_dtype storage)
{
    int64_t count = batch * side->heads * (side->past_steps + side->steps) * side->width;
    return ((size_t)count * md_dtype_bytes(storage) + 255) / 256 * 256;
}

enum md_status md__side_join(const struct md_device_call *call, struct md__side *side,
                             int64_t batch, struct md_error *err)
{
    if (!side->joined)
        return MD_OK;
    int bytes = (int)md_dtype_bytes(call->out[0].storage), error = 0;
    int64_t all = side->past_steps + side->steps, w = side->width, heads = side->heads;
    const struct md__cuda_heads past = {heads * side->past_steps * w, side->past_steps * w, w};
    const struct md__cuda_heads to = {heads * all * w, all * w, w};
    for (int part = 0; part < 2 && !error; part++) {
        const struct md__cuda_heads *from = part ? &side->at : &past;
        struct md__cuda_map map = {
            .rank = 4,
            .dim = {batch, heads, part ? side->steps : side->past_steps, w},
            .stride = {{from->batch, from->head, from->step, 1}, {to.batch, to.head, to.step, 1}}};
        int64_t first = part ? side->past_steps * w * bytes : 0;
        md__map_merge(&map, 2);
        error = md__cuda_move(md__cuda_stream_of(call->stream), bytes, &map,
                              part ? side->data : side->past, (char *)side->joined + first);
    }
    side->data = side->joined;
    side->at = to;
    side->steps = all;
    side->past_steps = 0;
    return md__launched(error, err);
}

struct md__cuda_attention md__attention_of(enum md_dtype storage, int64_t batch,
                                           const struct md__side *q, const struct md__side *k,
                                           const struct md__side *v, const struct md__side *y)
{
    return (struct md__cuda_attention){.storage = (int)storage,
                                       .batch = batch,
                                       .heads = q->heads,
                                       .kv_heads = k->heads,
                                       .queries = q->steps,
                                       .keys = k->steps,
                                       .width = q->width,
                                       .v_width = v->width,
                                       .q_at = q->at,
                                       .k_at = k->at,
                                       .v_at = v->at,
                                       .y_at = y->at,
                                       .left = -1,
                                       .right = -1,
                                       .q = q->data,
                                       .k = k->data,
                                       .v = v->data,
                                       .y = (void *)(uintptr_t)y->data};
}

void md__attention_mask(struct md__cuda_attention *attention, const struct md_device_value *mask)
{
    int64_t stride[MD_RANK_MAX];
    int rank = mask->shape.rank;
    md__strides(&mask->shape, stride);
    for (int a = 0; a < rank; a++)
        attention->mask_stride[4 - rank + a] = mask->shape.dim[a] == 1 ? 0 : stride[a];
    attention->mask_keys = mask->shape.dim[rank - 1];
    attention->mask_is_bool = mask->dtype == MD_BOOL;
    attention->mask = mask->data;
}

/* ---- Attention ------------------------------------------------------------------------------- */

static bool attention_supports(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    for (int i = 4; i < 6; i++)
        if (md__given(in, in_count, i) && in[i].storage != in[0].storage)
            return false;
    for (int i = 1; i < 3; i++)
        if (md__given(out, out_count, i) && out[i].storage != in[0].storage)
            return false;
    bool mask_fits =
        !md__given(in, in_count, 3) || in[3].dtype == MD_BOOL || in[3].storage == in[0].storage;
    struct md__side v = md__side_of(&in[2], md_node_int(node, "kv_num_heads", 1));
    return mask_fits && !md__given(out, out_count, 3) && v.width <= MD__HEAD_WIDTH_MAX &&
           v.heads > 0 && md__one_float(in, 3, out, 1);
}

/* Keys (1) or values (2); they are joined in an output or, where there is none, at *room, which
 * moves on. */
static struct md__side cached_side(const struct md_node *node, const struct md_device_value *in,
                                   int in_count, const struct md_device_value *out, int out_count,
                                   int i, char **room)
{
    struct md__side side = md__side_of(&in[i], md_node_int(node, "kv_num_heads", 1));
    if (md__given(in, in_count, 3 + i)) {
        side.past = in[3 + i].data;
        side.past_steps = in[3 + i].shape.dim[2];
    }
    if (md__given(out, out_count, i)) {
        side.joined = out[i].data;
    } else if (md__given(in, in_count, 3 + i)) {
        side.joined = *room;
        *room += md__side_bytes(&side, in[0].shape.dim[0], in[0].storage);
    }
    return side;
}

static size_t attention_scratch(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    size_t bytes = 0;
    for (int i = 1; i < 3; i++) {
        char none, *room = &none;
        struct md__side side = cached_side(node, in, in_count, out, out_count, i, &room);
        if (md__given(in, in_count, 3 + i) && !md__given(out, out_count, i))
            bytes += md__side_bytes(&side, in[0].shape.dim[0], in[0].storage);
    }
    return bytes;
}

static enum md_status attention_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    const struct md_device_value *in = call->in;
    int64_t heads = md_node_int(node, "q_num_heads", 1), batch = in[0].shape.dim[0];
    char *room = call->scratch;
    struct md__side q = md__side_of(&in[0], heads), y = md__side_of(&call->out[0], heads);
    struct md__side k = cached_side(node, in, call->in_count, call->out, call->out_count, 1, &room);
    struct md__side v = cached_side(node, in, call->in_count, call->out, call->out_count, 2, &room);
    int64_t past = k.past_steps;
    enum md_status status = md__side_join(call, &k, batch, err);
    if (!status)
        status = md__side_join(call, &v, batch, err);
    if (status)
        return status;
    struct md__cuda_attention attention = md__attention_of(in[0].storage, batch, &q, &k, &v, &y);
    attention.past = past;
    attention.left = md_node_int(node, "left_window_size", -1);
    attention.right = md_node_int(node, "right_window_size", -1);
    attention.scale = (float)md_node_float(node, "scale", 1 / sqrt((double)q.width));
    attention.softcap = (float)md_node_float(node, "softcap", 0);
    attention.lengths = md__data(call, 6);
    attention.lengths_are_wide = attention.lengths && in[6].dtype == MD_I64;
    if (md_node_int(node, "is_causal", 0) != 0)
        attention.right = 0;
    if (md__given(in, call->in_count, 3))
        md__attention_mask(&attention, &in[3]);
    return md__launched(md__cuda_attention(md__cuda_stream_of(call->stream), &attention), err);
}

const struct md_device_kernel md__cuda_op_attention = {.supports = attention_supports,
                                                       .scratch_bytes = attention_scratch,
                                                       .enqueue = attention_enqueue};

/* ---- RotaryEmbedding ------------------------------------------------------------------------- */

static bool rotary_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)node;
    bool ids = md__given(in, in_count, 3);
    return md__one_float(in, 3, out, out_count) && md__elements(&in[1]) > 0 &&
           (!ids || in[3].dtype == MD_I64 || in[3].dtype == MD_I32);
}

static enum md_status rotary_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *in = call->in;
    struct md__side x = md__side_of(&in[0], md_node_int(call->node, "num_heads", 1));
    int64_t half = in[1].shape.dim[in[1].shape.rank - 1];
    struct md__cuda_rotary rotary = {.storage = (int)in[0].storage,
                                     .interleaved = md_node_int(call->node, "interleaved", 0) != 0,
                                     .ids_are_wide =
                                         md__given(in, call->in_count, 3) && in[3].dtype == MD_I64,
                                     .batch = in[0].shape.dim[0],
                                     .heads = x.heads,
                                     .steps = x.steps,
                                     .width = x.width,
                                     .half = half,
                                     .positions = md__elements(&in[1]) / half,
                                     .at = x.at,
                                     .x = in[0].data,
                                     .cosine = in[1].data,
                                     .sine = in[2].data,
                                     .ids = md__data(call, 3),
                                     .y = call->out[0].data};
    return md__launched(md__cuda_rotary(md__cuda_stream_of(call->stream), &rotary), err);
}

const struct md_device_kernel md__cuda_op_rotary = {.supports = rotary_supports,
                                                    .enqueue = rotary_enqueue};

/* ---- InterpretableAttention ------------------------------------------------------------------ */

static bool shared_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)in_count;
    int64_t heads = md_node_int(node, "heads", 1);
    return md__one_float(in, 3, out, out_count) &&
           heads * in[1].shape.dim[1] * (int64_t)sizeof(float) <= SHARED_BYTES_MAX;
}

static enum md_status shared_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    const struct md_device_value *in = call->in;
    int64_t size = md_node_int(node, "head_size", 1);
    struct md__cuda_shared_attention attention = {
        .storage = (int)in[0].storage,
        .causal = md_node_int(node, "causal", 0) != 0,
        .batch = in[0].shape.dim[0],
        .queries = in[0].shape.dim[1],
        .keys = in[1].shape.dim[1],
        .heads = md_node_int(node, "heads", 1),
        .size = size,
        .v_width = in[2].shape.dim[2],
        .scale = (float)md_node_float(node, "scale", 1 / sqrt((double)size)),
        .mask_bias = (float)md_node_float(node, "mask_bias", -1e9),
        .q = in[0].data,
        .k = in[1].data,
        .v = in[2].data,
        .mask = md__data(call, 3),
        .y = call->out[0].data};
    if (attention.mask) {
        const int64_t *dim = in[3].shape.dim;
        attention.mask_batch = dim[0] == 1 ? 0 : dim[1] * dim[2];
        attention.mask_query = dim[1] == 1 ? 0 : dim[2];
    }
    return md__launched(md__cuda_shared_attention(md__cuda_stream_of(call->stream), &attention),
                        err);
}

const struct md_device_kernel md__cuda_op_shared_attention = {.supports = shared_supports,
                                                              .enqueue = shared_enqueue};
