/*
 * Attention of the standard, float32: softmax(scale q k^T + mask) v, on the product of linear.h.
 *
 * The keys of a head are packed as the columns of a product, its values as the rows of another,
 * both into the thread's scratch, where the scores of ROW_BLOCK queries lie between the two. Few
 * queries, as of a decoder's next token, would not pay for that: they take keys and values as they
 * lie, read once for all heads that share them. Caches, softcap, valid lengths and all outputs but
 * the first are left to the reference.
 */
#include <math.h>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/isa/kernels.h"
#include "kernels/cpu/isa/linear.h"
#include "kernels/cpu/isa/softmax.h"
#include "kernels/cpu/ref.h"

struct heads {
    size_t batch, head, step; /* strides in floats */
};

struct job {
    const struct md_kernel_call *call;
    size_t heads, kv_heads, queries, keys, width, v_width;
    struct heads q, k, v, y;
    float scale;
    const struct md_tensor *mask; /* or NULL */
    size_t mask_stride[4], mask_keys;
    int64_t left, right; /* keys a query sees before and after its own place; -1: all */
};

/* [batch, heads, steps, width], or [batch, steps, heads * width]. */
static struct heads heads_of(const struct md_tensor *tensor, size_t heads)
{
    struct md__heads from = md__heads_of(tensor, heads);
    return (struct heads){from.batch, from.head, from.step};
}

/* Whether this file does it; the rest is the reference's. */
static bool is_plain(const struct md_kernel_call *call)
{
    for (int i = 0; i < call->in_count; i++) {
        bool is_mask = i == 3 && call->in[i].dtype == MD_BOOL;
        if (call->in[i].dtype && (i > 3 || (call->in[i].dtype != MD_F32 && !is_mask)))
            return false;
    }
    for (int i = 1; i < call->out_count; i++)
        if (call->out[i].data)
            return false;
    int64_t precision = md_node_int(call->node, "softmax_precision", MD_F32);
    return md_node_float(call->node, "softcap", 0) == 0 &&
           (precision == MD_F32 || precision == MD_F64);
}

static void read_mask(struct job *job)
{
    const struct md_tensor *mask = md__input(job->call, 3);
    int64_t stride[MD_RANK_MAX];
    job->mask = mask;
    if (mask == NULL)
        return;
    int rank = mask->shape.rank;
    md__strides(&mask->shape, stride);
    for (int a = 0; a < rank; a++)
        job->mask_stride[4 - rank + a] = mask->shape.dim[a] == 1 ? 0 : (size_t)stride[a];
    job->mask_keys = (size_t)mask->shape.dim[rank - 1];
}

static struct job job_of(const struct md_kernel_call *call)
{
    const struct md_tensor *in = call->in;
    const struct md_node *node = call->node;
    struct job job = {.call = call,
                      .heads = md__head_count(node, "q_num_heads", &in[0]),
                      .kv_heads = md__head_count(node, "kv_num_heads", &in[1]),
                      .queries = md__head_steps(&in[0]),
                      .keys = md__head_steps(&in[1]),
                      .left = md_node_int(node, "left_window_size", -1),
                      .right = md_node_int(node, "right_window_size", -1)};
    job.width = md__head_width(&in[0], job.heads);
    job.v_width = md__head_width(&in[2], job.kv_heads);
    job.q = heads_of(&in[0], job.heads);
    job.k = heads_of(&in[1], job.kv_heads);
    job.v = heads_of(&in[2], job.kv_heads);
    job.y = heads_of(&call->out[0], job.heads);
    job.scale = (float)md_node_float(node, "scale", 1 / sqrt((double)job.width));
    if (md_node_int(node, "is_causal", 0) != 0)
        job.right = 0;
    read_mask(&job);
    return job;
}

static size_t thread_floats(size_t keys, size_t width, size_t v_width)
{
    return padded(packed_floats(width, keys, false)) + padded(packed_floats(keys, v_width, false)) +
           ROW_BLOCK * padded(keys);
}

static size_t blocks_of(const struct job *job)
{
    return (job->queries + ROW_BLOCK - 1) / ROW_BLOCK;
}

/* Adds one row of the mask to scores, or hides them: -infinity, also over a NaN. */
static void mask_row(const struct job *job, size_t b, size_t h, size_t query, float *scores)
{
    size_t at = b * job->mask_stride[0] + h * job->mask_stride[1] + query * job->mask_stride[2];
    size_t seen = job->mask_keys < job->keys ? job->mask_keys : job->keys;
    size_t step = job->mask_stride[3];
    const uint8_t *shows = (const uint8_t *)job->mask->data + at;
    const float *adds = (const float *)job->mask->data + at;
    if (job->mask->dtype == MD_BOOL)
        for (size_t j = 0; j < seen; j++)
            scores[j] = shows[j * step] ? scores[j] : -INFINITY;
    else
        for (size_t j = 0; j < seen; j++)
            scores[j] = adds[j * step] == -INFINITY ? -INFINITY : scores[j] + adds[j * step];
    for (size_t j = seen; j < job->keys; j++)
        scores[j] = -INFINITY;
}

/* Scores of one query become shares that add up to 1, or are 0 when it sees no key. */
static void share_row(const struct job *job, size_t b, size_t h, size_t query, float *scores)
{
    int64_t keys = (int64_t)job->keys, place = (int64_t)query;
    int64_t first = job->left >= 0 && place > job->left ? place - job->left : 0;
    int64_t end = job->right >= 0 && place + job->right + 1 < keys ? place + job->right + 1 : keys;
    first = first < end ? first : end;
    if (job->mask)
        mask_row(job, b, h, query, scores);
    memset(scores, 0, (size_t)first * sizeof *scores);
    memset(scores + end, 0, (size_t)(keys - end) * sizeof *scores);
    size_t count = (size_t)(end - first);
    if (count == 0)
        return;
    if (row_max(scores + first, count) == -INFINITY) {
        memset(scores + first, 0, count * sizeof *scores);
        return;
    }
    float sum = exponentials(scores + first, scores + first, count);
    scale_row(scores + first, 1 / sum, count);
}

/* The keys and values of one head, packed at `memory`; what is left of it takes scores. */
struct pack {
    struct packed k, v;
    float *scores;
};

static struct pack pack_head(const struct job *job, size_t b, size_t kv, float *memory)
{
    const struct md_tensor *in = job->call->in;
    size_t keys = job->keys;
    struct unpacked k = {.weights = (const float *)in[1].data + b * job->k.batch + kv * job->k.head,
                         .k_stride = 1,
                         .column_stride = job->k.step,
                         .scale = job->scale};
    struct unpacked v = {.weights = (const float *)in[2].data + b * job->v.batch + kv * job->v.head,
                         .k_stride = job->v.step,
                         .column_stride = 1,
                         .scale = 1};
    struct pack pack = {.k = md__pack(&k, job->width, keys, false, memory)};
    memory += padded(packed_floats(job->width, keys, false));
    pack.v = md__pack(&v, keys, job->v_width, false, memory);
    pack.scores = memory + padded(packed_floats(keys, job->v_width, false));
    return pack;
}

/* ROW_BLOCK queries of head h, or what is left of them. */
static void attend_block(const struct job *job, const struct pack *pack, size_t b, size_t h,
                         size_t block)
{
    size_t query = block * ROW_BLOCK, left = job->queries - query, wide = padded(job->keys);
    size_t rows = left < ROW_BLOCK ? left : ROW_BLOCK;
    const float *q = (const float *)job->call->in[0].data + b * job->q.batch + h * job->q.head;
    float *y = (float *)job->call->out[0].data + b * job->y.batch + h * job->y.head;
    struct product to_scores = {.x = q + query * job->q.step,
                                .x_stride = job->q.step,
                                .rows = rows,
                                .y = pack->scores,
                                .y_stride = wide,
                                .y_columns = wide};
    md__multiply(&pack->k, &to_scores);
    for (size_t row = 0; row < rows; row++)
        share_row(job, b, h, query + row, pack->scores + row * wide);
    struct product to_y = {.x = pack->scores,
                           .x_stride = wide,
                           .rows = rows,
                           .y = y + query * job->y.step,
                           .y_stride = job->y.step,
                           .y_columns = job->v_width};
    md__multiply(&pack->v, &to_y);
}

/* Items are blocks of queries, head after head; heads that share keys lie together. */
static void attend_some(void *context, size_t begin, size_t end, int thread)
{
    const struct job *job = context;
    float *memory = (float *)job->call->scratch +
                    thread_floats(job->keys, job->width, job->v_width) * (size_t)thread;
    size_t blocks = blocks_of(job), group = job->heads / job->kv_heads;
    struct pack pack;
    for (size_t i = begin; i < end; i++) {
        size_t head = i / blocks, b = head / job->heads, h = head % job->heads;
        if (i == begin || (i % blocks == 0 && h % group == 0))
            pack = pack_head(job, b, h / group, memory);
        attend_block(job, &pack, b, h, i % blocks);
    }
}

/* ---- few queries for the same keys: nothing is packed ---------------------------------------- */

#define FEW       8 /* queries of all heads that share keys */
#define FEW_TILE  4
#define WIDE_TILE PANEL

static void few_scores(const struct job *job, const float *const q[FEW_TILE], const float *k,
                       float *scores, size_t wide)
{
    size_t whole = job->width / VL * VL, rest = job->width - whole;
    for (size_t j = 0; j < job->keys; j++, k += job->k.step) {
        vf sum[FEW_TILE] = {{0}};
        for (size_t d = 0; d < whole; d += VL) {
            vf key = load(k + d);
#pragma GCC unroll 4
            for (int r = 0; r < FEW_TILE; r++)
                sum[r] += key * load(q[r] + d);
        }
#pragma GCC unroll 4
        for (int r = 0; r < FEW_TILE; r++) {
            if (rest)
                sum[r] += load_some(k + whole, rest) * load_some(q[r] + whole, rest);
            scores[(size_t)r * wide + j] = horizontal_sum(sum[r]) * job->scale;
        }
    }
}

/* y = shares v, for WIDE_TILE vectors of columns from d on. */
static void few_values(const struct job *job, const float *shares, size_t wide, const float *v,
                       size_t d, float *const y[FEW_TILE])
{
    vf sum[FEW_TILE][WIDE_TILE] = {{{0}}};
    size_t left = job->v_width - d, some[WIDE_TILE];
    for (size_t i = 0; i < WIDE_TILE; i++)
        some[i] = left < i * VL ? 0 : left - i * VL < VL ? left - i * VL : VL;
    bool full = left >= WIDE_TILE * VL;
    for (size_t j = 0; j < job->keys; j++, v += job->v.step) {
        vf value[WIDE_TILE];
#pragma GCC unroll 4
        for (size_t i = 0; i < WIDE_TILE; i++)
            value[i] = full      ? load(v + d + i * VL)
                       : some[i] ? load_some(v + d + i * VL, some[i])
                                 : (vf){0};
#pragma GCC unroll 4
        for (size_t r = 0; r < FEW_TILE; r++)
#pragma GCC unroll 4
            for (size_t i = 0; i < WIDE_TILE; i++)
                sum[r][i] += value[i] * splat(shares[r * wide + j]);
    }
    for (size_t r = 0; r < FEW_TILE; r++)
        for (size_t i = 0; i < WIDE_TILE && some[i]; i++)
            store_some(y[r] + d + i * VL, sum[r][i], some[i]);
}

/* All queries of the heads that share keys, FEW_TILE at a time; the last one may come twice. */
static void attend_few(void *context, size_t begin, size_t end, int thread)
{
    const struct job *job = context;
    const struct md_tensor *in = job->call->in;
    size_t group = job->heads / job->kv_heads, wide = padded(job->keys);
    size_t count = group * job->queries;
    float *scores = (float *)job->call->scratch +
                    thread_floats(job->keys, job->width, job->v_width) * (size_t)thread;
    for (; begin < end; begin++) {
        size_t b = begin / job->kv_heads, kv = begin % job->kv_heads;
        const float *k = (const float *)in[1].data + b * job->k.batch + kv * job->k.head;
        const float *v = (const float *)in[2].data + b * job->v.batch + kv * job->v.head;
        for (size_t first = 0; first < count; first += FEW_TILE) {
            const float *q[FEW_TILE];
            float *y[FEW_TILE];
            size_t head[FEW_TILE], query[FEW_TILE];
            for (size_t r = 0; r < FEW_TILE; r++) {
                size_t at = first + r < count ? first + r : count - 1;
                head[r] = kv * group + at / job->queries;
                query[r] = at % job->queries;
                q[r] = (const float *)in[0].data + b * job->q.batch + head[r] * job->q.head +
                       query[r] * job->q.step;
                y[r] = (float *)job->call->out[0].data + b * job->y.batch + head[r] * job->y.head +
                       query[r] * job->y.step;
            }
            few_scores(job, q, k, scores, wide);
            for (size_t r = 0; r < FEW_TILE; r++)
                share_row(job, b, head[r], query[r], scores + r * wide);
            for (size_t d = 0; d < job->v_width; d += WIDE_TILE * VL)
                few_values(job, scores, wide, v, d, y);
        }
    }
}

static enum md_status dot_attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    if (!is_plain(call))
        return md__ref_attention.run(call, err);
    struct job job = job_of(call);
    size_t batch = (size_t)call->in[0].shape.dim[0], blocks = blocks_of(&job);
    if (job.queries * (job.heads / job.kv_heads) <= FEW) {
        size_t cost = job.keys * (job.width + job.v_width + 16);
        md__parallel(call->pool, batch * job.kv_heads, md__grain(cost), attend_few, &job);
        return MD_OK;
    }
    /* Packing is done once for each run of items of a head: few heads are cut once only. */
    size_t items = batch * job.heads * blocks,
           threads = call->pool ? (size_t)md_pool_threads(call->pool) : 1;
    size_t cost = ROW_BLOCK * job.keys * (job.width + job.v_width + 16) / VL;
    size_t grain = md__grain(cost), even = (items + threads - 1) / threads;
    size_t whole = blocks * (job.heads / job.kv_heads);
    if (batch * job.kv_heads < 4 * threads)
        grain = grain > even ? grain : even;
    else
        grain = (grain + whole - 1) / whole * whole;
    md__parallel(call->pool, items, grain, attend_some, &job);
    return MD_OK;
}

static size_t dot_attention_scratch(const struct md_node *node, const struct md_tensor *in,
                                    int in_count, int threads)
{
    size_t plain = md__ref_attention.scratch_bytes(node, in, in_count, threads);
    size_t heads = md__head_count(node, "q_num_heads", &in[0]);
    size_t kv_heads = md__head_count(node, "kv_num_heads", &in[1]);
    size_t fast = thread_floats(md__head_steps(&in[1]), md__head_width(&in[0], heads),
                                md__head_width(&in[2], kv_heads)) *
                  sizeof(float) * (size_t)threads;
    return plain > fast ? plain : fast;
}

const struct md_kernel md__dot_attention = {.scratch_bytes = dot_attention_scratch,
                                            .run = dot_attention_run};
