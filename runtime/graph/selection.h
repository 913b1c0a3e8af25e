/*
 * How the inputs of a VariableSelection node lie (fused.md): the scoring network as a
 * GatedResidualNetwork's, then two inputs per categorical, then a block per real variable. Shape
 * rule, body, cost and kernels read them through this page.
 */
#ifndef MD_GRAPH_SELECTION_H
#define MD_GRAPH_SELECTION_H

#include "graph/graph.h"

enum {
    MD_SELECTION_SCORES = 14,         /* inputs 0 .. 13: x, then a GatedResidualNetwork's 1 .. 13 */
    MD_SELECTION_PER_CATEGORICAL = 2, /* embedded [.., E], encoded [.., H] */
    MD_SELECTION_PER_REAL = 13 /* prescaler weight [S, 1] and bias [S]; then a network's 1 .. 8
                                  and its 11 .. 13 */
};

/* Offsets in a real variable's block. */
enum {
    MD_REAL_PRESCALE = 0, /* weight, bias */
    MD_REAL_FC1 = 2,
    MD_REAL_FC2 = 4,
    MD_REAL_GLU = 6,
    MD_REAL_NORM = 8,     /* gamma, beta */
    MD_REAL_RESAMPLE = 10 /* gamma, beta, gate; all may be absent */
};

struct md_selection {
    int categoricals, reals;
    const int64_t *columns; /* of x, one a real variable */
};

/* False when attributes and input count do not fit together. */
bool md__selection_of(const struct md_node *node, struct md_selection *selection);

static inline int md__selection_categorical(int i)
{
    return MD_SELECTION_SCORES + MD_SELECTION_PER_CATEGORICAL * i;
}

static inline int md__selection_real(const struct md_selection *selection, int i)
{
    return md__selection_categorical(selection->categoricals) + MD_SELECTION_PER_REAL * i;
}

#endif
