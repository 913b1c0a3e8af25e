/*
 * Attention that is written out becomes the standard's Attention:
 *
 *     MatMul(Softmax(scale * MatMul(q, k^T) + masks), v)
 *
 * with the scale on the scores, on q, on k or shared between them, masks added or put in by Where,
 * heads cut out of one product or of three, keys repeated for groups of queries. Where q, k and v
 * lie is read off views (view.h), so it does not matter in which steps heads were moved about: what
 * lies in rows [batch, steps, heads * width] goes in as it is; parts of one product's columns
 * become products of their own (attention_heads.c). The result goes through a Transpose as before,
 * which then meets the one that follows it and cancels.
 *
 * Only where the backend has a kernel of its own. A query that sees no key gets 0, where the
 * written-out form gives NaN (all -infinity) or a mean of what is hidden (a finite number that is
 * added to all).
 */
#include "graph/attention_heads.h"

#include <math.h>
#include <string.h>

#include "graph/body.h"
#include "graph/evaluate.h"

#define HIDDEN_FOR_SURE  (-1e30) /* no score brings a key back that is hidden by this */
#define HIDDEN_AS_A_RULE (-9e3)  /* nor by this, where some other key is seen */
#define MASK_BYTES_MAX   ((size_t)64 << 20)

enum { MASKS_MAX = 3 };

/* A term of the scores: a value, or Where(condition, number, 0), or 0 and the number turned. */
struct mask {
    int value;
    bool is_condition, shows; /* the condition tells which keys are seen */
    double number;
};

struct scores {
    int q, k; /* operands of the product: [.., queries, width] and [.., width, keys] */
    double scale;
    struct mask masks[MASKS_MAX];
    int mask_count;
};

/* ---- finding ---- */

/* The same dimensions but for ones in front, in all traces. */
static bool same_but_ones(const struct md__rewrite *rewrite, int a, int b)
{
    for (int t = 0; t < rewrite->facts->count; t++) {
        const struct md_value_info *left = md__facts_of(rewrite->facts, t, a);
        const struct md_value_info *right = md__facts_of(rewrite->facts, t, b);
        if (!left || !right)
            return false;
        const struct md_shape *x = &left->shape, *y = &right->shape;
        int i = 0, j = 0;
        for (; i < x->rank && x->dim[i] == 1; i++)
            ;
        for (; j < y->rank && y->dim[j] == 1; j++)
            ;
        if (x->rank - i != y->rank - j ||
            memcmp(x->dim + i, y->dim + j, (size_t)(x->rank - i) * sizeof *x->dim) != 0)
            return false;
    }
    return rewrite->facts->count > 0;
}

static bool find_scores(const struct md__rewrite *rewrite, int value, struct scores *scores);

static bool take_mask(const struct md__rewrite *rewrite, int rest, int whole,
                      const struct mask *mask, struct scores *scores)
{
    if (scores->mask_count == MASKS_MAX || scores->scale != 1 || rest == MD_NONE ||
        !md__rw_same_shape(rewrite, rest, whole))
        return false;
    struct scores tried = *scores;
    tried.masks[tried.mask_count++] = *mask;
    if (!find_scores(rewrite, rest, &tried))
        return false;
    *scores = tried;
    return true;
}

static bool find_where(const struct md__rewrite *rewrite, const struct md_node *node,
                       struct scores *scores)
{
    for (int i = 1; i <= 2; i++) {
        struct mask mask = {.value = node->in[0], .is_condition = true, .shows = i == 2};
        const struct md_tensor *number = md__rw_weights(rewrite, node->in[i]);
        if (number && md__rw_number(rewrite, node->in[i], &mask.number) &&
            mask.number < HIDDEN_AS_A_RULE &&
            take_mask(rewrite, node->in[3 - i], node->out[0], &mask, scores))
            return true;
    }
    return false;
}

/* Walks from the softmax's input back to the product of queries and keys. */
static bool find_scores(const struct md__rewrite *rewrite, int value, struct scores *scores)
{
    const struct md_node *node = md__rw_sole_maker(rewrite, value);
    double number;
    if (!node || md__rw_dtype(rewrite, value) != MD_F32)
        return false;
    switch (node->op) {
    case MD_OP_MATMUL:
        scores->q = node->in[0];
        scores->k = node->in[1];
        return true;
    case MD_OP_RESHAPE:
    case MD_OP_SQUEEZE:
    case MD_OP_UNSQUEEZE:
        return same_but_ones(rewrite, node->in[0], value) &&
               find_scores(rewrite, node->in[0], scores);
    case MD_OP_MUL:
    case MD_OP_DIV:
        for (int i = 1; i >= (node->op == MD_OP_MUL ? 0 : 1); i--) {
            if (!md__rw_number(rewrite, node->in[i], &number) || number <= 0 ||
                !md__rw_same_shape(rewrite, node->in[1 - i], value))
                continue;
            scores->scale *= node->op == MD_OP_MUL ? number : 1 / number;
            return find_scores(rewrite, node->in[1 - i], scores);
        }
        return false;
    case MD_OP_ADD:
        for (int i = 0; i < 2; i++)
            if (take_mask(rewrite, node->in[i], value, &(struct mask){.value = node->in[1 - i]},
                          scores))
                return true;
        return false;
    case MD_OP_WHERE:
        return find_where(rewrite, node, scores);
    default:
        return false;
    }
}

/* Softmax over the last axis, perhaps with 0 for rows that are not a number: its input. */
static int softmax_input(const struct md__rewrite *rewrite, int value)
{
    double number;
    const struct md_node *node = md__rw_sole_maker(rewrite, value);
    if (node && node->op == MD_OP_WHERE) {
        const struct md_node *test = md__rw_sole_maker(rewrite, node->in[0]);
        if (!test || test->op != MD_OP_IS_NAN || test->in[0] != node->in[2] ||
            !md__rw_number(rewrite, node->in[1], &number) || number != 0)
            return MD_NONE;
        node = md__rw_maker(rewrite, node->in[2], MD_OP_SOFTMAX);
        if (!node || rewrite->readers[node->out[0]] != 2)
            return MD_NONE;
    }
    if (!node || node->op != MD_OP_SOFTMAX)
        return MD_NONE;
    int64_t axis = md_node_int(node, "axis", -1);
    return axis == -1 || axis == md__rw_rank(rewrite, value) - 1 ? node->in[0] : MD_NONE;
}

/* ---- masks ---- */

/* The node's result, now if its inputs are constants. */
static enum md_status make(struct md__rewrite *rewrite, const char *name, enum md_op op,
                           const int *in, int in_count, int *value, struct md_error *err)
{
    const int ids[] = {0, 1, 2};
    struct md_tensor inputs[3], result;
    for (int i = 0; i < in_count; i++) {
        const struct md_tensor *constant = md__rw_constant(rewrite, in[i]);
        if (!constant)
            return md__rw_node(rewrite, name, in, in_count, NULL, 0, value, 1, err);
        inputs[i] = *constant;
    }
    const struct md_node node = {.op = op,
                                 .name = "",
                                 .in = ids,
                                 .out = ids,
                                 .in_count = in_count,
                                 .out_count = 1,
                                 .region = MD_NONE};
    enum md_status status = md__evaluate_node(rewrite->options->reference, rewrite->options->pool,
                                              &node, inputs, inputs, &result, MASK_BYTES_MAX, err);
    if (status)
        return status;
    status = md__rw_add_constant(rewrite, &result, value, err);
    md_tensor_unref(&result);
    return status;
}

/* At most four axes, the last of them all keys; MD_NONE in *value where it is not so. */
static enum md_status fit_mask(struct md__rewrite *rewrite, int64_t rank_max, int scores,
                               int *value, struct md_error *err)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, *value);
    enum md_status status = MD_OK;
    if (constant && constant->shape.rank > rank_max) {
        struct md_tensor lower = *constant;
        int cut = constant->shape.rank - (int)rank_max;
        lower.shape.rank = (int)rank_max;
        for (int i = 0; i < constant->shape.rank; i++)
            if (i < cut && constant->shape.dim[i] != 1)
                lower.shape.rank = -1;
            else if (i >= cut)
                lower.shape.dim[i - cut] = constant->shape.dim[i];
        if (lower.shape.rank < 0)
            *value = MD_NONE;
        else
            status = md__rw_add_constant(rewrite, &lower, value, err);
    }
    int rank = *value == MD_NONE ? -1 : md__rw_rank(rewrite, *value);
    bool fits = rank >= 1 && rank <= rank_max;
    for (int t = 0; fits && t < rewrite->facts->count; t++) {
        const struct md_value_info *mask = md__facts_of(rewrite->facts, t, *value);
        const struct md_value_info *all = md__facts_of(rewrite->facts, t, scores);
        fits = mask && all && mask->shape.dim[rank - 1] == all->shape.dim[all->shape.rank - 1];
    }
    if (!fits)
        *value = MD_NONE;
    return status;
}

/* Every row of a constant condition shows some key. */
static bool shows_some(const struct md_tensor *condition, bool shows)
{
    if (!condition || condition->shape.rank < 1)
        return false;
    size_t keys = (size_t)condition->shape.dim[condition->shape.rank - 1];
    const uint8_t *row = condition->data;
    for (size_t left = keys ? md_tensor_count(condition) / keys : 0; left > 0; left--, row += keys)
        if (!memchr(row, shows, keys))
            return false;
    return keys > 0;
}

/* A mask as something to add; MD_NONE in *value: it is none. */
static enum md_status add_mask(struct md__rewrite *rewrite, const struct mask *mask, int64_t rank,
                               int scores, int *value, struct md_error *err)
{
    *value = mask->value;
    enum md_status status = fit_mask(rewrite, rank, scores, value, err);
    if (status || *value == MD_NONE)
        return status;
    if (!mask->is_condition) {
        if (md__rw_dtype(rewrite, *value) != MD_F32)
            *value = MD_NONE;
        return MD_OK;
    }
    if (mask->number > HIDDEN_FOR_SURE &&
        !shows_some(md__rw_constant(rewrite, *value), mask->shows)) {
        *value = MD_NONE;
        return MD_OK;
    }
    const float numbers[] = {(float)mask->number, 0};
    int in[] = {*value, MD_NONE, MD_NONE};
    for (int i = 0; !status && i < 2; i++) {
        const struct md_tensor number = {.dtype = MD_F32, .data = (void *)(uintptr_t)&numbers[i]};
        status = md__rw_add_constant(rewrite, &number, &in[mask->shows ? 2 - i : 1 + i], err);
    }
    return status ? status : make(rewrite, "Where", MD_OP_WHERE, in, 3, value, err);
}

/* What a constant mask does: nothing, hide what comes after the query's own place, or else. */
enum effect { EFFECT_NONE, EFFECT_CAUSAL, EFFECT_OTHER };

static enum effect effect_of(const struct md_tensor *mask, int64_t queries, int64_t keys)
{
    bool none = true, causal = true;
    if (!mask)
        return EFFECT_OTHER;
    int rank = mask->shape.rank;
    int64_t rows = rank >= 2 ? mask->shape.dim[rank - 2] : 1;
    causal = rows == queries && queries == keys;
    const float *at = mask->data;
    for (size_t i = 0; i < md_tensor_count(mask) && (none || causal); i++) {
        int64_t row = (int64_t)i / keys % rows, key = (int64_t)i % keys;
        none &= at[i] == 0;
        causal &= key <= row ? at[i] == 0 : (double)at[i] < HIDDEN_FOR_SURE;
    }
    return none ? EFFECT_NONE : causal ? EFFECT_CAUSAL : EFFECT_OTHER;
}

/* All masks as one; *good is false when they cannot be had. */
static enum md_status add_masks(struct md__rewrite *rewrite, const struct scores *scores,
                                int64_t rank, int whole, int *mask, bool *good,
                                struct md_error *err)
{
    enum md_status status = MD_OK;
    *mask = MD_NONE;
    for (int i = 0; !status && i < scores->mask_count; i++) {
        int value;
        status = add_mask(rewrite, &scores->masks[i], rank, whole, &value, err);
        if (status || value == MD_NONE) {
            *good = false;
            return status;
        }
        const int both[] = {*mask, value};
        if (*mask == MD_NONE)
            *mask = value;
        else
            status = make(rewrite, "Add", MD_OP_ADD, both, 2, mask, err);
    }
    return status;
}

/* ---- the result ---- */

static enum md_status put_result(struct md__rewrite *rewrite, int n,
                                 const struct md__attention *attention, int mask, bool causal,
                                 struct md_error *err)
{
    const int in[] = {attention->in[0], attention->in[1], attention->in[2], mask};
    struct md_attr attrs[4] = {MD_FLOAT_ATTR("scale", attention->scale)};
    int count = 1, value, rank = md__rw_rank(rewrite, rewrite->graph->nodes[n].out[0]);
    if (causal)
        attrs[count++] = MD_INT_ATTR("is_causal", 1);
    attrs[count++] = MD_INT_ATTR("q_num_heads", attention->heads);
    attrs[count++] = MD_INT_ATTR("kv_num_heads", attention->kv_heads);
    enum md_status status = md__rw_node(rewrite, "Attention", in, mask == MD_NONE ? 3 : 4, attrs,
                                        count, &value, 1, err);
    bool rows = !status && md__rw_rank(rewrite, attention->in[0]) == 3;
    int64_t apart[] = {0, 0, attention->heads, attention->v_width}, order[] = {0, 2, 1, 3};
    if (rank == 3) {
        const int64_t heads[] = {rows ? -1 : attention->heads, rows ? attention->heads : -1,
                                 attention->v_width};
        memcpy(apart, heads, sizeof heads);
        memcpy(order, (const int64_t[]){1, 0, 2}, 3 * sizeof *order);
    }
    if (!status && (rows || rank == 3))
        status = md__rw_reshape(rewrite, apart, rank, &value, err);
    const struct md_attr perm = MD_INTS_ATTR("perm", order, rank);
    if (!status && rows)
        status =
            md__rw_node(rewrite, "Transpose", (const int[]){value}, 1, &perm, 1, &value, 1, err);
    if (!status)
        md__rw_replace(rewrite, n, &value);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node node = rewrite->graph->nodes[n];
    struct scores scores = {.scale = 1};
    int whole = node.op == MD_OP_MATMUL && md__rw_dtype(rewrite, node.out[0]) == MD_F32
                    ? softmax_input(rewrite, node.in[0])
                    : MD_NONE;
    int rank = whole == MD_NONE ? -1 : md__rw_rank(rewrite, whole), mask = MD_NONE;
    if ((rank != 3 && rank != 4) || md__rw_rank(rewrite, node.out[0]) != rank ||
        !find_scores(rewrite, whole, &scores) || md__rw_rank(rewrite, scores.q) != rank ||
        md__rw_rank(rewrite, scores.k) != rank || md__rw_rank(rewrite, node.in[1]) != rank)
        return MD_OK;
    struct md__attention attention = {.scale = scores.scale};
    const int sides[] = {scores.q, scores.k, node.in[1]};
    bool good = true, causal = false;
    enum md_status status = md__heads_find(rewrite, sides, &attention, &good, err);
    if (!status && good)
        status = add_masks(rewrite, &scores, rank, whole, &mask, &good, err);
    if (!status && good && mask != MD_NONE) {
        enum effect effect =
            effect_of(md__rw_weights(rewrite, mask), md__rw_dim(rewrite, whole, -2),
                      md__rw_dim(rewrite, whole, -1));
        causal = effect == EFFECT_CAUSAL;
        mask = effect == EFFECT_OTHER ? mask : MD_NONE;
    }
    if (!status && good)
        return put_result(rewrite, n, &attention, mask, causal, err);
    md__rw_undo(rewrite);
    return status;
}

enum md_status md__pass_attention(struct md_graph *graph,
                                  const struct md_executable_options *options,
                                  struct md_pass_report *report, struct md_error *err)
{
    if (!md__has_own_kernel(options, MD_OP_ATTENTION))
        return MD_OK;
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
