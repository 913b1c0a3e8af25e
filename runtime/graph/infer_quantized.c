/*
 * Shape rules of quantised operators. Scales and zero points come one a tensor, one an index of an
 * axis, or one a block along an axis. Quantised dtypes are the integers of 8 and 16 bits; the
 * standard's narrower ones and its 4 and 8 bit floats are no dtypes of ours. QLinearAdd and
 * QLinearGemm, made by the pass `quantized`, are here as well.
 */
#include "graph/infer.h"

/* Whether input i has a value for the whole of `data`, for each index of `axis`, or for each block.
 */
static enum md_status check_granularity(const struct md_node *node, const struct md_value_info *in,
                                        int i, struct md_error *err)
{
    const struct md_shape *data = &in[0].shape, *scale = &in[i].shape;
    int64_t block = md_node_int(node, "block_size", 0);
    size_t count;
    int axis;
    enum md_status status = md_shape_count(scale, 1, &count, err);
    if (status || (block == 0 && count == 1 && scale->rank <= 1))
        return status;
    if ((status = md__infer_axis(md_node_int(node, "axis", 1), data->rank, &axis, err)))
        return status;
    if (block < 0)
        return md_fail(err, MD_ERR_INVALID, "attribute \"block_size\" = %lld is negative",
                       (long long)block);
    struct md_shape wanted = block ? *data : md_shape_of(1, &data->dim[axis]);
    if (block)
        wanted.dim[axis] = data->dim[axis] / block + (data->dim[axis] % block != 0);
    return md__infer_expect(in, i, i == 1 ? "scale" : "zero point", wanted.rank, wanted.dim, err);
}

static enum md_status check_parameters(const struct md_node *node, const struct md_value_info *in,
                                       int in_count, struct md_error *err)
{
    enum md_status status = check_granularity(node, in, 1, err);
    if (!status && md__has(in, in_count, 2))
        status = check_granularity(node, in, 2, err);
    return status;
}

static bool is_narrow(enum md_dtype dtype)
{
    return dtype == MD_U8 || dtype == MD_I8 || dtype == MD_U16 || dtype == MD_I16;
}

static bool is_scale(enum md_dtype dtype)
{
    return dtype == MD_F32 || dtype == MD_F16 || dtype == MD_BF16;
}

MD_INFER_RULE(md_infer_quantize)
{
    (void)out_count;
    bool has_zero = md__has(in, in_count, 2);
    enum md_dtype otherwise = has_zero ? in[2].dtype : MD_U8, asked, precision;
    int64_t given = md_node_int(node, "output_dtype", 0);
    enum md_status status = md__infer_dtype_attr(node, "output_dtype", otherwise, &asked, err);
    if (given == 0) { /* the schema's "not given" */
        asked = otherwise;
        status = MD_OK;
    }
    if (!status && md_node_int(node, "precision", 0) != 0)
        status = md__infer_dtype_attr(node, "precision", MD_F32, &precision, err);
    if (!status)
        status = check_parameters(node, in, in_count, err);
    if (status)
        return status;
    if (!is_narrow(asked))
        return md_fail(err, MD_ERR_UNSUPPORTED, "quantising to %s", md_dtype_name(asked));
    if (has_zero && in[2].dtype != asked)
        return md__infer_dtype(in, 2, asked, err);
    out[0].dtype = asked;
    out[0].shape = in[0].shape;
    return MD_OK;
}

MD_INFER_RULE(md_infer_dequantize)
{
    (void)out_count;
    int64_t given = md_node_int(node, "output_dtype", 0);
    enum md_status status = check_parameters(node, in, in_count, err);
    out[0].dtype = in[1].dtype;
    if (!status && given != 0)
        status = md__infer_dtype_attr(node, "output_dtype", MD_F32, &out[0].dtype, err);
    if (!status && md__has(in, in_count, 2))
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (!status && (!is_scale(out[0].dtype) || !is_scale(in[1].dtype)))
        status = md_fail(err, MD_ERR_UNSUPPORTED, "dequantising %s by %s to %s",
                         md_dtype_name(in[0].dtype), md_dtype_name(in[1].dtype),
                         md_dtype_name(out[0].dtype));
    out[0].shape = in[0].shape;
    return status;
}

MD_INFER_RULE(md_infer_dynamic_quantize)
{
    (void)node, (void)in_count, (void)out_count;
    out[0].dtype = out[2].dtype = MD_U8;
    out[1].dtype = MD_F32;
    out[0].shape = in[0].shape;
    return md__infer_dtype(in, 0, MD_F32, err);
}

static enum md_status expect_bytes(const struct md_value_info *in, int i, struct md_error *err)
{
    if (in[i].dtype == MD_U8 || in[i].dtype == MD_I8)
        return MD_OK;
    return md_fail(err, MD_ERR_UNSUPPORTED, "input %d is %s, wanted int8 or uint8", i,
                   md_dtype_name(in[i].dtype));
}

/*
 * Parameter i of a matrix of `rows` lines (rows of A, columns of B): one, a vector of `lines`, or
 * one for each line of each matrix of operand `of`.
 */
static enum md_status expect_lines(const struct md_value_info *in, int i, int of, int64_t lines,
                                   struct md_error *err)
{
    size_t given, elements, longest;
    const struct md_shape *shape = &in[of].shape;
    struct md_shape matrices = {.rank = shape->rank > 2 ? shape->rank - 2 : 0};
    for (int k = 0; k < matrices.rank; k++)
        matrices.dim[k] = shape->dim[k];
    enum md_status status = md_shape_count(&in[i].shape, 1, &given, err);
    if (!status)
        status = md_shape_count(&matrices, 1, &elements, err);
    if (status || __builtin_mul_overflow(elements, (size_t)lines, &longest))
        return status ? status : md_fail(err, MD_ERR_TOO_LARGE, "too many zero points");
    if (given == 1 || given == (size_t)lines || given == longest)
        return MD_OK;
    return md_fail(err, MD_ERR_INVALID, "input %d of shape %s fits neither tensor nor lines of %s",
                   i, MD_SHAPE(in[i]), MD_SHAPE(in[of]));
}

static int64_t line_count(const struct md_shape *shape, bool columns)
{
    if (shape->rank < 2)
        return 1;
    return shape->dim[shape->rank - (columns ? 1 : 2)];
}

MD_INFER_RULE(md_infer_matmul_integer)
{
    (void)node, (void)out_count;
    enum md_status status = md__infer_matmul_shape(in, 0, 1, &out[0].shape, err);
    for (int i = 0; !status && i < 2; i++) {
        status = expect_bytes(in, i, err);
        if (status || !md__has(in, in_count, i + 2))
            continue;
        status = md__infer_dtype(in, i + 2, in[i].dtype, err);
        if (!status)
            status = expect_lines(in, i + 2, i, line_count(&in[i].shape, i == 1), err);
    }
    out[0].dtype = MD_I32;
    return status;
}

/* a, its scale and zero point, b, its scale and zero point, then those of the result. */
MD_INFER_RULE(md_infer_qlinear_matmul)
{
    (void)node, (void)in_count, (void)out_count;
    enum md_status status = md__infer_matmul_shape(in, 0, 3, &out[0].shape, err);
    for (int i = 0; !status && i < 6; i += 3) {
        int64_t lines = line_count(&in[i].shape, i == 3);
        status = expect_bytes(in, i, err);
        if (!status)
            status = md__infer_dtype(in, i + 2, in[i].dtype, err);
        if (!status)
            status = expect_lines(in, i + 1, i, lines, err);
        if (!status)
            status = expect_lines(in, i + 2, i, lines, err);
    }
    for (int i = 1; !status && i < 7; i += i == 1 ? 3 : 2)
        if (!is_scale(in[i].dtype))
            status = md_fail(err, MD_ERR_UNSUPPORTED, "scale (input %d) is %s", i,
                             md_dtype_name(in[i].dtype));
    for (int i = 6; !status && i < 8; i++) {
        size_t count;
        status = md_shape_count(&in[i].shape, 1, &count, err);
        if (!status && count != 1)
            status = md_fail(err, MD_ERR_UNSUPPORTED, "input %d of shape %s, wanted one value", i,
                             MD_SHAPE(in[i]));
    }
    if (!status)
        status = expect_bytes(in, 7, err);
    out[0].dtype = in[7].dtype;
    return status;
}

/* The level parameters [first, last) of a QLinearAdd or QLinearGemm: one number each. */
static enum md_status expect_levels(const struct md_value_info *in, int value, int first,
                                    enum md_dtype dtype, struct md_error *err)
{
    enum md_status status = MD_OK;
    for (int i = first; !status && i < first + 2; i++) {
        size_t count;
        status = md__infer_dtype(in, i, i == first ? MD_F32 : dtype, err);
        if (!status)
            status = md_shape_count(&in[i].shape, 1, &count, err);
        if (!status && (count != 1 || in[i].shape.rank > 1))
            status = md_fail(err, MD_ERR_UNSUPPORTED, "input %d of shape %s, wanted one value", i,
                             MD_SHAPE(in[i]));
    }
    return status || value < 0 ? status : expect_bytes(in, value, err);
}

/* a, its scale and zero point, b, its scale and zero point, then those of the result. */
MD_INFER_RULE(md_infer_qlinear_add)
{
    (void)node, (void)in_count, (void)out_count;
    enum md_status status = expect_levels(in, 0, 1, in[0].dtype, err);
    if (!status)
        status = expect_levels(in, 3, 4, in[3].dtype, err);
    if (!status)
        status = expect_bytes(in, 7, err);
    if (!status)
        status = expect_levels(in, -1, 6, in[7].dtype, err);
    if (!status)
        status = md__infer_expect(in, 3, "b", in[0].shape.rank, in[0].shape.dim, err);
    out[0].dtype = in[7].dtype;
    out[0].shape = in[0].shape;
    return status;
}

/* a [M, K], b [K, N] (transB: [N, K]) with levels one or one a column, bias [N]?: as QLinearMatMul
 * and a bias. */
MD_INFER_RULE(md_infer_qlinear_gemm)
{
    struct md_value_info own[8];
    (void)out_count;
    for (int i = 0; i < 8; i++)
        own[i] = in[i];
    if (in[0].shape.rank != 2 || in[3].shape.rank != 2)
        return md_fail(err, MD_ERR_INVALID, "%s times %s are no matrices", MD_SHAPE(in[0]),
                       MD_SHAPE(in[3]));
    if (md_node_int(node, "transB", 0)) {
        own[3].shape.dim[0] = in[3].shape.dim[1];
        own[3].shape.dim[1] = in[3].shape.dim[0];
    }
    enum md_status status = md_infer_qlinear_matmul(node, own, 8, out, 1, err);
    if (!status)
        status = expect_levels(in, -1, 1, in[0].dtype, err);
    if (!status && md__has(in, in_count, 8))
        status = md__infer_dtype(in, 8, MD_I32, err);
    if (!status && md__has(in, in_count, 8))
        status = md__infer_expect(in, 8, "bias", 1, &own[3].shape.dim[1], err);
    return status;
}
