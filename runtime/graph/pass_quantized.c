/*
 * Quantised networks on integers. Exporters write them as float32 operators between a
 * DequantizeLinear of every operand and a QuantizeLinear of the result ("QDQ"); what stands between
 * becomes one operator on bytes:
 *
 *     Conv, MatMul, Gemm, Add                 QLinearConv, QLinearMatMul, moondial.QLinearGemm,
 * ..Add MaxPool, Reshape, Transpose, ...        itself, where levels go through unchanged nothing
 * nothing, where the levels are the same
 *
 * A Relu or Clip before the QuantizeLinear goes where the range of the levels does the same. And
 * what dynamic quantisation writes, Cast(MatMulInteger(x, W)) · (x's scale · W's) + b, becomes
 * com.microsoft.MatMulIntegerToFloat.
 *
 * Levels (scale and zero point) are constants here, one of each for activations. Weights are
 * constants under a DequantizeLinear, which must not have been folded away: so this pass comes
 * first. Only where the backend has kernels of its own for bytes: those of the reference are no
 * faster than its float32 ones.
 */
#include <math.h>
#include <string.h>

#include "graph/activation.h"
#include "graph/body.h"
#include "graph/rewrite.h"

/* A value as it is on both sides of a DequantizeLinear or QuantizeLinear. */
struct levels {
    int value; /* bytes */
    int scale, zero;
    enum md_dtype dtype; /* of the bytes */
    double step, origin; /* of activations: the numbers */
};

static bool is_byte(enum md_dtype dtype)
{
    return dtype == MD_U8 || dtype == MD_I8;
}

/* A zero point that was left out is one all the same. */
static enum md_status need_zero(struct md__rewrite *rewrite, struct levels *levels,
                                struct md_error *err)
{
    const struct md_tensor zero = {.dtype = levels->dtype, .data = (uint8_t[1]){0}};
    if (levels->zero != MD_NONE)
        return MD_OK;
    return md__rw_add_constant(rewrite, &zero, &levels->zero, err);
}

/* A constant byte; 0 where there is none. */
static bool read_byte(const struct md__rewrite *rewrite, int value, double *number)
{
    const struct md_tensor *byte = md__rw_constant(rewrite, value);
    *number = 0;
    if (!byte)
        return value == MD_NONE;
    if (!is_byte(byte->dtype) || md_tensor_count(byte) != 1 || byte->shape.rank > 1)
        return false;
    *number = byte->dtype == MD_I8 ? *(const int8_t *)byte->data : *(const uint8_t *)byte->data;
    return true;
}

/* One scale and zero point for all, both constants. */
static bool read_single(const struct md__rewrite *rewrite, const struct md_node *node,
                        struct levels *levels)
{
    const struct md_tensor *scale = md__rw_weights(rewrite, node->in[1]);
    levels->scale = node->in[1];
    levels->zero = md__body_in(node, 2);
    return scale && md_tensor_count(scale) == 1 && scale->shape.rank <= 1 &&
           md__rw_number(rewrite, node->in[1], &levels->step) && levels->step > 0 &&
           isfinite(levels->step) && !md_node_int(node, "block_size", 0) &&
           !md_node_int(node, "precision", 0) &&
           read_byte(rewrite, levels->zero, &levels->origin);
}

/* The float32 value is dequantised from bytes that it alone stands for. */
static bool read_operand(const struct md__rewrite *rewrite, int value, struct levels *levels)
{
    const struct md_node *node = md__rw_maker(rewrite, value, MD_OP_DEQUANTIZE_LINEAR);
    if (!node || !read_single(rewrite, node, levels))
        return false;
    levels->value = node->in[0];
    levels->dtype = md__rw_dtype(rewrite, node->in[0]);
    return is_byte(levels->dtype) && md__rw_dtype(rewrite, value) == MD_F32;
}

/* Dequantised constants of `dtype` with one scale, or one for each index of an axis. */
static bool read_constant(const struct md__rewrite *rewrite, int value, int axis,
                          struct levels *levels)
{
    const struct md_node *node = md__rw_maker(rewrite, value, MD_OP_DEQUANTIZE_LINEAR);
    const struct md_tensor *bytes = node ? md__rw_constant(rewrite, node->in[0]) : NULL;
    const struct md_tensor *scale = node ? md__rw_weights(rewrite, node->in[1]) : NULL;
    if (!bytes || !scale || md_node_int(node, "block_size", 0) || scale->shape.rank > 1)
        return false;
    *levels = (struct levels){.value = node->in[0],
                              .scale = node->in[1],
                              .zero = md__body_in(node, 2),
                              .dtype = bytes->dtype};
    const struct md_tensor *zero = md__rw_constant(rewrite, levels->zero);
    size_t count = md_tensor_count(scale);
    if ((levels->zero != MD_NONE && (!zero || md_tensor_count(zero) != count)) ||
        md__rw_dtype(rewrite, value) != MD_F32)
        return false;
    int64_t along = md_node_int(node, "axis", 1);
    along += along < 0 ? bytes->shape.rank : 0;
    return count == 1 ||
           (along == axis && axis < bytes->shape.rank && (int64_t)count == bytes->shape.dim[axis]);
}

/* Zero points of weights are as many as the scales: made, where they were left out. */
static enum md_status need_zeros(struct md__rewrite *rewrite, struct levels *levels,
                                 struct md_error *err)
{
    struct md_tensor zeros;
    const struct md_tensor *scale = md__rw_constant(rewrite, levels->scale);
    if (levels->zero != MD_NONE)
        return MD_OK;
    enum md_status status = md_tensor_new(levels->dtype, &scale->shape, &zeros, err);
    if (status)
        return status;
    memset(zeros.data, 0, md_tensor_bytes(&zeros));
    status = md__rw_add_constant(rewrite, &zeros, &levels->zero, err);
    md_tensor_unref(&zeros);
    return status;
}

/* The bias counts in products of a step of x and one of the weights, as QLinearConv wants it. */
static bool read_bias(const struct md__rewrite *rewrite, int value, const struct levels *x,
                      const struct levels *w, struct levels *bias)
{
    bias->value = MD_NONE;
    if (value == MD_NONE)
        return true;
    const struct md_tensor *w_scale = md__rw_weights(rewrite, w->scale);
    if (!read_constant(rewrite, value, 0, bias) || bias->dtype != MD_I32)
        return false;
    const struct md_tensor *own = md__rw_weights(rewrite, bias->scale);
    const struct md_tensor *zero = md__rw_constant(rewrite, bias->zero);
    size_t count = md_tensor_count(own), w_count = md_tensor_count(w_scale);
    for (size_t i = 0; zero && i < md_tensor_count(zero); i++)
        if (((const int32_t *)zero->data)[i] != 0)
            return false;
    for (size_t i = 0; i < (count > w_count ? count : w_count); i++) {
        double step = (double)((const float *)own->data)[count > 1 ? i : 0];
        double right = (double)((const float *)w_scale->data)[w_count > 1 ? i : 0] * x->step;
        if (!(fabs(step - right) <= 1e-5 * fabs(right)))
            return false;
    }
    return true;
}

/* Adds the node and lets it stand for node n. */
static enum md_status put(struct md__rewrite *rewrite, int n, const char *op, const int *in,
                          int in_count, const struct md_attr *attrs, int attr_count,
                          struct md_error *err)
{
    int value;
    enum md_status status =
        md__rw_node(rewrite, op, in, in_count, attrs, attr_count, &value, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &value);
    return status;
}

static enum md_status put_fused(struct md__rewrite *rewrite, int n, enum md_op op, const int *in,
                                int in_count, const struct md_attr *attrs, int attr_count,
                                struct md_error *err)
{
    int value;
    enum md_status status = md__rw_fused(rewrite, op, in, in_count, attrs, attr_count, &value, err);
    if (!status && value != MD_NONE)
        md__rw_replace(rewrite, n, &value);
    return status;
}

/* ---- between DequantizeLinear and QuantizeLinear --------------------------------------------- */

/* Conv(x, w, bias?), MatMul(x, w), Gemm(x, w, bias?) */
static enum md_status product(struct md__rewrite *rewrite, int n, const struct md_node *node,
                              struct levels *y, struct md_error *err)
{
    struct levels x, w, bias;
    bool conv = node->op == MD_OP_CONV, gemm = node->op == MD_OP_GEMM;
    bool turned = gemm && md_node_int(node, "transB", 0);
    const struct md_tensor *weights;
    bool plain =
        !gemm || (md_node_int(node, "transA", 0) == 0 && md_node_float(node, "alpha", 1) == 1 &&
                  md_node_float(node, "beta", 1) == 1);
    if (!plain || !read_operand(rewrite, node->in[0], &x) ||
        !read_constant(rewrite, node->in[1], conv || turned ? 0 : 1, &w) || !is_byte(w.dtype) ||
        !read_bias(rewrite, gemm || conv ? md__body_in(node, 2) : MD_NONE, &x, &w, &bias))
        return MD_OK;
    weights = md__rw_constant(rewrite, w.value);
    if (!conv && weights->shape.rank != 2)
        return MD_OK;
    const struct md_tensor *row = md__rw_constant(rewrite, bias.value);
    if (row &&
        (row->shape.rank != 1 || row->shape.dim[0] != weights->shape.dim[conv || turned ? 0 : 1]))
        return MD_OK;
    enum md_status status = need_zero(rewrite, &x, err);
    if (!status)
        status = need_zeros(rewrite, &w, err);
    if (!status)
        status = need_zero(rewrite, y, err);
    if (status)
        return status;
    const int in[] = {x.value, x.scale,  x.zero,  w.value,   w.scale,
                      w.zero,  y->scale, y->zero, bias.value};
    int in_count = bias.value == MD_NONE ? 8 : 9;
    const struct md_attr turn = MD_INT_ATTR("transB", turned);
    if (gemm)
        return put_fused(rewrite, n, MD_OP_QLINEAR_GEMM, in, in_count, &turn, 1, err);
    return put(rewrite, n, conv ? "QLinearConv" : "QLinearMatMul", in, in_count,
               conv ? node->attrs : NULL, conv ? node->attr_count : 0, err);
}

static enum md_status sum(struct md__rewrite *rewrite, int n, const struct md_node *node,
                          struct levels *y, struct md_error *err)
{
    struct levels a, b;
    if (!read_operand(rewrite, node->in[0], &a) || !read_operand(rewrite, node->in[1], &b) ||
        !md__rw_same_shape(rewrite, node->in[0], node->in[1]))
        return MD_OK;
    enum md_status status = need_zero(rewrite, &a, err);
    if (!status)
        status = need_zero(rewrite, &b, err);
    if (!status)
        status = need_zero(rewrite, y, err);
    const int in[] = {a.value, a.scale, a.zero, b.value, b.scale, b.zero, y->scale, y->zero};
    return status ? status : put_fused(rewrite, n, MD_OP_QLINEAR_ADD, in, 8, NULL, 0, err);
}

static bool same_levels(const struct levels *a, const struct levels *b)
{
    return a->dtype == b->dtype && a->step == b->step && a->origin == b->origin;
}

/* What takes levels from one place to another, or the largest of some. */
static bool moves(enum md_op op)
{
    static const enum md_op ops[] = {MD_OP_RESHAPE, MD_OP_FLATTEN,   MD_OP_SQUEEZE,
                                     MD_OP_SLICE,   MD_OP_UNSQUEEZE, MD_OP_TRANSPOSE,
                                     MD_OP_GATHER,  MD_OP_EXPAND,    MD_OP_MAX_POOL};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i] == op)
            return true;
    return false;
}

static enum md_status movement(struct md__rewrite *rewrite, int n, const struct md_node *node,
                               const struct levels *y, struct md_error *err)
{
    struct levels x;
    int in[8], value;
    if (node->in_count > 8 || node->out_count != 1 || !read_operand(rewrite, node->in[0], &x) ||
        !same_levels(&x, y))
        return MD_OK;
    memcpy(in, node->in, (size_t)node->in_count * sizeof *in);
    in[0] = x.value;
    enum md_status status = md__rw_node(rewrite, md_op_info(node->op)->name, in, node->in_count,
                                        node->attrs, node->attr_count, &value, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &value);
    return status;
}

/* ---- activations ----------------------------------------------------------------------------- */

/* Whether the range of the levels does what this Relu or Clip does. */
static bool is_implied(const struct md__rewrite *rewrite, const struct md_node *node,
                       const struct levels *y)
{
    double numbers[2];
    int count;
    const char *name = md__rw_activation(rewrite, node, numbers, &count);
    double lowest = ((y->dtype == MD_I8 ? -128 : 0) - y->origin) * y->step;
    double highest = ((y->dtype == MD_I8 ? 127 : 255) - y->origin) * y->step;
    if (!name)
        return false;
    bool relu = strcmp(name, "Relu") == 0;
    if (!relu && strcmp(name, "Clip") != 0)
        return false;
    return lowest >= (relu ? 0 : numbers[0]) && (relu || highest <= numbers[1]);
}

static enum md_status quantise(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node q = rewrite->graph->nodes[n];
    struct levels x, y = {.dtype = md__rw_dtype(rewrite, q.out[0])};
    if (!is_byte(y.dtype) || md__rw_dtype(rewrite, q.in[0]) != MD_F32 ||
        !read_single(rewrite, &q, &y))
        return MD_OK;
    if (read_operand(rewrite, q.in[0], &x) && same_levels(&x, &y)) {
        md__rw_replace(rewrite, n, &x.value);
        return MD_OK;
    }
    const struct md_node *found = md__rw_sole_maker(rewrite, q.in[0]);
    if (found && is_implied(rewrite, found, &y))
        found = md__rw_sole_maker(rewrite, found->in[0]);
    if (!found)
        return MD_OK;
    const struct md_node node = *found;
    if (node.op == MD_OP_CONV || node.op == MD_OP_MATMUL || node.op == MD_OP_GEMM)
        return product(rewrite, n, &node, &y, err);
    if (node.op == MD_OP_ADD)
        return sum(rewrite, n, &node, &y, err);
    return moves(node.op) ? movement(rewrite, n, &node, &y, err) : MD_OK;
}

/* ---- dynamic quantisation -------------------------------------------------------------------- */

/* One number, or a row of constants as long as the result's. */
static bool is_scale(const struct md__rewrite *rewrite, int value, int64_t columns)
{
    const struct md_tensor *constant = md__rw_weights(rewrite, value);
    if (constant && constant->shape.rank <= 1)
        return md_tensor_count(constant) == 1 || (int64_t)md_tensor_count(constant) == columns;
    return md__rw_rank(rewrite, value) == 0 && md__rw_dtype(rewrite, value) == MD_F32;
}

/* Cast(MatMulInteger(a, w, a_zero?, w_zero?)) * (a_scale * w_scale) */
static enum md_status rescaled(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    for (int side = 0; side < 2; side++) {
        const struct md_node *cast = md__rw_sole_maker(rewrite, node.in[side]);
        const struct md_node *scales = md__rw_maker(rewrite, node.in[1 - side], MD_OP_MUL);
        if (!cast || cast->op != MD_OP_CAST || !scales ||
            md__rw_dtype(rewrite, node.out[0]) != MD_F32)
            continue;
        const struct md_node *multiply = md__rw_sole_maker(rewrite, cast->in[0]);
        const struct md_tensor *w = multiply ? md__rw_constant(rewrite, multiply->in[1]) : NULL;
        if (!multiply || multiply->op != MD_OP_MATMUL_INTEGER || !w || w->shape.rank != 2)
            continue;
        int own = md__rw_weights(rewrite, scales->in[0]) ? 0 : 1; /* of the weights */
        int zeros[2] = {md__body_in(multiply, 2), md__body_in(multiply, 3)};
        const struct md_tensor *w_zero = md__rw_constant(rewrite, zeros[1]);
        if (!is_scale(rewrite, scales->in[own], w->shape.dim[1]) ||
            !is_scale(rewrite, scales->in[1 - own], 1) ||
            (zeros[0] != MD_NONE && md__rw_rank(rewrite, zeros[0]) != 0) ||
            (zeros[1] != MD_NONE && (!w_zero || w_zero->shape.rank > 1)))
            continue;
        const int in[] = {multiply->in[0], multiply->in[1], scales->in[1 - own],
                          scales->in[own], zeros[0],        zeros[1]};
        return put(rewrite, n, "com.microsoft.MatMulIntegerToFloat", in, 6, NULL, 0, err);
    }
    return MD_OK;
}

/* ... + bias */
static enum md_status biased(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    for (int side = 0; side < 2; side++) {
        const struct md_node *multiply = md__rw_sole_maker(rewrite, node.in[side]);
        const struct md_tensor *bias = md__rw_weights(rewrite, node.in[1 - side]);
        if (!multiply || multiply->op != MD_OP_MATMUL_INTEGER_TO_FLOAT || !bias ||
            bias->shape.rank != 1 || md__body_in(multiply, 6) != MD_NONE ||
            bias->shape.dim[0] != md__rw_dim(rewrite, multiply->in[1], 1))
            continue;
        const int in[] = {multiply->in[0],  multiply->in[1],          multiply->in[2],
                          multiply->in[3],  md__body_in(multiply, 4), md__body_in(multiply, 5),
                          node.in[1 - side]};
        return put(rewrite, n, "com.microsoft.MatMulIntegerToFloat", in, 7, NULL, 0, err);
    }
    return MD_OK;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    const bool *only_rescales = context; /* float results of MatMulInteger */
    switch (rewrite->graph->nodes[n].op) {
    case MD_OP_QUANTIZE_LINEAR:
        return *only_rescales ? MD_OK : quantise(rewrite, n, err);
    case MD_OP_MUL:
        return rescaled(rewrite, n, err);
    case MD_OP_ADD:
        return biased(rewrite, n, err);
    default:
        return MD_OK;
    }
}

enum md_status md__pass_quantized(struct md_graph *graph,
                                  const struct md_executable_options *options,
                                  struct md_pass_report *report, struct md_error *err)
{
    bool only_rescales = md__device_lacks(options, MD_OP_QLINEAR_CONV);
    if (!options->backend->kernels[MD_OP_QLINEAR_CONV_LAST] ||
        (only_rescales && md__device_lacks(options, MD_OP_MATMUL_INTEGER_TO_FLOAT)))
        return MD_OK;
    return md__rewrite_run(graph, options, report, rule, &only_rescales, NULL, err);
}
