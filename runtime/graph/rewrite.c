/*
 * The machinery beneath passes that rewrite (rewrite.h). Values keep their ids for good, so facts
 * about them stay true from pass to pass. New nodes are appended to the graph by its own builder,
 * with all its checks, remembered with the node that they stand before, and moved there at the end,
 * when nodes that nobody needs are left out. Because a replacement stands where the node stood that
 * it replaces, what it reads was made before.
 */
#include "graph/rewrite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph_internal.h"

#define FUSED_INPUTS_MAX 64
#define DROP_DEPTH_MAX   256 /* makers of makers dropped at once; the rest waits for `dead` */

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory");
}

/* ---- the graph ---- */

/* The node outside regions that makes the value, or NULL. */
static const struct md_node *maker_of(const struct md__rewrite *rewrite, int value)
{
    int n = value == MD_NONE ? MD_NONE : rewrite->graph->values[value].producer;
    const struct md_node *node = n == MD_NONE ? NULL : &rewrite->graph->nodes[n];
    return node && node->region == MD_NONE ? node : NULL;
}

const struct md_node *md__rw_maker(const struct md__rewrite *rewrite, int value, enum md_op op)
{
    const struct md_node *node = maker_of(rewrite, value);
    return node && node->op == op ? node : NULL;
}

bool md__rw_sole(const struct md__rewrite *rewrite, int value)
{
    return value != MD_NONE && rewrite->readers[value] == 1;
}

const struct md_node *md__rw_sole_maker(const struct md__rewrite *rewrite, int value)
{
    return md__rw_sole(rewrite, value) ? maker_of(rewrite, value) : NULL;
}

const struct md_tensor *md__rw_constant(const struct md__rewrite *rewrite, int value)
{
    if (value == MD_NONE || !rewrite->graph->values[value].constant.data)
        return NULL;
    return &rewrite->graph->values[value].constant;
}

const struct md_tensor *md__rw_weights(const struct md__rewrite *rewrite, int value)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    return constant && constant->dtype == MD_F32 ? constant : NULL;
}

/* Element i as a double; false for dtypes that no rule asks about. */
static bool element(const struct md_tensor *tensor, size_t i, double *number)
{
    switch (tensor->dtype) {
    case MD_F32:
        *number = (double)((const float *)tensor->data)[i];
        return true;
    case MD_F64:
        *number = ((const double *)tensor->data)[i];
        return true;
    case MD_I64:
        *number = (double)((const int64_t *)tensor->data)[i];
        return true;
    case MD_I32:
        *number = (double)((const int32_t *)tensor->data)[i];
        return true;
    default:
        return false;
    }
}

bool md__rw_number(const struct md__rewrite *rewrite, int value, double *number)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    size_t count = constant ? md_tensor_count(constant) : 0;
    if (count == 0 || !element(constant, 0, number))
        return false;
    for (size_t i = 1; i < count; i++) {
        double other;
        if (!element(constant, i, &other) || other != *number)
            return false;
    }
    return true;
}

int md__rw_ints(const struct md__rewrite *rewrite, int value, int64_t *ints, int max)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    if (!constant || (constant->dtype != MD_I64 && constant->dtype != MD_I32) ||
        md_tensor_count(constant) > (size_t)max)
        return -1;
    int count = (int)md_tensor_count(constant);
    for (int i = 0; i < count; i++)
        ints[i] = constant->dtype == MD_I64 ? ((const int64_t *)constant->data)[i]
                                            : ((const int32_t *)constant->data)[i];
    return count;
}

static bool is_bound(const struct md__rewrite *rewrite, const struct md_node *node, int i,
                     double *number)
{
    return i >= node->in_count || node->in[i] == MD_NONE ||
           md__rw_number(rewrite, node->in[i], number);
}

const char *md__rw_activation(const struct md__rewrite *rewrite, const struct md_node *node,
                              double numbers[2], int *count)
{
    *count = 0;
    switch (node->op) {
    case MD_OP_RELU:
    case MD_OP_SIGMOID:
    case MD_OP_TANH:
    case MD_OP_HARD_SWISH:
    case MD_OP_MISH:
        break;
    case MD_OP_LEAKY_RELU:
        numbers[(*count)++] = md_node_float(node, "alpha", 0.01);
        break;
    case MD_OP_ELU:
    case MD_OP_SWISH:
        numbers[(*count)++] = md_node_float(node, "alpha", 1);
        break;
    case MD_OP_HARD_SIGMOID:
        numbers[(*count)++] = md_node_float(node, "alpha", 0.2);
        numbers[(*count)++] = md_node_float(node, "beta", 0.5);
        break;
    case MD_OP_GELU:
        numbers[(*count)++] = strcmp(md_node_string(node, "approximate", "none"), "tanh") == 0;
        break;
    case MD_OP_CLIP:
        numbers[(*count)++] = -(double)INFINITY;
        numbers[(*count)++] = (double)INFINITY;
        if (!is_bound(rewrite, node, 1, &numbers[0]) || !is_bound(rewrite, node, 2, &numbers[1]))
            return NULL;
        break;
    default:
        return NULL;
    }
    return md_op_info(node->op)->name;
}

/* ---- changing it ---- */

static enum md_status grow_arrays(struct md__rewrite *rewrite, struct md_error *err)
{
    const struct md_graph *graph = rewrite->graph;
    if (graph->value_count > rewrite->value_capacity) {
        int before = rewrite->value_capacity, capacity = graph->value_count * 5 / 4 + 64;
        int *readers = realloc(rewrite->readers, (size_t)capacity * sizeof *readers);
        rewrite->readers = readers ? readers : rewrite->readers;
        int *renamed = realloc(rewrite->renamed, (size_t)capacity * sizeof *renamed);
        rewrite->renamed = renamed ? renamed : rewrite->renamed;
        if (!readers || !renamed)
            return out_of_memory(err);
        for (int v = before; v < capacity; v++) {
            readers[v] = 0;
            renamed[v] = v;
        }
        rewrite->value_capacity = capacity;
    }
    if (graph->node_count > rewrite->node_capacity) {
        int before = rewrite->node_capacity, capacity = graph->node_count * 5 / 4 + 64;
        bool *keep = realloc(rewrite->keep, (size_t)capacity * sizeof *keep);
        rewrite->keep = keep ? keep : rewrite->keep;
        int *place = realloc(rewrite->place, (size_t)capacity * sizeof *place);
        rewrite->place = place ? place : rewrite->place;
        if (!keep || !place)
            return out_of_memory(err);
        for (int n = before; n < capacity; n++)
            keep[n] = true;
        rewrite->node_capacity = capacity;
    }
    return md__facts_grow(rewrite->facts, graph, err);
}

/* Names stand for names: A for B, B for C. Each step is halved on the way. */
static int resolve(struct md__rewrite *rewrite, int value)
{
    int *renamed = rewrite->renamed;
    while (renamed[value] != value)
        value = renamed[value] = renamed[renamed[value]];
    return value;
}

static void drop_node(struct md__rewrite *rewrite, int n, int depth)
{
    const struct md_graph *graph = rewrite->graph;
    rewrite->keep[n] = false;
    for (int i = 0; i < graph->nodes[n].in_count; i++) {
        int value = graph->nodes[n].in[i];
        if (value == MD_NONE || --rewrite->readers[value] > 0 || depth == DROP_DEPTH_MAX)
            continue;
        int maker = graph->values[value].producer;
        bool read = maker == MD_NONE || graph->nodes[maker].region != MD_NONE;
        for (int k = 0; !read && k < graph->nodes[maker].out_count; k++)
            read = rewrite->readers[graph->nodes[maker].out[k]] > 0;
        if (!read && rewrite->keep[maker])
            drop_node(rewrite, maker, depth + 1);
    }
}

/* Counts what the nodes from `first` on read, and learns what they make. */
static enum md_status take_added(struct md__rewrite *rewrite, int first, struct md_error *err)
{
    struct md_graph *graph = rewrite->graph;
    enum md_status status = grow_arrays(rewrite, err);
    for (int n = first; !status && n < graph->node_count; n++) {
        const struct md_node *node = &graph->nodes[n];
        rewrite->place[n] = rewrite->at;
        for (int i = 0; i < node->in_count; i++)
            if (node->in[i] != MD_NONE)
                rewrite->readers[node->in[i]]++;
        status = md__facts_learn(rewrite->facts, graph, node, err);
    }
    return status;
}

enum md_status md__rw_node(struct md__rewrite *rewrite, const char *op, const int *in, int in_count,
                           const struct md_attr *attrs, int attr_count, int *outputs,
                           int output_count, struct md_error *err)
{
    struct md_graph *graph = rewrite->graph;
    int first = graph->node_count;
    enum md_status status = md_graph_node(graph, op, graph->nodes[rewrite->at].name, in, in_count,
                                          attrs, attr_count, outputs, output_count, err);
    return status ? status : take_added(rewrite, first, err);
}

/* Whether the backend takes the fused node; asked with what every trace knows of its inputs. */
static bool runs(struct md__rewrite *rewrite, const struct md_node *node)
{
    const struct md_executable_options *options = rewrite->options;
    struct md_tensor in[FUSED_INPUTS_MAX];
    for (int t = 0; t < rewrite->facts->count; t++) {
        for (int i = 0; i < node->in_count; i++)
            if (node->in[i] != MD_NONE && !md__facts_of(rewrite->facts, t, node->in[i]))
                return false;
        md__trace_inputs(&rewrite->facts->traces[t], node, false, in);
        if (!md__kernel_find(options->backend, node, in))
            return false;
    }
    return rewrite->facts->count > 0;
}

enum md_status md__rw_fused(struct md__rewrite *rewrite, enum md_op op, const int *in, int in_count,
                            const struct md_attr *attrs, int attr_count, int *output,
                            struct md_error *err)
{
    struct md_graph *graph = rewrite->graph;
    const char *name = md_op_info(op)->name, *dot = strchr(name, '.');
    struct md_node node = {.op = op, .region = MD_NONE, .out_count = 1};
    *output = MD_NONE;
    if (in_count > FUSED_INPUTS_MAX ||
        md__is_listed(rewrite->options->passes_off, dot ? dot + 1 : name) ||
        md__device_lacks(rewrite->options, op))
        return MD_OK;
    enum md_status status = md__graph_node_copy(graph, graph->nodes[rewrite->at].name, in, in_count,
                                                attrs, attr_count, &node, err);
    if (status || !runs(rewrite, &node))
        return status;
    int *out = md_arena_array(&graph->arena, 1, sizeof *out);
    if (!out)
        return out_of_memory(err);
    status = md__graph_value(graph, "", out, err);
    node.out = out;
    if (!status)
        status = md__graph_append(graph, &node, err);
    *output = *out;
    return status ? status : take_added(rewrite, graph->node_count - 1, err);
}

enum md_status md__rw_add_constant(struct md__rewrite *rewrite, const struct md_tensor *tensor,
                                   int *value, struct md_error *err)
{
    enum md_status status = md_graph_constant(rewrite->graph, "", tensor, value, err);
    return status ? status : grow_arrays(rewrite, err);
}

void md__rw_undo(struct md__rewrite *rewrite)
{
    for (int n = rewrite->graph->node_count - 1; n >= rewrite->refused; n--)
        if (rewrite->keep[n])
            drop_node(rewrite, n, DROP_DEPTH_MAX);
    rewrite->refused = rewrite->graph->node_count;
}

/* In every trace in which the old value is known, so is the new one, and alike. */
static bool may_stand_for(const struct md__rewrite *rewrite, int now, int before)
{
    for (int t = 0; t < rewrite->facts->count; t++) {
        const struct md_value_info *old = md__facts_of(rewrite->facts, t, before),
                                   *new = md__facts_of(rewrite->facts, t, now);
        if (old && (!new || new->dtype != old->dtype || !md_shape_equal(&new->shape, &old->shape)))
            return false;
    }
    return true;
}

bool md__rw_replace(struct md__rewrite *rewrite, int n, const int *values)
{
    struct md_graph *graph = rewrite->graph;
    const struct md_node *node = &graph->nodes[n];
    bool fits = true;
    for (int i = 0; i < node->out_count; i++)
        fits &= values[i] == MD_NONE ? rewrite->readers[node->out[i]] == 0
                                     : may_stand_for(rewrite, values[i], node->out[i]);
    if (!fits) {
        md__rw_undo(rewrite);
        return false;
    }
    for (int i = 0; i < node->out_count; i++) {
        int before = node->out[i], now = values[i];
        if (now == MD_NONE || now == before)
            continue;
        rewrite->readers[now] += rewrite->readers[before];
        rewrite->readers[before] = 0;
        rewrite->renamed[before] = now;
        if (!graph->values[now].name[0])
            graph->values[now].name = graph->values[before].name;
    }
    drop_node(rewrite, n, 0);
    rewrite->refused = graph->node_count;
    rewrite->count++;
    return true;
}

/* ---- one walk ---- */

/* Reads of the nodes that matter; the others go, but for those in regions. */
static void count_readers(struct md__rewrite *rewrite)
{
    const struct md_graph *graph = rewrite->graph;
    int *readers = rewrite->readers;
    for (int i = 0; i < graph->output_count; i++)
        readers[graph->outputs[i].value]++;
    for (int r = 0; r < graph->region_count; r++) /* they may read what their bodies do not */
        for (int i = 0; i < graph->regions[r].fused.in_count; i++)
            if (graph->regions[r].fused.in[i] != MD_NONE)
                readers[graph->regions[r].fused.in[i]]++;
    for (int n = graph->node_count - 1; n >= 0; n--) {
        const struct md_node *node = &graph->nodes[n];
        bool read = node->region != MD_NONE;
        for (int i = 0; i < node->out_count; i++)
            read |= readers[node->out[i]] > 0;
        rewrite->keep[n] = read;
        for (int i = 0; read && i < node->in_count; i++)
            if (node->in[i] != MD_NONE)
                readers[node->in[i]]++;
    }
}

/* Nodes of passes that change graphs in ways of their own: what they make is not known yet. */
static enum md_status learn_others(struct md__rewrite *rewrite, struct md_error *err)
{
    const struct md_graph *graph = rewrite->graph;
    enum md_status status = MD_OK;
    for (int n = 0; !status && n < graph->node_count && rewrite->facts->count; n++) {
        const struct md_node *node = &graph->nodes[n];
        bool known = md_op_is_control(node->op);
        for (int i = 0; !known && i < node->out_count; i++)
            known = md__facts_of(rewrite->facts, 0, node->out[i]) != NULL;
        if (!known)
            status = md__facts_learn(rewrite->facts, graph, node, err);
    }
    return status;
}

static enum md_status begin(struct md__rewrite *rewrite, struct md_pass_report *report,
                            struct md_error *err)
{
    enum md_status status = MD_OK;
    if (!report->facts)
        status = md__facts_new(rewrite->graph, rewrite->options, &report->facts, err);
    rewrite->facts = report->facts;
    if (!status)
        status = grow_arrays(rewrite, err);
    if (!status)
        status = learn_others(rewrite, err);
    if (!status)
        count_readers(rewrite);
    rewrite->first_added = rewrite->refused = rewrite->graph->node_count;
    return status;
}

/* Inputs of a node, read by their new names. Nodes share lists of ids with nobody. */
static void rename_ids(struct md__rewrite *rewrite, const int *ids, int count)
{
    int *own = (int *)(uintptr_t)ids;
    for (int i = 0; i < count; i++)
        if (own[i] != MD_NONE)
            own[i] = resolve(rewrite, own[i]);
}

/* All nodes that stay, in their new order, into `nodes`; moved[] tells where each went. */
static int put_in_order(const struct md__rewrite *rewrite, struct md_node *nodes, int *moved)
{
    const struct md_graph *graph = rewrite->graph;
    int count = 0, added = rewrite->first_added;
    for (int n = 0; n < rewrite->first_added; n++) {
        for (; added < graph->node_count && rewrite->place[added] == n; added++) {
            moved[added] = count;
            if (rewrite->keep[added])
                nodes[count++] = graph->nodes[added];
        }
        moved[n] = count;
        if (rewrite->keep[n])
            nodes[count++] = graph->nodes[n];
    }
    return count;
}

/* A region's nodes are neighbours before and after. */
static void move_region(struct md_region *region, const struct md__rewrite *rewrite,
                        const int *moved)
{
    int begin = region->node_begin, end = region->node_end;
    if (begin == end) {
        region->node_begin = region->node_end = 0;
        return;
    }
    region->node_begin = moved[begin];
    region->node_end = moved[end - 1] + rewrite->keep[end - 1];
}

static enum md_status end(struct md__rewrite *rewrite, struct md_error *err)
{
    struct md_graph *graph = rewrite->graph;
    size_t room = (size_t)graph->node_count + 1;
    struct md_node *nodes = calloc(room, sizeof *nodes);
    int *moved = calloc(room, sizeof *moved);
    enum md_status status = nodes && moved ? MD_OK : out_of_memory(err);
    if (!status) {
        int count = put_in_order(rewrite, nodes, moved);
        memcpy(graph->nodes, nodes, (size_t)count * sizeof *nodes);
        graph->node_count = count;
        for (int n = 0; n < count; n++) { /* also of regions: their rules never saw them */
            rename_ids(rewrite, nodes[n].in, nodes[n].in_count);
            for (int i = 0; i < nodes[n].out_count; i++)
                graph->values[nodes[n].out[i]].producer = n;
        }
        for (int r = 0; r < graph->region_count; r++) {
            move_region(&graph->regions[r], rewrite, moved);
            rename_ids(rewrite, graph->regions[r].fused.in, graph->regions[r].fused.in_count);
        }
        for (int i = 0; i < graph->output_count; i++)
            graph->outputs[i].value = resolve(rewrite, graph->outputs[i].value);
    }
    free(nodes);
    free(moved);
    return status;
}

enum md_status md__rewrite_run(struct md_graph *graph, const struct md_executable_options *options,
                               struct md_pass_report *report, md__rule rule, void *context,
                               int *count, struct md_error *err)
{
    struct md__rewrite rewrite = {.graph = graph, .options = options};
    enum md_status status = begin(&rewrite, report, err);
    for (int n = 0; !status && n < rewrite.first_added; n++) {
        rename_ids(&rewrite, graph->nodes[n].in, graph->nodes[n].in_count);
        if (!rewrite.keep[n] || graph->nodes[n].region != MD_NONE)
            continue;
        rewrite.at = n;
        rewrite.refused = graph->node_count;
        status = rule(&rewrite, n, context, err);
    }
    /* Also after a failure nodes and values must fit together: what was added is gone then. */
    if (status)
        graph->node_count = rewrite.first_added;
    else if (rewrite.count)
        status = end(&rewrite, err);
    if (count)
        *count = rewrite.count;
    free(rewrite.readers);
    free(rewrite.renamed);
    free(rewrite.keep);
    free(rewrite.place);
    return status;
}
