/* Where the heads of written-out attention lie (pass_attention.c), and how they go into one node.
 */
#ifndef MD_GRAPH_ATTENTION_HEADS_H
#define MD_GRAPH_ATTENTION_HEADS_H

#include "graph/view.h"

struct md__attention {
    int in[3]; /* q, k, v: [batch, steps, heads * width] or [batch, heads, steps, width] */
    int64_t heads, kv_heads, v_width;
    double scale; /* multiplied by what q and k were multiplied by */
};

/*
 * sides: q [.., queries, width], k [.., width, keys] and v [.., keys, width], of three or four axes
 * (three: one batch element). Adds what nodes it needs; *good is false when it cannot be done.
 */
enum md_status md__heads_find(struct md__rewrite *rewrite, const int sides[3],
                              struct md__attention *attention, bool *good, struct md_error *err);

#endif
