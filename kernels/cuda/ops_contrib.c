/*
 * Nodes of com.microsoft's attentions: Attention, QAttention, MultiHeadAttention,
 * GroupQueryAttention and RotaryEmbedding, by the kernels of the standard's. What they project,
 * shift or rotate first lies in scratch memory, a cache in front of keys and values in their
 * output, or there, too. Scores as an output are left to the CPU.
 */
#include <math.h>

#include "kernels/cuda/ops_attention.h"

/* Places in scratch memory, from its beginning: rows of products, then caches put together. */
struct room {
    size_t rows[3], joined[2], bytes;
};

static size_t take(struct room *room, size_t bytes)
{
    size_t at = room->bytes;
    room->bytes += (bytes + 255) / 256 * 256;
    return at;
}

static float scale_of(const struct md_node *node, int64_t width)
{
    double scale = md_node_float(node, "scale", 0);
    return (float)(scale == 0 ? 1 / sqrt((double)width) : scale);
}

/* Inputs [first, last] of x's float storage, all those that are there. */
static bool are_floats(const struct md_device_value *in, int in_count, int first, int last)
{
    for (int i = first; i <= last; i++)
        if (md__given(in, in_count, i) && in[i].storage != in[0].storage)
            return false;
    return true;
}

static bool outputs_fit(const struct md_device_value *in, const struct md_device_value *out,
                        int out_count, int last)
{
    for (int i = last + 1; i < out_count; i++)
        if (md__given(out, out_count, i))
            return false;
    return md__one_float(in, 1, out, out_count < last + 1 ? out_count : last + 1);
}

/* ---- what Attention and MultiHeadAttention share --------------------------------------------- */

static void set_key_mask(struct md__cuda_attention *attention, const struct md_device_value *mask)
{
    static const enum md__cuda_key_mask kinds[] = {
        [1] = MD__CUDA_KEYS_BEFORE, [2] = MD__CUDA_KEYS_EACH, [3] = MD__CUDA_KEYS_PAIRS};
    attention->key_mask = mask->data;
    attention->key_mask_kind = kinds[mask->shape.rank];
    if (mask->shape.rank == 1 && mask->shape.dim[0] == 2 * attention->batch)
        attention->key_mask_kind = MD__CUDA_KEYS_BETWEEN;
}

/* Joins caches, then attends under mask, bias and causality; the mask is input `mask`, the bias the
 * one after it or the second. */
static enum md_status attend(const struct md_device_call *call, struct md__side *sides, int mask,
                             int bias, struct md_error *err)
{
    const struct md_node *node = call->node;
    int64_t batch = call->in[0].shape.dim[0], past = sides[1].past_steps;
    struct md__side y = md__side_of(&call->out[0], sides[0].heads);
    enum md_status status = md__side_join(call, &sides[1], batch, err);
    if (!status)
        status = md__side_join(call, &sides[2], batch, err);
    if (status)
        return status;
    struct md__cuda_attention attention =
        md__attention_of(call->out[0].storage, batch, &sides[0], &sides[1], &sides[2], &y);
    attention.past = past;
    attention.scale = scale_of(node, sides[0].width);
    attention.filter = (float)md_node_float(node, "mask_filter_value", -10000);
    attention.right = md_node_int(node, "unidirectional", 0) != 0 ? 0 : -1;
    if (md__given(call->in, call->in_count, mask))
        set_key_mask(&attention, &call->in[mask]);
    if (md__given(call->in, call->in_count, bias))
        md__attention_mask(&attention, &call->in[bias]);
    return md__launched(md__cuda_attention(md__cuda_stream_of(call->stream), &attention), err);
}

/* ---- Attention: input, weights, bias?, mask?, past? [2, ..], attention_bias? -----------------
 * ---- QAttention: input, weights, bias?, scales of both, mask?, zero points of both?, past? ----
 */

struct places {
    int mask, past, bias; /* inputs; of the scores */
};

static bool is_quantized(const struct md_node *node)
{
    return node->op == MD_OP_MS_QATTENTION;
}

static struct places places_of(const struct md_node *node)
{
    return is_quantized(node) ? (struct places){5, 8, 9} : (struct places){3, 4, 5};
}

/* Widths of the queries (and keys) and of the values. */
static void widths_of(const struct md_node *node, const struct md_device_value *in, int64_t *k,
                      int64_t *v)
{
    const struct md_attr *sizes = md_node_attr(node, "qkv_hidden_sizes");
    *k = *v = in[1].shape.dim[1] / 3;
    if (sizes && sizes->count == 3) {
        *k = sizes->ints[0];
        *v = sizes->ints[2];
    }
}

/* Sides in rows at `rows`, with caches; joined at `scratch` where there is no output for it. */
static struct room ms_attention_sides(const struct md_node *node, const struct md_device_value *in,
                                      int in_count, const struct md_device_value *out,
                                      int out_count, char *scratch, struct md__side *sides)
{
    const int64_t *x = in[0].shape.dim;
    int64_t heads = md_node_int(node, "num_heads", 1), columns = in[1].shape.dim[1], k, v;
    size_t element = md_dtype_bytes(out[0].storage);
    int past = places_of(node).past;
    struct room room = {0};
    widths_of(node, in, &k, &v);
    room.rows[0] = take(&room, (size_t)(x[0] * x[1] * columns) * element);
    for (int i = 0; i < 3; i++)
        sides[i] = md__side_columns(scratch, out[0].storage, x[1], columns, i * k, heads,
                                    (i == 2 ? v : k) / heads);
    for (int i = 0; i < 2; i++) {
        struct md__side *side = &sides[1 + i];
        bool cached = md__given(in, in_count, past), kept = md__given(out, out_count, 1);
        if (cached) {
            side->past_steps = in[past].shape.dim[3];
            size_t half = (size_t)md__elements(&in[past]) / 2 * element;
            side->past = in[past].data ? (const char *)in[past].data + (size_t)i * half : NULL;
        }
        if (kept && out[1].data)
            side->joined =
                (char *)out[1].data + (size_t)i * (size_t)md__elements(&out[1]) / 2 * element;
        if (cached && !kept) {
            room.joined[i] = take(&room, md__side_bytes(side, x[0], out[0].storage));
            side->joined = scratch ? scratch + room.joined[i] : NULL;
        }
    }
    return room;
}

/* Input, weights and their zero points. */
static bool are_bytes(const struct md_device_value *in, int in_count)
{
    bool fit = true;
    for (int i = 0; i < 2; i++)
        fit = fit && md__is_byte(in[i].dtype) &&
              (!md__given(in, in_count, 6 + i) || in[6 + i].dtype == in[i].dtype);
    return fit;
}

static bool ms_attention_supports(const struct md_node *node, const struct md_device_value *in,
                                  int in_count, const struct md_device_value *out, int out_count)
{
    int64_t heads = md_node_int(node, "num_heads", 1), k, v;
    widths_of(node, in, &k, &v);
    bool floats = is_quantized(node)
                      ? are_bytes(in, in_count) && are_floats(&in[2], in_count - 2, 1, 2) &&
                            are_floats(&in[2], in_count - 2, 6, 6)
                      : are_floats(in, in_count, 1, 2) && are_floats(in, in_count, 4, 5) &&
                            !md__given(in, in_count, 6);
    return floats && v / heads <= MD__HEAD_WIDTH_MAX &&
           outputs_fit(&in[is_quantized(node) ? 2 : 0], out, out_count, 1);
}

static size_t ms_attention_scratch(const struct md_node *node, const struct md_device_value *in,
                                   int in_count, const struct md_device_value *out, int out_count)
{
    struct md__side sides[3];
    return ms_attention_sides(node, in, in_count, out, out_count, NULL, sides).bytes;
}

static enum md_status project_bytes(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *in = call->in;
    struct md__cuda_byte_product product = {.storage = (int)call->out[0].storage,
                                            .rows = in[0].shape.dim[0] * in[0].shape.dim[1],
                                            .inner = in[1].shape.dim[0],
                                            .columns = in[1].shape.dim[1],
                                            .b_scale_count = md__elements(&in[4]),
                                            .a = md__byte_side_of(call, 0, 6),
                                            .b = md__byte_side_of(call, 1, 7),
                                            .a_scale = in[3].data,
                                            .b_scale = in[4].data,
                                            .bias = md__data(call, 2),
                                            .y = call->scratch};
    return md__launched(md__cuda_byte_product(md__cuda_stream_of(call->stream), &product), err);
}

static enum md_status project(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_product product =
        md__linear_of(&call->in[0], &call->in[1], false, md__data(call, 2), call->scratch);
    return md__product_enqueue(call, &product, err);
}

static enum md_status ms_attention_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct places places = places_of(call->node);
    struct md__side sides[3];
    ms_attention_sides(call->node, call->in, call->in_count, call->out, call->out_count,
                       call->scratch, sides);
    enum md_status status =
        is_quantized(call->node) ? project_bytes(call, err) : project(call, err);
    return status ? status : attend(call, sides, places.mask, places.bias, err);
}

const struct md_device_kernel md__cuda_op_ms_attention = {.supports = ms_attention_supports,
                                                          .scratch_bytes = ms_attention_scratch,
                                                          .enqueue = ms_attention_enqueue};

/* ---- MultiHeadAttention: query, key, value, bias?, mask?, attention_bias?, past key?, value? - */

static struct room multi_head_sides(const struct md_node *node, const struct md_device_value *in,
                                    int in_count, const struct md_device_value *out, int out_count,
                                    char *scratch, struct md__side *sides)
{
    int64_t heads = md_node_int(node, "num_heads", 1);
    struct room room = {0};
    for (int i = 0; i < 3; i++) {
        struct md_device_value value = in[i];
        if (md__given(in, in_count, 3)) { /* shifted by a part of the bias */
            room.rows[i] =
                take(&room, (size_t)md__elements(&in[i]) * md_dtype_bytes(in[i].storage));
            value.data = scratch + room.rows[i];
        }
        sides[i] = md__side_of(&value, heads);
    }
    for (int i = 0; i < 2; i++) {
        struct md__side *side = &sides[1 + i];
        bool cached = md__given(in, in_count, 6 + i), kept = md__given(out, out_count, 1 + i);
        if (cached) {
            side->past = in[6 + i].data;
            side->past_steps = in[6 + i].shape.dim[2];
        }
        if (kept)
            side->joined = out[1 + i].data;
        if (cached && !kept) {
            room.joined[i] = take(&room, md__side_bytes(side, in[0].shape.dim[0], in[0].storage));
            side->joined = scratch + room.joined[i];
        }
    }
    return room;
}

static bool multi_head_supports(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    struct md__side v = md__side_of(&in[2], md_node_int(node, "num_heads", 1));
    return are_floats(in, in_count, 1, 3) && are_floats(in, in_count, 5, 7) &&
           v.width <= MD__HEAD_WIDTH_MAX && outputs_fit(in, out, out_count, 2);
}

static size_t multi_head_scratch(const struct md_node *node, const struct md_device_value *in,
                                 int in_count, const struct md_device_value *out, int out_count)
{
    struct md__side sides[3];
    char none[1];
    return multi_head_sides(node, in, in_count, out, out_count, none, sides).bytes;
}

static enum md_status multi_head_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__side sides[3];
    struct room room = multi_head_sides(call->node, call->in, call->in_count, call->out,
                                        call->out_count, call->scratch, sides);
    int64_t first = 0;
    int error = 0;
    for (int i = 0; i < 3 && md__given(call->in, call->in_count, 3) && !error; i++) {
        const struct md_device_value *x = &call->in[i];
        int64_t columns = x->shape.dim[2];
        struct md__cuda_map map = {.rank = 2,
                                   .dim = {x->shape.dim[0] * x->shape.dim[1], columns},
                                   .stride = {{columns, 1}, {0, 1}}};
        md__map_merge(&map, 2);
        const char *bias = call->in[3].data;
        bias += (size_t)first * md_dtype_bytes(x->storage);
        error =
            md__cuda_binary(md__cuda_stream_of(call->stream), (int)x->storage, MD__CUDA_PAIR_ADD, 1,
                            1, &map, x->data, bias, (char *)call->scratch + room.rows[i]);
        first += columns;
    }
    return error ? md__launched(error, err) : attend(call, sides, 4, 5, err);
}

const struct md_device_kernel md__cuda_op_multi_head = {.supports = multi_head_supports,
                                                        .scratch_bytes = multi_head_scratch,
                                                        .enqueue = multi_head_enqueue};

/* ---- GroupQueryAttention: query, key?, value?, past key?, past value?, last places, total, tables
 */

/* query, key and value from their inputs, or all from a packed query. */
static void group_query_sides(const struct md_node *node, const struct md_device_value *in,
                              int in_count, struct md__side *sides)
{
    int64_t heads = md_node_int(node, "num_heads", 1), columns = in[0].shape.dim[2];
    int64_t kv_heads = md_node_int(node, "kv_num_heads", 1), steps = in[0].shape.dim[1];
    if (md__given(in, in_count, 1)) {
        sides[0] = md__side_of(&in[0], heads);
        sides[1] = md__side_of(&in[1], kv_heads);
        sides[2] = md__side_of(&in[2], kv_heads);
        return;
    }
    int64_t width = columns / (heads + 2 * kv_heads);
    for (int i = 0; i < 3; i++)
        sides[i] = md__side_columns(in[0].data, in[0].storage, steps, columns,
                                    i == 0 ? 0 : (heads + (i - 1) * kv_heads) * width,
                                    i == 0 ? heads : kv_heads, width);
}

static bool group_query_supports(const struct md_node *node, const struct md_device_value *in,
                                 int in_count, const struct md_device_value *out, int out_count)
{
    struct md__side sides[3];
    for (int i = 9; i < in_count; i++)
        if (in[i].dtype)
            return false;
    group_query_sides(node, in, in_count, sides);
    return are_floats(in, in_count, 1, 4) && are_floats(in, in_count, 7, 8) &&
           sides[2].width <= MD__HEAD_WIDTH_MAX && out_count == 3 &&
           outputs_fit(in, out, out_count, 2);
}

static size_t group_query_scratch(const struct md_node *node, const struct md_device_value *in,
                                  int in_count, const struct md_device_value *out, int out_count)
{
    struct md__side sides[3];
    (void)out, (void)out_count;
    group_query_sides(node, in, in_count, sides);
    return md__side_bytes(&sides[0], in[0].shape.dim[0], in[0].storage);
}

/* Side i, rotated where the node asks for it, behind its cache or, of queries, alone. */
static int extend(const struct md_device_call *call, struct md__side *side, int i, void *to,
                  int64_t room)
{
    const struct md_device_value *in = call->in;
    bool rotates = i < 2 && md_node_int(call->node, "do_rotary", 0) != 0;
    bool cached = i > 0 && md__given(in, call->in_count, 2 + i);
    int64_t batch = in[0].shape.dim[0];
    struct md__cuda_cache cache = {
        .storage = (int)in[0].storage,
        .interleaved = md_node_int(call->node, "rotary_interleaved", 0) != 0,
        .fresh = i == 0,
        .batch = batch,
        .heads = side->heads,
        .room = room,
        .old_room = cached ? in[2 + i].shape.dim[2] : 0,
        .steps = side->steps,
        .width = side->width,
        .half = rotates ? in[7].shape.dim[1] : 0,
        .positions = !rotates                                  ? 0
                     : in[7].shape.dim[0] < in[8].shape.dim[0] ? in[7].shape.dim[0]
                                                               : in[8].shape.dim[0],
        .x_at = side->at,
        .x = side->data,
        .old = cached ? in[2 + i].data : NULL,
        .cosine = rotates ? in[7].data : NULL,
        .sine = rotates ? in[8].data : NULL,
        .last = in[5].data,
        .y = to};
    side->data = to;
    side->steps = room;
    side->at =
        (struct md__cuda_heads){side->heads * room * side->width, room * side->width, side->width};
    return md__cuda_extend_cache(md__cuda_stream_of(call->stream), &cache);
}

static enum md_status group_query_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    struct md__side sides[3];
    group_query_sides(node, call->in, call->in_count, sides);
    struct md__side y = md__side_of(&call->out[0], sides[0].heads);
    int64_t left = md_node_int(node, "local_window_size", -1);
    int error = extend(call, &sides[0], 0, call->scratch, sides[0].steps);
    for (int i = 1; i < 3 && !error; i++)
        error = extend(call, &sides[i], i, call->out[i].data, call->out[i].shape.dim[2]);
    if (error)
        return md__launched(error, err);
    struct md__cuda_attention attention = md__attention_of(
        call->in[0].storage, call->in[0].shape.dim[0], &sides[0], &sides[1], &sides[2], &y);
    attention.scale = scale_of(node, sides[0].width);
    attention.softcap = (float)md_node_float(node, "softcap", 0);
    attention.right = 0;
    attention.left = left > 0 ? left - 1 : -1; /* a window counts the query's own place */
    attention.lengths = call->in[5].data;
    attention.lengths_more = 1;
    return md__launched(md__cuda_attention(md__cuda_stream_of(call->stream), &attention), err);
}

const struct md_device_kernel md__cuda_op_group_query = {.supports = group_query_supports,
                                                         .scratch_bytes = group_query_scratch,
                                                         .enqueue = group_query_enqueue};

/* ---- RotaryEmbedding: input, position ids, cosines, sines ------------------------------------ */

static bool ms_rotary_supports(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    (void)node;
    return in[1].dtype == MD_I64 && are_floats(in, in_count, 2, 3) && md__elements(&in[2]) > 0 &&
           outputs_fit(in, out, out_count, 0);
}

static enum md_status ms_rotary_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *in = call->in;
    int64_t half = in[2].shape.dim[1], last = in[0].shape.dim[in[0].shape.rank - 1];
    int64_t asked = md_node_int(call->node, "num_heads", 0);
    bool partial = md_node_int(call->node, "rotary_embedding_dim", 0) > 0 && asked > 0;
    struct md__side x = md__side_of(&in[0], last / (partial ? last / asked : 2 * half));
    int64_t rows[2] = {in[2].shape.dim[0], in[3].shape.dim[0]};
    struct md__cuda_rotary rotary = {.storage = (int)in[0].storage,
                                     .interleaved = md_node_int(call->node, "interleaved", 0) != 0,
                                     .ids_are_wide = true,
                                     .ids_are_first = in[1].shape.rank == 1,
                                     .batch = in[0].shape.dim[0],
                                     .heads = x.heads,
                                     .steps = x.steps,
                                     .width = x.width,
                                     .half = half,
                                     .positions = rows[0] < rows[1] ? rows[0] : rows[1],
                                     .at = x.at,
                                     .x = in[0].data,
                                     .cosine = in[2].data,
                                     .sine = in[3].data,
                                     .ids = in[1].data,
                                     .y = call->out[0].data};
    return md__launched(md__cuda_rotary(md__cuda_stream_of(call->stream), &rotary), err);
}

const struct md_device_kernel md__cuda_op_ms_rotary = {.supports = ms_rotary_supports,
                                                       .enqueue = ms_rotary_enqueue};
