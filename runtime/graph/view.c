/* Following a value back through what only moves elements (view.h). */
#include "graph/view.h"

#include <string.h>

#include "graph/body.h"

enum { DEPTH_MAX = 64 };

static bool push(struct md__view *view, int64_t size, int64_t stride)
{
    if (size == 1)
        return true;
    struct md__factor *last = view->count ? &view->factors[view->count - 1] : NULL;
    if (last && last->stride == size * stride) {
        *last = (struct md__factor){last->size * size, stride};
        return true;
    }
    if (view->count == MD_VIEW_FACTORS)
        return false;
    view->factors[view->count++] = (struct md__factor){size, stride};
    return true;
}

/* All of the value, as it is. */
static bool whole(const struct md_shape *shape, int value, struct md__view *view)
{
    int64_t count = 1;
    *view = (struct md__view){.root = value, .scale = 1};
    for (int i = 0; i < shape->rank; i++)
        count *= shape->dim[i];
    return count > 0 && push(view, count, 1);
}

bool md__view_axes(struct md__view *view, const struct md_shape *shape, int *begin)
{
    int at = 0;
    for (int a = 0; a < shape->rank; a++) {
        int64_t left = shape->dim[a];
        begin[a] = at;
        for (; left > 1; at++) {
            struct md__factor *factor = &view->factors[at];
            if (at == view->count)
                return false;
            if (left % factor->size == 0) {
                left /= factor->size;
                continue;
            }
            if (factor->size % left != 0 || view->count == MD_VIEW_FACTORS)
                return false;
            int64_t inner = factor->size / left;
            memmove(factor + 1, factor, (size_t)(view->count++ - at) * sizeof *factor);
            factor[0] = (struct md__factor){left, factor->stride * inner};
            factor[1].size = inner;
            left = 1;
        }
    }
    begin[shape->rank] = at;
    return at == view->count;
}

/* The factors of the axes in this order. */
static bool reorder(struct md__view *view, const int *begin, const int64_t *axes, int count)
{
    struct md__view made = *view;
    made.count = 0;
    bool fits = true;
    for (int a = 0; a < count; a++)
        for (int f = begin[axes[a]]; fits && f < begin[axes[a] + 1]; f++)
            fits = push(&made, view->factors[f].size, view->factors[f].stride);
    *view = made;
    return fits;
}

static bool transpose(const struct md_node *node, const struct md_shape *shape,
                      struct md__view *view)
{
    int begin[MD_RANK_MAX + 1];
    int64_t axes[MD_RANK_MAX];
    const struct md_attr *perm = md_node_attr(node, "perm");
    for (int a = 0; a < shape->rank; a++)
        axes[a] = perm ? perm->ints[a] : shape->rank - 1 - a;
    return md__view_axes(view, shape, begin) && reorder(view, begin, axes, shape->rank);
}

/* Elements [start, start + size) of an axis that is one factor. */
static bool cut(struct md__view *view, const struct md_shape *shape, int64_t axis, int64_t start,
                int64_t size)
{
    int begin[MD_RANK_MAX + 1];
    axis += axis < 0 ? shape->rank : 0;
    if (axis < 0 || axis >= shape->rank || start < 0 || size < 1 ||
        start + size > shape->dim[axis] || !md__view_axes(view, shape, begin))
        return false;
    int at = begin[axis];
    if (size == shape->dim[axis])
        return true;
    if (begin[axis + 1] != at + 1)
        return false;
    view->offset += start * view->factors[at].stride;
    view->factors[at].size = size;
    struct md__view parts = *view;
    view->count = 0;
    for (int f = 0; f < parts.count; f++)
        if (!push(view, parts.factors[f].size, parts.factors[f].stride))
            return false;
    return true;
}

static bool split(const struct md__rewrite *rewrite, int t, const struct md_node *node, int value,
                  const struct md_shape *shape, struct md__view *view)
{
    int64_t axis = md_node_int(node, "axis", 0), start = 0;
    axis += axis < 0 ? shape->rank : 0;
    for (int i = 0; i < node->out_count; i++) {
        const struct md_value_info *part = md__facts_of(rewrite->facts, t, node->out[i]);
        if (!part || axis < 0 || axis >= shape->rank)
            return false;
        if (node->out[i] == value)
            return cut(view, shape, axis, start, part->shape.dim[axis]);
        start += part->shape.dim[axis];
    }
    return false;
}

/* With constant bounds and steps of 1, one axis after another. */
static bool slice(const struct md__rewrite *rewrite, const struct md_node *node,
                  const struct md_shape *shape, struct md__view *view)
{
    int64_t starts[MD_RANK_MAX], ends[MD_RANK_MAX], axes[MD_RANK_MAX];
    double step = 1;
    int count = md__rw_ints(rewrite, node->in[1], starts, MD_RANK_MAX);
    int step_value = md__body_in(node, 4), axes_value = md__body_in(node, 3);
    if (count < 1 || md__rw_ints(rewrite, node->in[2], ends, MD_RANK_MAX) != count ||
        (step_value != MD_NONE && (!md__rw_number(rewrite, step_value, &step) || step != 1)) ||
        (axes_value != MD_NONE && md__rw_ints(rewrite, axes_value, axes, MD_RANK_MAX) != count))
        return false;
    struct md_shape now = *shape;
    for (int i = 0; i < count; i++) {
        int64_t axis = axes_value == MD_NONE ? i : axes[i];
        axis += axis < 0 ? now.rank : 0;
        if (axis < 0 || axis >= now.rank)
            return false;
        int64_t size = now.dim[axis], start = starts[i] < 0 ? starts[i] + size : starts[i];
        int64_t end = ends[i] < 0 ? ends[i] + size : ends[i] < size ? ends[i] : size;
        if (!cut(view, &now, axis, start, end - start))
            return false;
        now.dim[axis] = end - start;
    }
    return true;
}

static bool gather_one(const struct md__rewrite *rewrite, const struct md_node *node,
                       const struct md_shape *shape, struct md__view *view)
{
    int64_t axis = md_node_int(node, "axis", 0), index;
    axis += axis < 0 ? shape->rank : 0;
    if (axis < 0 || axis >= shape->rank || md__rw_ints(rewrite, node->in[1], &index, 1) != 1)
        return false;
    return cut(view, shape, axis, index < 0 ? index + shape->dim[axis] : index, 1);
}

static bool expand(const struct md_shape *from, const struct md_shape *to, struct md__view *view)
{
    int begin[MD_RANK_MAX + 1];
    struct md__view made = *view;
    if (!md__view_axes(view, from, begin) || from->rank > to->rank)
        return false;
    made.count = 0;
    bool fits = true;
    for (int a = 0; fits && a < to->rank; a++) {
        int own = a - (to->rank - from->rank);
        if (own < 0 || from->dim[own] != to->dim[a])
            fits = push(&made, to->dim[a], 0);
        for (int f = own < 0 ? 0 : begin[own]; fits && own >= 0 && f < begin[own + 1]; f++)
            fits = push(&made, view->factors[f].size, view->factors[f].stride);
    }
    *view = made;
    return fits;
}

/* What Mul and Div by one number do; the operand that is scaled, or MD_NONE. */
static int scaled_operand(const struct md__rewrite *rewrite, const struct md_node *node,
                          double *factor)
{
    for (int i = 1; i >= (node->op == MD_OP_MUL ? 0 : 1); i--) {
        const struct md_tensor *constant = md__rw_weights(rewrite, node->in[i]);
        if (!constant || md_tensor_count(constant) != 1 ||
            constant->shape.rank > md__rw_rank(rewrite, node->in[1 - i]) ||
            !md__rw_number(rewrite, node->in[i], factor))
            continue;
        *factor = node->op == MD_OP_DIV ? 1 / *factor : *factor;
        return node->in[1 - i];
    }
    return MD_NONE;
}

/* What the node before made of its input, or MD_NONE when it is no view. */
static int viewed(const struct md__rewrite *rewrite, const struct md_node *node, bool scaled,
                  double *factor)
{
    *factor = 1;
    switch (node->op) {
    case MD_OP_RESHAPE:
    case MD_OP_SQUEEZE:
    case MD_OP_UNSQUEEZE:
    case MD_OP_FLATTEN:
    case MD_OP_TRANSPOSE:
    case MD_OP_SPLIT:
    case MD_OP_SLICE:
    case MD_OP_GATHER:
    case MD_OP_EXPAND:
        return node->in[0];
    case MD_OP_MUL:
    case MD_OP_DIV:
        return scaled ? scaled_operand(rewrite, node, factor) : MD_NONE;
    default:
        return MD_NONE;
    }
}

static bool follow(const struct md__rewrite *rewrite, int t, int value, bool scaled, int depth,
                   struct md__view *view)
{
    const struct md_value_info *info = md__facts_of(rewrite->facts, t, value), *from;
    int producer = rewrite->graph->values[value].producer, source;
    const struct md_node *node = producer == MD_NONE ? NULL : &rewrite->graph->nodes[producer];
    double factor;
    bool fits = false;
    if (!info)
        return false;
    if (!node || node->region != MD_NONE || depth == DEPTH_MAX ||
        (source = viewed(rewrite, node, scaled, &factor)) == MD_NONE ||
        !(from = md__facts_of(rewrite->facts, t, source)) ||
        !follow(rewrite, t, source, scaled, depth + 1, view))
        return whole(&info->shape, value, view);
    switch (node->op) {
    case MD_OP_TRANSPOSE:
        fits = transpose(node, &from->shape, view);
        break;
    case MD_OP_SPLIT:
        fits = split(rewrite, t, node, value, &from->shape, view);
        break;
    case MD_OP_SLICE:
        fits = slice(rewrite, node, &from->shape, view);
        break;
    case MD_OP_GATHER:
        fits = gather_one(rewrite, node, &from->shape, view);
        break;
    case MD_OP_EXPAND:
        fits = expand(&from->shape, &info->shape, view);
        break;
    default:
        view->scale *= factor;
        fits = true;
    }
    return fits || whole(&info->shape, value, view);
}

bool md__view_of(const struct md__rewrite *rewrite, int t, int value, bool scaled,
                 struct md__view *view)
{
    return follow(rewrite, t, value, scaled, 0, view);
}
