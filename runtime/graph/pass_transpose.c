/*
 * Transposes sink: through operators that treat all axes alike, through those that name an axis
 * (which is renamed on the way), until they meet one that turns everything back, and both are gone.
 * Runs of convolutions in channels-last layout stand on this: each of them comes with a Transpose
 * before and one behind it, and only those at the ends of a run are to be left.
 *
 *     Relu(T(x)) = T(Relu(x))        Add(T(x), T(y)) = T(Add(x, y))      T'(T(x)) = T''(x)
 *     Concat(T(x), T(y), axis = a) = T(Concat(x, y, axis = perm[a]))     likewise Split, Slice,
 * Pad, reductions and softmaxes.
 *
 * perm is ONNX's: axis a of T(x) is axis perm[a] of x. One walk is enough, because what an earlier
 * node became is what the next one sees. Constants beside a transposed operand are transposed here
 * and now; any other operand that is not transposed the same way stops it.
 */
#include <string.h>

#include "graph/evaluate.h"
#include "graph/rewrite.h"

enum { INPUTS_MAX = 64, OUTPUTS_MAX = 64, ATTRS_MAX = 16 };
#define CONSTANT_BYTES_MAX ((size_t)64 << 20) /* of one operand transposed at load */

struct perm {
    int rank;
    int64_t axis[MD_RANK_MAX];
};

static bool perm_equal(const struct perm *a, const struct perm *b)
{
    return a->rank == b->rank && memcmp(a->axis, b->axis, (size_t)a->rank * sizeof *a->axis) == 0;
}

static struct perm inverse(const struct perm *perm)
{
    struct perm made = {.rank = perm->rank};
    for (int i = 0; i < perm->rank; i++)
        made.axis[perm->axis[i]] = i;
    return made;
}

static bool is_straight(const struct perm *perm)
{
    for (int i = 0; i < perm->rank; i++)
        if (perm->axis[i] != i)
            return false;
    return true;
}

/* The value is T(x): perm, and x; MD_NONE when it is not. */
static int untransposed(const struct md__rewrite *rewrite, int value, struct perm *perm)
{
    const struct md_node *node = md__rw_maker(rewrite, value, MD_OP_TRANSPOSE);
    if (!node)
        return MD_NONE;
    const struct md_attr *attr = md_node_attr(node, "perm");
    perm->rank = attr ? attr->count : md__rw_rank(rewrite, value);
    if (perm->rank < 1 || perm->rank > MD_RANK_MAX || md__rw_rank(rewrite, value) != perm->rank)
        return MD_NONE;
    for (int i = 0; i < perm->rank; i++)
        perm->axis[i] = attr ? attr->ints[i] : perm->rank - 1 - i;
    return node->in[0];
}

static enum md_status add_transpose(struct md__rewrite *rewrite, int x, const struct perm *perm,
                                    int *value, struct md_error *err)
{
    const struct md_attr attr = MD_INTS_ATTR("perm", perm->axis, perm->rank);
    *value = x;
    return is_straight(perm) ? MD_OK
                             : md__rw_node(rewrite, "Transpose", &x, 1, &attr, 1, value, 1, err);
}

/* The constant seen through the inverse of perm, with axes of size 1 in front as it needs them. */
static enum md_status turn_constant(struct md__rewrite *rewrite, int constant,
                                    const struct perm *perm, int *value, struct md_error *err)
{
    const struct perm back = inverse(perm);
    const struct md_attr attr = MD_INTS_ATTR("perm", back.axis, back.rank);
    const int in = 0, out = 0;
    const struct md_node node = {.op = MD_OP_TRANSPOSE,
                                 .name = "",
                                 .in = &in,
                                 .out = &out,
                                 .in_count = 1,
                                 .out_count = 1,
                                 .attrs = &attr,
                                 .attr_count = 1,
                                 .region = MD_NONE};
    struct md_tensor whole = *md__rw_constant(rewrite, constant), turned;
    struct md_shape shape = {.rank = perm->rank};
    for (int i = 0; i < perm->rank; i++) {
        int from = i - (perm->rank - whole.shape.rank);
        shape.dim[i] = from < 0 ? 1 : whole.shape.dim[from];
    }
    whole.shape = shape;
    enum md_status status =
        md__evaluate_node(rewrite->options->reference, rewrite->options->pool, &node, &whole,
                          &whole, &turned, CONSTANT_BYTES_MAX, err);
    if (status)
        return status;
    status = md__rw_add_constant(rewrite, &turned, value, err);
    md_tensor_unref(&turned);
    return status;
}

/* Every dimension is 1: it broadcasts alike however axes are ordered. */
static bool is_single(const struct md__rewrite *rewrite, int value, int rank_max)
{
    int rank = md__rw_rank(rewrite, value);
    for (int i = 0; i < rank; i++)
        if (md__rw_dim(rewrite, value, i) != 1)
            return false;
    return rank >= 0 && rank <= rank_max;
}

/* An operand as it has to be before the transpose; MD_NONE in *value: it cannot be had. */
static enum md_status turn_operand(struct md__rewrite *rewrite, int operand,
                                   const struct perm *perm, int *value, struct md_error *err)
{
    struct perm own;
    int x = untransposed(rewrite, operand, &own);
    const struct md_tensor *constant = md__rw_constant(rewrite, operand);
    *value = MD_NONE;
    if (x != MD_NONE && perm_equal(&own, perm))
        *value = x;
    else if (is_single(rewrite, operand, perm->rank))
        *value = operand;
    else if (constant && constant->shape.rank <= perm->rank &&
             md_tensor_bytes(constant) <= CONSTANT_BYTES_MAX)
        return turn_constant(rewrite, operand, perm, value, err);
    return MD_OK;
}

/* What a sinking changes about a node. */
struct sunk {
    int in[INPUTS_MAX];
    int in_count;
    struct md_attr
        attr;         /* in place of the one of that name, or beside the others; name NULL: none */
    struct perm perm; /* of what stands behind the node now */
};

/* The node with these changes, and a Transpose behind each of its outputs. */
static enum md_status put_before(struct md__rewrite *rewrite, int n, const struct sunk *sunk,
                                 struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    struct md_attr attrs[ATTRS_MAX + 1];
    int outputs[OUTPUTS_MAX], count = 0;
    if (node.attr_count > ATTRS_MAX || node.out_count > OUTPUTS_MAX)
        return MD_OK;
    for (int i = 0; i < node.attr_count; i++)
        if (!sunk->attr.name || strcmp(node.attrs[i].name, sunk->attr.name) != 0)
            attrs[count++] = node.attrs[i];
    if (sunk->attr.name)
        attrs[count++] = sunk->attr;
    enum md_status status = md__rw_node(rewrite, md_op_info(node.op)->name, sunk->in,
                                        sunk->in_count, attrs, count, outputs, node.out_count, err);
    for (int i = 0; !status && i < node.out_count; i++)
        status = add_transpose(rewrite, outputs[i], &sunk->perm, &outputs[i], err);
    if (!status)
        md__rw_replace(rewrite, n, outputs);
    return status;
}

/* ---- operators that treat all axes alike ---- */

static bool is_elementwise(enum md_op op)
{
    return op <= MD_OP_WHERE && op != MD_OP_IDENTITY && op != MD_OP_BIT_CAST &&
           op != MD_OP_SWIGLU && op != MD_OP_CAST_LIKE;
}

static enum md_status sink_elementwise(struct md__rewrite *rewrite, int n, const struct perm *perm,
                                       struct sunk *sunk, bool *good, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    bool clips = node.op == MD_OP_CLIP; /* its limits are numbers of rank 0 */
    enum md_status status = MD_OK;
    *good = md__rw_rank(rewrite, node.out[0]) == perm->rank;
    /* Broadcasting must not make the transpose larger than it was. */
    bool grows = true;
    for (int i = 0; i < node.in_count && grows; i++) {
        struct perm own;
        grows = node.in[i] == MD_NONE || untransposed(rewrite, node.in[i], &own) == MD_NONE ||
                !md__rw_same_shape(rewrite, node.in[i], node.out[0]);
    }
    *good = *good && !grows;
    for (int i = 0; *good && !status && i < node.in_count; i++) {
        sunk->in[i] = node.in[i];
        if (node.in[i] == MD_NONE || (clips && i > 0))
            continue;
        status = turn_operand(rewrite, node.in[i], perm, &sunk->in[i], err);
        *good = sunk->in[i] != MD_NONE;
    }
    sunk->perm = *perm;
    return status;
}

/* ---- operators with an axis, or a list of them ---- */

static enum md_status sink_axis(struct md__rewrite *rewrite, int n, const struct perm *perm,
                                struct sunk *sunk, bool *good, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    bool last =
        node.op == MD_OP_SOFTMAX || node.op == MD_OP_LOG_SOFTMAX || node.op == MD_OP_HARDMAX;
    int64_t axis = md_node_int(&node, "axis", last ? -1 : 0);
    int turned = node.op == MD_OP_CONCAT ? node.in_count : 1; /* Split's sizes are none of it */
    enum md_status status = MD_OK;
    axis += axis < 0 ? perm->rank : 0;
    *good = axis >= 0 && axis < perm->rank;
    for (int i = 0; *good && !status && i < node.in_count; i++) {
        sunk->in[i] = node.in[i];
        if (i < turned)
            status = turn_operand(rewrite, node.in[i], perm, &sunk->in[i], err);
        /* An operand of a Concat has all axes. */
        *good = sunk->in[i] != MD_NONE &&
                (i >= turned || md__rw_rank(rewrite, node.in[i]) == perm->rank);
        if (*good && node.op == MD_OP_CONCAT && sunk->in[i] == node.in[i])
            *good = is_single(rewrite, node.in[i], perm->rank);
    }
    if (*good)
        sunk->attr = MD_INT_ATTR("axis", perm->axis[axis]);
    sunk->perm = *perm;
    return status;
}

/* Constant axes in input i or in the attribute: each as an axis before the transpose. */
static int turned_axes(const struct md__rewrite *rewrite, const struct md_node *node, int i,
                       const struct perm *perm, int64_t *axes)
{
    const struct md_attr *attr = md_node_attr(node, "axes");
    int count = -1;
    if (i < node->in_count && node->in[i] != MD_NONE) {
        count = md__rw_ints(rewrite, node->in[i], axes, MD_RANK_MAX);
    } else if (attr && attr->count <= MD_RANK_MAX) {
        count = attr->count;
        memcpy(axes, attr->ints, (size_t)count * sizeof *axes);
    }
    for (int k = 0; k < count; k++) {
        axes[k] += axes[k] < 0 ? perm->rank : 0;
        if (axes[k] < 0 || axes[k] >= perm->rank)
            return -1;
        axes[k] = perm->axis[axes[k]];
    }
    return count;
}

/* What is left of perm when these axes of x are gone. */
static struct perm without(const struct perm *perm, const int64_t *axes, int count)
{
    struct perm left = {0};
    for (int i = 0; i < perm->rank; i++) {
        int64_t axis = perm->axis[i], before = 0;
        bool gone = false;
        for (int k = 0; k < count; k++) {
            gone |= axes[k] == axis;
            before += axes[k] < axis;
        }
        if (!gone)
            left.axis[left.rank++] = axis - before;
    }
    return left;
}

static enum md_status sink_reduction(struct md__rewrite *rewrite, int n, const struct perm *perm,
                                     struct sunk *sunk, bool *good, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    int64_t axes[MD_RANK_MAX];
    int count = turned_axes(rewrite, &node, 1, perm, axes);
    struct perm own;
    *good = count > 0;
    if (!*good)
        return MD_OK;
    sunk->in[0] = untransposed(rewrite, node.in[0], &own);
    sunk->perm = md_node_int(&node, "keepdims", 1) ? *perm : without(perm, axes, count);
    if (node.in_count > 1 && node.in[1] != MD_NONE)
        return md__rw_add_ints(rewrite, axes, count, &sunk->in[1], err);
    int64_t *kept = md_arena_array(&rewrite->graph->arena, (size_t)count, sizeof *kept);
    if (!kept)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    memcpy(kept, axes, (size_t)count * sizeof *kept);
    sunk->attr = MD_INTS_ATTR("axes", kept, count);
    return MD_OK;
}

/* Slice and Pad: axes in an input; without, the first ones or all. */
static enum md_status sink_listed(struct md__rewrite *rewrite, int n, const struct perm *perm,
                                  struct sunk *sunk, bool *good, struct md_error *err)
{
    const struct md_node node = rewrite->graph->nodes[n];
    int64_t axes[MD_RANK_MAX];
    int count = -1;
    struct perm own;
    if (node.in_count > 3 && node.in[3] != MD_NONE) {
        count = turned_axes(rewrite, &node, 3, perm, axes);
    } else {
        int64_t listed = md__rw_dim(rewrite, node.in[1], 0);
        count = node.op == MD_OP_PAD ? perm->rank : (int)(listed < MD_RANK_MAX ? listed : -1);
        for (int k = 0; k < count && k < perm->rank; k++)
            axes[k] = perm->axis[k];
    }
    *good = count > 0 && count <= perm->rank;
    if (!*good)
        return MD_OK;
    for (int i = 0; i < 5; i++)
        sunk->in[i] = i < node.in_count ? node.in[i] : MD_NONE;
    sunk->in[0] = untransposed(rewrite, node.in[0], &own);
    sunk->in_count = node.in_count > 4 ? node.in_count : 4;
    sunk->perm = *perm;
    return md__rw_add_ints(rewrite, axes, count, &sunk->in[3], err);
}

/* ---- the pass ---- */

typedef enum md_status (*sinking)(struct md__rewrite *rewrite, int n, const struct perm *perm,
                                  struct sunk *sunk, bool *good, struct md_error *err);

static sinking sinking_of(enum md_op op)
{
    if (is_elementwise(op))
        return sink_elementwise;
    if (op >= MD_OP_REDUCE_L1 && op <= MD_OP_REDUCE_SUM_SQUARE)
        return sink_reduction;
    switch (op) {
    case MD_OP_SOFTMAX:
    case MD_OP_LOG_SOFTMAX:
    case MD_OP_HARDMAX:
    case MD_OP_CONCAT:
    case MD_OP_SPLIT:
        return sink_axis;
    case MD_OP_SLICE:
    case MD_OP_PAD:
        return sink_listed;
    default:
        return NULL;
    }
}

/* T'(T(x)): one transpose, or none. */
static enum md_status join(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    struct perm inner, outer, both;
    const struct md_node *node = &rewrite->graph->nodes[n];
    int between = untransposed(rewrite, node->out[0], &outer);
    int x = between == MD_NONE ? MD_NONE : untransposed(rewrite, between, &inner), value;
    if (x == MD_NONE || inner.rank != outer.rank)
        return MD_OK;
    both.rank = inner.rank;
    for (int i = 0; i < both.rank; i++)
        both.axis[i] = inner.axis[outer.axis[i]];
    enum md_status status = add_transpose(rewrite, x, &both, &value, err);
    if (!status)
        md__rw_replace(rewrite, n, &value);
    return status;
}

/* The first operand that is transposed says how. */
static bool find_perm(const struct md__rewrite *rewrite, const struct md_node *node,
                      struct perm *perm)
{
    bool only_first = !is_elementwise(node->op) && node->op != MD_OP_CONCAT;
    for (int i = 0; i < (only_first ? 1 : node->in_count); i++)
        if (node->in[i] != MD_NONE && untransposed(rewrite, node->in[i], perm) != MD_NONE)
            return true;
    return false;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    (void)context;
    const struct md_node *node = &rewrite->graph->nodes[n];
    sinking sink = sinking_of(node->op);
    struct perm perm;
    if (node->op == MD_OP_TRANSPOSE)
        return join(rewrite, n, err);
    if (!sink || node->in_count == 0 || node->in_count > INPUTS_MAX - 4 ||
        !find_perm(rewrite, node, &perm))
        return MD_OK;
    struct sunk sunk = {.in_count = node->in_count};
    bool good;
    enum md_status status = sink(rewrite, n, &perm, &sunk, &good, err);
    return !status && good ? put_before(rewrite, n, &sunk, err) : status;
}

enum md_status md__pass_transpose(struct md_graph *graph,
                                  const struct md_executable_options *options,
                                  struct md_pass_report *report, struct md_error *err)
{
    return md__rewrite_run(graph, options, report, rule, NULL, NULL, err);
}
