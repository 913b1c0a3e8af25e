/*
 * InterpretableAttention (graph/fused.md): heads share v and are averaged, so the probability rows
 * of all heads are added up first and v is multiplied once.
 *
 * A thread takes a run of (batch element, block of queries) and lays k and v of its batch element
 * out with keys in lanes: [feature][keys, padded]. A score row is then head_size multiplications of
 * vectors of keys, and everything from scores to probabilities stays in L1. Padding lanes score
 * -infinity, so that no loop but the first knows of them.
 */
#include <math.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/math.h"

#define QUERY_BLOCK 16
#define QUERIES     4 /* score rows computed together: they share the loads of k */

struct attention {
    const struct md_kernel_call *call;
    size_t batch, queries, keys, heads, head_size, values;
    size_t wide;            /* keys, padded */
    size_t blocks;          /* of queries */
    float scale, mask_bias; /* times log2 e: scores are exponents of 2 */
    const uint8_t *mask;
    size_t mask_batch, mask_query; /* element strides; 0 where the mask broadcasts */
};

/* Per thread: k and v turned; then rows of scores, of summed probabilities and of the mask. */
static size_t thread_floats(size_t features, size_t values, size_t wide)
{
    return (features + values + 3 * QUERIES) * wide + QUERIES * padded(features);
}

/* [keys][features] to [features][wide], zero past the keys. */
static void turn(const float *from, size_t keys, size_t features, float *to, size_t wide)
{
    for (size_t f = 0; f < features; f++) {
        for (size_t k = 0; k < keys; k++)
            to[f * wide + k] = from[k * features + f];
        for (size_t k = keys; k < wide; k++)
            to[f * wide + k] = 0;
    }
}

/*
 * Widens the mask of one query: all ones where a key is hidden. Returns how many keys, in whole
 * vectors, hold all that it sees; a query that sees nothing weighs all keys alike.
 */
static size_t widen_mask(const struct attention *a, size_t batch, size_t query, int32_t *hidden)
{
    const uint8_t *mask = a->mask + batch * a->mask_batch + query * a->mask_query;
    size_t seen = a->keys;
    for (size_t k = 0; k < a->keys; k++)
        hidden[k] = -(mask[k] != 0);
    memset(hidden + a->keys, 0, (a->wide - a->keys) * sizeof *hidden);
    while (seen > 0 && mask[seen - 1])
        seen--;
    return seen ? padded(seen) : a->wide;
}

/* The queries of one batch element that go together, and the keys [0, used) that any of them sees.
 */
struct query_group {
    const float *k, *v;
    float *q, *scores, *total;
    int32_t *hidden;
    size_t used;
};

/* scores[n][keys] = q_n . k for `rows` scaled queries of one head, masked; max[n] is their maximum.
 */
INLINE void score_rows(const struct attention *a, const struct query_group *group, size_t head,
                       vf *max, const int rows)
{
    size_t features = a->heads * a->head_size, first = head * a->head_size;
    const float *q = group->q + first, *k = group->k + first * a->wide;
    for (size_t at = 0; at < group->used; at += VL) {
        vf sum[QUERIES] = {0};
        for (size_t f = 0; f < a->head_size; f++) {
            vf key = load(k + f * a->wide + at);
#pragma GCC unroll 4
            for (int n = 0; n < rows; n++)
                sum[n] += key * q[(size_t)n * features + f];
        }
#pragma GCC unroll 4
        for (int n = 0; n < rows; n++) {
            vf score = sum[n];
            if (a->mask)
                score = choose(*(const vi *)(group->hidden + (size_t)n * a->wide + at),
                               splat(a->mask_bias), score);
            if (at + VL > a->keys)
                score = choose(lanes_below(a->keys - at), score, splat(-INFINITY));
            max[n] = vmax(max[n], score);
            store(group->scores + (size_t)n * a->wide + at, score);
        }
    }
}

/*
 * 2^x for x <= 0; below -100 as at -100, which no sum of probabilities notices and which stays
 * clear of subnormals. The polynomial is a weighted minimax fit of relative error 7e-8 on
 * [-1/2, 1/2].
 */
INLINE vf exp2_negative(vf x)
{
    x = vmax(splat(-100.0f), x);
    vf shifted = x + ROUNDING_SHIFT;
    vf r = x - (shifted - ROUNDING_SHIFT);
    vf p = r * 0x1.5c08e4p-10f + 0x1.3d0c52p-7f;
    p = p * r + 0x1.c6b6e4p-5f;
    p = p * r + 0x1.ebf918p-3f;
    p = p * r + 0x1.62e428p-1f;
    p = p * r + 0x1.000002p+0f;
    return (vf)((vi)p + ((vi)shifted << 23));
}

/* total += softmax(scores) / heads */
INLINE void add_probabilities(size_t heads, float *scores, size_t used, float max, float *total)
{
    vf sum = {0};
    for (size_t k = 0; k < used; k += VL) {
        vf e = exp2_negative(load(scores + k) - max);
        store(scores + k, e);
        sum += e;
    }
    float factor = 1 / (horizontal_sum(sum) * (float)heads);
    for (size_t k = 0; k < used; k += VL)
        store(total + k, load(total + k) + load(scores + k) * factor);
}

/* y[value] = total . v, with keys in lanes. */
static void mix_values(const struct attention *a, const struct query_group *group,
                       const float *total, float *y)
{
    for (size_t value = 0; value < a->values; value++) {
        vf sum = {0};
        for (size_t k = 0; k < group->used; k += VL)
            sum += load(total + k) * load(group->v + value * a->wide + k);
        y[value] = horizontal_sum(sum);
    }
}

/* Scales the queries and looks up what they may see. */
static void prepare_group(const struct attention *a, size_t batch, size_t query, int rows,
                          struct query_group *group)
{
    size_t features = a->heads * a->head_size;
    const float *q = (const float *)a->call->in[0].data + (batch * a->queries + query) * features;
    for (size_t i = 0; i < (size_t)rows * features; i++)
        group->q[i] = q[i] * a->scale;
    group->used = a->mask ? VL : a->wide;
    for (int n = 0; a->mask && n < rows; n++) {
        size_t used = widen_mask(a, batch, query + (size_t)n, group->hidden + (size_t)n * a->wide);
        group->used = used > group->used ? used : group->used;
    }
    memset(group->total, 0, (size_t)rows * a->wide * sizeof *group->total);
}

/* Up to QUERIES queries through all heads. */
INLINE void attend(const struct attention *a, size_t batch, size_t query, float *memory,
                   const int rows)
{
    size_t features = a->heads * a->head_size;
    struct query_group group = {.k = memory, .v = memory + features * a->wide};
    group.scores = memory + (features + a->values) * a->wide;
    group.total = group.scores + QUERIES * a->wide;
    group.hidden = (int32_t *)(group.total + QUERIES * a->wide);
    group.q = group.total + 2 * QUERIES * a->wide;
    float *y = (float *)a->call->out[0].data + (batch * a->queries + query) * a->values;
    prepare_group(a, batch, query, rows, &group);
    for (size_t head = 0; head < a->heads; head++) {
        vf max[QUERIES];
        for (int n = 0; n < rows; n++)
            max[n] = splat(-INFINITY);
        score_rows(a, &group, head, max, rows);
        for (int n = 0; n < rows; n++)
            add_probabilities(a->heads, group.scores + (size_t)n * a->wide, group.used,
                              horizontal_max(max[n]), group.total + (size_t)n * a->wide);
    }
    for (int n = 0; n < rows; n++)
        mix_values(a, &group, group.total + (size_t)n * a->wide, y + (size_t)n * a->values);
}

static void attention_some(void *context, size_t begin, size_t end, int thread)
{
    const struct attention *a = context;
    size_t features = a->heads * a->head_size, turned = SIZE_MAX;
    float *memory =
        (float *)a->call->scratch + (size_t)thread * thread_floats(features, a->values, a->wide);
    for (size_t item = begin; item < end; item++) {
        size_t batch = item / a->blocks, query = item % a->blocks * QUERY_BLOCK;
        if (batch != turned) {
            turn((const float *)a->call->in[1].data + batch * a->keys * features, a->keys, features,
                 memory, a->wide);
            turn((const float *)a->call->in[2].data + batch * a->keys * a->values, a->keys,
                 a->values, memory + features * a->wide, a->wide);
            turned = batch;
        }
        size_t last = query + QUERY_BLOCK < a->queries ? query + QUERY_BLOCK : a->queries;
        for (; query + QUERIES <= last; query += QUERIES)
            attend(a, batch, query, memory, QUERIES);
        for (; query < last; query++)
            attend(a, batch, query, memory, 1);
    }
}

static void take_mask(struct attention *a, const struct md_kernel_call *call)
{
    if (!md__has(call->in, call->in_count, 3))
        return;
    const struct md_shape *shape = &call->in[3].shape;
    size_t queries = (size_t)shape->dim[1];
    a->mask = call->in[3].data;
    a->mask_query = queries == 1 ? 0 : a->keys;
    a->mask_batch = shape->dim[0] == 1 ? 0 : queries * a->keys;
}

static enum md_status attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *q = &call->in[0].shape, *v = &call->in[2].shape;
    struct attention a = {.call = call,
                          .batch = (size_t)q->dim[0],
                          .queries = (size_t)q->dim[1],
                          .keys = (size_t)v->dim[1],
                          .values = (size_t)v->dim[2],
                          .heads = (size_t)md_node_int(call->node, "heads", 1)};
    a.head_size = (size_t)q->dim[2] / a.heads;
    a.wide = padded(a.keys);
    a.blocks = (a.queries + QUERY_BLOCK - 1) / QUERY_BLOCK;
    a.scale = (float)(M_LOG2E * md_node_float(call->node, "scale", 1 / sqrt((double)a.head_size)));
    a.mask_bias = (float)(M_LOG2E * md_node_float(call->node, "mask_bias", -1e9));
    take_mask(&a, call);
    size_t cost = QUERY_BLOCK * a.heads * a.wide / VL * (a.head_size + 16);
    md__parallel(call->pool, a.batch * a.blocks, md__grain(cost), attention_some, &a);
    return MD_OK;
}

static bool attention_supports(const struct md_node *node, const struct md_tensor *in, int in_count)
{
    bool has_mask = md__has(in, in_count, 3);
    return md__all_f32(node, in, 3) && (!has_mask || in[3].dtype == MD_BOOL) &&
           md_node_int(node, "heads", 0) > 0 && (!has_mask || in[3].shape.rank == 3);
}

static size_t attention_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    (void)node;
    (void)in_count;
    size_t wide = padded((size_t)in[2].shape.dim[1]);
    return thread_floats((size_t)in[0].shape.dim[2], (size_t)in[2].shape.dim[2], wide) *
           sizeof(float) * (size_t)threads;
}

const struct md_kernel md__attention = {
    .supports = attention_supports, .scratch_bytes = attention_scratch, .run = attention_run};
