/*
 * Shape rules of the standard's attention family: Attention, RotaryEmbedding, LinearAttention.
 */
#include "graph/infer.h"

/* Input i as [batch, heads, steps, width], from 4 axes or from [batch, steps, heads * width]. */
struct heads {
    int64_t batch, heads, steps, width;
};

static enum md_status read_heads(const struct md_node *node, const struct md_value_info *in, int i,
                                 const char *attribute, struct heads *heads, struct md_error *err)
{
    const struct md_shape *shape = &in[i].shape;
    int64_t asked = md_node_int(node, attribute, 0);
    if (shape->rank == 4) {
        *heads = (struct heads){shape->dim[0], shape->dim[1], shape->dim[2], shape->dim[3]};
        return MD_OK;
    }
    if (shape->rank != 3 || asked < 1 || shape->dim[2] % asked != 0)
        return md_fail(err, MD_ERR_INVALID, "input %d of shape %s has no %s %lld", i,
                       MD_SHAPE(in[i]), attribute, (long long)asked);
    *heads = (struct heads){shape->dim[0], asked, shape->dim[1], shape->dim[2] / asked};
    return MD_OK;
}

static enum md_status read_qkv(const struct md_node *node, const struct md_value_info *in,
                               struct heads *q, struct heads *k, struct heads *v,
                               struct md_error *err)
{
    enum md_status status = read_heads(node, in, 0, "q_num_heads", q, err);
    if (!status)
        status = read_heads(node, in, 1, "kv_num_heads", k, err);
    return status ? status : read_heads(node, in, 2, "kv_num_heads", v, err);
}

/* The mask broadcasts to [batch, heads, queries, keys]; its last axis may end early. */
static enum md_status check_mask(const struct md_value_info *in, const struct heads *q,
                                 int64_t keys, struct md_error *err)
{
    const struct md_shape *mask = &in[3].shape;
    const int64_t full[] = {q->batch, q->heads, q->steps, keys};
    bool fits = mask->rank >= 1 && mask->rank <= 4 && mask->dim[mask->rank - 1] <= keys;
    for (int i = 0; fits && i < mask->rank - 1; i++)
        fits = mask->dim[i] == 1 || mask->dim[i] == full[4 - mask->rank + i];
    if (!fits)
        return md_fail(err, MD_ERR_INVALID, "attn_mask of shape %s does not fit the scores",
                       MD_SHAPE(in[3]));
    return in[3].dtype == MD_BOOL ? MD_OK : md__infer_is_float(in, 3, err);
}

/* past_key and past_value: [batch, kv heads, past, width] */
static enum md_status check_cache(const struct md_value_info *in, int in_count,
                                  const struct heads *k, const struct heads *v, int64_t *past,
                                  struct md_error *err)
{
    *past = 0;
    if (md__has(in, in_count, 4) != md__has(in, in_count, 5))
        return md_fail(err, MD_ERR_INVALID, "past_key and past_value come together");
    if (!md__has(in, in_count, 4))
        return MD_OK;
    const int64_t key[] = {k->batch, k->heads, -1, k->width};
    enum md_status status = md__infer_dtype(in, 4, in[1].dtype, err);
    if (!status)
        status = md__infer_dtype(in, 5, in[2].dtype, err);
    if (!status)
        status = md__infer_expect(in, 4, "past_key", 4, key, err);
    if (status)
        return status;
    *past = in[4].shape.dim[2];
    const int64_t value[] = {v->batch, v->heads, *past, v->width};
    return md__infer_expect(in, 5, "past_value", 4, value, err);
}

static enum md_status check_attributes(const struct md_node *node, struct md_error *err)
{
    int64_t mode = md_node_int(node, "qk_matmul_output_mode", 0);
    int64_t left = md_node_int(node, "left_window_size", -1);
    int64_t right = md_node_int(node, "right_window_size", -1);
    if (md_node_float(node, "scale", 1) < 0)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute scale %g is negative",
                       md_node_float(node, "scale", 1));
    if (mode < 0 || mode > 3)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute qk_matmul_output_mode %lld is unknown",
                       (long long)mode);
    int64_t precision = md_node_int(node, "softmax_precision", MD_F32);
    if (precision != MD_F32 && precision != MD_F16 && precision != MD_F64 && precision != MD_BF16)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute softmax_precision %lld is no float",
                       (long long)precision);
    if (left < -1 || right < -1)
        return md_fail(err, MD_ERR_INVALID, "window sizes are %lld and %lld", (long long)left,
                       (long long)right);
    return MD_OK;
}

static void set(struct md_value_info *out, enum md_dtype dtype, int64_t a, int64_t b, int64_t c,
                int64_t d)
{
    out->dtype = dtype;
    out->shape = md_shape_of(4, (int64_t[]){a, b, c, d});
}

/* Q, K, V, mask?, past key?, past value?, valid keys? -> Y, present key, present value, scores */
MD_INFER_RULE(md_infer_attention)
{
    struct heads q, k, v;
    int64_t past = 0;
    enum md_status status = check_attributes(node, err);
    for (int i = 0; !status && i < 3; i++)
        status = md__infer_is_float(in, i, err);
    if (!status)
        status = md__infer_dtype(in, 1, in[0].dtype, err);
    if (!status)
        status = read_qkv(node, in, &q, &k, &v, err);
    if (status)
        return status;
    if (q.batch != k.batch || k.batch != v.batch || q.width != k.width || k.steps != v.steps ||
        k.heads != v.heads || k.heads < 1 || q.heads % k.heads != 0)
        return md_fail(err, MD_ERR_INVALID, "Q of shape %s, K of %s and V of %s do not match",
                       MD_SHAPE(in[0]), MD_SHAPE(in[1]), MD_SHAPE(in[2]));
    status = check_cache(in, in_count, &k, &v, &past, err);
    if (status)
        return status;
    if (past > INT64_MAX / 2 || k.steps > INT64_MAX / 2)
        return md_fail(err, MD_ERR_TOO_LARGE, "has too many keys");
    int64_t keys = past + k.steps;
    if (md__has(in, in_count, 3))
        status = check_mask(in, &q, keys, err);
    if (!status && md__has(in, in_count, 6)) {
        status = md__infer_dtype(in, 6, MD_I64, err);
        if (!status)
            status = md__infer_expect(in, 6, "nonpad_kv_seqlen", 1, &q.batch, err);
    }
    if (status)
        return status;
    set(&out[0], in[0].dtype, q.batch, q.heads, q.steps, v.width);
    if (in[0].shape.rank == 3)
        out[0].shape = md_shape_of(3, (int64_t[]){q.batch, q.steps, q.heads * v.width});
    if (out_count > 1)
        set(&out[1], in[1].dtype, k.batch, k.heads, keys, k.width);
    if (out_count > 2)
        set(&out[2], in[2].dtype, v.batch, v.heads, keys, v.width);
    if (out_count > 3)
        set(&out[3], in[0].dtype, q.batch, q.heads, q.steps, keys);
    return MD_OK;
}

/* X, cosine table, sine table, position ids? */
MD_INFER_RULE(md_infer_rotary)
{
    (void)out_count;
    struct heads x;
    enum md_status status = md__infer_is_float(in, 0, err);
    for (int i = 1; !status && i < 3; i++)
        status = md__infer_dtype(in, i, in[0].dtype, err);
    if (!status)
        status = read_heads(node, in, 0, "num_heads", &x, err);
    if (status)
        return status;
    int64_t turned = md_node_int(node, "rotary_embedding_dim", 0);
    turned = turned ? turned : x.width;
    if (turned < 0 || turned % 2 || turned > x.width)
        return md_fail(err, MD_ERR_INVALID, "cannot rotate %lld of %lld", (long long)turned,
                       (long long)x.width);
    bool named = md__has(in, in_count, 3);
    const int64_t by_id[] = {-1, turned / 2}, by_place[] = {x.batch, x.steps, turned / 2};
    for (int i = 1; !status && i < 3; i++)
        status = md__infer_expect(in, i, "table", named ? 2 : 3, named ? by_id : by_place, err);
    if (!status && named) {
        status = md__infer_dtype(in, 3, MD_I64, err);
        if (!status)
            status = md__infer_expect(in, 3, "position_ids", 2, by_place, err);
    }
    if (!status && in[1].shape.dim[0] != in[2].shape.dim[0])
        status = md_fail(err, MD_ERR_INVALID, "tables of %s and %s differ", MD_SHAPE(in[1]),
                         MD_SHAPE(in[2]));
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return status;
}

/* Which of decay and beta the rule takes. */
static enum md_status check_rule(const struct md_node *node, const struct md_value_info *in,
                                 int in_count, struct md_error *err)
{
    static const char *const rules[] = {"linear", "gated", "delta", "gated_delta", NULL};
    int rule = 0;
    enum md_status status = md__infer_choice(node, "update_rule", "gated_delta", rules, &rule, err);
    if (!status &&
        (md__has(in, in_count, 4) != (rule & 1) || md__has(in, in_count, 5) != (rule >> 1)))
        status = md_fail(err, MD_ERR_INVALID, "update_rule %s goes with other inputs", rules[rule]);
    return status;
}

/* query, key, value, past state?, decay?, beta? -> output, present state */
MD_INFER_RULE(md_infer_linear_attention)
{
    struct heads q, k, v;
    enum md_status status = check_rule(node, in, in_count, err);
    for (int i = 0; !status && i < in_count; i++) {
        if (!md__has(in, in_count, i))
            continue;
        status = md__infer_is_float(in, i, err);
        if (!status && i != 3 && in[i].shape.rank != 3)
            status = md_fail(err, MD_ERR_INVALID, "input %d has shape %s, wanted 3 axes", i,
                             MD_SHAPE(in[i]));
    }
    if (!status)
        status = read_qkv(node, in, &q, &k, &v, err);
    if (status)
        return status;
    if (q.batch != k.batch || k.batch != v.batch || q.steps != k.steps || k.steps != v.steps ||
        q.width != k.width || q.heads % k.heads != 0)
        return md_fail(err, MD_ERR_INVALID, "query of shape %s, key of %s and value of %s differ",
                       MD_SHAPE(in[0]), MD_SHAPE(in[1]), MD_SHAPE(in[2]));
    const int64_t state[] = {q.batch, k.heads, k.width, v.width};
    const int64_t rows[] = {q.batch, q.steps, -1};
    if (md__has(in, in_count, 3))
        status = md__infer_expect(in, 3, "past_state", 4, state, err);
    for (int i = 4; !status && i < 6; i++) {
        if (!md__has(in, in_count, i))
            continue;
        status = md__infer_expect(in, i, i == 4 ? "decay" : "beta", 3, rows, err);
        int64_t last = in[i].shape.dim[2], wide = i == 4 ? k.heads * k.width : 1;
        if (!status && last != k.heads && last != wide)
            status = md_fail(err, MD_ERR_INVALID, "input %d of shape %s has no number a head", i,
                             MD_SHAPE(in[i]));
    }
    out[0].dtype = in[0].dtype;
    out[0].shape = md_shape_of(3, (int64_t[]){q.batch, q.steps, q.heads * v.width});
    if (out_count > 1) {
        out[1].dtype = md__has(in, in_count, 3) ? in[3].dtype : in[0].dtype;
        out[1].shape = md_shape_of(4, state);
    }
    return status;
}
