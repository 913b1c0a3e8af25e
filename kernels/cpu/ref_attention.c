/*
 * Reference Attention, RotaryEmbedding and LinearAttention of the standard.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attend.h"
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

/* ---- Attention ------------------------------------------------------------------------------- */

/* What may hide a key or add to its score. */
struct masking {
    const struct md_tensor
        *mask; /* broadcasts to [batch, heads, queries, keys], keys may end early */
    int64_t stride[4], mask_keys;
    const struct md_tensor *lengths; /* valid keys of each batch element */
    bool causal;
    int64_t left, right; /* of the query's own place; -1: no bound */
    int64_t queries, past;
};

static double masked(const void *context, size_t b, size_t h, size_t i, size_t j)
{
    const struct masking *how = context;
    int64_t length = how->lengths ? md__get_int(how->lengths, b) : INT64_MAX;
    int64_t offset = how->lengths ? length - how->queries : how->past;
    int64_t ahead = (int64_t)j - (int64_t)i - offset; /* of the query's place */
    if ((int64_t)j >= length || (how->causal && ahead > 0) ||
        (how->left >= 0 && -ahead > how->left) || (how->right >= 0 && ahead > how->right))
        return -INFINITY;
    if (!how->mask)
        return 0;
    if ((int64_t)j >= how->mask_keys)
        return -INFINITY;
    size_t at = b * (size_t)how->stride[0] + h * (size_t)how->stride[1] +
                i * (size_t)how->stride[2] + j * (size_t)how->stride[3];
    double value = md__get_float(how->mask, at);
    return how->mask->dtype == MD_BOOL ? value != 0 ? 0 : -INFINITY : value;
}

static struct masking masking_of(const struct md_kernel_call *call, const struct md__attend *attend)
{
    struct masking how = {.mask = md__input(call, 3),
                          .lengths = md__input(call, 6),
                          .causal = md_node_int(call->node, "is_causal", 0) != 0,
                          .left = md_node_int(call->node, "left_window_size", -1),
                          .right = md_node_int(call->node, "right_window_size", -1),
                          .queries = (int64_t)attend->queries,
                          .past = (int64_t)attend->past};
    if (how.mask) {
        int rank = how.mask->shape.rank;
        int64_t stride[MD_RANK_MAX];
        md__strides(&how.mask->shape, stride);
        for (int a = 0; a < rank; a++)
            how.stride[4 - rank + a] = how.mask->shape.dim[a] == 1 ? 0 : stride[a];
        how.mask_keys = how.mask->shape.dim[rank - 1];
    }
    return how;
}

static size_t attention_scratch(const struct md_node *node, const struct md_tensor *in,
                                int in_count, int threads)
{
    size_t kv_heads = md__head_count(node, "kv_num_heads", &in[1]);
    size_t past = md__has(in, in_count, 4) ? md__head_steps(&in[4]) : 0;
    return md__attend_scratch(past + md__head_steps(&in[1]), md__head_width(&in[1], kv_heads),
                              md__head_width(&in[2], kv_heads), threads);
}

static enum md_status check_lengths(const struct md_kernel_call *call, size_t keys,
                                    struct md_error *err)
{
    const struct md_tensor *lengths = md__input(call, 6);
    for (size_t b = 0; lengths && b < md__count(lengths); b++) {
        int64_t length = md__get_int(lengths, b);
        if (length < 0 || length > (int64_t)keys)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "%lld of %zu keys are valid",
                           (long long)length, keys);
    }
    return MD_OK;
}

/* Q, K, V, mask?, past key?, past value?, valid keys? -> Y, present key, present value, scores */
static enum md_status attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *in = call->in;
    size_t heads = md__head_count(call->node, "q_num_heads", &in[0]);
    size_t kv_heads = md__head_count(call->node, "kv_num_heads", &in[1]);
    const struct md_tensor *past_k = md__input(call, 4), *past_v = md__input(call, 5);
    struct md__attend attend = {
        .batch = (size_t)in[0].shape.dim[0],
        .heads = heads,
        .kv_heads = kv_heads,
        .queries = md__head_steps(&in[0]),
        .past = past_k ? md__head_steps(past_k) : 0,
        .width = md__head_width(&in[0], heads),
        .v_width = md__head_width(&in[2], kv_heads),
        .q = md__heads_of(&in[0], heads),
        .k = md__heads_of(&in[1], kv_heads),
        .v = md__heads_of(&in[2], kv_heads),
        .y = md__heads_of(&call->out[0], heads),
        .softcap = md_node_float(call->node, "softcap", 0),
        .scores = md__output(call, 3),
        .stage = (enum md__attend_stage)md_node_int(call->node, "qk_matmul_output_mode", 0)};
    bool narrow = in[0].dtype == MD_BF16 || in[0].dtype == MD_F16;
    attend.precision = narrow ? in[0].dtype : 0;
    attend.softmax_precision =
        (enum md_dtype)md_node_int(call->node, "softmax_precision", attend.precision);
    attend.keys = attend.past + md__head_steps(&in[1]);
    attend.scale = md_node_float(call->node, "scale", 1 / sqrt((double)attend.width));
    if (past_k) {
        attend.past_k = md__heads_first(past_k);
        attend.past_v = md__heads_first(past_v);
    }
    enum md_status status = check_lengths(call, attend.keys, err);
    if (status)
        return status;
    if (md__output(call, 1))
        md__join_cache(&attend.past_k, attend.past, &attend.k, md__output(call, 1));
    if (md__output(call, 2))
        md__join_cache(&attend.past_v, attend.past, &attend.v, md__output(call, 2));
    struct masking how = masking_of(call, &attend);
    attend.bias = masked;
    attend.context = &how;
    md__attend(&attend, call->pool, call->scratch);
    return MD_OK;
}

/* ---- RotaryEmbedding ------------------------------------------------------------------------- */

void md__rotate(const double *x, double *y, const double *cosine, const double *sine, size_t half,
                bool interleaved)
{
    for (size_t i = 0; i < half; i++) {
        size_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : half + i;
        double first = x[a] * cosine[i] - x[b] * sine[i];
        double second = x[a] * sine[i] + x[b] * cosine[i];
        y[a] = first;
        y[b] = second;
    }
}

/* Room for a head, and for a row of each table. */
static size_t rotary_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    (void)node, (void)in_count, (void)threads;
    const struct md_shape *x = &in[0].shape;
    return 3 * (size_t)x->dim[x->rank - 1] * sizeof(double);
}

/* X, cosine table, sine table, position ids?: without ids the tables are [batch, steps, half]. */
static enum md_status rotary_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *x = &call->in[0], *ids = md__input(call, 3), *table = &call->in[1];
    size_t heads = md__head_count(call->node, "num_heads", x), width = md__head_width(x, heads);
    size_t half = (size_t)table->shape.dim[table->shape.rank - 1], steps = md__head_steps(x);
    struct md__heads from = md__heads_of(x, heads), to = md__heads_of(&call->out[0], heads);
    bool interleaved = md_node_int(call->node, "interleaved", 0) != 0;
    double *head = call->scratch, *cosine = head + width, *sine = cosine + half;
    size_t rows = (size_t)x->shape.dim[0] * steps;
    for (size_t row = 0; row < rows; row++) {
        int64_t at = ids ? md__get_int(ids, row) : (int64_t)row;
        if (at < 0 || (size_t)at >= md__count(table) / (half ? half : 1))
            return md_fail(err, MD_ERR_UNPROCESSABLE, "position %lld has no row", (long long)at);
        md__load_floats(table, (size_t)at * half, 1, half, cosine);
        md__load_floats(&call->in[2], (size_t)at * half, 1, half, sine);
        size_t b = row / steps, t = row % steps;
        for (size_t h = 0; h < heads; h++) {
            md__load_floats(x, b * from.batch + h * from.head + t * from.step, 1, width, head);
            md__rotate(head, head, cosine, sine, half, interleaved);
            md__store_floats(&call->out[0], b * to.batch + h * to.head + t * to.step, 1, width,
                             head);
        }
    }
    return MD_OK;
}

/* ---- LinearAttention ------------------------------------------------------------------------- */

/* One head of keys: its state [width, v_width], and what reads it. */
struct linear {
    const struct md_kernel_call *call;
    size_t steps, heads, kv_heads, width, v_width;
    double scale;
    struct md__heads q, k, v, y;
    double *state, *k_row, *v_row, *q_row;
};

static double decay_of(const struct linear *all, size_t b, size_t h, size_t t, size_t e)
{
    const struct md_tensor *decay = md__input(all->call, 4);
    size_t last = (size_t)decay->shape.dim[2], row = (b * all->steps + t) * last;
    return exp(md__get_float(decay, row + (last == all->kv_heads ? h : h * all->width + e)));
}

/* Corrects the value of step t by what the state already gives for its key. */
static void correct(const struct linear *all, size_t b, size_t h, size_t t)
{
    const struct md_tensor *beta = md__input(all->call, 5);
    size_t last = (size_t)beta->shape.dim[2];
    double share = md__get_float(beta, (b * all->steps + t) * last + (last == 1 ? 0 : h));
    for (size_t m = 0; m < all->v_width; m++) {
        double known = 0;
        for (size_t e = 0; e < all->width; e++)
            known += all->state[e * all->v_width + m] * all->k_row[e];
        all->v_row[m] = share * (all->v_row[m] - known);
    }
}

static void read_state(const struct linear *all, size_t b, size_t h, size_t t)
{
    size_t group = all->heads / all->kv_heads;
    for (size_t g = h * group; g < (h + 1) * group; g++) {
        md__load_floats(all->q.tensor, b * all->q.batch + g * all->q.head + t * all->q.step, 1,
                        all->width, all->q_row);
        for (size_t m = 0; m < all->v_width; m++) {
            double sum = 0;
            for (size_t e = 0; e < all->width; e++)
                sum += all->q_row[e] * all->state[e * all->v_width + m];
            md__set_float(all->y.tensor, b * all->y.batch + g * all->y.head + t * all->y.step + m,
                          sum * all->scale);
        }
    }
}

static void linear_head(const struct linear *all, size_t b, size_t h)
{
    const struct md_tensor *past = md__input(all->call, 3), *present = md__output(all->call, 1);
    size_t cells = all->width * all->v_width, at = (b * all->kv_heads + h) * cells;
    memset(all->state, 0, cells * sizeof *all->state);
    if (past)
        md__load_floats(past, at, 1, cells, all->state);
    for (size_t t = 0; t < all->steps; t++) {
        md__load_floats(all->k.tensor, b * all->k.batch + h * all->k.head + t * all->k.step, 1,
                        all->width, all->k_row);
        md__load_floats(all->v.tensor, b * all->v.batch + h * all->v.head + t * all->v.step, 1,
                        all->v_width, all->v_row);
        for (size_t i = 0; md__input(all->call, 4) && i < cells; i++)
            all->state[i] *= decay_of(all, b, h, t, i / all->v_width);
        if (md__input(all->call, 5))
            correct(all, b, h, t);
        for (size_t i = 0; i < cells; i++)
            all->state[i] += all->k_row[i / all->v_width] * all->v_row[i % all->v_width];
        read_state(all, b, h, t);
    }
    if (present)
        md__store_floats(present, at, 1, cells, all->state);
}

static size_t linear_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                             int threads)
{
    (void)in_count, (void)threads;
    size_t width = md__head_width(&in[0], (size_t)md_node_int(node, "q_num_heads", 1));
    size_t v_width = md__head_width(&in[2], (size_t)md_node_int(node, "kv_num_heads", 1));
    return (width * v_width + 2 * width + v_width) * sizeof(double);
}

/* query, key, value, past state?, decay?, beta? -> output, present state */
static enum md_status linear_attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in;
    size_t heads = (size_t)md_node_int(call->node, "q_num_heads", 1);
    size_t kv_heads = (size_t)md_node_int(call->node, "kv_num_heads", 1);
    struct linear all = {.call = call,
                         .steps = md__head_steps(&in[0]),
                         .heads = heads,
                         .kv_heads = kv_heads,
                         .width = md__head_width(&in[0], heads),
                         .v_width = md__head_width(&in[2], kv_heads),
                         .scale = md_node_float(call->node, "scale", 0),
                         .q = md__heads_last(&in[0], heads),
                         .k = md__heads_last(&in[1], kv_heads),
                         .v = md__heads_last(&in[2], kv_heads),
                         .y = md__heads_last(&call->out[0], heads)};
    if (all.scale == 0)
        all.scale = 1 / sqrt((double)all.width);
    all.state = call->scratch;
    all.k_row = all.state + all.width * all.v_width;
    all.q_row = all.k_row + all.width;
    all.v_row = all.q_row + all.width;
    for (size_t b = 0; b < (size_t)in[0].shape.dim[0]; b++)
        for (size_t h = 0; h < kv_heads; h++)
            linear_head(&all, b, h);
    return MD_OK;
}

const struct md_kernel md__ref_attention = {.scratch_bytes = attention_scratch,
                                            .run = attention_run};
const struct md_kernel md__ref_rotary = {.scratch_bytes = rotary_scratch, .run = rotary_run};
const struct md_kernel md__ref_linear_attention = {.scratch_bytes = linear_scratch,
                                                   .run = linear_attention_run};
