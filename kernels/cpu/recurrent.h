/*
 * The attributes of RNN, GRU and LSTM that every kernel of theirs reads alike: which activations,
 * with which numbers.
 */
#ifndef MD_KERNELS_CPU_RECURRENT_H
#define MD_KERNELS_CPU_RECURRENT_H

#include "kernels/cpu/common.h"

enum md__rnn_function {
    MD__RNN_RELU,
    MD__RNN_TANH,
    MD__RNN_SIGMOID,
    MD__RNN_AFFINE,
    MD__RNN_LEAKY_RELU,
    MD__RNN_THRESHOLDED_RELU,
    MD__RNN_SCALED_TANH,
    MD__RNN_HARD_SIGMOID,
    MD__RNN_ELU,
    MD__RNN_SOFTSIGN,
    MD__RNN_SOFTPLUS,
    MD__RNN_FUNCTIONS
};

struct md__rnn_activation {
    enum md__rnn_function function;
    double alpha, beta; /* where the function takes them */
};

#define MD__RNN_ACTIVATIONS 6 /* three in two directions */

/* Rows of weights a unit has: 4 i o f c, 3 z r h, 1. */
static inline size_t md__rnn_gates(const struct md_node *node)
{
    return node->op == MD_OP_LSTM ? 4 : node->op == MD_OP_GRU ? 3 : 1;
}

/* Activations of one direction: an LSTM's are f g h, a GRU's f g. */
static inline int md__rnn_activations(const struct md_node *node)
{
    return node->op == MD_OP_LSTM ? 3 : node->op == MD_OP_GRU ? 2 : 1;
}

/* Fills those of all directions, one direction after the other (ref_recurrent.c). */
void md__rnn_read_activations(const struct md_node *node, int directions,
                              struct md__rnn_activation *made);

#endif
