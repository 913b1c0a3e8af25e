/*
 * Nodes of attention: attention.cu. Caches, valid lengths and outputs beyond the first are left to
 * the CPU.
 */
#include <math.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/ops.h"

#define WIDTH_MAX        256
#define SHARED_BYTES_MAX (48 << 10)

/* ---- Attention ------------------------------------------------------------------------------- */

/* [batch, heads, steps, width], or [batch, steps, heads * width]. */
struct heads {
    int64_t count, steps, width;
    struct md__cuda_heads at;
};

static struct heads heads_of(const struct md_node *node, const char *attribute,
                             const struct md_shape *shape)
{
    if (shape->rank == 4) {
        int64_t head = shape->dim[2] * shape->dim[3];
        return (struct heads){shape->dim[1],
                              shape->dim[2],
                              shape->dim[3],
                              {shape->dim[1] * head, head, shape->dim[3]}};
    }
    int64_t count = md_node_int(node, attribute, 1), width = shape->dim[2] / (count ? count : 1);
    return (struct heads){
        count, shape->dim[1], width, {shape->dim[1] * shape->dim[2], width, shape->dim[2]}};
}

static bool attention_supports(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    for (int i = 4; i < in_count; i++)
        if (in[i].dtype)
            return false;
    for (int i = 1; i < out_count; i++)
        if (out[i].dtype)
            return false;
    bool mask_fits =
        !md__given(in, in_count, 3) || in[3].dtype == MD_BOOL || in[3].storage == in[0].storage;
    struct heads v = heads_of(node, "kv_num_heads", &in[2].shape);
    return mask_fits && v.width <= WIDTH_MAX && v.count > 0 && md__one_float(in, 3, out, 1);
}

static void set_mask(struct md__cuda_attention *attention, const struct md_device_value *mask)
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

static enum md_status attention_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    const struct md_device_value *in = call->in;
    struct heads q = heads_of(node, "q_num_heads", &in[0].shape);
    struct heads k = heads_of(node, "kv_num_heads", &in[1].shape);
    struct heads v = heads_of(node, "kv_num_heads", &in[2].shape);
    struct md__cuda_attention attention = {
        .storage = (int)in[0].storage,
        .batch = in[0].shape.dim[0],
        .heads = q.count,
        .kv_heads = k.count,
        .queries = q.steps,
        .keys = k.steps,
        .width = q.width,
        .v_width = v.width,
        .q_at = q.at,
        .k_at = k.at,
        .v_at = v.at,
        .y_at = heads_of(node, "q_num_heads", &call->out[0].shape).at,
        .left = md_node_int(node, "left_window_size", -1),
        .right = md_node_int(node, "right_window_size", -1),
        .scale = (float)md_node_float(node, "scale", 1 / sqrt((double)q.width)),
        .softcap = (float)md_node_float(node, "softcap", 0),
        .q = in[0].data,
        .k = in[1].data,
        .v = in[2].data,
        .y = call->out[0].data};
    if (md_node_int(node, "is_causal", 0) != 0)
        attention.right = 0;
    if (md__given(in, call->in_count, 3))
        set_mask(&attention, &in[3]);
    return md__launched(md__cuda_attention(md__cuda_stream_of(call->stream), &attention), err);
}

const struct md_device_kernel md__cuda_op_attention = {.supports = attention_supports,
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
    struct heads x = heads_of(call->node, "num_heads", &in[0].shape);
    int64_t half = in[1].shape.dim[in[1].shape.rank - 1];
    struct md__cuda_rotary rotary = {.storage = (int)in[0].storage,
                                     .interleaved = md_node_int(call->node, "interleaved", 0) != 0,
                                     .ids_are_wide =
                                         md__given(in, call->in_count, 3) && in[3].dtype == MD_I64,
                                     .batch = in[0].shape.dim[0],
                                     .heads = x.count,
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
