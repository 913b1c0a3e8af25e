/*
 * Views: a value as another one seen through strides. Exporters write attention with its heads cut
 * out of one product and moved about (Reshape, Transpose, Split, Squeeze, Expand, ...); followed
 * back to the value that a kernel made, all of it is an offset and strides.
 *
 * A view is a list of factors: the elements of the value, row by row, are those of the root at
 *     offset + i0 * stride0 + i1 * stride1 + ..., where i runs through the sizes, the last fastest.
 * Reshaping changes nothing about that, the rest changes the list. Neighbours that can be one
 * factor are one; factors of size 1 are left out; a repeated element has stride 0.
 */
#ifndef MD_GRAPH_VIEW_H
#define MD_GRAPH_VIEW_H

#include "graph/rewrite.h"

enum { MD_VIEW_FACTORS = 2 * MD_RANK_MAX };

struct md__factor {
    int64_t size, stride;
};

struct md__view {
    int root; /* a value */
    int64_t offset;
    int count;
    struct md__factor factors[MD_VIEW_FACTORS];
    double scale; /* what the elements are multiplied by */
};

/*
 * Follows the value as far back as it is a view in trace t. Products with numbers are followed too,
 * and counted into `scale`, when `scaled`. false: the value's shape is not known there.
 */
bool md__view_of(const struct md__rewrite *rewrite, int t, int value, bool scaled,
                 struct md__view *view);

/*
 * Cuts factors so that axis a of the shape is factors [begin[a], begin[a + 1]). false where an axis
 * ends within what is no whole factor.
 */
bool md__view_axes(struct md__view *view, const struct md_shape *shape, int *begin);

#endif
