/*
 * Operators that work along axes which they name, for the pass channels_last: Concat and Softmax
 * with one axis in an attribute, reductions, Slice and Pad with a list. On channels-last tensors
 * they are the same operators with other numbers.
 */
#include <string.h>

#include "graph/body.h"
#include "graph/channels_last_internal.h"

/* All inputs of the same rank (but for the second of Split), and an attribute `axis`. */
static const struct {
    enum md_op op;
    int64_t axis; /* when the attribute is absent */
} one_axis[] = {{MD_OP_CONCAT, 1}, {MD_OP_SPLIT, 0}, {MD_OP_SOFTMAX, -1}, {MD_OP_LOG_SOFTMAX, -1}};

/* A list of axes, constant: input `list`. */
static const struct {
    enum md_op op;
    int list;
    bool reduces; /* also an attribute `axes`; none are all */
} many_axes[] = {
    {MD_OP_SLICE, 3, false},      {MD_OP_PAD, 3, false},
    {MD_OP_REDUCE_MEAN, 1, true}, {MD_OP_REDUCE_SUM, 1, true},
    {MD_OP_REDUCE_MAX, 1, true},  {MD_OP_REDUCE_MIN, 1, true},
    {MD_OP_REDUCE_PROD, 1, true}, {MD_OP_REDUCE_L1, 1, true},
    {MD_OP_REDUCE_L2, 1, true},   {MD_OP_REDUCE_SUM_SQUARE, 1, true},
};

/* Where axis i of [N, C, D..] is in [N, D.., C]. */
static int64_t turned_axis(int64_t axis, int rank)
{
    return axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1;
}

/* The node without the attribute `name`, and with one more. */
static enum md_status set_attr(struct turning *turning, struct md_node *node, const char *name,
                               const struct md_attr *more, struct md_error *err)
{
    struct md_attr *attrs =
        md_arena_array(&turning->graph->arena, (size_t)node->attr_count + 1, sizeof *attrs);
    if (!attrs)
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    int count = 0;
    for (int i = 0; i < node->attr_count; i++)
        if (strcmp(node->attrs[i].name, name) != 0)
            attrs[count++] = node->attrs[i];
    if (more)
        attrs[count++] = *more;
    node->attrs = attrs;
    node->attr_count = count;
    return MD_OK;
}

static enum md_status along_one(struct turning *turning, const struct md_node *node, int row,
                                int rank, bool *done, struct md_error *err)
{
    bool splits = node->op == MD_OP_SPLIT;
    int64_t axis = md_node_int(node, "axis", one_axis[row].axis);
    axis += axis < 0 ? rank : 0;
    for (int i = 0; i < (splits ? 1 : node->in_count); i++)
        if (node->in[i] == MD_NONE || md__turning_rank(turning, node->in[i]) != rank)
            return MD_OK;
    if (axis < 0 || axis >= rank)
        return MD_OK;
    struct md_node own = *node;
    const struct md_attr attr = MD__INT("axis", turned_axis(axis, rank));
    enum md_status status = set_attr(turning, &own, "axis", &attr, err);
    *done = true;
    return status ? status : md__turning_put(turning, &own, rank, splits ? 1u : ~0u, err);
}

/* The integers of a constant; -1: it is none, or too long. */
static int read_ints(const struct turning *turning, int value, int64_t *ints)
{
    const struct md_tensor *tensor = &turning->graph->values[value].constant;
    if (!tensor->data || (tensor->dtype != MD_I64 && tensor->dtype != MD_I32) ||
        md_tensor_count(tensor) > MD_RANK_MAX)
        return -1;
    int count = (int)md_tensor_count(tensor);
    for (int i = 0; i < count; i++)
        ints[i] = tensor->dtype == MD_I64 ? ((const int64_t *)tensor->data)[i]
                                          : ((const int32_t *)tensor->data)[i];
    return count;
}

/* The axes that the node names, or means by naming none, counted from the front; -1: unknown. */
static int read_axes(const struct turning *turning, const struct md_node *node, int row, int rank,
                     int64_t *axes)
{
    int list = many_axes[row].list, count = -1;
    const struct md_attr *attr = many_axes[row].reduces ? md_node_attr(node, "axes") : NULL;
    int64_t starts[MD_RANK_MAX];
    if (list < node->in_count && node->in[list] != MD_NONE) {
        count = read_ints(turning, node->in[list], axes);
    } else if (attr && attr->type == MD_ATTR_INTS && attr->count <= MD_RANK_MAX) {
        count = attr->count;
        memcpy(axes, attr->ints, (size_t)count * sizeof *axes);
    } else if (!many_axes[row].reduces) { /* the first axes */
        count = node->op == MD_OP_PAD ? rank : read_ints(turning, node->in[1], starts);
        for (int i = 0; i < count; i++)
            axes[i] = i;
    }
    for (int i = 0; i < count; i++) {
        axes[i] += axes[i] < 0 ? rank : 0;
        if (axes[i] < 0 || axes[i] >= rank)
            return -1;
    }
    return count > 0 ? count : -1;
}

/* A reduction that drops axes must leave the others in the order that the graph expects. */
static bool keeps_order(const int64_t *axes, int count, int rank)
{
    bool channels = true;
    int places = rank - 2;
    for (int i = 0; i < count; i++) {
        channels &= axes[i] != 1;
        places -= axes[i] > 1;
    }
    return !channels || places <= 0;
}

/* A mean over all places that keeps their axes is a global pool, which has a kernel of its own. */
static bool is_global_pool(struct turning *turning, const struct md_node *node, const int64_t *axes,
                           int count, int rank, struct md_node *pool)
{
    unsigned places = 0;
    for (int i = 0; i < count; i++)
        places |= 1u << axes[i];
    if (node->op != MD_OP_REDUCE_MEAN || !md_node_int(node, "keepdims", 1) ||
        places != (1u << rank) - 4)
        return false;
    *pool = *node;
    pool->op = MD_OP_GLOBAL_AVERAGE_POOL_LAST;
    pool->in_count = 1;
    pool->attr_count = 0;
    return md__turning_has_kernel(turning, pool, 1u);
}

static enum md_status along_many(struct turning *turning, const struct md_node *node, int row,
                                 int rank, bool *done, struct md_error *err)
{
    int64_t axes[MD_RANK_MAX];
    int count = read_axes(turning, node, row, rank, axes), list = many_axes[row].list;
    bool drops = many_axes[row].reduces && !md_node_int(node, "keepdims", 1);
    if (count < 0 || (drops && !keeps_order(axes, count, rank)))
        return MD_OK;
    struct md_node own;
    if (is_global_pool(turning, node, axes, count, rank, &own)) {
        *done = true;
        return md__turning_put(turning, &own, rank, 1u, err);
    }
    for (int i = 0; i < count; i++)
        axes[i] = turned_axis(axes[i], rank);
    const struct md_tensor tensor = {
        .dtype = MD_I64, .shape = {1, {count}}, .data = axes}; /* copied below */
    own = *node;
    own.in_count = node->in_count > list ? node->in_count : list + 1;
    int *in = md_arena_array(&turning->graph->arena, (size_t)own.in_count, sizeof *in);
    if (!in)
        return md_fail(err, MD_ERR_MEMORY, "graph is too large");
    for (int i = 0; i < own.in_count; i++)
        in[i] = i < node->in_count ? node->in[i] : MD_NONE;
    enum md_status status = md_graph_constant(turning->graph, "", &tensor, &in[list], err);
    own.in = in;
    if (!status)
        status = set_attr(turning, &own, "axes", NULL, err);
    *done = true;
    if (status || !drops)
        return status ? status : md__turning_put(turning, &own, rank, 1u, err);
    status = md__turning_read(turning, &own, rank, 1u, err);
    return status ? status : md__turning_append(turning, &own, err);
}

enum md_status md__turn_along_axes(struct turning *turning, const struct md_node *node, bool *done,
                                   struct md_error *err)
{
    if (node->in_count < 1 || node->in[0] == MD_NONE || !md__turning_follows(turning, node))
        return MD_OK;
    int rank = md__turning_rank(turning, node->in[0]);
    for (size_t i = 0; rank >= 3 && i < sizeof one_axis / sizeof *one_axis; i++)
        if (one_axis[i].op == node->op)
            return along_one(turning, node, (int)i, rank, done, err);
    for (size_t i = 0; rank >= 3 && i < sizeof many_axes / sizeof *many_axes; i++)
        if (many_axes[i].op == node->op)
            return along_many(turning, node, (int)i, rank, done, err);
    return MD_OK;
}
