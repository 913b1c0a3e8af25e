/*
 * Products by constant matrices take in what follows them: MatMul(x, W) + b, Gemm, a residual + z
 * and an activation become moondial.Linear, whose kernel does all of it before it stores.
 *
 *     Add(MatMul(x, W), b)                  b a row of constants
 *     Mul(Linear(x, W, b), s)               s a row of constants, which multiplies W and b
 *     Add(Linear(x, W, b), z)               z of the same shape
 *     activation(Linear(x, W, b, z))
 *
 * A product alone stays what it is: its kernel is the same. Only where the backend has the fused
 * operator, which no region checks here: the pass is tested as a whole.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/rewrite.h"

/* A product as it stands before a rewrite. */
struct linear {
    int x, w, b, z;
    bool turned; /* w is [outputs, inputs] */
    bool active; /* it ends with an activation */
    int64_t outputs;
};

/* It is a constant row [.., outputs]. */
static bool is_row(const struct md__rewrite *rewrite, int value, int64_t outputs)
{
    const struct md_tensor *constant = md__rw_weights(rewrite, value);
    return constant && constant->shape.rank >= 1 &&
           constant->shape.dim[constant->shape.rank - 1] == outputs &&
           md_tensor_count(constant) == (size_t)outputs;
}

static bool is_plain_gemm(const struct md__rewrite *rewrite, const struct md_node *node)
{
    return md_node_int(node, "transA", 0) == 0 && md_node_float(node, "alpha", 1) == 1 &&
           (md__body_in(node, 2) == MD_NONE || md_node_float(node, "beta", 1) == 1) &&
           md__rw_rank(rewrite, node->in[0]) == 2;
}

static bool read_linear(const struct md__rewrite *rewrite, const struct md_node *node,
                        struct linear *linear)
{
    bool gemm = node->op == MD_OP_GEMM, fused = node->op == MD_OP_LINEAR;
    if ((node->op != MD_OP_MATMUL && !gemm && !fused) || (gemm && !is_plain_gemm(rewrite, node)))
        return false;
    const struct md_tensor *weights = md__rw_weights(rewrite, node->in[1]);
    if (!weights || weights->shape.rank != 2 || md_tensor_count(weights) == 0)
        return false;
    *linear = (struct linear){.x = node->in[0],
                              .w = node->in[1],
                              .b = md__body_in(node, 2),
                              .z = md__body_in(node, 3),
                              .turned = fused ? md_node_int(node, "transB", 1)
                                              : gemm && md_node_int(node, "transB", 0),
                              .active = md_node_string(node, "activation", "")[0] != '\0'};
    linear->outputs = weights->shape.dim[linear->turned ? 0 : 1];
    return linear->b == MD_NONE || is_row(rewrite, linear->b, linear->outputs);
}

/* The product that alone makes the value for one reader alone. */
static bool find_linear(const struct md__rewrite *rewrite, int value, struct linear *linear)
{
    const struct md_node *node = md__rw_sole_maker(rewrite, value);
    return node && read_linear(rewrite, node, linear) && md__rw_dtype(rewrite, value) == MD_F32;
}

/* The bias as [outputs]. */
static enum md_status make_row(struct md__rewrite *rewrite, int *value, struct md_error *err)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, *value);
    if (!constant || constant->shape.rank == 1)
        return MD_OK;
    struct md_tensor row = *constant;
    row.shape = (struct md_shape){1, {(int64_t)md_tensor_count(constant)}};
    return md__rw_add_constant(rewrite, &row, value, err);
}

static enum md_status put_linear(struct md__rewrite *rewrite, int n, struct linear *linear,
                                 const char *activation, const double *numbers, int count,
                                 struct md_error *err)
{
    struct md_attr attrs[3] = {MD_INT_ATTR("transB", linear->turned)};
    int attr_count = 1 + md__rw_activation_attrs(activation, numbers, count, attrs + 1), out;
    enum md_status status = linear->b == MD_NONE ? MD_OK : make_row(rewrite, &linear->b, err);
    if (status)
        return status;
    const int in[] = {linear->x, linear->w, linear->b, linear->z};
    int in_count = linear->z != MD_NONE ? 4 : linear->b != MD_NONE ? 3 : 2;
    status = md__rw_fused(rewrite, MD_OP_LINEAR, in, in_count, attrs, attr_count, &out, err);
    if (!status && out != MD_NONE)
        md__rw_replace(rewrite, n, &out);
    return status;
}

/* linear + b, or linear + z. Of two products the later one, so that the other's result is there. */
static enum md_status addition(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    struct linear sides[2];
    bool good[2];
    for (int i = 0; i < 2; i++) {
        good[i] = find_linear(rewrite, node.in[i], &sides[i]) && !sides[i].active &&
                  sides[i].z == MD_NONE;
        if (good[i] && sides[i].b == MD_NONE && is_row(rewrite, node.in[1 - i], sides[i].outputs)) {
            sides[i].b = node.in[1 - i];
            return put_linear(rewrite, n, &sides[i], NULL, NULL, 0, err);
        }
    }
    if ((!good[0] && !good[1]) || !md__rw_alike(rewrite, node.in[0], node.in[1]))
        return MD_OK;
    const struct md_value *values = rewrite->graph->values;
    bool second =
        good[1] && (!good[0] || values[node.in[1]].producer > values[node.in[0]].producer);
    sides[second].z = node.in[!second];
    return put_linear(rewrite, n, &sides[second], NULL, NULL, 0, err);
}

/* So many columns of `rows` rows, each times its number of `scale`; or rows, where `turned`. */
static enum md_status scaled(struct md__rewrite *rewrite, int *value, bool turned, size_t outputs,
                             const struct md_tensor *scale, struct md_error *err)
{
    const struct md_tensor *from = md__rw_weights(rewrite, *value);
    struct md_tensor made;
    enum md_status status = md_tensor_new(MD_F32, &from->shape, &made, err);
    if (status)
        return status;
    const float *numbers = scale->data, *old = from->data;
    size_t count = md_tensor_count(from), each = count / outputs;
    for (size_t i = 0; i < count; i++)
        ((float *)made.data)[i] = old[i] * numbers[turned ? i / each : i % outputs];
    status = md__rw_add_constant(rewrite, &made, value, err);
    md_tensor_unref(&made);
    return status;
}

/* linear * s, before anything was added but constants. */
static enum md_status scaling(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    struct linear linear;
    int side = md__rw_weights(rewrite, node.in[0]) ? 1 : 0;
    const struct md_tensor *scale = md__rw_weights(rewrite, node.in[1 - side]);
    if (!scale || !find_linear(rewrite, node.in[side], &linear) || linear.active ||
        linear.z != MD_NONE || !is_row(rewrite, node.in[1 - side], linear.outputs))
        return MD_OK;
    size_t outputs = (size_t)linear.outputs;
    enum md_status status = scaled(rewrite, &linear.w, linear.turned, outputs, scale, err);
    if (!status && linear.b != MD_NONE)
        status = scaled(rewrite, &linear.b, false, outputs, scale, err);
    return status ? status : put_linear(rewrite, n, &linear, NULL, NULL, 0, err);
}

enum md_status md__linear_rule(struct md__rewrite *rewrite, int n, void *context,
                               struct md_error *err)
{
    (void)context;
    struct linear linear;
    double numbers[2];
    int count;
    const struct md_node *node = &rewrite->graph->nodes[n];
    if (node->op == MD_OP_ADD)
        return addition(rewrite, n, err);
    if (node->op == MD_OP_MUL)
        return scaling(rewrite, n, err);
    const char *name = md__rw_activation(rewrite, node, numbers, &count);
    if (!name || !find_linear(rewrite, node->in[0], &linear) || linear.active)
        return MD_OK;
    return put_linear(rewrite, n, &linear, name, numbers, count, err);
}

enum md_status md__pass_linear(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, md__linear_rule, NULL, NULL, err);
}
