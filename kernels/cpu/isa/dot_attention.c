/*
 * Attention of the standard, float32: softmax(scale q k^T + mask) v, on the product of linear.h.
 *
 * A task is one head of one batch element: its keys are packed as the columns of a product, its
 * values as the rows of another, both into the thread's scratch, where the scores of ROW_BLOCK
 * queries lie between the two. Query heads that share keys pack them again, which costs less than
 * what a block of queries does with them. Caches, softcap, valid lengths and all outputs but the
 * first are left to the reference.
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

static size_t steps_of(const struct md_tensor *tensor)
{
    return (size_t)tensor->shape.dim[tensor->shape.rank - 2];
}

/* [batch, heads, steps, width], or [batch, steps, heads * width]. */
static struct heads heads_of(const struct md_tensor *tensor, size_t heads)
{
    struct md__heads from =
        tensor->shape.rank == 4 ? md__heads_first(tensor) : md__heads_last(tensor, heads);
    return (struct heads){from.batch, from.head, from.step};
}

static size_t head_count(const struct md_node *node, const char *attribute,
                         const struct md_tensor *tensor)
{
    return tensor->shape.rank == 4 ? (size_t)tensor->shape.dim[1]
                                   : (size_t)md_node_int(node, attribute, 1);
}

static size_t head_width(const struct md_tensor *tensor, size_t heads)
{
    size_t last = (size_t)tensor->shape.dim[tensor->shape.rank - 1];
    return tensor->shape.rank == 4 ? last : heads ? last / heads : 0;
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
                      .heads = head_count(node, "q_num_heads", &in[0]),
                      .kv_heads = head_count(node, "kv_num_heads", &in[1]),
                      .queries = steps_of(&in[0]),
                      .keys = steps_of(&in[1]),
                      .left = md_node_int(node, "left_window_size", -1),
                      .right = md_node_int(node, "right_window_size", -1)};
    job.width = head_width(&in[0], job.heads);
    job.v_width = head_width(&in[2], job.kv_heads);
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

static void attend_head(const struct job *job, size_t b, size_t h, float *memory)
{
    const struct md_tensor *in = job->call->in;
    size_t kv = h / (job->heads / job->kv_heads), keys = job->keys, wide = padded(keys);
    struct unpacked k = {.weights = (const float *)in[1].data + b * job->k.batch + kv * job->k.head,
                         .k_stride = 1,
                         .column_stride = job->k.step,
                         .scale = job->scale};
    struct unpacked v = {.weights = (const float *)in[2].data + b * job->v.batch + kv * job->v.head,
                         .k_stride = job->v.step,
                         .column_stride = 1,
                         .scale = 1};
    struct packed packed_k = md__pack(&k, job->width, keys, false, memory);
    memory += padded(packed_floats(job->width, keys, false));
    struct packed packed_v = md__pack(&v, keys, job->v_width, false, memory);
    float *scores = memory + padded(packed_floats(keys, job->v_width, false));
    const float *q = (const float *)in[0].data + b * job->q.batch + h * job->q.head;
    float *y = (float *)job->call->out[0].data + b * job->y.batch + h * job->y.head;
    for (size_t query = 0; query < job->queries; query += ROW_BLOCK) {
        size_t left = job->queries - query, rows = left < ROW_BLOCK ? left : ROW_BLOCK;
        struct product to_scores = {.x = q + query * job->q.step,
                                    .x_stride = job->q.step,
                                    .rows = rows,
                                    .y = scores,
                                    .y_stride = wide,
                                    .y_columns = wide};
        md__multiply(&packed_k, &to_scores);
        for (size_t row = 0; row < rows; row++)
            share_row(job, b, h, query + row, scores + row * wide);
        struct product to_y = {.x = scores,
                               .x_stride = wide,
                               .rows = rows,
                               .y = y + query * job->y.step,
                               .y_stride = job->y.step,
                               .y_columns = job->v_width};
        md__multiply(&packed_v, &to_y);
    }
}

static void attend_some(void *context, size_t begin, size_t end, int thread)
{
    const struct job *job = context;
    float *memory = (float *)job->call->scratch +
                    thread_floats(job->keys, job->width, job->v_width) * (size_t)thread;
    for (; begin < end; begin++)
        attend_head(job, begin / job->heads, begin % job->heads, memory);
}

static enum md_status dot_attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    if (!is_plain(call))
        return md__ref_attention.run(call, err);
    struct job job = job_of(call);
    size_t cost = job.queries * job.keys * (job.width + job.v_width + 16) / VL;
    md__parallel(call->pool, (size_t)call->in[0].shape.dim[0] * job.heads, md__grain(cost),
                 attend_some, &job);
    return MD_OK;
}

static size_t dot_attention_scratch(const struct md_node *node, const struct md_tensor *in,
                                    int in_count, int threads)
{
    size_t plain = md__ref_attention.scratch_bytes(node, in, in_count, threads);
    size_t heads = head_count(node, "q_num_heads", &in[0]);
    size_t kv_heads = head_count(node, "kv_num_heads", &in[1]);
    size_t fast =
        thread_floats(steps_of(&in[1]), head_width(&in[0], heads), head_width(&in[2], kv_heads)) *
        sizeof(float) * (size_t)threads;
    return plain > fast ? plain : fast;
}

const struct md_kernel md__dot_attention = {.scratch_bytes = dot_attention_scratch,
                                            .run = dot_attention_run};
