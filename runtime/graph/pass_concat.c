/*
 * Concat and Split that the planner may do without copying (plan_slices.c) get the attribute
 * "slices". So that it finds more of them,
 *
 *     Concat(a, b, c) behind Concat(a, b)            Concat(Concat(a, b), c): dense blocks
 *     Concat(.., every output of Split(x), ..)       Concat(.., x, ..)
 *
 * each on one axis. A value can be a slice of one other only: in a dense block, which joins a first
 * value again and again, each sum of its parts then is the beginning of the next.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/rewrite.h"

#define INPUTS_MAX 128

/* What a Concat joins, written out. */
struct joined {
    int64_t axis;
    int out, count;
    int *in;
};

struct seen {
    struct joined *list;
    int count, capacity;
};

static int64_t axis_of(const struct md__rewrite *rewrite, const struct md_node *node, int value)
{
    int64_t axis = md_node_int(node, "axis", 0);
    return axis < 0 ? axis + md__rw_rank(rewrite, value) : axis;
}

/* The value that `count` inputs from here on are every output of; MD_NONE: none. */
static int find_whole(const struct md__rewrite *rewrite, const int *in, int count, int64_t axis,
                      int *taken)
{
    const struct md_node *split = md__rw_maker(rewrite, in[0], MD_OP_SPLIT);
    if (!split || split->out_count > count || axis_of(rewrite, split, split->in[0]) != axis)
        return MD_NONE;
    for (int i = 0; i < split->out_count; i++)
        if (split->out[i] != in[i])
            return MD_NONE;
    *taken = split->out_count;
    return split->in[0];
}

/* The longest earlier Concat of a run that begins at in[0]. */
static int find_joined(const struct seen *seen, const int *in, int count, int64_t axis, int *taken)
{
    int found = MD_NONE;
    *taken = 1;
    for (int k = 0; k < seen->count; k++) {
        const struct joined *joined = &seen->list[k];
        if (joined->axis != axis || joined->count > count || joined->count <= *taken ||
            memcmp(joined->in, in, (size_t)joined->count * sizeof *in) != 0)
            continue;
        found = joined->out;
        *taken = joined->count;
    }
    return found;
}

/* Inputs with those found put in place of their parts. */
static int shorten(const struct md__rewrite *rewrite, const struct seen *seen, const int *in,
                   int count, int64_t axis, int *made)
{
    int made_count = 0, taken;
    for (int i = 0; i < count; i += taken) {
        int whole = find_joined(seen, in + i, count - i, axis, &taken);
        if (whole == MD_NONE)
            whole = find_whole(rewrite, in + i, count - i, axis, &taken);
        if (whole == MD_NONE) {
            whole = in[i];
            taken = 1;
        }
        made[made_count++] = whole;
    }
    return made_count;
}

static enum md_status remember(struct seen *seen, const int *in, int count, int64_t axis, int out,
                               struct md_error *err)
{
    if (seen->count == seen->capacity) {
        int capacity = seen->capacity * 2 + 16;
        struct joined *list = realloc(seen->list, (size_t)capacity * sizeof *list);
        if (!list)
            return md_fail(err, MD_ERR_MEMORY, "out of memory");
        seen->list = list;
        seen->capacity = capacity;
    }
    int *copy = malloc((size_t)count * sizeof *copy);
    if (!copy)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    memcpy(copy, in, (size_t)count * sizeof *copy);
    seen->list[seen->count++] =
        (struct joined){.axis = axis, .out = out, .count = count, .in = copy};
    return MD_OK;
}

static enum md_status mark_concat(struct md__rewrite *rewrite, int n, struct seen *seen,
                                  struct md_error *err)
{
    const struct md_node *node = &rewrite->graph->nodes[n];
    int in[INPUTS_MAX], made[INPUTS_MAX], count = node->in_count, out;
    int64_t axis = axis_of(rewrite, node, node->out[0]);
    if (count > INPUTS_MAX || axis < 0)
        return MD_OK;
    for (int i = 0; i < count; i++)
        in[i] = node->in[i];
    int made_count = shorten(rewrite, seen, in, count, axis, made);
    if (made_count == 1) {
        md__rw_replace(rewrite, n, made);
        return MD_OK;
    }
    const struct md_attr attrs[] = {MD_INT_ATTR("axis", axis), MD_INT_ATTR("slices", 1)};
    enum md_status status =
        md__rw_node(rewrite, "Concat", made, made_count, attrs, 2, &out, 1, err);
    if (status || !md__rw_replace(rewrite, n, &out))
        return status;
    return remember(seen, in, count, axis, out, err);
}

static enum md_status mark_split(struct md__rewrite *rewrite, int n, struct md_error *err)
{
    const struct md_node *node = &rewrite->graph->nodes[n];
    struct md_attr attrs[4];
    int in[2] = {MD_NONE, MD_NONE}, out[INPUTS_MAX], outs = node->out_count;
    if (outs > INPUTS_MAX || node->attr_count >= 4 || node->in_count > 2)
        return MD_OK;
    memcpy(in, node->in, (size_t)node->in_count * sizeof *in);
    for (int i = 0; i < node->attr_count; i++)
        attrs[i] = node->attrs[i];
    attrs[node->attr_count] = MD_INT_ATTR("slices", 1);
    enum md_status status = md__rw_node(rewrite, "Split", in, node->in_count, attrs,
                                        node->attr_count + 1, out, outs, err);
    if (!status)
        md__rw_replace(rewrite, n, out);
    return status;
}

static enum md_status rule(struct md__rewrite *rewrite, int n, void *context, struct md_error *err)
{
    const struct md_node *node = &rewrite->graph->nodes[n];
    if (md_node_attr(node, "slices") || (node->op != MD_OP_CONCAT && node->op != MD_OP_SPLIT))
        return MD_OK;
    return node->op == MD_OP_CONCAT ? mark_concat(rewrite, n, context, err)
                                    : mark_split(rewrite, n, err);
}

enum md_status md__pass_concat(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, struct md_error *err)
{
    struct seen seen = {0};
    enum md_status status = md__rewrite_run(graph, options, report, rule, &seen, NULL, err);
    for (int k = 0; k < seen.count; k++)
        free(seen.list[k].in);
    free(seen.list);
    return status;
}
