/*
 * Bodies: each fused operator written out as primitives (specified in words in fused.md). A body
 * gets the fused node's inputs and attributes and appends nodes to the graph; md_graph_node has
 * opened the region around it.
 */
#ifndef MD_GRAPH_BODY_H
#define MD_GRAPH_BODY_H

#include "graph/graph.h"

#define MD_BODY(name)                                                                              \
    enum md_status name(struct md_graph *graph, const struct md_node *node, int *outputs,          \
                        struct md_error *err)

MD_BODY(md_body_linear);
MD_BODY(md_body_glu);
MD_BODY(md_body_resample_norm);
MD_BODY(md_body_gate_add_norm);
MD_BODY(md_body_gated_residual);
MD_BODY(md_body_weighted_sum);
MD_BODY(md_body_interpretable_attention);
MD_BODY(md_body_selection);
MD_BODY(md_body_conv_last); /* also ConvTransposeLast */
MD_BODY(md_body_conv_pair_last);
MD_BODY(md_body_tail_last); /* body_tail_last.c */
MD_BODY(md_body_chain); /* chain.c */
MD_BODY(md_body_qlinear_add); /* body_quantized.c */
MD_BODY(md_body_qlinear_gemm);

/*
 * Emitting one node after another without a test after each: the first failure sticks, later calls
 * do nothing and give MD_NONE, and the body returns `status` at its end.
 */
struct md_emit {
    struct md_graph *graph;
    const char *name; /* of every node made */
    struct md_error *err;
    enum md_status status;
};

int md__emit_node(struct md_emit *emit, const char *op, const int *in, int in_count,
                  const struct md_attr *attrs, int attr_count);
int md__emit_constant(struct md_emit *emit, enum md_dtype dtype, int rank, const int64_t *dim,
                      const void *data);
int md__emit_float(struct md_emit *emit, double value); /* a float32 scalar */
int md__emit_ints(struct md_emit *emit, int count, const int64_t *ints);

/* Transpose's `perm` from [N, C, D..] to [N, D.., C], or back. */
void md__layout_perm(int rank, bool to_last, int64_t *perm);
/* The value turned so; MD_NONE stays. */
int md__emit_turned(struct md_emit *emit, int value, int rank, bool to_last);

/* The input of a channels-last operator that is added to its result, before the activation;
 * MD_NONE: it has no such input. */
int md__last_residual(enum md_op op);

/* The body's input i, or MD_NONE when it is absent. */
static inline int md__body_in(const struct md_node *node, int i)
{
    return i < node->in_count ? node->in[i] : MD_NONE;
}

#define MD__IDS(...)                                                                               \
    (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int))
#define MD__ATTRS(...)                                                                             \
    (const struct md_attr[]){__VA_ARGS__},                                                         \
        (int)(sizeof((const struct md_attr[]){__VA_ARGS__}) / sizeof(struct md_attr))
#define MD__INT(key, value)                                                                        \
    {                                                                                              \
        .name = (key), .type = MD_ATTR_INT, .i = (value)                                           \
    }
#define MD__FLOAT(key, value)                                                                      \
    {                                                                                              \
        .name = (key), .type = MD_ATTR_FLOAT, .f = (value)                                         \
    }
#define MD__INTS(key, n, values)                                                                   \
    {                                                                                              \
        .name = (key), .type = MD_ATTR_INTS, .ints = (values), .count = (n)                        \
    }

#endif
