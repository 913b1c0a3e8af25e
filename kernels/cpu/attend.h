/*
 * Scaled dot-product attention in double, for the reference kernels of every operator that is one:
 * softmax(bias(scale * q k^T)) v, head by head.
 *
 * Operators describe where heads lie (any layout), what precedes the new keys (a cache), and give
 * what is added to a score as a function.
 */
#ifndef MD_KERNELS_CPU_ATTEND_H
#define MD_KERNELS_CPU_ATTEND_H

#include "kernels/cpu/common.h"

/* Vectors of a tensor by batch element, head and step: strides in elements. */
struct md__heads {
    const struct md_tensor *tensor; /* NULL: none */
    size_t offset, batch, head, step;
};

/* [batch, heads, steps, width], and [batch, steps, heads * width]. */
struct md__heads md__heads_first(const struct md_tensor *tensor);
struct md__heads md__heads_last(const struct md_tensor *tensor, size_t heads);

/* Of either, by rank; a tensor of three axes does not know its heads, the node does. */
static inline struct md__heads md__heads_of(const struct md_tensor *tensor, size_t heads)
{
    return tensor->shape.rank == 4 ? md__heads_first(tensor) : md__heads_last(tensor, heads);
}

static inline size_t md__head_count(const struct md_node *node, const char *attribute,
                                    const struct md_tensor *tensor)
{
    return tensor->shape.rank == 4 ? (size_t)tensor->shape.dim[1]
                                   : (size_t)md_node_int(node, attribute, 1);
}

static inline size_t md__head_steps(const struct md_tensor *tensor)
{
    return (size_t)tensor->shape.dim[tensor->shape.rank - 2];
}

static inline size_t md__head_width(const struct md_tensor *tensor, size_t heads)
{
    size_t last = (size_t)tensor->shape.dim[tensor->shape.rank - 1];
    return tensor->shape.rank == 4 ? last : heads ? last / heads : 0;
}

/* Added to the score of query i and key j; -INFINITY hides the key. */
typedef double (*md__attend_bias)(const void *context, size_t b, size_t h, size_t i, size_t j);

enum md__attend_stage { MD__SCORES_RAW, MD__SCORES_CAPPED, MD__SCORES_BIASED, MD__SCORES_SHARES };

struct md__attend {
    size_t batch, heads, kv_heads; /* query heads share keys in runs of heads / kv_heads */
    size_t queries, keys, past;    /* keys: in all; the first `past` of them in past_k, past_v */
    size_t width, v_width;
    struct md__heads q, k, v, past_k, past_v, y;
    double scale, softcap; /* softcap 0: none */
    md__attend_bias bias;  /* NULL: none */
    const void *context;
    const struct md_tensor *scores; /* [batch, heads, queries, keys], or NULL */
    enum md__attend_stage stage;    /* of `scores` */
    /* what intermediate results are rounded to, as where the standard writes attention out as a
     * function: of products and sums, of the softmax; 0: nothing */
    enum md_dtype precision, softmax_precision;
    double sink; /* has_sink: another key of this score and no value */
    bool has_sink;
};

size_t md__attend_scratch(size_t keys, size_t width, size_t v_width, int threads);
/* Sets every element of y. */
void md__attend(const struct md__attend *attend, struct md_pool *pool, void *scratch);

/* Fills to [batch, heads, past + new, width] from a cache (tensor NULL: none) and new vectors. */
void md__join_cache(const struct md__heads *past, size_t past_steps, const struct md__heads *now,
                    const struct md_tensor *to);

#endif
