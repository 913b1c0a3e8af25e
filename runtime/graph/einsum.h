/*
 * The equation of Einsum, read against the shapes of its operands: which label each axis carries,
 * how long each label is. Labels [0, out_rank) are the output's axes in order, the others are
 * summed over. An ellipsis becomes one label for each of its axes, aligned at the last.
 */
#ifndef MD_GRAPH_EINSUM_H
#define MD_GRAPH_EINSUM_H

#include "tensor/tensor.h"

#define MD__EINSUM_OPERANDS_MAX 16
#define MD__EINSUM_LABELS_MAX   (52 + MD_RANK_MAX) /* letters of both cases, axes of an ellipsis */

struct md__einsum {
    int labels, out_rank;
    int64_t dim[MD__EINSUM_LABELS_MAX];
    int label[MD__EINSUM_OPERANDS_MAX][MD_RANK_MAX];
};

/* A dimension of 1 broadcasts against any other of its label. */
enum md_status md__einsum_parse(const char *equation, const struct md_shape *const *operands,
                                int count, struct md__einsum *einsum, struct md_error *err);

#endif
