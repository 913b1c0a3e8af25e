/*
 * moondial.ConvPairLast holds two convolutions: inputs x, weight 1, bias 1, weight 2, bias 2?, the
 * second's attributes as ConvLast has them, the first's behind `first_`. Here it is taken apart
 * into the two ConvLast that it stands for, for its shape rule, its body, its kernel and the pass
 * that makes it.
 */
#ifndef MD_GRAPH_CONV_PAIR_H
#define MD_GRAPH_CONV_PAIR_H

#include "graph/graph.h"

enum { MD_CONV_PAIR_ATTRS_MAX = 10 };

struct md_conv_pair {
    /* 0: reads inputs 0 to 2 of the pair; 1: reads the first one's result, then 3 and 4. Their
     * `in`, `out` are NULL. */
    struct md_node node[2];
    struct md_attr attrs[2][MD_CONV_PAIR_ATTRS_MAX];
};

/* Refers to the node's attributes. */
void md_conv_pair_split(const struct md_node *node, struct md_conv_pair *pair);

/*
 * The attributes of a pair of these two; how many, -1: one of them has an attribute that a pair
 * does not carry. They refer to those of the nodes.
 */
int md_conv_pair_join(const struct md_node *first, const struct md_node *second,
                      struct md_attr attrs[2 * MD_CONV_PAIR_ATTRS_MAX]);

#endif
