/*
 * What follows a convolution goes into it. In this order, each on what is there by then:
 *
 *     Conv(x, W, B) * a + b      a and b numbers or one a channel: into W and B. So does a
 *                                BatchNormalization, which is just that; behind ConvTranspose too
 *     Conv(BatchNormalization(x))    likewise, where no padding comes between
 *     Conv(x) + z                z of the same shape: com.microsoft.FusedConv's fourth input
 *     activation(Conv(x) + z)    its attribute (activation.h lists which)
 *
 * Weights must be float32 constants, and nobody else may read what lies between. Numbers that a
 * channel's weights cannot take (not finite after it) leave everything as it was.
 */
#include <math.h>
#include <stdlib.h>

#include "graph/body.h"
#include "graph/rewrite.h"

enum { ATTRS_MAX = 32 };

/* A convolution as it stands before a rewrite, apart from the graph's arrays, which move. */
struct conv {
    struct md_node node;
    int x, w, b, z; /* MD_NONE: absent */
    const struct md_tensor *weights, *bias;
    bool transposed, active; /* active: it ends with an activation */
    size_t channels;         /* of its output */
};

/* one number a channel: y = x * scale + shift */
struct affine {
    double *scale, *shift;
};

static bool is_conv(enum md_op op)
{
    return op == MD_OP_CONV || op == MD_OP_FUSED_CONV || op == MD_OP_CONV_TRANSPOSE;
}

static size_t channels_of(const struct md_node *node, const struct md_shape *weights)
{
    int64_t groups = md_node_int(node, "group", 1);
    int64_t channels =
        node->op == MD_OP_CONV_TRANSPOSE ? weights->dim[1] * groups : weights->dim[0];
    return groups > 0 && channels > 0 ? (size_t)channels : 0;
}

static bool read_conv(const struct md__rewrite *rewrite, const struct md_node *node,
                      struct conv *conv)
{
    *conv = (struct conv){.node = *node,
                          .x = node->in[0],
                          .w = node->in[1],
                          .b = md__body_in(node, 2),
                          .z = md__body_in(node, 3),
                          .transposed = node->op == MD_OP_CONV_TRANSPOSE,
                          .active = md_node_string(node, "activation", "")[0] != '\0'};
    conv->weights = md__rw_weights(rewrite, conv->w);
    conv->bias = md__rw_weights(rewrite, conv->b);
    if (!conv->weights || conv->weights->shape.rank < 3 || (conv->b != MD_NONE && !conv->bias))
        return false;
    conv->channels = channels_of(node, &conv->weights->shape);
    return conv->channels > 0;
}

/* The convolution that alone makes the value for one reader alone. */
static bool find_conv(const struct md__rewrite *rewrite, int value, struct conv *conv)
{
    const struct md_node *node = md__rw_sole_maker(rewrite, value);
    return node && is_conv(node->op) && read_conv(rewrite, node, conv);
}

/* The fused operator has a kernel that is more than the reference. */
static bool may_fuse(const struct md__rewrite *rewrite)
{
    const struct md_backend *backend = rewrite->options->backend;
    const struct md_backend *reference = rewrite->options->reference;
    const struct md_kernel *kernel = backend->kernels[MD_OP_FUSED_CONV];
    return kernel && (backend == reference || kernel != reference->kernels[MD_OP_FUSED_CONV]);
}

/* The node n becomes this convolution, with an activation when `name` is given. */
static enum md_status put_conv(struct md__rewrite *rewrite, int n, const struct conv *conv,
                               const char *name, const double *numbers, int count,
                               struct md_error *err)
{
    struct md_attr attrs[ATTRS_MAX + 2];
    const int in[] = {conv->x, conv->w, conv->b, conv->z};
    int attr_count = 0, out;
    if (conv->node.attr_count > ATTRS_MAX)
        return MD_OK;
    for (int i = 0; i < conv->node.attr_count; i++)
        attrs[attr_count++] = conv->node.attrs[i];
    attr_count += md__rw_activation_attrs(name, numbers, count, attrs + attr_count);
    bool fused = conv->node.op == MD_OP_FUSED_CONV || name || conv->z != MD_NONE;
    const char *op = fused              ? "com.microsoft.FusedConv"
                     : conv->transposed ? "ConvTranspose"
                                        : "Conv";
    int in_count = conv->z != MD_NONE ? 4 : conv->b != MD_NONE ? 3 : 2;
    enum md_status status = md__rw_node(rewrite, op, in, in_count, attrs, attr_count, &out, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &out);
    return status;
}

/* ---- into the weights ---- */

/* Which output channel the weight i of the whole tensor is for. */
static size_t channel_of(const struct conv *conv, size_t i)
{
    const struct md_shape *shape = &conv->weights->shape;
    size_t taps = 1, second = (size_t)shape->dim[1];
    for (int d = 2; d < shape->rank; d++)
        taps *= (size_t)shape->dim[d];
    size_t first = i / (taps * second);
    if (!conv->transposed)
        return first;
    size_t group = first / ((size_t)shape->dim[0] / (conv->channels / second));
    return group * second + i / taps % second;
}

/* Adds constants for weights and bias; *good is false when a number does not fit. */
static enum md_status add_weights(struct md__rewrite *rewrite, struct conv *conv,
                                  struct md_tensor made[2], bool *good, struct md_error *err)
{
    *good = md_tensor_is_finite(&made[0]) && md_tensor_is_finite(&made[1]);
    enum md_status status = MD_OK;
    if (*good)
        status = md__rw_add_constant(rewrite, &made[0], &conv->w, err);
    if (*good && !status)
        status = md__rw_add_constant(rewrite, &made[1], &conv->b, err);
    md_tensor_unref(&made[0]);
    md_tensor_unref(&made[1]);
    return status;
}

static enum md_status new_weights(const struct conv *conv, struct md_tensor made[2],
                                  struct md_error *err)
{
    const struct md_shape row = {1, {(int64_t)conv->channels}};
    made[0] = made[1] = (struct md_tensor){0};
    enum md_status status = md_tensor_new(MD_F32, &conv->weights->shape, &made[0], err);
    if (!status)
        status = md_tensor_new(MD_F32, &row, &made[1], err);
    if (status)
        md_tensor_unref(&made[0]);
    return status;
}

static double bias_of(const struct conv *conv, size_t channel)
{
    return conv->bias ? (double)((const float *)conv->bias->data)[channel] : 0;
}

/* conv(x) * scale + shift */
static enum md_status scale_outputs(struct md__rewrite *rewrite, int n, struct conv *conv,
                                    const struct affine *affine, struct md_error *err)
{
    struct md_tensor made[2];
    bool good = false;
    enum md_status status = new_weights(conv, made, err);
    if (status)
        return status;
    const float *from = conv->weights->data;
    for (size_t i = 0; i < md_tensor_count(conv->weights); i++)
        ((float *)made[0].data)[i] = (float)((double)from[i] * affine->scale[channel_of(conv, i)]);
    for (size_t c = 0; c < conv->channels; c++)
        ((float *)made[1].data)[c] =
            (float)(bias_of(conv, c) * affine->scale[c] + affine->shift[c]);
    status = add_weights(rewrite, conv, made, &good, err);
    return !status && good ? put_conv(rewrite, n, conv, NULL, NULL, 0, err) : status;
}

/* conv(x * scale + shift), a scale and a shift for each channel of x */
static enum md_status scale_inputs(struct md__rewrite *rewrite, int n, struct conv *conv,
                                   const struct affine *affine, struct md_error *err)
{
    struct md_tensor made[2];
    bool good = false;
    size_t members = (size_t)conv->weights->shape.dim[1];
    size_t per_output = md_tensor_count(conv->weights) / conv->channels;
    size_t taps = members ? per_output / members : 0;
    size_t per_group = conv->channels / (size_t)md_node_int(&conv->node, "group", 1);
    double *sums = calloc(conv->channels, sizeof *sums);
    enum md_status status =
        sums ? new_weights(conv, made, err) : md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (status)
        goto out;
    const float *from = conv->weights->data;
    for (size_t i = 0; i < md_tensor_count(conv->weights); i++) {
        size_t output = i / per_output;
        size_t channel = output / per_group * members + i % per_output / taps;
        ((float *)made[0].data)[i] = (float)((double)from[i] * affine->scale[channel]);
        sums[output] += (double)from[i] * affine->shift[channel];
    }
    for (size_t c = 0; c < conv->channels; c++)
        ((float *)made[1].data)[c] = (float)(bias_of(conv, c) + sums[c]);
    status = add_weights(rewrite, conv, made, &good, err);
    if (!status && good)
        status = put_conv(rewrite, n, conv, NULL, NULL, 0, err);
out:
    free(sums);
    return status;
}

static enum md_status affine_new(struct affine *affine, size_t channels, struct md_error *err)
{
    affine->scale = calloc(2 * channels, sizeof *affine->scale);
    affine->shift = affine->scale + channels;
    for (size_t c = 0; affine->scale && c < channels; c++)
        affine->scale[c] = 1;
    return affine->scale ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
}

/* A BatchNormalization of constants over so many channels. */
static bool read_norm(const struct md__rewrite *rewrite, const struct md_node *node,
                      size_t channels, struct affine *affine)
{
    const float *row[4];
    for (int i = 0; i < 4; i++) {
        const struct md_tensor *tensor = md__rw_weights(rewrite, node->in[1 + i]);
        if (!tensor || md_tensor_count(tensor) != channels)
            return false;
        row[i] = tensor->data;
    }
    double epsilon = (double)(float)md_node_float(node, "epsilon", 1e-5);
    for (size_t c = 0; c < channels; c++) {
        double deviation = sqrt((double)row[3][c] + epsilon);
        affine->scale[c] = (double)row[0][c] / deviation;
        affine->shift[c] = (double)row[1][c] - (double)row[2][c] * affine->scale[c];
    }
    return true;
}

static bool is_plain_norm(const struct md_node *node)
{
    return node->op == MD_OP_BATCH_NORM && node->out_count == 1 &&
           md_node_int(node, "training_mode", 0) == 0;
}

static enum md_status norm_after(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    struct conv conv;
    struct affine affine;
    const struct md_node *node = &rewrite->graph->nodes[n];
    if (!find_conv(rewrite, node->in[0], &conv) || conv.active || conv.z != MD_NONE)
        return MD_OK;
    enum md_status status = affine_new(&affine, conv.channels, err);
    if (!status && read_norm(rewrite, node, conv.channels, &affine))
        status = scale_outputs(rewrite, n, &conv, &affine, err);
    free(affine.scale);
    return status;
}

static enum md_status norm_before(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    struct conv conv;
    struct affine affine;
    const struct md_node *node = &rewrite->graph->nodes[n];
    const struct md_node *norm = md__rw_maker(rewrite, node->in[0], MD_OP_BATCH_NORM);
    if (!norm || !is_plain_norm(norm) || !md__rw_sole(rewrite, node->in[0]) ||
        !md__is_unpadded(node) || !read_conv(rewrite, node, &conv))
        return MD_OK;
    size_t channels = (size_t)conv.weights->shape.dim[1] * (size_t)md_node_int(node, "group", 1);
    if (channels == 0)
        return MD_OK;
    enum md_status status = affine_new(&affine, channels, err);
    if (!status && read_norm(rewrite, norm, channels, &affine)) {
        conv.x = norm->in[0];
        status = scale_inputs(rewrite, n, &conv, &affine, err);
    }
    free(affine.scale);
    return status;
}

/* A constant that gives each channel (axis 1 of `rank`) one number, or one for all. */
static bool is_per_channel(const struct md_tensor *constant, int rank, size_t channels)
{
    int lead = rank - constant->shape.rank;
    if (constant->dtype != MD_F32 || lead < 0)
        return false;
    for (int i = 0; i < constant->shape.rank; i++) {
        int64_t dim = constant->shape.dim[i];
        if (dim != 1 && !(i + lead == 1 && dim == (int64_t)channels))
            return false;
    }
    return true;
}

static double channel_number(const struct md_tensor *constant, size_t channel)
{
    const float *numbers = constant->data;
    return (double)numbers[md_tensor_count(constant) == 1 ? 0 : channel];
}

/* conv + b, conv - b, conv * a, conv / a; also the other way round where that is the same. */
static enum md_status arithmetic(struct md__rewrite *rewrite, int n, bool *done,
                                 struct md_error *err)
{
    struct conv conv;
    struct affine affine;
    const struct md_node node = rewrite->graph->nodes[n];
    int side = md__rw_weights(rewrite, node.in[0]) ? 1 : 0; /* of the convolution */
    const struct md_tensor *constant = md__rw_weights(rewrite, node.in[1 - side]);
    bool turns = node.op == MD_OP_ADD || node.op == MD_OP_MUL;
    if (!constant || (side == 1 && !turns) || !find_conv(rewrite, node.in[side], &conv) ||
        conv.active || conv.z != MD_NONE ||
        !is_per_channel(constant, conv.weights->shape.rank, conv.channels))
        return MD_OK;
    enum md_status status = affine_new(&affine, conv.channels, err);
    for (size_t c = 0; !status && c < conv.channels; c++) {
        double number = channel_number(constant, c);
        if (node.op == MD_OP_ADD || node.op == MD_OP_SUB)
            affine.shift[c] = node.op == MD_OP_ADD ? number : -number;
        else
            affine.scale[c] = node.op == MD_OP_MUL ? number : 1 / number;
    }
    *done = true;
    if (!status)
        status = scale_outputs(rewrite, n, &conv, &affine, err);
    free(affine.scale);
    return status;
}

/* ---- into the fused operator ---- */

/* conv + z. Of two convolutions the later one, so that the other's result is there. */
static enum md_status residual(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    struct conv conv, other;
    const int *producer[2] = {&rewrite->graph->values[node.in[0]].producer,
                              &rewrite->graph->values[node.in[1]].producer};
    bool good[2] = {find_conv(rewrite, node.in[0], &conv), find_conv(rewrite, node.in[1], &other)};
    good[0] = good[0] && !conv.transposed && !conv.active && conv.z == MD_NONE;
    good[1] = good[1] && !other.transposed && !other.active && other.z == MD_NONE;
    if (!may_fuse(rewrite) || (!good[0] && !good[1]) ||
        !md__rw_alike(rewrite, node.in[0], node.in[1]))
        return MD_OK;
    bool second = good[1] && (!good[0] || *producer[1] > *producer[0]);
    if (second)
        conv = other;
    conv.z = node.in[second ? 0 : 1];
    return put_conv(rewrite, n, &conv, NULL, NULL, 0, err);
}

static enum md_status activation(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    struct conv conv;
    double numbers[2];
    int count;
    const struct md_node *node = &rewrite->graph->nodes[n];
    const char *name = md__rw_activation(rewrite, node, numbers, &count);
    if (!name || !may_fuse(rewrite) || !find_conv(rewrite, node->in[0], &conv) || conv.transposed ||
        conv.active || md__rw_dtype(rewrite, node->in[0]) != MD_F32)
        return MD_OK;
    return put_conv(rewrite, n, &conv, name, numbers, count, err);
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node *node = &rewrite->graph->nodes[n];
    enum md_status status = MD_OK;
    bool done = false;
    switch (node->op) {
    case MD_OP_CONV:
        return norm_before(rewrite, n, err);
    case MD_OP_BATCH_NORM:
        return is_plain_norm(node) ? norm_after(rewrite, n, err) : MD_OK;
    case MD_OP_ADD:
    case MD_OP_SUB:
    case MD_OP_MUL:
    case MD_OP_DIV:
        status = arithmetic(rewrite, n, &done, err);
        return status || done || node->op != MD_OP_ADD ? status : residual(rewrite, n, err);
    default:
        return activation(rewrite, n, err);
    }
}

enum md_status md__pass_conv(struct md_graph *graph, const struct md_executable_options *options,
                             struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
