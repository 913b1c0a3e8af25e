/*
 * Nodes of dense products: matrix.cu, or cuBLASLt where the context has it and it takes the shape.
 */
#include "graph/activation.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/ops.h"

/* Operands of one float storage; the result may be float32, as the last of a model are. */
static bool product_fits(const struct md_device_value *in, int in_count,
                         const struct md_device_value *out)
{
    return md__one_float(in, in_count, NULL, 0) &&
           (out[0].storage == in[0].storage || out[0].storage == MD_F32);
}

static bool product_supports(const struct md_node *node, const struct md_device_value *in,
                             int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)out_count;
    return product_fits(in, in_count, out);
}

enum md_status md__product_enqueue(const struct md_device_call *call,
                                   struct md__cuda_product *product, struct md_error *err)
{
    if (product->batch.rank == 0) {
        product->batch.rank = 1;
        product->batch.count = product->batch.dim[0] = 1;
    }
    struct md__cuda_libraries *libraries = md__cuda_libraries_of(call->context);
    md__cuda_stream stream = md__cuda_stream_of(call->stream);
    int error = MD__CUDA_REFUSED;
    if (libraries && libraries->product)
        error = libraries->product(libraries, stream, product);
    if (error == MD__CUDA_REFUSED)
        error = md__cuda_product(stream, product);
    return md__launched(error, err);
}

void md__activation_read(const struct md_node *node, enum md__cuda_function *function, float *a,
                         float *b)
{
    struct md_activation activation = md_activation_of(node);
    *function = MD__CUDA_IDENTITY;
    md__cuda_function_of(activation.op, function);
    if (activation.op == MD_OP_GELU && activation.a != 0)
        *function = MD__CUDA_GELU_TANH;
    *a = (float)activation.a;
    *b = (float)activation.b;
}

/* ---- MatMul ---------------------------------------------------------------------------------- */

/* A vector on the left is a row, on the right a column; leading axes broadcast. */
static void set_batch(struct md__cuda_product *product, const struct md_device_value *a,
                      const struct md_device_value *b, const struct md_device_value *y)
{
    struct md_device_value sides[2] = {*a, *b}, out = *y;
    int drop = (a->shape.rank > 1) + (b->shape.rank > 1);
    out.shape.rank -= drop;
    for (int k = 0; k < 2; k++)
        sides[k].shape.rank = sides[k].shape.rank > 2 ? sides[k].shape.rank - 2 : 0;
    md__map_broadcast(&product->batch, &out.shape,
                      (const struct md_device_value *[]){&sides[0], &sides[1]}, 2);
    for (int axis = 0; axis < product->batch.rank; axis++) {
        product->batch.stride[0][axis] *= product->rows * product->inner;
        product->batch.stride[1][axis] *= product->inner * product->columns;
    }
}

/* One matrix b for all of a: their rows are those of one product. */
static void join_rows(struct md__cuda_product *product)
{
    struct md__cuda_map *batch = &product->batch;
    if (batch->rank != 1 || batch->stride[1][0] != 0 || batch->count < 2 ||
        product->a_column != 1 || batch->stride[0][0] != product->rows * product->inner)
        return;
    product->rows *= batch->count;
    batch->count = batch->dim[0] = 1;
}

/* FusedMatMul says so; of MatMul nothing is turned. */
static bool turns(const struct md_node *node, const char *side, const struct md_shape *shape)
{
    return shape->rank > 1 && md_node_int(node, side, 0) != 0;
}

static bool matmul_supports(const struct md_node *node, const struct md_device_value *in,
                            int in_count, const struct md_device_value *out, int out_count)
{
    (void)out_count;
    return !md_node_int(node, "transBatchA", 0) && !md_node_int(node, "transBatchB", 0) &&
           product_fits(in, in_count, out);
}

static enum md_status matmul_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_shape *a = &call->in[0].shape, *b = &call->in[1].shape;
    bool turn_a = turns(call->node, "transA", a), turn_b = turns(call->node, "transB", b);
    struct md__cuda_product product = {.storage = (int)call->in[0].storage,
                                       .wide = call->out[0].storage == MD_F32,
                                       .rows = a->rank > 1 ? a->dim[a->rank - 2 + turn_a] : 1,
                                       .inner = a->dim[a->rank - 1 - turn_a],
                                       .columns = b->rank > 1 ? b->dim[b->rank - 1 - turn_b] : 1,
                                       .a = call->in[0].data,
                                       .b = call->in[1].data,
                                       .y = call->out[0].data,
                                       .alpha = (float)md_node_float(call->node, "alpha", 1)};
    product.a_row = turn_a ? 1 : product.inner;
    product.a_column = turn_a ? product.rows : 1;
    product.b_row = turn_b ? 1 : product.columns;
    product.b_column = turn_b ? product.inner : 1;
    set_batch(&product, &call->in[0], &call->in[1], &call->out[0]);
    join_rows(&product);
    return md__product_enqueue(call, &product, err);
}

const struct md_device_kernel md__cuda_op_matmul = {.supports = matmul_supports,
                                                    .enqueue = matmul_enqueue};

/* ---- Gemm ------------------------------------------------------------------------------------ */

/* The strides of a bias that broadcasts to [rows, columns]. */
static void set_bias(struct md__cuda_product *product, const struct md_device_value *bias)
{
    const struct md_shape *shape = &bias->shape;
    int64_t columns = shape->rank > 0 ? shape->dim[shape->rank - 1] : 1;
    int64_t rows = shape->rank > 1 ? shape->dim[shape->rank - 2] : 1;
    product->bias = bias->data;
    product->bias_column = columns > 1;
    product->bias_row = rows > 1 ? columns : 0;
}

static enum md_status gemm_enqueue(const struct md_device_call *call, struct md_error *err)
{
    const struct md_node *node = call->node;
    bool turn_a = md_node_int(node, "transA", 0) != 0, turn_b = md_node_int(node, "transB", 0) != 0;
    int64_t a_width = call->in[0].shape.dim[1], b_width = call->in[1].shape.dim[1];
    struct md__cuda_product product = {.storage = (int)call->in[0].storage,
                                       .wide = call->out[0].storage == MD_F32,
                                       .rows = call->out[0].shape.dim[0],
                                       .inner = call->in[0].shape.dim[turn_a ? 0 : 1],
                                       .columns = call->out[0].shape.dim[1],
                                       .a_row = turn_a ? 1 : a_width,
                                       .a_column = turn_a ? a_width : 1,
                                       .b_row = turn_b ? 1 : b_width,
                                       .b_column = turn_b ? b_width : 1,
                                       .a = call->in[0].data,
                                       .b = call->in[1].data,
                                       .y = call->out[0].data,
                                       .alpha = (float)md_node_float(node, "alpha", 1),
                                       .beta = (float)md_node_float(node, "beta", 1)};
    if (md__given(call->in, call->in_count, 2))
        set_bias(&product, &call->in[2]);
    return md__product_enqueue(call, &product, err);
}

const struct md_device_kernel md__cuda_op_gemm = {.supports = product_supports,
                                                  .enqueue = gemm_enqueue};

/* ---- Linear, GatedLinearUnit ----------------------------------------------------------------- */

/* x [.., I] by a weight [O, I] (or [I, O]), into y. */
struct md__cuda_product md__linear_of(const struct md_device_value *x,
                                      const struct md_device_value *weight, bool turned,
                                      const void *bias, void *y)
{
    int64_t inner = weight->shape.dim[turned ? 1 : 0], columns = weight->shape.dim[turned ? 0 : 1];
    int64_t rows = (int64_t)md__span(&x->shape, 0, x->shape.rank - 1);
    return (struct md__cuda_product){.storage = (int)x->storage,
                                     .rows = rows,
                                     .inner = inner,
                                     .columns = columns,
                                     .a_row = inner,
                                     .a_column = 1,
                                     .b_row = turned ? 1 : columns,
                                     .b_column = turned ? inner : 1,
                                     .bias_column = 1,
                                     .a = x->data,
                                     .b = weight->data,
                                     .bias = bias,
                                     .y = y,
                                     .alpha = 1,
                                     .beta = 1};
}

static enum md_status linear_enqueue(const struct md_device_call *call, struct md_error *err)
{
    bool turned = md_node_int(call->node, "transB", 1) != 0;
    struct md__cuda_product product =
        md__linear_of(&call->in[0], &call->in[1], turned, md__data(call, 2), call->out[0].data);
    product.z = md__data(call, 3);
    product.wide = call->out[0].storage == MD_F32;
    md__activation_read(call->node, &product.function, &product.function_a, &product.function_b);
    return md__product_enqueue(call, &product, err);
}

const struct md_device_kernel md__cuda_op_linear = {.supports = product_supports,
                                                    .enqueue = linear_enqueue};

static size_t glu_scratch(const struct md_node *node, const struct md_device_value *in,
                          int in_count, const struct md_device_value *out, int out_count)
{
    (void)node, (void)in, (void)in_count, (void)out_count;
    return 2 * (size_t)md__elements(&out[0]) * md_dtype_bytes(out[0].storage);
}

static enum md_status glu_enqueue(const struct md_device_call *call, struct md_error *err)
{
    struct md__cuda_product product =
        md__linear_of(&call->in[0], &call->in[1], true, md__data(call, 2), call->scratch);
    enum md_status status = md__product_enqueue(call, &product, err);
    return status ? status
                  : md__launched(md__cuda_glu(md__cuda_stream_of(call->stream), product.storage,
                                              call->scratch, call->out[0].data, product.rows,
                                              product.columns / 2),
                                 err);
}

const struct md_device_kernel md__cuda_op_glu = {
    .supports = md__floats_only, .scratch_bytes = glu_scratch, .enqueue = glu_enqueue};
