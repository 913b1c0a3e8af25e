/*
 * What control nodes make, without running them: their bodies are traced with what is known of
 * their inputs. For reports and for what serving tells of a model; plans wait for the run.
 *
 * The branches of an If may differ, and what a Loop carries may change its shape: a dimension that
 * does is MD_DIM_DATA, and a value whose type or rank does stays unknown. A body that cannot be
 * traced makes nothing known.
 */
#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"
#include "graph/trace.h"

static const struct md_value_info unknown;

static bool is_known(const struct md_value_info *info)
{
    return info->dtype != 0;
}

/* Traces a body; out[] has a place for each of its outputs. Failures leave them unknown. */
static enum md_status trace_body(const struct md_trace *outer, const struct md_graph *body,
                                 const struct md_value_info *in, struct md_value_info *out,
                                 struct md_error *err)
{
    struct md_trace trace = {0};
    struct md_contents contents = {0};
    struct md_error cause = {0};
    struct md_tensor *inputs = calloc((size_t)body->input_count + 1, sizeof *inputs);
    enum md_status status =
        inputs ? md__trace_init(&trace, body, outer->reference, outer->pool, &cause)
               : md_fail(&cause, MD_ERR_MEMORY, "out of memory");
    for (int i = 0; i < body->output_count; i++)
        out[i] = unknown;
    for (int i = 0; !status && i < body->input_count; i++) {
        /* A file may declare another type than what it hands in: the run will refuse that. */
        bool fits = in[i].dtype == body->values[body->inputs[i].value].dtype;
        inputs[i].shape = in[i].shape;
        inputs[i].data = fits ? (void *)(uintptr_t)in[i].known : NULL;
        if (!fits)
            inputs[i].shape.rank = MD_RANK_UNKNOWN;
    }
    if (!status)
        status = md__trace_all(&trace, inputs, &contents, &cause);
    for (int i = 0; !status && i < body->output_count; i++) {
        out[i] = trace.values[body->outputs[i].value];
        out[i].known = NULL;
    }
    md__trace_fini(&trace);
    md__contents_fini(&contents);
    free(inputs);
    return status == MD_ERR_MEMORY ? md_fail(err, status, "%s", cause.text) : MD_OK;
}

/* What is true of both. */
static struct md_value_info merge(const struct md_value_info *a, const struct md_value_info *b)
{
    struct md_value_info both = *a;
    if (a->dtype != b->dtype || a->shape.rank != b->shape.rank)
        return unknown;
    both.known = NULL;
    for (int i = 0; i < both.shape.rank; i++)
        if (a->shape.dim[i] != b->shape.dim[i])
            both.shape.dim[i] = MD_DIM_DATA;
    return both;
}

/* The slices' shape with an axis of `count` of them. */
static struct md_value_info collected(const struct md_value_info *slice, int64_t axis,
                                      int64_t count)
{
    struct md_value_info whole = *slice;
    int rank = slice->shape.rank + 1;
    axis += axis < 0 ? rank : 0;
    if (!is_known(slice) || rank > MD_RANK_MAX || axis < 0 || axis >= rank)
        return unknown;
    whole.shape.rank = rank;
    for (int i = 0; i < rank; i++)
        whole.shape.dim[i] = i == axis ? count : slice->shape.dim[i - (i > axis)];
    return whole;
}

static struct md_value_info slice_of(const struct md_value_info *whole, int64_t axis,
                                     int64_t *length)
{
    struct md_value_info slice = *whole;
    axis += axis < 0 ? whole->shape.rank : 0;
    if (!is_known(whole) || axis < 0 || axis >= whole->shape.rank)
        return unknown;
    *length = whole->shape.dim[axis];
    slice.known = NULL;
    slice.shape.rank--;
    for (int i = (int)axis; i < slice.shape.rank; i++)
        slice.shape.dim[i] = whole->shape.dim[i + 1];
    return slice;
}

/* in[] and out[] are the node's. */
static enum md_status trace_if(const struct md_trace *trace, const struct md_node *node,
                               const struct md_graph *yes, const struct md_graph *no,
                               const struct md_value_info *in, struct md_value_info *out,
                               struct md_error *err)
{
    int most = yes->output_count > no->output_count ? yes->output_count : no->output_count;
    struct md_value_info *both = calloc(2 * (size_t)most + 1, sizeof *both);
    if (!both)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    enum md_status status = trace_body(trace, yes, in + 1, both, err);
    if (!status)
        status = trace_body(trace, no, in + 1, both + most, err);
    for (int i = 0; !status && i < node->out_count && i < most; i++)
        out[i] = merge(&both[i], &both[most + i]);
    free(both);
    return status;
}

static enum md_status trace_loop(const struct md_trace *trace, const struct md_node *node,
                                 const struct md_graph *body, struct md_value_info *in,
                                 struct md_value_info *out, struct md_error *err)
{
    bool loop = node->op == MD_OP_LOOP, steady = true;
    int captured = (int)md_node_int(node, "moondial.captured", 0);
    int scanned = loop ? 0 : (int)md_node_int(node, "num_scan_inputs", 0);
    int first = loop ? 2 : 0, carried = node->in_count - captured - scanned - first;
    int64_t length = MD_DIM_DATA;
    if (captured < 0 || scanned < 0 || carried < 0 || body->output_count < carried + loop ||
        body->output_count < node->out_count + loop)
        return MD_OK; /* making the executable says what is wrong with it */
    if (loop) {
        in[0] = (struct md_value_info){.dtype = MD_I64};
        in[1] = (struct md_value_info){.dtype = MD_BOOL};
    }
    for (int i = 0; i < carried; i++)
        in[first + i].known = NULL; /* only the first iteration's */
    for (int i = 0; i < scanned; i++)
        in[carried + i] =
            slice_of(&in[carried + i], md_node_ints_at(node, "scan_input_axes", i, 0), &length);
    struct md_value_info *made = calloc((size_t)body->output_count + 1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    enum md_status status = trace_body(trace, body, in, made, err);
    for (int i = 0; !status && i < carried; i++) {
        struct md_value_info kept = merge(&in[first + i], &made[loop + i]);
        steady &= is_known(&kept) && md_shape_equal(&kept.shape, &in[first + i].shape);
        if (i < node->out_count)
            out[i] = kept;
    }
    for (int i = carried; !status && steady && i < node->out_count; i++)
        out[i] = collected(&made[loop + i],
                           md_node_ints_at(node, "scan_output_axes", i - carried, 0), length);
    free(made);
    return status;
}

enum md_status md__trace_control(struct md_trace *trace, const struct md_node *node,
                                 struct md_error *err)
{
    bool branches = node->op == MD_OP_IF;
    const struct md_attr *first = md_node_attr(node, branches ? "then_branch" : "body");
    const struct md_attr *second = md_node_attr(node, branches ? "else_branch" : "body");
    struct md_value_info *in = trace->room.in_info, *out = trace->room.out_info;
    md__trace_infos(trace, node->in, node->in_count, in);
    memset(out, 0, (size_t)node->out_count * sizeof *out);
    if (!first || !second || first->type != MD_ATTR_GRAPH || second->type != MD_ATTR_GRAPH ||
        first->graph->input_count != node->in_count - branches ||
        second->graph->input_count != node->in_count - branches)
        return MD_OK; /* making the executable says what is wrong with it */
    for (int i = 0; i < node->in_count; i++)
        if (is_known(&in[i]) && !md__shape_is_planned(&in[i].shape))
            in[i] = unknown;
    enum md_status status = branches
                                ? trace_if(trace, node, first->graph, second->graph, in, out, err)
                                : trace_loop(trace, node, first->graph, in, out, err);
    for (int i = 0; !status && i < node->out_count; i++)
        trace->values[node->out[i]] = out[i];
    return status;
}
