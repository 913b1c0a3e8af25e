/*
 * InterpretableAttention (graph/fused.md). A thread takes a run of (batch element, block of
 * queries) and lays k and v of its batch element out with keys in lanes: [feature][keys, padded]. A
 * score row is then head_size multiplications of vectors of keys. Heads share v and are averaged,
 * so the probability rows of all heads are added up first, in L1, and v is multiplied once.
 *
 * Where no score can be large, which the lengths of q and k tell, 2^score needs no maximum taken
 * off: several vectors of keys go from their scores to powers without leaving the registers.
 * Elsewhere scores go to memory until their maximum is known. Padding lanes score -infinity, so
 * that no loop but the first knows of them.
 */
#include <math.h>

#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/math.h"

#define QUERY_BLOCK 16
#define NARROW      4 /* a head's usual columns, for which loops are unrolled */
#define PAIR        2 /* queries whose powers are taken together */
#define STEP        (VECTOR_REGISTERS == 32 ? GROUP / PAIR : 2) /* vectors of keys likewise */
#define SCORE_MAX   60 /* of small scores: their powers of 2 and the sums of these are in range */
#define HIDDEN_BIAS -1e6f /* a mask's bias from which on down a hidden key weighs 0 */
#define QUERIES     4     /* score rows computed together: they share the loads of k */

struct attention {
    const struct md_kernel_call *call;
    size_t batch, queries, keys, heads, head_size, values;
    size_t wide;            /* keys, padded */
    size_t blocks;          /* of queries */
    float scale, mask_bias; /* times log2 e: scores are exponents of 2 */
    const uint8_t *mask;
    size_t mask_batch, mask_query; /* element strides; 0 where the mask broadcasts */
    size_t masked;                 /* keys that it covers: all, or those before the queries' own */
    bool causal, hides;            /* hides: by mask or causality */
    size_t *turned;                /* of each thread: the batch element in its memory */
};

/* Per thread: k and v turned; then rows of scores, of summed probabilities and of the mask; queries
 * and the lengths of k. */
static size_t thread_floats(size_t features, size_t values, size_t wide)
{
    return (features + values + 3 * QUERIES) * wide + (QUERIES + 1) * padded(features);
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

/* What of the keys a query sees: all of [0, clear), none from `used` on. */
struct seen {
    size_t clear, used; /* whole vectors */
    bool none;          /* it sees nothing, and weighs all keys alike */
};

/* Widens the mask of one query: all ones where a key is hidden, or is padding. */
static struct seen widen_mask(const struct attention *a, size_t batch, size_t query,
                              int32_t *hidden)
{
    const uint8_t *mask = a->mask ? a->mask + batch * a->mask_batch + query * a->mask_query : NULL;
    const uint8_t *first = mask ? memchr(mask, 1, a->masked) : NULL;
    size_t end = a->masked + (a->causal ? query : 0); /* what lies behind is hidden */
    size_t clear = first ? (size_t)(first - mask) : end, used = a->keys;
    memset(hidden, 0, end * sizeof *hidden);
    for (size_t k = clear; first && k < a->masked; k++)
        hidden[k] = -(mask[k] != 0);
    memset(hidden + end, -1, (a->wide - end) * sizeof *hidden);
    while (a->mask_bias <= HIDDEN_BIAS && used > clear && hidden[used - 1])
        used--;
    return (struct seen){
        .clear = clear / VL * VL, .used = used ? padded(used) : a->wide, .none = used == 0};
}

/* The queries of one batch element that go together. */
struct query_group {
    const float *k, *v;
    const float *k_lengths; /* of each head, squared, the greatest over all keys */
    float *q, *scores, *total;
    int32_t *hidden;
    struct seen seen; /* by any, or by all of them */
    bool small;       /* all scores are */
};

/* scores[n][keys] = q_n . k for `rows` scaled queries of one head, masked; max[n] is their maximum.
 */
INLINE void score_rows(const struct attention *a, const struct query_group *group, size_t head,
                       vf *max, const int rows)
{
    size_t features = a->heads * a->head_size, first = head * a->head_size;
    const float *q = group->q + first, *k = group->k + first * a->wide;
    for (size_t at = 0; at < group->seen.used; at += VL) {
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
            if (a->hides)
                score = choose(*(const vi *)(group->hidden + (size_t)n * a->wide + at),
                               splat(a->mask_bias), score);
            if (at + VL > a->keys)
                score = choose(lanes_below(a->keys - at), score, splat(-INFINITY));
            max[n] = vmax(max[n], score);
            store(group->scores + (size_t)n * a->wide + at, score);
        }
    }
}

/* total += powers * factor */
INLINE void add_scaled(const float *powers, size_t used, float factor, float *total)
{
    for (size_t k = 0; k < used; k += VL)
        store(total + k, load(total + k) + load(powers + k) * factor);
}

/* total += softmax(scores) / heads */
INLINE void add_probabilities(size_t heads, float *scores, size_t used, float max, float *total)
{
    vf sum = {0};
    for (size_t k = 0; k < used; k += VL) {
        /* what is smaller no sum notices; so it stays clear of subnormals */
        vf e = exp2_bounded(vmax(splat(-100.0f), load(scores + k) - max));
        store(scores + k, e);
        sum += e;
    }
    add_scaled(scores, used, 1 / (horizontal_sum(sum) * (float)heads), total);
}

/* y[value] = total . v, with keys in lanes. */
static void mix_values(const struct attention *a, const struct query_group *group,
                       const float *total, float *y)
{
    for (size_t value = 0; value < a->values; value++) {
        vf sum = {0};
        for (size_t k = 0; k < group->seen.used; k += VL)
            sum += load(total + k) * load(group->v + value * a->wide + k);
        y[value] = horizontal_sum(sum);
    }
}

/* No score of the query can be larger than SCORE_MAX. */
static bool is_small(const struct attention *a, const float *q, const float *k_lengths)
{
    bool small = true;
    for (size_t head = 0; head < a->heads; head++) {
        float length = 0;
        for (size_t f = 0; f < a->head_size; f++)
            length += q[head * a->head_size + f] * q[head * a->head_size + f];
        small &= length * k_lengths[head] < (float)SCORE_MAX * SCORE_MAX;
    }
    return small;
}

/* Scales the queries and looks up what they may see. */
static void prepare_group(const struct attention *a, size_t batch, size_t query, int rows,
                          struct query_group *group)
{
    size_t features = a->heads * a->head_size;
    const float *q = (const float *)a->call->in[0].data + (batch * a->queries + query) * features;
    for (size_t i = 0; i < (size_t)rows * features; i++)
        group->q[i] = q[i] * a->scale;
    group->small = !a->hides || a->mask_bias <= HIDDEN_BIAS;
    group->seen = (struct seen){.clear = a->wide};
    for (int n = 0; n < rows; n++) {
        struct seen seen =
            widen_mask(a, batch, query + (size_t)n, group->hidden + (size_t)n * a->wide);
        group->seen.used = seen.used > group->seen.used ? seen.used : group->seen.used;
        group->seen.clear = seen.clear < group->seen.clear ? seen.clear : group->seen.clear;
        group->small &=
            !seen.none && is_small(a, group->q + (size_t)n * features, group->k_lengths);
    }
}

/* ---- small scores ---------------------------------------------------------------------------- */

/* A pair of queries, from the group's n-th on, and one of its heads. */
struct pair {
    size_t head, n;
    float *powers; /* [PAIR][keys, padded] */
};

/* Powers of the pair's scores, for `vectors` vectors of keys from `at` on. */
INLINE void raise_keys(const struct attention *a, const struct query_group *group, struct pair pair,
                       size_t at, vf weight[PAIR], const size_t head_size, const bool masked,
                       const int vectors)
{
    size_t features = a->heads * head_size, first = pair.head * head_size;
    const float *k = group->k + first * a->wide + at, *q = group->q + pair.n * features + first;
    const int count = PAIR * vectors;
    vf e[PAIR * STEP] = {0}; /* [vector][query] */
#pragma GCC unroll 4
    for (size_t f = 0; f < head_size; f++)
        EACH(count)
    e[i] += load(k + f * a->wide + (size_t)(i / PAIR) * VL) * q[(size_t)(i % PAIR) * features + f];
    exp2_each(e, count);
    EACH(count)
    {
        size_t place = (size_t)(i % PAIR) * a->wide + at + (size_t)(i / PAIR) * VL;
        if (masked)
            e[i] = choose(*(const vi *)(group->hidden + pair.n * a->wide + place), (vf){0}, e[i]);
        weight[i % PAIR] += e[i];
        store(pair.powers + place, e[i]);
    }
}

/* Powers of all of the pair's scores, and what makes shares of the heads' mean of them. */
INLINE void raise_pair(const struct attention *a, const struct query_group *group, struct pair pair,
                       float factor[PAIR], const size_t head_size)
{
    vf weight[PAIR] = {0};
    size_t at = 0;
    for (; at + STEP * VL <= group->seen.clear; at += STEP * VL)
        raise_keys(a, group, pair, at, weight, head_size, false, STEP);
    if (VECTOR_REGISTERS == 32) /* 16 do not hold the masks too */
        for (; at + STEP * VL <= group->seen.used; at += STEP * VL)
            raise_keys(a, group, pair, at, weight, head_size, true, STEP);
    for (; at < group->seen.used; at += VL)
        raise_keys(a, group, pair, at, weight, head_size, true, 1);
    for (int i = 0; i < PAIR; i++)
        factor[i] = 1 / (horizontal_sum(weight[i]) * (float)a->heads);
}

/* Two heads at a time, which halves how often sums of probabilities are read and written. */
INLINE void attend_small(const struct attention *a, const struct query_group *group, size_t rows,
                         const size_t head_size)
{
    size_t used = group->seen.used;
    float *first = group->scores, *second = first + PAIR * a->wide, factor[2][PAIR];
    for (size_t head = 0; head < a->heads; head += 2)
        for (size_t n = 0; n < rows; n += PAIR) {
            raise_pair(a, group, (struct pair){head, n, first}, factor[0], head_size);
            bool both = head + 1 < a->heads;
            if (both)
                raise_pair(a, group, (struct pair){head + 1, n, second}, factor[1], head_size);
            for (size_t i = 0; i < PAIR; i++) {
                float *total = group->total + (n + i) * a->wide;
                const float *x = first + i * a->wide, *y = second + i * a->wide;
                if (!both)
                    add_scaled(x, used, factor[0][i], total);
                for (size_t k = 0; both && k < used; k += VL)
                    store(total + k, load(total + k) + load(x + k) * factor[0][i] +
                                         load(y + k) * factor[1][i]);
            }
        }
}

/* ---- both ways ------------------------------------------------------------------------------- */

INLINE void attend_large(const struct attention *a, const struct query_group *group, const int rows)
{
    for (size_t head = 0; head < a->heads; head++) {
        vf max[QUERIES];
        for (int n = 0; n < rows; n++)
            max[n] = splat(-INFINITY);
        score_rows(a, group, head, max, rows);
        for (int n = 0; n < rows; n++)
            add_probabilities(a->heads, group->scores + (size_t)n * a->wide, group->seen.used,
                              horizontal_max(max[n]), group->total + (size_t)n * a->wide);
    }
}

/* The parts of a thread's memory. */
static struct query_group group_at(const struct attention *a, float *memory)
{
    size_t features = a->heads * a->head_size;
    struct query_group group = {.k = memory, .v = memory + features * a->wide};
    group.scores = memory + (features + a->values) * a->wide;
    group.total = group.scores + QUERIES * a->wide;
    group.hidden = (int32_t *)(group.total + QUERIES * a->wide);
    group.q = group.total + 2 * QUERIES * a->wide;
    group.k_lengths = group.q + QUERIES * padded(features);
    return group;
}

/* Up to QUERIES queries through all heads. */
INLINE void attend(const struct attention *a, size_t batch, size_t query, float *memory,
                   const int rows)
{
    struct query_group group = group_at(a, memory);
    float *y = (float *)a->call->out[0].data + (batch * a->queries + query) * a->values;
    prepare_group(a, batch, query, rows, &group);
    memset(group.total, 0, (size_t)rows * a->wide * sizeof *group.total);
    if (!group.small || rows % PAIR != 0)
        attend_large(a, &group, rows);
    else if (a->head_size == NARROW)
        attend_small(a, &group, (size_t)rows, NARROW);
    else
        attend_small(a, &group, (size_t)rows, a->head_size);
    for (int n = 0; n < rows; n++)
        mix_values(a, &group, group.total + (size_t)n * a->wide, y + (size_t)n * a->values);
}

/* For each head the greatest squared length of a key. */
static void measure_keys(const struct attention *a, const float *k, float *lengths)
{
    for (size_t head = 0; head < a->heads; head++) {
        vf longest = {0};
        for (size_t at = 0; at < a->wide; at += VL) {
            vf sum = {0};
            for (size_t f = head * a->head_size; f < (head + 1) * a->head_size; f++)
                sum += load(k + f * a->wide + at) * load(k + f * a->wide + at);
            longest = vmax(sum, longest); /* a NaN does not count */
        }
        lengths[head] = horizontal_max(longest);
    }
}

/* Lays k and v of a batch element out in a thread's memory. */
static void turn_keys(const struct attention *a, size_t batch, float *memory)
{
    size_t features = a->heads * a->head_size;
    struct query_group group = group_at(a, memory);
    float *v = memory + features * a->wide;
    turn((const float *)a->call->in[1].data + batch * a->keys * features, a->keys, features, memory,
         a->wide);
    turn((const float *)a->call->in[2].data + batch * a->keys * a->values, a->keys, a->values, v,
         a->wide);
    measure_keys(a, memory, (float *)(uintptr_t)group.k_lengths);
}

static size_t floats_of(const struct attention *a)
{
    return thread_floats(a->heads * a->head_size, a->values, a->wide);
}

/* A thread's next piece often goes on where its last one ended. */
static void attention_some(void *context, size_t begin, size_t end, int thread)
{
    const struct attention *a = context;
    float *memory = (float *)a->call->scratch + (size_t)thread * floats_of(a);
    for (size_t item = begin; item < end; item++) {
        size_t batch = item / a->blocks, query = item % a->blocks * QUERY_BLOCK;
        if (batch != a->turned[thread])
            turn_keys(a, batch, memory);
        a->turned[thread] = batch;
        size_t last = query + QUERY_BLOCK < a->queries ? query + QUERY_BLOCK : a->queries;
        for (; query + QUERIES <= last; query += QUERIES)
            attend(a, batch, query, memory, QUERIES);
        for (; query < last; query++)
            attend(a, batch, query, memory, 1);
    }
}

static void take_mask(struct attention *a, const struct md_kernel_call *call)
{
    a->causal = md_node_int(call->node, "causal", 0) != 0;
    a->masked = a->keys - (a->causal ? a->queries : 0);
    a->hides = a->causal || md__has(call->in, call->in_count, 3);
    if (!md__has(call->in, call->in_count, 3))
        return;
    const struct md_shape *shape = &call->in[3].shape;
    size_t queries = (size_t)shape->dim[1];
    a->mask = call->in[3].data;
    a->mask_query = queries == 1 ? 0 : a->masked;
    a->mask_batch = shape->dim[0] == 1 ? 0 : queries * a->masked;
}

static enum md_status attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_shape *q = &call->in[0].shape, *v = &call->in[2].shape;
    int threads = call->pool ? md_pool_threads(call->pool) : 1;
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
    a.turned = (size_t *)(void *)((float *)call->scratch + (size_t)threads * floats_of(&a));
    for (int t = 0; t < threads; t++)
        a.turned[t] = SIZE_MAX;
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
    size_t floats = thread_floats((size_t)in[0].shape.dim[2], (size_t)in[2].shape.dim[2], wide);
    return (floats * sizeof(float) + sizeof(size_t)) * (size_t)threads;
}

const struct md_kernel md__attention = {
    .supports = attention_supports, .scratch_bytes = attention_scratch, .run = attention_run};
