/*
 * moondial.Chain: elementwise operators that follow each other, as one node. A kernel runs all of
 * them on a tile before it goes to the next, so that what lies between them never leaves the cache.
 *
 * Inputs broadcast as those of Add; every operator's result has the shape of the output. Three
 * attributes list the operators in the order in which they run:
 *
 *     ops       ONNX names; md_chain_operands says which
 *     reads     two for each: input i is i, the result of operator k is -1 - k; 0 where there is
 *               no second operand
 *     numbers   two for each: those of activation.h, else 0; when left out, all are 0
 *
 * The last one gives the output; every input and every other result is read.
 */
#ifndef MD_GRAPH_CHAIN_H
#define MD_GRAPH_CHAIN_H

#include "graph/activation.h"

#define MD_CHAIN_OPS_MAX    16
#define MD_CHAIN_INPUTS_MAX 8

struct md_chain_op {
    enum md_op op;
    int reads[2];
    double numbers[2];
};

struct md_chain {
    int inputs, count;
    struct md_chain_op ops[MD_CHAIN_OPS_MAX];
};

/* How many operands it has, 1 or 2; 0: no chain has this operator. */
int md_chain_operands(enum md_op op);

/* MD_ERR_INVALID says what is wrong with the node's attributes. */
enum md_status md_chain_read(const struct md_node *node, struct md_chain *chain,
                             struct md_error *err);

/* The same as attributes, whose lists lie in `lists`. */
struct md_chain_lists {
    const char *ops[MD_CHAIN_OPS_MAX];
    int64_t reads[2 * MD_CHAIN_OPS_MAX];
    double numbers[2 * MD_CHAIN_OPS_MAX];
};
#define MD_CHAIN_ATTRS 3
void md_chain_write(const struct md_chain *chain, struct md_chain_lists *lists,
                    struct md_attr attrs[MD_CHAIN_ATTRS]);

#endif
