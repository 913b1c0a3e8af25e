/*
 * Shape rules of fused and quantised operators of the domain com.microsoft, as ONNX Runtime
 * documents them:
 * https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
 */
#include "graph/activation.h"
#include "graph/infer.h"

/* The attribute must keep this value; anything else is not implemented. */
static enum md_status only(const struct md_node *node, const char *name, int64_t value,
                           struct md_error *err)
{
    int64_t asked = md_node_int(node, name, value);
    return asked == value ? MD_OK
                          : md_fail(err, MD_ERR_UNSUPPORTED, "attribute %s %lld is not supported",
                                    name, (long long)asked);
}

MD_INFER_RULE(md_infer_fused_matmul)
{
    (void)in_count, (void)out_count;
    struct md_value_info sides[] = {in[0], in[1]};
    enum md_status status = only(node, "transBatchA", 0, err);
    if (!status)
        status = only(node, "transBatchB", 0, err);
    if (!status)
        status = md__infer_dtype(in, 1, in[0].dtype, err);
    for (int i = 0; !status && i < 2; i++) {
        struct md_shape *shape = &sides[i].shape;
        if (!md_node_int(node, i ? "transB" : "transA", 0) || shape->rank < 2)
            continue;
        int64_t last = shape->dim[shape->rank - 1];
        shape->dim[shape->rank - 1] = shape->dim[shape->rank - 2];
        shape->dim[shape->rank - 2] = last;
    }
    out[0].dtype = in[0].dtype;
    return status ? status : md__infer_matmul_shape(sides, 0, 1, &out[0].shape, err);
}

/* x, and a bias for its last axis */
MD_INFER_RULE(md_infer_bias_gelu)
{
    (void)node, (void)out_count;
    enum md_status status = MD_OK;
    if (md__has(in, in_count, 1)) {
        int64_t last = in[0].shape.rank ? in[0].shape.dim[in[0].shape.rank - 1] : 1;
        status = md__infer_dtype(in, 1, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, 1, "bias", 1, &last, err);
    }
    if (!status)
        status = md__infer_is_float(in, 0, err);
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    return status;
}

/* X, W, bias?, Z?: Z is added before the activation */
MD_INFER_RULE(md_infer_fused_conv)
{
    struct md_activation activation;
    enum md_status status = md_activation_read(node, &activation, err);
    if (!status)
        status = md_infer_conv(node, in, in_count < 3 ? in_count : 3, out, out_count, err);
    if (!status && md__has(in, in_count, 3)) {
        status = md__infer_dtype(in, 3, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, 3, "Z", out[0].shape.rank, out[0].shape.dim, err);
    }
    return status;
}

/* One number, or one a column. */
static enum md_status per_column(const struct md_value_info *in, int in_count, int i,
                                 enum md_dtype dtype, int64_t columns, struct md_error *err)
{
    if (!md__has(in, in_count, i))
        return MD_OK;
    const struct md_shape *shape = &in[i].shape;
    enum md_status status = md__infer_dtype(in, i, dtype, err);
    bool fits =
        shape->rank == 0 || (shape->rank == 1 && (shape->dim[0] == 1 || shape->dim[0] == columns));
    if (!status && !fits)
        status = md_fail(err, MD_ERR_INVALID, "input %d has shape %s, wanted one number or [%lld]",
                         i, MD_SHAPE(in[i]), (long long)columns);
    return status;
}

/*
 * DynamicQuantizeMatMul: A, B, b_scale, b_zero?, bias?
 * MatMulIntegerToFloat: A, B, a_scale, b_scale, a_zero?, b_zero?, bias?
 */
MD_INFER_RULE(md_infer_quantized_matmul)
{
    (void)out_count;
    bool dynamic = node->op == MD_OP_DYNAMIC_QUANTIZE_MATMUL;
    if (in[1].shape.rank != 2)
        return md_fail(err, MD_ERR_UNSUPPORTED, "B of shape %s is no matrix", MD_SHAPE(in[1]));
    bool bytes = in[1].dtype == MD_U8 || in[1].dtype == MD_I8;
    bool left = dynamic ? in[0].dtype == MD_F32 : in[0].dtype == MD_U8 || in[0].dtype == MD_I8;
    if (!bytes || !left)
        return md_fail(err, MD_ERR_INVALID, "A is %s and B is %s", md_dtype_name(in[0].dtype),
                       md_dtype_name(in[1].dtype));
    int64_t columns = in[1].shape.dim[1];
    enum md_status status = md__infer_matmul_shape(in, 0, 1, &out[0].shape, err);
    if (!status && !dynamic)
        status = per_column(in, in_count, 2, MD_F32, 1, err);
    if (!status && !dynamic)
        status = per_column(in, in_count, 4, in[0].dtype, 1, err);
    if (!status)
        status = per_column(in, in_count, dynamic ? 2 : 3, MD_F32, columns, err);
    if (!status)
        status = per_column(in, in_count, dynamic ? 3 : 5, in[1].dtype, columns, err);
    if (!status)
        status = per_column(in, in_count, dynamic ? 4 : 6, MD_F32, columns, err);
    out[0].dtype = MD_F32;
    return status;
}

/* A [.., K], B [N, blocks, bytes], scales [N * blocks], zero points?, g_idx?, bias? */
MD_INFER_RULE(md_infer_matmul_nbits)
{
    (void)out_count;
    int64_t k = md_node_int(node, "K", 0), n = md_node_int(node, "N", 0);
    int64_t bits = md_node_int(node, "bits", 4), block = md_node_int(node, "block_size", 0);
    const struct md_shape *a = &in[0].shape;
    size_t scales = 0, zeros = 0;
    if (bits != 4 && bits != 8 && bits != 2)
        return md_fail(err, MD_ERR_UNSUPPORTED, "attribute bits %lld is not supported",
                       (long long)bits);
    if (k < 1 || n < 1 || k > INT32_MAX || n > INT32_MAX || block < 8 || block > 1 << 20 ||
        a->rank < 1 || a->dim[a->rank - 1] != k)
        return md_fail(err, MD_ERR_INVALID, "K %lld, N %lld and blocks of %lld do not fit %s",
                       (long long)k, (long long)n, (long long)block, MD_SHAPE(in[0]));
    if (md__has(in, in_count, 4))
        return md_fail(err, MD_ERR_UNSUPPORTED, "input g_idx is not supported");
    int64_t blocks = (k + block - 1) / block;
    const int64_t packed[] = {n, blocks, block * bits / 8};
    enum md_status status = md__infer_dtype(in, 1, MD_U8, err);
    if (!status)
        status = md__infer_expect(in, 1, "B", 3, packed, err);
    if (!status)
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (!status)
        status = md_shape_count(&in[2].shape, 1, &scales, err);
    if (!status && (int64_t)scales != n * blocks)
        status = md_fail(err, MD_ERR_INVALID, "scales of shape %s are not %lld", MD_SHAPE(in[2]),
                         (long long)(n * blocks));
    if (!status && md__has(in, in_count, 3)) {
        bool is_packed = in[3].dtype == MD_U8;
        int64_t wanted = n * (is_packed ? (blocks * bits + 7) / 8 : blocks);
        status = is_packed ? MD_OK : md__infer_dtype(in, 3, in[0].dtype, err);
        if (!status)
            status = md_shape_count(&in[3].shape, 1, &zeros, err);
        if (!status && (int64_t)zeros != wanted)
            status = md_fail(err, MD_ERR_INVALID, "zero_points of shape %s are not %lld",
                             MD_SHAPE(in[3]), (long long)wanted);
    }
    if (!status && md__has(in, in_count, 5)) {
        status = md__infer_dtype(in, 5, in[0].dtype, err);
        if (!status)
            status = md__infer_expect(in, 5, "bias", 1, &n, err);
    }
    out[0].dtype = in[0].dtype;
    out[0].shape = *a;
    out[0].shape.dim[a->rank - 1] = n;
    return status;
}
