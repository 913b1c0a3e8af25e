/*
 * Reference normalisations of rows, in double: LayerNormalization, RMSNormalization and the
 * com.microsoft operators that first add a residual (Skip...) or look embeddings up.
 *
 * A row is everything behind `axis`. Scale, bias and residual broadcast to the input's shape.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/ref.h"

enum { NO_OUTPUT = -1 };

struct rows {
    const struct md_kernel_call *call;
    size_t count; /* elements of a row */
    double epsilon;
    bool centred; /* subtracts the mean; else only divides by the root of the mean square */
    const struct md_tensor *x, *residual, *addend, *scale, *shift; /* NULL: absent */
    struct md__view views[4]; /* of residual, addend, scale, shift */
    struct md_tensor *mean, *inverse, *sum;
};

static struct md_tensor *output(const struct md_kernel_call *call, int i)
{
    return i != NO_OUTPUT && i < call->out_count && call->out[i].data ? &call->out[i] : NULL;
}

/* Normalises x; `room` holds as many doubles. */
static void normalise(const struct rows *rows, double *x, size_t row)
{
    size_t count = rows->count;
    double mean = 0, square = 0;
    for (size_t i = 0; rows->centred && i < count; i++)
        mean += x[i];
    mean /= (double)count;
    for (size_t i = 0; i < count; i++)
        square += (x[i] - mean) * (x[i] - mean);
    double inverse = 1 / sqrt(square / (double)count + rows->epsilon);
    for (size_t i = 0; i < count; i++)
        x[i] = (x[i] - mean) * inverse;
    if (rows->mean)
        md__set_float(rows->mean, row, mean);
    if (rows->inverse)
        md__set_float(rows->inverse, row, inverse);
}

static void add_row(const struct md_tensor *tensor, const struct md__view *view, size_t at,
                    size_t count, double *x, double *room)
{
    if (!tensor || count == 0)
        return;
    md__view_floats(view, at, count, room);
    for (size_t i = 0; i < count; i++)
        x[i] += room[i];
}

static void run_rows(void *context, size_t begin, size_t end, int thread)
{
    const struct rows *rows = context;
    size_t count = rows->count;
    double *x = (double *)rows->call->scratch + 2 * count * (size_t)thread, *room = x + count;
    for (size_t row = begin; row < end; row++) {
        size_t at = row * count;
        md__load_floats(rows->x, at, 1, count, x);
        add_row(rows->residual, &rows->views[0], at, count, x, room);
        add_row(rows->addend, &rows->views[1], at, count, x, room);
        if (rows->sum)
            md__store_floats(rows->sum, at, 1, count, x);
        normalise(rows, x, row);
        if (rows->scale && count > 0) {
            md__view_floats(&rows->views[2], at, count, room);
            for (size_t i = 0; i < count; i++)
                x[i] *= room[i];
        }
        add_row(rows->shift, &rows->views[3], at, count, x, room);
        md__store_floats(&rows->call->out[0], at, 1, count, x);
    }
}

static void normalise_rows(struct rows *rows, int axis)
{
    const struct md_tensor *others[] = {rows->residual, rows->addend, rows->scale, rows->shift};
    const struct md_shape *shape = &rows->x->shape;
    for (int i = 0; i < 4; i++)
        if (others[i])
            md__view_init(&rows->views[i], others[i], shape);
    rows->count = md__span(shape, axis, shape->rank);
    md__parallel(rows->call->pool, md__span(shape, 0, axis), md__grain(rows->count * 16), run_rows,
                 rows);
}

static size_t rows_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                           int threads)
{
    (void)in_count;
    const struct md_shape *shape = &in[0].shape;
    int axis = md__axis(md_node_int(node, "axis", -1), shape->rank);
    return axis == MD_NONE
               ? 0
               : 2 * sizeof(double) * (size_t)threads * md__span(shape, axis, shape->rank);
}

static enum md_status layer_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    bool centred = call->node->op == MD_OP_LAYER_NORM;
    bool rms = call->node->op == MD_OP_RMS_NORM;
    struct rows rows = {.call = call,
                        .epsilon = md_node_float(call->node, "epsilon", 1e-5),
                        .centred = centred,
                        .x = &call->in[0],
                        .scale = &call->in[1],
                        .shift = centred ? md__input(call, 2) : NULL,
                        .mean = output(call, centred ? 1 : NO_OUTPUT),
                        .inverse = output(call, centred ? 2
                                                : rms   ? NO_OUTPUT
                                                        : 1)};
    int axis = md__axis(md_node_int(call->node, "axis", -1), rows.x->shape.rank);
    if (axis == MD_NONE)
        return md_fail(err, MD_ERR_INVALID, "axis outside its input");
    normalise_rows(&rows, axis);
    return MD_OK;
}

/* input, skip, gamma, (beta unless simplified,) bias -> output, mean, inverse deviation, sum */
static enum md_status skip_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    (void)err;
    bool centred = call->node->op == MD_OP_SKIP_LAYER_NORM;
    struct rows rows = {.call = call,
                        .epsilon = md_node_float(call->node, "epsilon", 1e-12f),
                        .centred = centred,
                        .x = &call->in[0],
                        .residual = &call->in[1],
                        .addend = md__input(call, centred ? 4 : 3),
                        .scale = &call->in[2],
                        .shift = centred ? md__input(call, 3) : NULL,
                        .mean = output(call, 1),
                        .inverse = output(call, 2),
                        .sum = output(call, 3)};
    normalise_rows(&rows, rows.x->shape.rank - 1);
    return MD_OK;
}

/* ---- EmbedLayerNormalization ----------------------------------------------------------------- */

/* Adds row `index` of a table of embeddings to x. */
static enum md_status look_up(const struct md_tensor *table, int64_t index, double *x, double *room,
                              struct md_error *err)
{
    size_t width = (size_t)table->shape.dim[1];
    if (index < 0 || index >= table->shape.dim[0])
        return md_fail(err, MD_ERR_UNPROCESSABLE, "id %lld is outside a table of %lld rows",
                       (long long)index, (long long)table->shape.dim[0]);
    md__load_floats(table, (size_t)index * width, 1, width, room);
    for (size_t i = 0; i < width; i++)
        x[i] += room[i];
    return MD_OK;
}

/* How many leading ones each row of the mask has. */
static void count_mask(const struct md_tensor *mask, const struct md_tensor *counts)
{
    size_t batch = md__count(counts), steps = batch ? md__count(mask) / batch : 0;
    for (size_t b = 0; b < batch; b++) {
        int64_t sum = 0;
        for (size_t t = 0; t < steps; t++)
            sum += md__get_int(mask, b * steps + t) == 1;
        md__set_int(counts, b, sum);
    }
}

static size_t embed_scratch(const struct md_node *node, const struct md_tensor *in, int in_count,
                            int threads)
{
    (void)node, (void)in_count, (void)threads;
    return 2 * sizeof(double) * (size_t)in[2].shape.dim[1];
}

/* ids, segments?, words, positions, segment table?, gamma, beta, mask?, position ids? */
static enum md_status embed_norm_run(const struct md_kernel_call *call, struct md_error *err)
{
    const struct md_tensor *ids = &call->in[0], *segments = md__input(call, 1);
    const struct md_tensor *mask = md__input(call, 7), *places = md__input(call, 8);
    size_t width = (size_t)call->in[2].shape.dim[1], steps = (size_t)ids->shape.dim[1];
    struct md_tensor *sum = output(call, 2);
    struct rows rows = {.call = call,
                        .count = width,
                        .centred = true,
                        .epsilon = md_node_float(call->node, "epsilon", 1e-12f)};
    double *x = call->scratch, *room = x + width;
    size_t count = md__count(ids), place_count = places ? md__count(places) : 0;
    for (size_t at = 0; at < count; at++) {
        int64_t place = (int64_t)(at % steps);
        if (places)
            place = md__get_int(places, place_count == steps ? at % steps : at);
        memset(x, 0, width * sizeof *x);
        enum md_status status = look_up(&call->in[2], md__get_int(ids, at), x, room, err);
        if (!status)
            status = look_up(&call->in[3], place, x, room, err);
        if (!status && md__input(call, 4))
            status = look_up(&call->in[4], segments ? md__get_int(segments, at) : 0, x, room, err);
        if (status)
            return status;
        if (sum)
            md__store_floats(sum, at * width, 1, width, x);
        normalise(&rows, x, at);
        for (size_t i = 0; i < width; i++)
            md__set_float(&call->out[0], at * width + i,
                          x[i] * md__get_float(&call->in[5], i) + md__get_float(&call->in[6], i));
    }
    if (output(call, 1) && mask)
        count_mask(mask, &call->out[1]);
    else if (output(call, 1))
        memset(call->out[1].data, 0, md__count(&call->out[1]) * sizeof(int32_t));
    return MD_OK;
}

const struct md_kernel md__ref_layer_norm = {
    .scratch_bytes = rows_scratch, .run = layer_norm_run, .in_place = true};
const struct md_kernel md__ref_skip_norm = {.scratch_bytes = rows_scratch, .run = skip_norm_run};
const struct md_kernel md__ref_embed_norm = {.scratch_bytes = embed_scratch, .run = embed_norm_run};
