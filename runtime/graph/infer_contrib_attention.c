/*
 * Shape rules of the attention operators of com.microsoft: Attention, QAttention,
 * MultiHeadAttention, GroupQueryAttention, RotaryEmbedding. What they leave out of ONNX Runtime's
 * page (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md), packed
 * layouts, shared buffers, quantised caches, is refused by name.
 */
#include "graph/infer.h"

/* Inputs [first, in_count) that are not implemented. */
static enum md_status refuse_inputs(const struct md_value_info *in, int in_count, int first,
                                    struct md_error *err)
{
    for (int i = first; i < in_count; i++)
        if (md__has(in, in_count, i))
            return md_fail(err, MD_ERR_UNSUPPORTED, "input %d is not supported", i);
    return MD_OK;
}

static enum md_status refuse_attribute(const struct md_node *node, const char *name,
                                       struct md_error *err)
{
    int64_t value = md_node_int(node, name, 0);
    return value == 0 ? MD_OK
                      : md_fail(err, MD_ERR_UNSUPPORTED, "attribute %s %lld is not supported", name,
                                (long long)value);
}

static enum md_status heads_of(const struct md_node *node, const char *name, int64_t *heads,
                               struct md_error *err)
{
    *heads = md_node_int(node, name, 0);
    return *heads >= 1 && *heads <= 1 << 20
               ? MD_OK
               : md_fail(err, MD_ERR_INVALID, "attribute %s is %lld", name, (long long)*heads);
}

static void set(struct md_value_info *out, enum md_dtype dtype, int rank, const int64_t *dim)
{
    out->dtype = dtype;
    out->shape = md_shape_of(rank, dim);
}

/* Key lengths [batch], 1 or 0 for each key [batch, keys], or each pair [batch, queries, keys];
 * ends, then starts [2 batch] where `ranges`. */
static enum md_status check_mask(const struct md_value_info *in, int in_count, int i, int64_t batch,
                                 int64_t queries, int64_t keys, bool ranges, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    const struct md_shape *mask = &in[i].shape;
    const int64_t *dim = mask->dim;
    bool fits = (mask->rank == 1 && (dim[0] == batch || (ranges && dim[0] == 2 * batch))) ||
                (mask->rank == 2 && dim[0] == batch && dim[1] == keys) ||
                (mask->rank == 3 && dim[0] == batch && dim[1] == queries && dim[2] == keys);
    enum md_status status = md__infer_dtype(in, i, MD_I32, err);
    if (!status && !fits)
        status =
            md_fail(err, MD_ERR_UNSUPPORTED, "mask of shape %s is not supported", MD_SHAPE(in[i]));
    return status;
}

/* [batch or 1, heads or 1, queries, keys] */
static enum md_status check_bias(const struct md_value_info *in, int in_count, int i, int64_t batch,
                                 int64_t heads, int64_t queries, int64_t keys, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    const struct md_shape *bias = &in[i].shape;
    bool fits = bias->rank == 4 && (bias->dim[0] == 1 || bias->dim[0] == batch) &&
                (bias->dim[1] == 1 || bias->dim[1] == heads) && bias->dim[2] == queries &&
                bias->dim[3] == keys;
    enum md_status status = md__infer_dtype(in, i, in[0].dtype, err);
    if (!status && !fits)
        status = md_fail(err, MD_ERR_INVALID, "attention_bias of shape %s does not fit",
                         MD_SHAPE(in[i]));
    return status;
}

/* Attention: input, weights, bias, mask?, past?, attention_bias?, past length (not supported)
 * QAttention: input, weights, bias, scales.., mask?, zero points.., past? */
MD_INFER_RULE(md_infer_ms_attention)
{
    bool quantized = node->op == MD_OP_MS_QATTENTION;
    int mask = quantized ? 5 : 3, cache = quantized ? 8 : 4;
    int64_t heads = 0, past = 0, widths[3];
    const struct md_attr *sizes = md_node_attr(node, "qkv_hidden_sizes");
    enum md_status status = heads_of(node, "num_heads", &heads, err);
    if (!status)
        status = refuse_attribute(node, "do_rotary", err);
    if (!status)
        status = refuse_attribute(node, "past_present_share_buffer", err);
    if (!status && !quantized)
        status = refuse_inputs(in, in_count, 6, err);
    if (!status)
        status = md__infer_expect(in, 0, "input", 3, (int64_t[]){-1, -1, -1}, err);
    if (!status)
        status = md__infer_expect(in, 1, "weights", 2, (int64_t[]){in[0].shape.dim[2], -1}, err);
    if (!status)
        status = md__infer_is_float(in, quantized ? 2 : 0, err);
    if (status)
        return status;
    const int64_t *x = in[0].shape.dim, all = in[1].shape.dim[1];
    for (int i = 0; i < 3; i++)
        widths[i] =
            sizes && sizes->type == MD_ATTR_INTS && sizes->count == 3 ? sizes->ints[i] : all / 3;
    if (widths[0] < 1 || widths[0] != widths[1] || widths[2] < 1 || widths[0] > all ||
        widths[2] > all || widths[0] + widths[1] + widths[2] != all || widths[0] % heads != 0 ||
        widths[2] % heads != 0)
        return md_fail(err, MD_ERR_INVALID, "weights of shape %s do not make %lld heads",
                       MD_SHAPE(in[1]), (long long)heads);
    enum md_dtype dtype = in[quantized ? 2 : 0].dtype;
    if (md__has(in, in_count, 2))
        status = md__infer_expect(in, 2, "bias", 1, &all, err);
    if (!status && quantized)
        for (int i = 3; !status && i < 8; i++)
            if (i != mask && md__has(in, in_count, i) &&
                !(in[i].shape.rank == 0 ||
                  (in[i].shape.rank == 1 && (in[i].shape.dim[0] == 1 || i == 4 || i == 7) &&
                   (in[i].shape.dim[0] == 1 || in[i].shape.dim[0] == all))))
                status = md_fail(err, MD_ERR_INVALID, "input %d has shape %s", i, MD_SHAPE(in[i]));
    if (!status && !quantized)
        for (int i = 1; !status && i < 3; i++)
            if (md__has(in, in_count, i))
                status = md__infer_dtype(in, i, dtype, err);
    if (!status && md__has(in, in_count, cache)) {
        const int64_t wanted[] = {2, x[0], heads, -1, widths[0] / heads};
        status = md__infer_dtype(in, cache, dtype, err);
        if (!status)
            status = md__infer_expect(in, cache, "past", 5, wanted, err);
        past = in[cache].shape.dim[3];
    }
    if (!status && widths[2] != widths[0] && (past || out_count > 1))
        status = md_fail(err, MD_ERR_UNSUPPORTED, "a cache of other width than the keys'");
    if (!status)
        status = check_mask(in, in_count, mask, x[0], x[1], past + x[1], true, err);
    if (!status && !quantized)
        status = check_bias(in, in_count, 5, x[0], heads, x[1], past + x[1], err);
    set(&out[0], dtype, 3, (int64_t[]){x[0], x[1], widths[2]});
    if (out_count > 1)
        set(&out[1], dtype, 5, (int64_t[]){2, x[0], heads, past + x[1], widths[0] / heads});
    return status;
}

/* query, key, value, bias?, key mask?, attention_bias?, past key?, past value? */
MD_INFER_RULE(md_infer_multi_head)
{
    int64_t heads = 0, past = 0;
    enum md_status status = heads_of(node, "num_heads", &heads, err);
    if (!status)
        status = refuse_inputs(in, in_count, 8, err);
    if (!status && (in[0].shape.rank != 3 || !md__has(in, in_count, 1) ||
                    !md__has(in, in_count, 2) || in[1].shape.rank > 4))
        status = md_fail(err, MD_ERR_UNSUPPORTED, "packed query, key and value are not supported");
    if (!status)
        status = md__infer_is_float(in, 0, err);
    for (int i = 1; !status && i < 4 && i < in_count; i++)
        if (md__has(in, in_count, i))
            status = md__infer_dtype(in, i, in[0].dtype, err);
    if (status)
        return status;
    const int64_t *q = in[0].shape.dim;
    bool headed = in[1].shape.rank == 4;
    int64_t steps = in[1].shape.dim[headed ? 2 : 1];
    int64_t width = q[2] / heads,
            v_last = in[2].shape.rank ? in[2].shape.dim[in[2].shape.rank - 1] : 0;
    int64_t v_width = headed ? v_last : v_last / heads;
    const int64_t by_head_k[] = {q[0], heads, -1, width}, by_head_v[] = {q[0], heads, steps, -1};
    const int64_t by_step_k[] = {q[0], -1, q[2]}, by_step_v[] = {q[0], steps, -1};
    status = md__infer_expect(in, 1, "key", headed ? 4 : 3, headed ? by_head_k : by_step_k, err);
    if (!status)
        status =
            md__infer_expect(in, 2, "value", headed ? 4 : 3, headed ? by_head_v : by_step_v, err);
    if (!status && (q[2] % heads != 0 || (!headed && v_last % heads != 0)))
        status = md_fail(err, MD_ERR_INVALID, "query of shape %s does not make %lld heads",
                         MD_SHAPE(in[0]), (long long)heads);
    if (!status && md__has(in, in_count, 3))
        status = md__infer_expect(in, 3, "bias", 1, (int64_t[]){2 * q[2] + heads * v_width}, err);
    if (!status && headed && md__has(in, in_count, 3))
        status = md_fail(err, MD_ERR_UNSUPPORTED, "bias with a key by heads is not supported");
    if (!status && md__has(in, in_count, 6) != md__has(in, in_count, 7))
        status = md_fail(err, MD_ERR_INVALID, "past_key and past_value come together");
    if (!status && md__has(in, in_count, 6)) {
        past = in[6].shape.rank == 4 ? in[6].shape.dim[2] : 0;
        const int64_t past_v[] = {q[0], heads, past, v_width};
        status = md__infer_dtype(in, 6, in[0].dtype, err);
        if (!status)
            status = md__infer_dtype(in, 7, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, 6, "past_key", 4, by_head_k, err);
        if (!status)
            status = md__infer_expect(in, 7, "past_value", 4, past_v, err);
    }
    if (!status)
        status = check_mask(in, in_count, 4, q[0], q[1], past + steps, false, err);
    if (!status)
        status = check_bias(in, in_count, 5, q[0], heads, q[1], past + steps, err);
    set(&out[0], in[0].dtype, 3, (int64_t[]){q[0], q[1], heads * v_width});
    for (int i = 1; i < out_count && i < 3; i++)
        set(&out[i], in[0].dtype, 4,
            (int64_t[]){q[0], heads, past + steps, i == 1 ? width : v_width});
    if (out_count > 3)
        set(&out[3], in[0].dtype, 4, (int64_t[]){q[0], heads, q[1], past + steps});
    return status;
}

static enum md_status check_group_cache(const struct md_value_info *in, int in_count,
                                        const int64_t *q, int64_t kv_heads, int64_t width,
                                        int64_t *room, struct md_error *err)
{
    *room = 0;
    const int64_t cache[] = {q[0], kv_heads, -1, width};
    for (int i = 3; i < 5; i++) {
        if (!md__has(in, in_count, i))
            continue;
        enum md_status status = md__infer_dtype(in, i, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, i, "past", 4, cache, err);
        if (status)
            return status;
        *room = in[i].shape.dim[2];
    }
    bool both = md__has(in, in_count, 3) == md__has(in, in_count, 4);
    bool alike = !md__has(in, in_count, 3) || in[3].shape.dim[2] == in[4].shape.dim[2];
    return both && alike ? MD_OK
                         : md_fail(err, MD_ERR_INVALID, "past_key and past_value do not match");
}

/* query (or all three packed), key?, value?, past key?, past value?, lengths - 1, total length,
 * cosines?, sines? */
MD_INFER_RULE(md_infer_group_query)
{
    int64_t heads = 0, kv_heads = 0, total = 0, room = 0;
    enum md_status status = heads_of(node, "num_heads", &heads, err);
    if (!status)
        status = heads_of(node, "kv_num_heads", &kv_heads, err);
    if (!status)
        status = refuse_inputs(in, in_count, 9, err);
    if (!status && md_node_int(node, "smooth_softmax", 0) > 0)
        status = refuse_attribute(node, "smooth_softmax", err);
    if (!status)
        status = md__infer_expect(in, 0, "query", 3, (int64_t[]){-1, -1, -1}, err);
    if (!status)
        status = md__infer_is_float(in, 0, err);
    if (status)
        return status;
    bool packed = !md__has(in, in_count, 1);
    const int64_t *q = in[0].shape.dim;
    int64_t parts = packed ? heads + 2 * kv_heads : heads, width = q[2] / parts;
    if (heads % kv_heads != 0 || q[2] % parts != 0 || packed != !md__has(in, in_count, 2))
        return md_fail(err, MD_ERR_INVALID, "query of shape %s does not make %lld and %lld heads",
                       MD_SHAPE(in[0]), (long long)heads, (long long)kv_heads);
    const int64_t rows[] = {q[0], q[1], kv_heads * width};
    for (int i = 1; !status && i < 3 && !packed; i++) {
        status = md__infer_dtype(in, i, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, i, "key or value", 3, rows, err);
    }
    if (!status)
        status = check_group_cache(in, in_count, q, kv_heads, width, &room, err);
    if (!status)
        status = md__infer_dtype(in, 5, MD_I32, err);
    size_t lengths = 0;
    if (!status)
        status = md_shape_count(&in[5].shape, 1, &lengths, err);
    if (!status && (int64_t)lengths != q[0])
        status = md_fail(err, MD_ERR_INVALID, "seqlens_k has shape %s", MD_SHAPE(in[5]));
    if (!status)
        status = md__infer_scalar(in, 6, "total_sequence_length", &total, err);
    bool rotary = md_node_int(node, "do_rotary", 0) != 0;
    const int64_t table[] = {-1, -1};
    for (int i = 7; !status && rotary && i < 9; i++) {
        if (!md__has(in, in_count, i))
            return md_fail(err, MD_ERR_INVALID, "do_rotary without its tables");
        status = md__infer_dtype(in, i, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, i, "table", 2, table, err);
        if (!status && (in[i].shape.dim[1] > width / 2 || in[i].shape.dim[1] != in[7].shape.dim[1]))
            status = md_fail(err, MD_ERR_INVALID, "table of shape %s rotates more than %lld",
                             MD_SHAPE(in[i]), (long long)width);
    }
    if (!status && (total < q[1] || total - q[1] > room || out_count < 3))
        status = md_fail(err, MD_ERR_INVALID, "total_sequence_length %lld, or %d outputs, are few",
                         (long long)total, out_count);
    room = room > total ? room : total;
    set(&out[0], in[0].dtype, 3, (int64_t[]){q[0], q[1], heads * width});
    for (int i = 1; i < out_count; i++)
        set(&out[i], in[0].dtype, 4, (int64_t[]){q[0], kv_heads, room, width});
    return status;
}

/* input, position ids, cosines, sines */
MD_INFER_RULE(md_infer_ms_rotary)
{
    (void)in_count, (void)out_count;
    const struct md_shape *x = &in[0].shape;
    enum md_status status = md__infer_is_float(in, 0, err);
    if (!status)
        status = refuse_attribute(node, "is_packed_batching", err);
    if (!status && (x->rank < 3 || x->rank > 4))
        status = md_fail(err, MD_ERR_INVALID, "input has shape %s", MD_SHAPE(in[0]));
    if (!status)
        status = md__infer_dtype(in, 1, MD_I64, err);
    for (int i = 2; !status && i < 4; i++) {
        status = md__infer_dtype(in, i, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, i, "table", 2, (int64_t[]){-1, in[2].shape.dim[1]}, err);
    }
    if (status)
        return status;
    int64_t half = in[2].shape.dim[1], turned = md_node_int(node, "rotary_embedding_dim", 0);
    int64_t heads = md_node_int(node, "num_heads", 0), last = x->dim[x->rank - 1];
    int64_t width = x->rank == 4 ? last : turned > 0 && heads > 0 ? last / heads : 2 * half;
    const struct md_shape *ids = &in[1].shape;
    int64_t steps = x->dim[x->rank == 4 ? 2 : 1];
    bool by_step = ids->rank == 2 && ids->dim[0] == x->dim[0] && ids->dim[1] == steps;
    bool offset = ids->rank == 1 && ids->dim[0] == 1;
    if (width < 1 || last % width != 0 || 2 * half > width || (turned && turned != 2 * half) ||
        !(by_step || offset))
        return md_fail(err, MD_ERR_INVALID, "input of %s, ids of %s and tables of %s do not match",
                       MD_SHAPE(in[0]), MD_SHAPE(in[1]), MD_SHAPE(in[2]));
    set(&out[0], in[0].dtype, x->rank, x->dim);
    return MD_OK;
}
