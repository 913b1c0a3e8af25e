/*
 * Reference kernels of the attention operators of com.microsoft on the core of attend.h. What they
 * project, shift or rotate first lies in scratch memory as tensors of float32.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/contrib_attention.h"
#include "kernels/cpu/ref.h"

/* Bytes of scratch for `count` floats, so that what follows stays aligned. */
size_t md__float_bytes(size_t count)
{
    return (count * sizeof(float) + 63) / 64 * 64;
}

/* A float32 tensor [batch, steps, columns] at *memory, which moves on behind it. */
struct md_tensor md__place_rows(char **memory, int64_t batch, int64_t steps, int64_t columns)
{
    struct md_tensor rows = {.dtype = MD_F32,
                             .shape = md_shape_of(3, (int64_t[]){batch, steps, columns}),
                             .data = *memory};
    *memory += md__float_bytes(md__count(&rows));
    return rows;
}

/* Heads of columns [first, first + heads * width) of rows. */
struct md__heads md__some_columns(const struct md_tensor *rows, size_t first, size_t width)
{
    struct md__heads heads = md__heads_last(rows, 1);
    heads.offset = first;
    heads.head = width;
    return heads;
}

/* ---- masks ----------------------------------------------------------------------------------- */

static bool hidden_by_mask(const struct md__masking *how, size_t b, size_t i, size_t j)
{
    const struct md_tensor *mask = how->mask;
    if (mask->shape.rank == 3)
        return md__get_int(mask, (b * how->queries + i) * how->keys + j) == 0;
    if (mask->shape.rank == 2)
        return md__get_int(mask, b * how->keys + j) == 0;
    bool ranges = md__count(mask) == 2 * how->batch;
    return (int64_t)j >= md__get_int(mask, b) ||
           (ranges && (int64_t)j < md__get_int(mask, how->batch + b));
}

double md__masked(const void *context, size_t b, size_t h, size_t i, size_t j)
{
    const struct md__masking *how = context;
    size_t past = how->past;
    if (how->lengths)
        past = (size_t)md__get_int(how->lengths, b) + 1 - how->queries;
    if (how->causal && j > past + i)
        return -INFINITY;
    if (how->left >= 0 && j + (size_t)how->left < past + i)
        return -INFINITY;
    double sum = how->mask && hidden_by_mask(how, b, i, j) ? how->filter : 0;
    if (!how->bias)
        return sum;
    const int64_t *dim = how->bias->shape.dim;
    size_t at = (dim[0] == 1 ? 0 : b) * (size_t)dim[1] + (dim[1] == 1 ? 0 : h);
    return sum + md__get_float(how->bias, (at * how->queries + i) * how->keys + j);
}

double md__attention_scale(const struct md_node *node, size_t width)
{
    double scale = md_node_float(node, "scale", 0);
    return scale == 0 ? 1 / sqrt((double)width) : scale;
}

/* ---- Attention, QAttention ------------------------------------------------------------------- */

struct projection {
    const struct md_kernel_call *call;
    const struct md_tensor *bias, *scale, *zero; /* of weights: one, or one a column */
    double x_scale, x_zero;
    struct md_tensor rows;
    double *room; /* inputs + 2 * columns doubles a thread */
};

static double nth(const struct md_tensor *list, size_t i, double otherwise)
{
    return list ? md__get_float(list, md__count(list) > 1 ? i : 0) : otherwise;
}

static void project_rows(void *context, size_t begin, size_t end, int thread)
{
    const struct projection *all = context;
    const struct md_tensor *x = &all->call->in[0], *w = &all->call->in[1];
    size_t inputs = (size_t)w->shape.dim[0], columns = (size_t)w->shape.dim[1];
    double *from = all->room + (inputs + 2 * columns) * (size_t)thread;
    double *sums = from + inputs, *weights = sums + columns;
    for (size_t row = begin; row < end; row++) {
        md__load_floats(x, row * inputs, 1, inputs, from);
        memset(sums, 0, columns * sizeof *sums);
        for (size_t k = 0; k < inputs; k++) {
            double value = from[k] - all->x_zero;
            md__load_floats(w, k * columns, 1, columns, weights);
            for (size_t c = 0; c < columns; c++)
                sums[c] += value * (weights[c] - nth(all->zero, c, 0));
        }
        for (size_t c = 0; c < columns; c++)
            sums[c] = sums[c] * all->x_scale * nth(all->scale, c, 1) + nth(all->bias, c, 0);
        md__store_floats(&all->rows, row * columns, 1, columns, sums);
    }
}

/* Widths of the queries (and keys) and of the values. */
static void widths_of(const struct md_node *node, const struct md_tensor *in, size_t *k, size_t *v)
{
    const struct md_attr *sizes = md_node_attr(node, "qkv_hidden_sizes");
    *k = *v = (size_t)in[1].shape.dim[1] / 3;
    if (sizes && sizes->count == 3) {
        *k = (size_t)sizes->ints[0];
        *v = (size_t)sizes->ints[2];
    }
}

size_t md__past_steps(const struct md_tensor *in, int in_count, int i, int axis)
{
    return md__has(in, in_count, i) ? (size_t)in[i].shape.dim[axis] : 0;
}

static size_t ms_attention_scratch(const struct md_node *node, const struct md_tensor *in,
                                   int in_count, int threads)
{
    size_t heads = (size_t)md_node_int(node, "num_heads", 1), k, v;
    size_t rows = (size_t)(in[0].shape.dim[0] * in[0].shape.dim[1]);
    size_t columns = (size_t)in[1].shape.dim[1], inputs = (size_t)in[1].shape.dim[0];
    size_t past = md__past_steps(in, in_count, node->op == MD_OP_MS_QATTENTION ? 8 : 4, 3);
    widths_of(node, in, &k, &v);
    size_t attend =
        md__attend_scratch(past + (size_t)in[0].shape.dim[1], k / heads, v / heads, threads);
    size_t project = (inputs + 2 * columns) * sizeof(double) * (size_t)threads;
    return md__float_bytes(rows * columns) + (attend > project ? attend : project);
}

/* Half 0 (keys) or 1 (values) of [2, batch, heads, steps, width]. */
static struct md_tensor half_of(const struct md_tensor *cache, size_t half)
{
    struct md_tensor part = *cache;
    part.shape = md_shape_of(4, cache->shape.dim + 1);
    part.data = (char *)cache->data + half * md__count(&part) * md_dtype_bytes(cache->dtype);
    return part;
}

/* Cached vectors, then new ones, rounded to the cache's dtype. */
static void fill_cache(const struct md__heads *past, size_t past_count, const struct md__heads *now,
                       const struct md_tensor *to)
{
    size_t width = (size_t)to->shape.dim[3], steps = (size_t)to->shape.dim[2];
    size_t heads = (size_t)to->shape.dim[1], lines = md__span(&to->shape, 0, 3);
    double block[MD__BLOCK];
    for (size_t line = 0; line < lines; line++) {
        size_t t = line % steps, h = line / steps % heads, b = line / steps / heads;
        const struct md__heads *from = t < past_count ? past : now;
        size_t at = from->offset + b * from->batch + h * from->head +
                    (t < past_count ? t : t - past_count) * from->step;
        for (size_t done = 0, some; done < width; done += some) {
            some = width - done < MD__BLOCK ? width - done : MD__BLOCK;
            md__load_floats(from->tensor, at + done, 1, some, block);
            md__store_floats(to, line * width + done, 1, some, block);
        }
    }
}

/* Attends under what the operators of this family all read: mask, bias, filter, causality. */
static void attend_masked(const struct md_kernel_call *call, struct md__attend *attend,
                          const struct md_tensor *mask, const struct md_tensor *bias, void *memory)
{
    struct md__masking how = {.mask = mask,
                              .bias = bias,
                              .filter = md_node_float(call->node, "mask_filter_value", -10000),
                              .causal = md_node_int(call->node, "unidirectional", 0) != 0,
                              .left = -1,
                              .batch = attend->batch,
                              .queries = attend->queries,
                              .keys = attend->keys,
                              .past = attend->past};
    attend->context = &how;
    md__attend(attend, call->pool, memory);
}

static enum md_status ms_attention_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    bool quantized = call->node->op == MD_OP_MS_QATTENTION;
    const struct md_tensor *x = &call->in[0], *cache = md__input(call, quantized ? 8 : 4);
    const struct md_tensor *present = md__output(call, 1);
    size_t heads = (size_t)md_node_int(call->node, "num_heads", 1), k, v;
    int64_t batch = x->shape.dim[0], steps = x->shape.dim[1], columns = call->in[1].shape.dim[1];
    char *memory = call->scratch;
    struct projection projection = {.call = call,
                                    .bias = md__input(call, 2),
                                    .x_scale = 1,
                                    .rows = md__place_rows(&memory, batch, steps, columns)};
    projection.room = (double *)memory;
    if (quantized) {
        projection.x_scale = nth(md__input(call, 3), 0, 1);
        projection.x_zero = nth(md__input(call, 6), 0, 0);
        projection.scale = md__input(call, 4);
        projection.zero = md__input(call, 7);
    }
    size_t cost = (size_t)(call->in[1].shape.dim[0] * columns) * 2;
    md__parallel(call->pool, (size_t)(batch * steps), md__grain(cost), project_rows, &projection);
    widths_of(call->node, call->in, &k, &v);
    struct md__attend attend = {.batch = (size_t)batch,
                                .heads = heads,
                                .kv_heads = heads,
                                .queries = (size_t)steps,
                                .past = cache ? (size_t)cache->shape.dim[3] : 0,
                                .width = k / heads,
                                .v_width = v / heads,
                                .q = md__some_columns(&projection.rows, 0, k / heads),
                                .k = md__some_columns(&projection.rows, k, k / heads),
                                .v = md__some_columns(&projection.rows, 2 * k, v / heads),
                                .y = md__heads_last(&call->out[0], heads),
                                .scale = md__attention_scale(call->node, k / heads),
                                .bias = md__masked};
    attend.keys = attend.past + attend.queries;
    struct md_tensor halves[4];
    if (cache) {
        halves[0] = half_of(cache, 0);
        halves[1] = half_of(cache, 1);
        attend.past_k = md__heads_first(&halves[0]);
        attend.past_v = md__heads_first(&halves[1]);
    }
    if (present) {
        halves[2] = half_of(present, 0);
        halves[3] = half_of(present, 1);
        fill_cache(&attend.past_k, attend.past, &attend.k, &halves[2]);
        fill_cache(&attend.past_v, attend.past, &attend.v, &halves[3]);
    }
    attend_masked(call, &attend, md__input(call, quantized ? 5 : 3),
                  quantized ? NULL : md__input(call, 5), memory);
    return MD_OK;
}

/* ---- MultiHeadAttention ---------------------------------------------------------------------- */

/* Input i plus its part of the bias, in scratch; the input itself when there is no bias. */
static struct md_tensor shifted(const struct md_kernel_call *call, int i, size_t first,
                                char **memory)
{
    const struct md_tensor *x = &call->in[i], *bias = md__input(call, 3);
    if (!bias)
        return *x;
    struct md_tensor rows =
        md__place_rows(memory, x->shape.dim[0], x->shape.dim[1], x->shape.dim[2]);
    size_t count = md__count(x), columns = (size_t)x->shape.dim[2];
    for (size_t at = 0; at < count; at++)
        md__set_float(&rows, at, md__get_float(x, at) + md__get_float(bias, first + at % columns));
    return rows;
}

static size_t multi_head_scratch(const struct md_node *node, const struct md_tensor *in,
                                 int in_count, int threads)
{
    size_t heads = (size_t)md_node_int(node, "num_heads", 1), bytes = 0;
    for (int i = 0; md__has(in, in_count, 3) && i < 3; i++)
        bytes += md__float_bytes(md__count(&in[i]));
    size_t steps = (size_t)in[1].shape.dim[in[1].shape.rank - 2];
    return bytes + md__attend_scratch(md__past_steps(in, in_count, 6, 2) + steps,
                                      (size_t)in[0].shape.dim[2] / heads,
                                      md__head_width(&in[2], heads), threads);
}

static enum md_status multi_head_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    const struct md_tensor *in = call->in, *past_k = md__input(call, 6),
                           *past_v = md__input(call, 7);
    size_t heads = (size_t)md_node_int(call->node, "num_heads", 1);
    size_t hidden = (size_t)in[0].shape.dim[2];
    char *memory = call->scratch;
    struct md_tensor q = shifted(call, 0, 0, &memory), k = shifted(call, 1, hidden, &memory);
    struct md_tensor v = shifted(call, 2, 2 * hidden, &memory);
    struct md__attend attend = {.batch = (size_t)in[0].shape.dim[0],
                                .heads = heads,
                                .kv_heads = heads,
                                .queries = (size_t)in[0].shape.dim[1],
                                .past = md__past_steps(in, call->in_count, 6, 2),
                                .width = hidden / heads,
                                .v_width = md__head_width(&in[2], heads),
                                .q = md__heads_of(&q, heads),
                                .k = md__heads_of(&k, heads),
                                .v = md__heads_of(&v, heads),
                                .y = md__heads_of(&call->out[0], heads),
                                .scale = md__attention_scale(call->node, hidden / heads),
                                .bias = md__masked,
                                .scores = md__output(call, 3)};
    attend.keys = attend.past + (size_t)in[1].shape.dim[in[1].shape.rank - 2];
    if (past_k) {
        attend.past_k = md__heads_first(past_k);
        attend.past_v = md__heads_first(past_v);
    }
    if (md__output(call, 1))
        fill_cache(&attend.past_k, attend.past, &attend.k, md__output(call, 1));
    if (md__output(call, 2))
        fill_cache(&attend.past_v, attend.past, &attend.v, md__output(call, 2));
    attend_masked(call, &attend, md__input(call, 4), md__input(call, 5), memory);
    return MD_OK;
}

const struct md_kernel md__ref_ms_attention = {.scratch_bytes = ms_attention_scratch,
                                               .run = ms_attention_run};
const struct md_kernel md__ref_multi_head = {.scratch_bytes = multi_head_scratch,
                                             .run = multi_head_run};
