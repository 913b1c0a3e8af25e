/*
 * What the attention operators of com.microsoft share: rows of float32 in scratch memory, heads in
 * them, and masks.
 */
#ifndef MD_KERNELS_CPU_CONTRIB_ATTENTION_H
#define MD_KERNELS_CPU_CONTRIB_ATTENTION_H

#include "kernels/cpu/attend.h"

/* Bytes of scratch for `count` floats, so that what follows stays aligned. */
size_t md__float_bytes(size_t count);
/* A float32 tensor [batch, steps, columns] at *memory, which moves on behind it. */
struct md_tensor md__place_rows(char **memory, int64_t batch, int64_t steps, int64_t columns);
/* Heads of columns [first, first + heads * width) of rows. */
struct md__heads md__some_columns(const struct md_tensor *rows, size_t first, size_t width);
/* Steps of a cache, input i, along its axis; 0 when it is absent. */
size_t md__past_steps(const struct md_tensor *in, int in_count, int i, int axis);
/* The attribute, or 1 / sqrt(width). */
double md__attention_scale(const struct md_node *node, size_t width);

/* What may hide a key or add to its score: the context of md__masked. */
struct md__masking {
    const struct md_tensor *mask, *bias;
    double filter; /* what a masked key's score gets */
    bool causal;
    int64_t left; /* keys before the query's own that it sees; -1: all */
    size_t batch, queries, keys, past;
    const struct md_tensor *lengths; /* GroupQueryAttention: valid keys - 1 of each batch element */
};
double md__masked(const void *context, size_t b, size_t h, size_t i, size_t j);

#endif
