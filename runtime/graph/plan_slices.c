/*
 * Slices: what Concat joins is made where it will lie, and what Split parts is read where it lies.
 *
 * A value becomes a slice of another when nobody could tell: its maker stores lines of the last
 * axis any number of elements apart, all its readers read them so (md_kernel.pitched), and it lives
 * and dies within this plan. Where all that precedes the axis is one line, a slice is a plain run
 * of memory, which needs nothing of makers and readers. A Concat that lies inside of another one's
 * result passes both on. Then the group is that of the outermost value, the *root*, from the first
 * slice made to the last one read; a Concat or Split copies what could not be a slice, or goes.
 *
 * Only nodes that the pass `concat` has marked are looked at, and only in plans without a device.
 */
#include "graph/device_internal.h"
#include "graph/plan_internal.h"

#define LINE_MIN 8 /* elements: shorter lines cost more to store apart than to copy */

/* How a tensor divides along the axis of a Concat or Split. */
struct cut {
    int axis;
    bool lines; /* many, so that slices have a pitch */
    size_t run; /* elements of a line of the whole, from the axis on */
};

static size_t span(const struct md_shape *shape, int begin, int end)
{
    size_t count = 1;
    for (int i = begin; i < end; i++)
        count *= (size_t)shape->dim[i];
    return count;
}

/* Whether parts of the whole can be slices at all. */
static bool find_cut(const struct md_planner *planner, const struct md_node *node, int whole,
                     struct cut *cut)
{
    const struct md_value_info *info = &planner->trace.values[whole];
    if (!md_node_attr(node, "slices") || !md__trace_sure(&planner->trace, whole) ||
        md__plan_value_bytes(planner, whole) == 0)
        return false;
    int64_t axis = md_node_int(node, "axis", 0);
    axis += axis < 0 ? info->shape.rank : 0;
    if (axis < 0 || axis >= info->shape.rank)
        return false;
    cut->axis = (int)axis;
    cut->lines = span(&info->shape, 0, cut->axis) > 1;
    cut->run = span(&info->shape, cut->axis, info->shape.rank);
    return !(cut->lines || planner->slices[whole].pitch) ||
           (cut->axis == info->shape.rank - 1 && info->dtype == MD_F32);
}

static size_t part_elements(const struct md_planner *planner, const struct cut *cut, int part)
{
    const struct md_shape *shape = &planner->trace.values[part].shape;
    return span(shape, cut->axis, shape->rank);
}

/* The part of the whole that begins `at` elements into its lines. */
static struct md_slice part_of(const struct md_planner *planner, int whole, const struct cut *cut,
                               size_t at)
{
    const struct md_slice *outer = &planner->slices[whole];
    bool inside = outer->root != MD_NONE;
    struct md_slice part = {.root = inside ? outer->root : whole,
                            .offset = at * md_dtype_bytes(planner->trace.values[whole].dtype)};
    part.offset += inside ? outer->offset : 0;
    if (cut->lines)
        part.pitch = inside && outer->pitch ? outer->pitch : cut->run;
    return part;
}

/* What the kernel that the node will get takes with a pitch; 0 where it is none of ours. */
static uint32_t pitched(const struct md_planner *planner, const struct md_node *node)
{
    const struct md_executable_options *options = planner->context->options;
    struct md_tensor *in = planner->trace.room.in;
    md__trace_inputs(&planner->trace, node, false, in);
    const struct md_kernel *kernel = md__kernel_find(options->backend, node, in);
    if (!kernel)
        kernel = md__kernel_find(options->reference, node, in);
    return kernel ? kernel->pitched : 0;
}

/* It runs a kernel of its own; what it makes and reads is told by tensors alone. */
static bool is_plain(const struct md_planner *planner, const struct md_node *node)
{
    return !md_op_is_control(node->op) && !md__plan_is_view(&planner->trace, node);
}

/* It is made, read and dead within this plan. */
static bool is_own(const struct md_planner *planner, int value)
{
    int maker = value == MD_NONE ? MD_NONE : planner->graph->values[value].producer;
    return maker >= planner->plan->node_begin && maker < planner->plan->node_end &&
           !planner->is_output[value] && planner->last_read[value] < planner->plan->node_end &&
           planner->slices[value].root == MD_NONE && md__trace_sure(&planner->trace, value) &&
           md__plan_value_bytes(planner, value) > 0;
}

/* All that read the value take it as a slice. */
static bool readers_take(const struct md_planner *planner, int value, bool lines)
{
    const struct md_graph *graph = planner->graph;
    const struct md_shape *shape = &planner->trace.values[value].shape;
    if (lines && shape->dim[shape->rank - 1] < LINE_MIN)
        return false;
    for (int n = graph->values[value].producer + 1; n <= planner->last_read[value]; n++) {
        const struct md_node *node = &graph->nodes[n];
        uint32_t reads = 0;
        for (int i = 0; i < node->in_count; i++)
            if (node->in[i] == value)
                reads |= lines && i >= 31 ? MD_PITCHED_OUT : MD_PITCHED_IN(i);
        if (reads &&
            (!is_plain(planner, node) || (lines && (pitched(planner, node) & reads) != reads)))
            return false;
    }
    return true;
}

static bool maker_takes(const struct md_planner *planner, int value, bool lines)
{
    const struct md_node *maker = &planner->graph->nodes[planner->graph->values[value].producer];
    return is_plain(planner, maker) && !md__trace_knows(&planner->trace, maker) &&
           (!lines || (pitched(planner, maker) & MD_PITCHED_OUT));
}

static void join(struct md_planner *planner, const struct md_node *node)
{
    struct cut cut;
    size_t at = 0;
    if (md__trace_knows(&planner->trace, node) || !find_cut(planner, node, node->out[0], &cut))
        return;
    for (int i = 0; i < node->in_count; i++) {
        int part = node->in[i];
        if (is_own(planner, part) && maker_takes(planner, part, cut.lines) &&
            readers_take(planner, part, cut.lines))
            planner->slices[part] = part_of(planner, node->out[0], &cut, at);
        at += part_elements(planner, &cut, part);
    }
}

/* The whole then lives as long as what is read of it. */
static void divide(struct md_planner *planner, const struct md_node *node)
{
    struct cut cut;
    int whole = node->in[0];
    size_t at = 0;
    int maker = planner->graph->values[whole].producer;
    if (maker < planner->plan->node_begin || !find_cut(planner, node, whole, &cut) ||
        !is_plain(planner, &planner->graph->nodes[maker]) || md__trace_knows(&planner->trace, node))
        return;
    for (int i = 0; i < node->out_count; i++) {
        int part = node->out[i];
        if (is_own(planner, part) && readers_take(planner, part, cut.lines)) {
            planner->slices[part] = part_of(planner, whole, &cut, at);
            if (planner->last[whole] < planner->last[part])
                planner->last[whole] = planner->last[part];
        }
        at += part_elements(planner, &cut, part);
    }
}

void md__plan_slices(struct md_planner *planner)
{
    const struct md_plan *plan = planner->plan;
    const struct md_node *nodes = planner->graph->nodes;
    if (plan->device)
        return;
    for (int n = plan->node_end; n-- > plan->node_begin;)
        if (nodes[n].op == MD_OP_CONCAT)
            join(planner, &nodes[n]);
    for (int n = plan->node_begin; n < plan->node_end; n++)
        if (nodes[n].op == MD_OP_SPLIT)
            divide(planner, &nodes[n]);
}

int md__plan_place_output(struct md_planner *planner, int value, int n)
{
    int root = planner->slices[value].root == MD_NONE ? value : planner->slices[value].root;
    if (planner->groups[root] == MD_NONE)
        md__plan_add_group(planner, root, (struct md_group){.begin = n});
    struct md_group *group = &planner->plan->groups[planner->groups[root]];
    if (group->end < planner->last[value])
        group->end = planner->last[value];
    return planner->groups[value] = planner->groups[root];
}

bool md__plan_is_joined(struct md_planner *planner, int n)
{
    const struct md_node *node = &planner->graph->nodes[n];
    bool joins = node->op == MD_OP_CONCAT;
    if (!joins && node->op != MD_OP_SPLIT)
        return false;
    int whole = joins ? node->out[0] : node->in[0];
    const struct md_slice *own = &planner->slices[whole];
    int root = own->root == MD_NONE ? whole : own->root;
    int count = joins ? node->in_count : node->out_count;
    struct cut cut;
    size_t at = 0;
    if (planner->plan->device || !find_cut(planner, node, whole, &cut))
        return false;
    for (int i = 0; i < count; i++) {
        int part = joins ? node->in[i] : node->out[i];
        struct md_slice there = part_of(planner, whole, &cut, at);
        if (planner->slices[part].root != root || planner->slices[part].offset != there.offset)
            return false;
        at += part_elements(planner, &cut, part);
    }
    for (int i = 0; i < node->out_count; i++)
        md__plan_place_output(planner, node->out[i], n);
    return true;
}
