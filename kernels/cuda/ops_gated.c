/*
 * Nodes of the TFT's gated networks (runtime/graph/fused.md): products by matrix.cu, everything
 * between them by gated.cu. A VariableSelection is the networks of its variables one after the
 * other; their prescaled inputs lie side by side, as the network that scores reads them.
 */
#include "graph/selection.h"
#include "kernels/cuda/ops.h"

/* Scratch is handed out front to back; with base NULL it is only counted. */
struct room {
    char *base;
    size_t used;
};

static void *take(struct room *room, int64_t elements, enum md_dtype storage)
{
    void *at = room->base ? room->base + room->used : NULL;
    room->used += ((size_t)elements * md_dtype_bytes(storage) + 255) / 256 * 256;
    return at;
}

/* A GatedResidualNetwork's inputs 1 .. 13, wherever they come from; dtype 0: absent. */
struct network {
    const struct md_device_value *fc1, *fc2, *glu, *gamma, *context, *resample;
    /* weight and bias each; gamma and beta; context and its weight; gamma, beta, gate */
};

static const void *data_of(const struct md_device_value *value)
{
    return value && value->dtype ? value->data : NULL;
}

static bool is_there(const struct md_device_value *value)
{
    return value && value->dtype != 0;
}

/* x: rows of `inner` numbers, x_row apart. */
struct rows {
    const void *x;
    int64_t count, inner, x_row;
};

static struct md__cuda_product layer(enum md_dtype storage, const struct rows *x,
                                     const struct md_device_value *weight, void *y)
{
    int64_t inner = weight->shape.dim[1];
    return (struct md__cuda_product){.storage = (int)storage,
                                     .rows = x->count,
                                     .inner = inner,
                                     .columns = weight->shape.dim[0],
                                     .a_row = x->x_row,
                                     .a_column = 1,
                                     .b_row = 1,
                                     .b_column = inner,
                                     .bias_column = 1,
                                     .a = x->x,
                                     .b = weight->data,
                                     .bias = data_of(weight + 1),
                                     .y = y,
                                     .alpha = 1,
                                     .beta = 1};
}

static struct rows dense(const void *x, int64_t count, int64_t inner)
{
    return (struct rows){x, count, inner, inner};
}

/* Rows of x for each row of the context; 0: it does not repeat so. */
static int64_t context_repeat(const struct md_shape *x, const struct md_shape *context)
{
    int last = x->rank - 1, same = 0;
    if (context->rank != x->rank)
        return 0;
    while (same < last && context->dim[same] == x->dim[same])
        same++;
    for (int i = same; i < last; i++)
        if (context->dim[i] != 1)
            return 0;
    return (int64_t)md__span(x, same, last);
}

/* The network on `x`, into y. `call` NULL: only counts scratch. */
static enum md_status run_network(const struct md_device_call *call, enum md_dtype storage,
                                  const struct network *net, const struct rows *x, int64_t repeat,
                                  float epsilon, void *y, struct room *room, struct md_error *err)
{
    int64_t hidden = net->fc1->shape.dim[0], columns = net->glu->shape.dim[0] / 2;
    size_t before = room->used;
    bool context = is_there(net->context);
    int64_t context_rows = context && repeat ? x->count / repeat : 0;
    void *z = take(room, context_rows * hidden, storage);
    void *a = take(room, x->count * hidden, storage), *b = take(room, x->count * hidden, storage);
    void *gated = take(room, x->count * 2 * columns, storage);
    size_t after = room->used;
    room->used = before; /* the next network may have it */
    if (!call)
        room->used = after;
    if (!call || x->count == 0)
        return MD_OK;
    enum md_status status = MD_OK;
    struct md__cuda_product first = layer(storage, x, net->fc1, a);
    if (context) {
        struct rows given = dense(net->context[0].data, context_rows, 0);
        given.x_row = net->context[1].shape.dim[1];
        struct md__cuda_product product = layer(storage, &given, &net->context[1], z);
        product.bias = NULL;
        status = md__product_enqueue(call, &product, err);
        first.z = z;
        first.z_repeat = repeat;
    }
    first.function = MD__CUDA_ELU;
    first.function_a = 1;
    if (!status)
        status = md__product_enqueue(call, &first, err);
    struct rows next = dense(a, x->count, hidden);
    if (!status && is_there(net->fc2)) {
        struct md__cuda_product second = layer(storage, &next, net->fc2, b);
        status = md__product_enqueue(call, &second, err);
        next.x = b;
    }
    if (!status) {
        struct md__cuda_product third = layer(storage, &next, net->glu, gated);
        status = md__product_enqueue(call, &third, err);
    }
    if (status)
        return status;
    struct md__cuda_gate_norm norm = {.storage = (int)storage,
                                      .rows = x->count,
                                      .columns = columns,
                                      .skip_columns = x->inner,
                                      .skip_row = x->x_row,
                                      .epsilon = epsilon,
                                      .gated = gated,
                                      .skip = x->x,
                                      .gamma = net->gamma[0].data,
                                      .beta = net->gamma[1].data,
                                      .y = y};
    if (is_there(net->resample)) {
        norm.skip_gamma = net->resample[0].data;
        norm.skip_beta = net->resample[1].data;
        norm.skip_gate = data_of(net->resample + 2);
    }
    return md__launched(md__cuda_gate_norm(md__cuda_stream_of(call->stream), &norm), err);
}

/* Inputs as nodes have them may end early: the rest is absent. */
#define NETWORK_INPUTS 14
static void copy_inputs(struct md_device_value *to, const struct md_device_value *in, int in_count)
{
    for (int i = 0; i < NETWORK_INPUTS + 1; i++)
        to[i] = i < in_count && i < NETWORK_INPUTS ? in[i] : (struct md_device_value){0};
}

static struct network network_of(const struct md_device_value *in)
{
    return (struct network){&in[1], &in[3], &in[5], &in[7], &in[9], &in[11]};
}

static struct rows rows_of(const struct md_device_value *x)
{
    int64_t inner = x->shape.dim[x->shape.rank - 1];
    return dense(x->data, (int64_t)md__span(&x->shape, 0, x->shape.rank - 1), inner);
}

static float epsilon_of(const struct md_node *node)
{
    return (float)md_node_float(node, "epsilon", 1e-5);
}

/* ---- GatedResidualNetwork -------------------------------------------------------------------- */

static bool context_fits(const struct md_device_value *in, int in_count)
{
    return !md__given(in, in_count, 9) || context_repeat(&in[0].shape, &in[9].shape) > 0 ||
           md__elements(&in[0]) == 0;
}

static bool residual_supports(const struct md_node *node, const struct md_device_value *in,
                              int in_count, const struct md_device_value *out, int out_count)
{
    (void)node;
    return md__one_float(in, in_count, out, out_count) && context_fits(in, in_count);
}

static enum md_status residual(const struct md_device_call *call, const struct md_node *node,
                               const struct md_device_value *in, int in_count, void *y,
                               struct room *room, struct md_error *err)
{
    struct md_device_value all[NETWORK_INPUTS + 1];
    copy_inputs(all, in, in_count);
    struct network net = network_of(all);
    struct rows x = rows_of(&all[0]);
    int64_t repeat = all[9].dtype ? context_repeat(&all[0].shape, &all[9].shape) : 0;
    return run_network(call, all[0].storage, &net, &x, repeat, epsilon_of(node), y, room, err);
}

static size_t residual_scratch(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    (void)out, (void)out_count;
    struct room room = {0};
    residual(NULL, node, in, in_count, NULL, &room, NULL);
    return room.used;
}

static enum md_status residual_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct room room = {.base = call->scratch};
    return residual(call, call->node, call->in, call->in_count, call->out[0].data, &room, err);
}

const struct md_device_kernel md__cuda_op_gated_residual = {
    .supports = residual_supports, .scratch_bytes = residual_scratch, .enqueue = residual_enqueue};

/* ---- GateAddNorm, ResampleNorm --------------------------------------------------------------- */

static size_t gate_add_scratch(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in, (void)in_count, (void)out_count;
    return 2 * (size_t)md__elements(&out[0]) * md_dtype_bytes(out[0].storage);
}

static struct md__cuda_gate_norm norm_of(const struct md_device_call *call,
                                         const struct md_device_value *skip,
                                         const struct md_device_value *gamma, const void *gate)
{
    struct rows from = rows_of(skip);
    const struct md_shape *out = &call->out[0].shape;
    return (struct md__cuda_gate_norm){.storage = (int)call->out[0].storage,
                                       .rows = from.count,
                                       .columns = out->dim[out->rank - 1],
                                       .skip_columns = from.inner,
                                       .skip_row = from.inner,
                                       .epsilon = epsilon_of(call->node),
                                       .skip = from.x,
                                       .skip_gate = gate,
                                       .gamma = gamma[0].data,
                                       .beta = gamma[1].data,
                                       .y = call->out[0].data};
}

static enum md_status gate_add_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_device_value *in = call->in;
    struct md__cuda_product product =
        md__linear_of(&in[0], &in[2], true, md__data(call, 3), call->scratch);
    enum md_status status = md__product_enqueue(call, &product, err);
    struct md__cuda_gate_norm norm = norm_of(call, &in[1], &in[4], md__data(call, 6));
    norm.gated = call->scratch;
    return status ? status
                  : md__launched(md__cuda_gate_norm(md__cuda_stream_of(call->stream), &norm), err);
}

const struct md_device_kernel md__cuda_op_gate_add_norm = {
    .supports = md__floats_only, .scratch_bytes = gate_add_scratch, .enqueue = gate_add_enqueue};

static enum md_status resample_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_gate_norm norm = norm_of(call, &call->in[0], &call->in[1], md__data(call, 3));
    return md__launched(md__cuda_gate_norm(md__cuda_stream_of(call->stream), &norm), err);
}

const struct md_device_kernel md__cuda_op_resample_norm = {.supports = md__floats_only,
                                                           .enqueue = resample_enqueue};

/* ---- WeightedSum ----------------------------------------------------------------------------- */

/* In goes of as many values as a launch takes; float storage rounds between two of them. */
static enum md_status weighted(const struct md_device_call *call, struct md__cuda_weighted_sum *sum,
                               const void *const *values, int count, struct md_error *err)
{
    size_t bytes = md_dtype_bytes((enum md_dtype)sum->storage);
    const char *weights = sum->weights;
    for (int first = 0; first < count; first += MD__CUDA_VALUES) {
        sum->more = first > 0;
        sum->weights = weights + (size_t)first * bytes;
        sum->values_count = count - first < MD__CUDA_VALUES ? count - first : MD__CUDA_VALUES;
        for (int i = 0; i < sum->values_count; i++)
            sum->values[i] = values[first + i];
        int error = md__cuda_weighted_sum(md__cuda_stream_of(call->stream), sum);
        if (error)
            return md__launched(error, err);
    }
    return MD_OK;
}

#define VALUES_MAX 1024

static bool weighted_supports(const struct md_node *node, const struct md_device_value *in,
                              int in_count, const struct md_device_value *out, int out_count)
{
    (void)node;
    return in_count <= VALUES_MAX && md__one_float(in, in_count, out, out_count);
}

static enum md_status weighted_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const void *values[VALUES_MAX];
    struct rows y = rows_of(&call->out[0]);
    for (int i = 1; i < call->in_count; i++)
        values[i - 1] = call->in[i].data;
    struct md__cuda_weighted_sum sum = {.storage = (int)call->out[0].storage,
                                        .rows = y.count,
                                        .columns = y.inner,
                                        .weights_row = call->in_count - 1,
                                        .weights = call->in[0].data,
                                        .y = call->out[0].data};
    return weighted(call, &sum, values, call->in_count - 1, err);
}

const struct md_device_kernel md__cuda_op_weighted_sum = {.supports = weighted_supports,
                                                          .enqueue = weighted_enqueue};

/* ---- VariableSelection ----------------------------------------------------------------------- */

struct selecting {
    const struct md_device_call *call; /* NULL: only counts scratch */
    const struct md_node *node;
    const struct md_device_value *in;
    struct md_selection selection;
    int64_t rows, columns, width; /* width: of all that the scoring network reads */
    enum md_dtype storage;
    char *flat;
    const void *values[VALUES_MAX];
    struct room room;
};

static int64_t last_of(const struct md_device_value *value)
{
    return value->shape.dim[value->shape.rank - 1];
}

static int real_input(const struct selecting *s, int j)
{
    return md__selection_real(&s->selection, j);
}

static int64_t flat_width(const struct selecting *s)
{
    int64_t width = 0;
    for (int k = 0; k < s->selection.categoricals; k++)
        width += last_of(&s->in[md__selection_categorical(k)]);
    for (int j = 0; j < s->selection.reals; j++)
        width += s->in[real_input(s, j) + MD_REAL_PRESCALE].shape.dim[0];
    return width;
}

static bool selection_init(struct selecting *s, const struct md_node *node,
                           const struct md_device_value *in, const struct md_device_value *out)
{
    *s = (struct selecting){.node = node, .in = in, .storage = out[0].storage};
    if (!md__selection_of(node, &s->selection) ||
        s->selection.categoricals + s->selection.reals > VALUES_MAX)
        return false;
    s->rows = rows_of(&in[0]).count;
    s->columns = last_of(&out[0]);
    s->width = flat_width(s);
    return true;
}

static bool selection_supports(const struct md_node *node, const struct md_device_value *in,
                               int in_count, const struct md_device_value *out, int out_count)
{
    struct selecting s;
    return md__one_float(in, in_count, out, out_count) && context_fits(in, in_count) &&
           selection_init(&s, node, in, out);
}

/* Embedding k into its place among what the scoring network reads. */
static enum md_status put_embedding(struct selecting *s, int k, int64_t at, struct md_error *err)
{
    const struct md_device_value *e = &s->in[md__selection_categorical(k)];
    int64_t size = last_of(e);
    size_t bytes = md_dtype_bytes(s->storage);
    struct md__cuda_map map = {
        .rank = 2, .dim = {s->rows, size}, .stride = {{size, 1}, {s->width, 1}}};
    map.count = s->rows * size;
    s->values[k] = s->in[md__selection_categorical(k) + 1].data;
    if (!s->call)
        return MD_OK;
    return md__launched(md__cuda_move(md__cuda_stream_of(s->call->stream), (int)bytes, &map,
                                      e->data, s->flat + (size_t)at * bytes),
                        err);
}

/* Real variable j: prescaled into its place, then through its network. */
static enum md_status encode(struct selecting *s, int j, int64_t at, struct md_error *err)
{
    const struct md_device_value *own = &s->in[real_input(s, j)];
    size_t bytes = md_dtype_bytes(s->storage);
    int64_t size = own[MD_REAL_PRESCALE].shape.dim[0];
    struct network net = {.fc1 = own + MD_REAL_FC1,
                          .fc2 = own + MD_REAL_FC2,
                          .glu = own + MD_REAL_GLU,
                          .gamma = own + MD_REAL_NORM,
                          .resample = own + MD_REAL_RESAMPLE};
    void *encoded = take(&s->room, s->rows * s->columns, s->storage);
    struct rows x = {s->call ? s->flat + (size_t)at * bytes : NULL, s->rows, size, s->width};
    s->values[s->selection.categoricals + j] = encoded;
    if (s->call) {
        struct rows column = {(const char *)s->in[0].data + (size_t)s->selection.columns[j] * bytes,
                              s->rows, 1, last_of(&s->in[0])};
        struct md__cuda_product product =
            layer(s->storage, &column, own + MD_REAL_PRESCALE, (void *)x.x);
        product.y_row = s->width;
        enum md_status status = md__product_enqueue(s->call, &product, err);
        if (status)
            return status;
    }
    return run_network(s->call, s->storage, &net, &x, 0, epsilon_of(s->node), encoded, &s->room,
                       err);
}

static enum md_status select_scores(struct selecting *s, int in_count, void *scores,
                                    struct md_error *err)
{
    struct md_device_value all[NETWORK_INPUTS + 1];
    copy_inputs(all, s->in, in_count);
    struct network net = network_of(all);
    struct rows x = dense(s->flat, s->rows, s->width);
    int64_t repeat = all[9].dtype ? context_repeat(&all[0].shape, &all[9].shape) : 0;
    return run_network(s->call, s->storage, &net, &x, repeat, epsilon_of(s->node), scores, &s->room,
                       err);
}

static enum md_status run_selection(struct selecting *s, int in_count, void *y,
                                    struct md_error *err)
{
    int count = s->selection.categoricals + s->selection.reals;
    int64_t at = 0;
    enum md_status status = MD_OK;
    s->flat = take(&s->room, s->rows * s->width, s->storage);
    void *scores = take(&s->room, s->rows * count, s->storage);
    for (int k = 0; k < s->selection.categoricals && !status; k++) {
        status = put_embedding(s, k, at, err);
        at += last_of(&s->in[md__selection_categorical(k)]);
    }
    for (int j = 0; j < s->selection.reals && !status; j++) {
        status = encode(s, j, at, err);
        at += s->in[real_input(s, j) + MD_REAL_PRESCALE].shape.dim[0];
    }
    if (!status)
        status = select_scores(s, in_count, scores, err);
    if (status || !s->call)
        return status;
    md__cuda_stream stream = md__cuda_stream_of(s->call->stream);
    status = md__launched(md__cuda_lines(stream, (int)s->storage, MD__CUDA_LINE_SOFTMAX, scores,
                                         scores, s->rows, count, 1),
                          err);
    struct md__cuda_weighted_sum sum = {.storage = (int)s->storage,
                                        .rows = s->rows,
                                        .columns = s->columns,
                                        .weights_row = count,
                                        .weights = scores,
                                        .y = y};
    return status ? status : weighted(s->call, &sum, s->values, count, err);
}

static size_t selection_scratch(const struct md_node *node, const struct md_device_value *in,
                                int in_count, const struct md_device_value *out, int out_count)
{
    struct selecting s;
    (void)out_count;
    if (!selection_init(&s, node, in, out))
        return 0;
    run_selection(&s, in_count, NULL, NULL);
    return s.room.used;
}

static enum md_status selection_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct selecting s;
    if (!selection_init(&s, call->node, call->in, call->out))
        return md_fail(err, MD_ERR_INVALID, "attributes and inputs do not fit together");
    s.call = call;
    s.room.base = call->scratch;
    return run_selection(&s, call->in_count, call->out[0].data, err);
}

const struct md_device_kernel md__cuda_op_selection = {.supports = selection_supports,
                                                       .scratch_bytes = selection_scratch,
                                                       .enqueue = selection_enqueue};
