/*
 * VariableSelection after folding: what selection_fold.c makes of a node's weights, and
 * selection.c runs.
 *
 * A real variable reaches its network as one number x, so everything before the first nonlinearity
 * is affine in it (Lim et al.'s networks, pytorch-forecasting's weights):
 *     fc1(prescaler(x))   = slope x + offset, here times ELU_SCALE (math.h)
 *     skip before its norm = ra x + rb, whose mean over the features is affine too. Centred, with
 *     x' = x + shift chosen so that the two parts are orthogonal, its variance is a x'^2 + d, and
 *     LN(skip) = (p x' + q) / sqrt(a x'^2 + d + epsilon) + r.
 * The scoring network sees the reals themselves and the categoricals' embeddings, `seen` numbers in
 * all, instead of everything that the prescalers make of them. Folds are computed in double.
 */
#ifndef MD_KERNELS_CPU_ISA_SELECTION_H
#define MD_KERNELS_CPU_ISA_SELECTION_H

#include "graph/selection.h"
#include "kernels/cpu/isa/lanes.h"
#include "kernels/cpu/isa/linear.h"

struct folded_real {
    size_t column, hidden;
    float *slope, *offset; /* [tiled(hidden)] */
    struct dense fc2, glu; /* fc2 without outputs: none */
    float *p, *q, *r;      /* [units] */
    float shift, a, d;
    bool normed; /* the skip has a norm; otherwise it is p x' + q */
    float *gamma, *beta;
};

struct folded_selection {
    size_t variables, reals, categoricals, units; /* variables: categoricals, then reals */
    size_t seen, hidden, hidden_max;  /* hidden: of the scores; max: over all networks */
    size_t embedded[64];              /* sizes, one a categorical */
    struct dense fc1, fc2, glu, skip; /* of the scores */
    struct packed context;            /* 0 vectors: none */
    bool skip_normed;
    float *skip_gamma, *skip_beta, *gamma, *beta; /* [variables] */
    float epsilon;
    struct folded_real *real; /* one a real variable */
    float memory[] __attribute__((aligned(64)));
};

#define SELECTION_CATEGORICALS_MAX 64

#define md__fold_selection MD_ISA_SYMBOL(md__fold_selection)
/* prepare() of the kernel: see backend.h. free() frees the result. */
enum md_status md__fold_selection(const struct md_node *node, const struct md_tensor *in,
                                  int in_count, void **prepared, size_t *bytes,
                                  struct md_error *err);

#endif
