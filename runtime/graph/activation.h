/*
 * The activation that a fused operator ends with: attributes `activation`, the name of an ONNX
 * operator, and `activation_params`, its numbers, as com.microsoft.FusedConv has them.
 *
 *     Relu, Sigmoid, Tanh, HardSwish, Mish      no numbers
 *     LeakyRelu alpha (0.01), Elu alpha (1), Swish alpha (1), HardSigmoid alpha, beta (0.2, 0.5)
 *     Clip minimum, maximum (no defaults)
 *     Gelu form (0): 1 is its approximation by tanh
 *
 * In parentheses what holds when the numbers are left out. The result is multiplied by the
 * attribute output_scale (1), then output_shift (0) is added, as some networks learn to.
 */
#ifndef MD_GRAPH_ACTIVATION_H
#define MD_GRAPH_ACTIVATION_H

#include "graph/body.h"

struct md_activation {
    enum md_op op; /* MD_OP_IDENTITY: none */
    double a, b;
    bool shifts; /* it is multiplied by scale, then shift is added */
    double scale, shift;
};

/* There is anything to do; not where all of it is zero. */
static inline bool md_activation_acts(const struct md_activation *activation)
{
    return activation->op != MD_OP_IDENTITY || activation->shifts;
}

/* MD_ERR_INVALID names what is wrong with the node's attributes. */
enum md_status md_activation_read(const struct md_node *node, struct md_activation *activation,
                                  struct md_error *err);

/* The same for a node whose shape rule has read it. */
struct md_activation md_activation_of(const struct md_node *node);

/* Emits the operator of x that the activation names, or any other of one input that has no
 * attributes, without scale and shift. */
int md__emit_operator(struct md_emit *emit, const struct md_activation *activation, int x);

/* Emits the node's activation of x as its own operator; x itself when there is none. */
int md__emit_activation(struct md_emit *emit, const struct md_node *node, int x);

#endif
