/*
 * A product of one-hot rows with a constant matrix looks rows of it up:
 *
 *     MatMul(Cast(Equal(i, [0 .. n-1])), W)      i with a last axis of 1, perhaps expanded to n
 *
 * becomes Gather(W with a row of zeros behind it, Clip(i, -1, n)). JAX and TensorFlow export
 * embeddings so. An index outside 0 .. n-1 is equal to nothing: row n, which is also row -1. All of
 * W must be finite: the product multiplies the rows that are not hot, too, and 0 times infinity is
 * NaN.
 */
#include <string.h>

#include "graph/rewrite.h"

struct lookup {
    int index;
    enum md_dtype dtype; /* of the index */
    int64_t rows;
};

/* The constant 0, 1, .. n-1 along a last axis of n. */
static bool counts_up(const struct md__rewrite *rewrite, int value, int64_t n)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    if (!constant || (constant->dtype != MD_I32 && constant->dtype != MD_I64) ||
        constant->shape.rank < 1 || constant->shape.dim[constant->shape.rank - 1] != n ||
        md_tensor_count(constant) != (size_t)n)
        return false;
    for (int64_t i = 0; i < n; i++)
        if (i != (constant->dtype == MD_I32 ? (int64_t)((const int32_t *)constant->data)[i]
                                            : ((const int64_t *)constant->data)[i]))
            return false;
    return true;
}

/* What was expanded along its last axis alone; else the value itself. */
static int unexpanded(const struct md__rewrite *rewrite, int value)
{
    const struct md_node *expand = md__rw_maker(rewrite, value, MD_OP_EXPAND);
    int rank = md__rw_rank(rewrite, value);
    if (!expand || md__rw_rank(rewrite, expand->in[0]) != rank)
        return value;
    for (int i = 0; i < rank - 1; i++) {
        int64_t dim = md__rw_dim(rewrite, value, i);
        if (dim < 0 || dim != md__rw_dim(rewrite, expand->in[0], i))
            return value;
    }
    return expand->in[0];
}

static bool read_lookup(const struct md__rewrite *rewrite, const struct md_node *node,
                        struct lookup *lookup)
{
    const struct md_tensor *weights =
        node->op == MD_OP_MATMUL ? md__rw_weights(rewrite, node->in[1]) : NULL;
    const struct md_node *cast = weights ? md__rw_sole_maker(rewrite, node->in[0]) : NULL;
    if (!cast || cast->op != MD_OP_CAST || weights->shape.rank != 2 || weights->shape.dim[0] < 1)
        return false;
    const struct md_node *equal = md__rw_sole_maker(rewrite, cast->in[0]);
    int rank = md__rw_rank(rewrite, cast->in[0]);
    if (!equal || equal->op != MD_OP_EQUAL)
        return false;
    lookup->rows = weights->shape.dim[0];
    for (int i = 0; i < 2; i++) {
        lookup->index = unexpanded(rewrite, equal->in[i]);
        lookup->dtype = md__rw_dtype(rewrite, lookup->index);
        if (counts_up(rewrite, equal->in[1 - i], lookup->rows) && rank >= 1 &&
            md__rw_rank(rewrite, lookup->index) == rank &&
            md__rw_dim(rewrite, lookup->index, -1) == 1)
            return true;
    }
    return false;
}

/* The matrix with a row of zeros behind it. */
static enum md_status make_table(struct md__rewrite *rewrite, int weights, int *table,
                                 struct md_error *err)
{
    const struct md_tensor *from = md__rw_weights(rewrite, weights);
    struct md_shape shape = from->shape;
    struct md_tensor made;
    shape.dim[0]++;
    enum md_status status = md_tensor_new(MD_F32, &shape, &made, err);
    if (status)
        return status;
    size_t bytes = md_tensor_bytes(from);
    if (bytes)
        memcpy(made.data, from->data, bytes);
    memset((char *)made.data + bytes, 0, md_tensor_bytes(&made) - bytes);
    status = md__rw_add_constant(rewrite, &made, table, err);
    md_tensor_unref(&made);
    return status;
}

static enum md_status add_integer(struct md__rewrite *rewrite, enum md_dtype dtype, int rank,
                                  int64_t number, int *value, struct md_error *err)
{
    int32_t narrow = (int32_t)number;
    struct md_tensor tensor = {.dtype = dtype,
                               .shape = {.rank = rank, .dim = {1}},
                               .data = dtype == MD_I32 ? (void *)&narrow : (void *)&number};
    return md__rw_add_constant(rewrite, &tensor, value, err);
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node node = rewrite->graph->nodes[n];
    struct lookup lookup;
    int squeeze[2], clip[3], gather[2], out;
    if (!read_lookup(rewrite, &node, &lookup) || lookup.rows >= INT32_MAX ||
        !md_tensor_is_finite(md__rw_weights(rewrite, node.in[1])))
        return MD_OK;
    squeeze[0] = lookup.index;
    enum md_status status = add_integer(rewrite, MD_I64, 1, -1, &squeeze[1], err);
    if (!status)
        status = md__rw_node(rewrite, "Squeeze", squeeze, 2, NULL, 0, &clip[0], 1, err);
    if (!status)
        status = add_integer(rewrite, lookup.dtype, 0, -1, &clip[1], err);
    if (!status)
        status = add_integer(rewrite, lookup.dtype, 0, lookup.rows, &clip[2], err);
    if (!status)
        status = md__rw_node(rewrite, "Clip", clip, 3, NULL, 0, &gather[1], 1, err);
    if (!status)
        status = make_table(rewrite, node.in[1], &gather[0], err);
    if (!status)
        status = md__rw_node(rewrite, "Gather", gather, 2, NULL, 0, &out, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &out);
    return status;
}

enum md_status md__pass_lookup(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
