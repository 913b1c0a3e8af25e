/* Shape rules of matrix products and determinants. */
#include "graph/einsum.h"
#include "graph/infer.h"

/* Vectors gain an axis of 1 that the result drops again. */
enum md_status md__infer_matmul_shape(const struct md_value_info *in, int a, int b,
                                      struct md_shape *shape, struct md_error *err)
{
    struct md_value_info batch[2] = {in[a], in[b]};
    struct md_shape *left = &batch[0].shape, *right = &batch[1].shape;
    if (left->rank == 0 || right->rank == 0)
        return md_fail(err, MD_ERR_INVALID, "has a scalar among inputs %s and %s", MD_SHAPE(in[a]),
                       MD_SHAPE(in[b]));
    bool vector_a = left->rank == 1, vector_b = right->rank == 1;
    int64_t rows = vector_a ? 1 : left->dim[left->rank - 2], inner = left->dim[left->rank - 1];
    int64_t inner_b = vector_b ? right->dim[0] : right->dim[right->rank - 2];
    int64_t columns = vector_b ? 1 : right->dim[right->rank - 1];
    if (inner != inner_b)
        return md_fail(err, MD_ERR_INVALID, "inner dimensions of %s and %s differ", MD_SHAPE(in[a]),
                       MD_SHAPE(in[b]));
    left->rank -= vector_a ? 1 : 2;
    right->rank -= vector_b ? 1 : 2;
    enum md_status status = md__infer_broadcast_shape(batch, 2, shape, err);
    if (status)
        return status;
    if (!vector_a)
        shape->dim[shape->rank++] = rows;
    if (!vector_b)
        shape->dim[shape->rank++] = columns;
    return MD_OK;
}

MD_INFER_RULE(md_infer_matmul)
{
    (void)node, (void)in_count, (void)out_count;
    enum md_status status = md__infer_dtype(in, 1, in[0].dtype, err);
    out[0].dtype = in[0].dtype;
    return status ? status : md__infer_matmul_shape(in, 0, 1, &out[0].shape, err);
}

MD_INFER_RULE(md_infer_einsum)
{
    (void)out_count;
    const struct md_shape *shapes[MD__EINSUM_OPERANDS_MAX];
    struct md__einsum einsum;
    if (in_count > MD__EINSUM_OPERANDS_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "with %d inputs", in_count);
    for (int i = 0; i < in_count; i++) {
        enum md_status status = md__infer_dtype(in, i, in[0].dtype, err);
        if (status)
            return status;
        shapes[i] = &in[i].shape;
    }
    enum md_status status =
        md__einsum_parse(md_node_string(node, "equation", ""), shapes, in_count, &einsum, err);
    out[0].dtype = in[0].dtype;
    if (!status)
        out[0].shape = md_shape_of(einsum.out_rank, einsum.dim);
    return status;
}

MD_INFER_RULE(md_infer_det)
{
    (void)node, (void)in_count, (void)out_count;
    out[0].dtype = in[0].dtype;
    out[0].shape = in[0].shape;
    int rank = out[0].shape.rank -= 2;
    if (rank < 0 || in[0].shape.dim[rank] != in[0].shape.dim[rank + 1])
        return md_fail(err, MD_ERR_INVALID, "input of shape %s holds no square matrices",
                       MD_SHAPE(in[0]));
    return MD_OK;
}

MD_INFER_RULE(md_infer_gemm)
{
    (void)out_count;
    enum md_status status = md__infer_dtype(in, 1, in[0].dtype, err);
    if (!status && md__has(in, in_count, 2))
        status = md__infer_dtype(in, 2, in[0].dtype, err);
    if (status)
        return status;
    const struct md_shape *a = &in[0].shape, *b = &in[1].shape;
    bool flip_a = md_node_int(node, "transA", 0) != 0, flip_b = md_node_int(node, "transB", 0) != 0;
    if (a->rank != 2 || b->rank != 2)
        return md_fail(err, MD_ERR_INVALID, "inputs %s and %s are not both matrices",
                       MD_SHAPE(in[0]), MD_SHAPE(in[1]));
    int64_t dims[2] = {a->dim[flip_a], b->dim[!flip_b]};
    if (a->dim[!flip_a] != b->dim[flip_b])
        return md_fail(err, MD_ERR_INVALID, "inner dimensions of %s and %s differ", MD_SHAPE(in[0]),
                       MD_SHAPE(in[1]));
    out[0].dtype = in[0].dtype;
    out[0].shape = md_shape_of(2, dims);
    if (!md__has(in, in_count, 2))
        return MD_OK;
    struct md_value_info pair[2] = {out[0], in[2]};
    struct md_shape with_c;
    status = md__infer_broadcast_shape(pair, 2, &with_c, err);
    if (!status && !md_shape_equal(&with_c, &out[0].shape))
        status = md_fail(err, MD_ERR_INVALID, "input 2 of shape %s does not broadcast to %s",
                         MD_SHAPE(in[2]), MD_SHAPE(out[0]));
    return status;
}
