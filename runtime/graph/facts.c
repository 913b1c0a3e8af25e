/*
 * What passes know of values: traces of the graph at several unlike sizes of its symbols, kept from
 * pass to pass (rewrite.h says what they prove and what not).
 */
#include <stdlib.h>

#include "graph/graph_internal.h"
#include "graph/rewrite.h"

static enum md_status out_of_memory(struct md_error *err)
{
    return md_fail(err, MD_ERR_MEMORY, "out of memory");
}

void md__facts_delete(struct md__facts *facts)
{
    for (int t = 0; facts && t < facts->count; t++) {
        md__trace_fini(&facts->traces[t]);
        md__contents_fini(&facts->contents[t]);
    }
    free(facts);
}

/* Sizes for trace t: those of lowering first, then ones in which no two symbols are alike. */
static void sizes_for(const struct md_graph *graph, int t, struct md_tensor *inputs)
{
    md__sample_shapes(graph, t == 1, inputs);
    for (int i = 0; t >= 2 && i < graph->input_count; i++) {
        const struct md_shape *declared = &graph->values[graph->inputs[i].value].shape;
        for (int d = 0; d < declared->rank; d++) {
            if (declared->dim[d] >= 0)
                continue;
            int symbol = MD_SYMBOL_INDEX(declared->dim[d]);
            int64_t sample = graph->symbol_samples[symbol];
            inputs[i].shape.dim[d] =
                t == 2 ? 5 * sample + 2 * symbol + 1 : 40 * sample + 17 * symbol + 32;
        }
    }
}

/* Sizes that the graph cannot have are no failure: there is one trace fewer. */
static enum md_status trace_at(struct md__facts *facts, const struct md_graph *graph, int t,
                               const struct md_executable_options *options,
                               struct md_tensor *inputs, struct md_error *err)
{
    struct md_error cause = {0};
    struct md_trace *trace = &facts->traces[facts->count];
    struct md_contents *contents = &facts->contents[facts->count];
    sizes_for(graph, t, inputs);
    enum md_status status = md__trace_init(trace, graph, options->reference, options->pool, &cause);
    if (!status && !(status = md__trace_all(trace, inputs, contents, &cause))) {
        facts->count++;
        return MD_OK;
    }
    md__trace_fini(trace);
    md__contents_fini(contents);
    return status == MD_ERR_MEMORY ? out_of_memory(err) : MD_OK;
}

enum md_status md__facts_new(const struct md_graph *graph,
                             const struct md_executable_options *options, struct md__facts **made,
                             struct md_error *err)
{
    struct md_tensor *inputs = calloc((size_t)graph->input_count + 1, sizeof *inputs);
    struct md__facts *facts = calloc(1, sizeof *facts);
    enum md_status status = inputs && facts ? MD_OK : out_of_memory(err);
    int most = graph->symbol_count ? MD_REWRITE_TRACES : 1;
    for (int t = 0; !status && t < most; t++)
        status = trace_at(facts, graph, t, options, inputs, err);
    free(inputs);
    if (facts)
        facts->capacity = facts->seen = graph->value_count;
    if (status) {
        md__facts_delete(facts);
        facts = NULL;
    }
    *made = facts;
    return status;
}

/* Places for values that were added since, some of them constants. */
enum md_status md__facts_grow(struct md__facts *facts, const struct md_graph *graph,
                              struct md_error *err)
{
    int capacity = graph->value_count * 5 / 4 + 64;
    for (int t = 0; graph->value_count > facts->capacity && t < facts->count; t++) {
        struct md_trace *trace = &facts->traces[t];
        void *larger = realloc(trace->values, (size_t)capacity * sizeof *trace->values);
        if (!larger)
            return out_of_memory(err);
        trace->values = larger;
    }
    if (graph->value_count > facts->capacity)
        facts->capacity = capacity;
    for (; facts->seen < graph->value_count; facts->seen++)
        for (int t = 0; t < facts->count; t++)
            md__trace_forget(&facts->traces[t], facts->seen);
    return MD_OK;
}

/* What the node makes, in every trace; unknown where its rule cannot tell. */
enum md_status md__facts_learn(struct md__facts *facts, const struct md_graph *graph,
                               const struct md_node *node, struct md_error *err)
{
    int width = node->in_count > node->out_count ? node->in_count : node->out_count;
    for (int t = 0; t < facts->count; t++) {
        struct md_trace *trace = &facts->traces[t];
        enum md_status status = MD_OK;
        bool sure = true;
        for (int i = 0; i < node->in_count; i++)
            sure &= node->in[i] == MD_NONE || md__trace_sure(trace, node->in[i]);
        if (!sure)
            continue;
        if (width > facts->widest) {
            md__node_room_fini(&trace->room);
            status = md__node_room_init(&trace->room, graph, err);
        }
        if (!status && md__trace_node(trace, node, &facts->contents[t], NULL) == MD_ERR_MEMORY)
            status = out_of_memory(err);
        if (status)
            return status;
    }
    facts->widest = width > facts->widest ? width : facts->widest;
    return MD_OK;
}

const struct md_value_info *md__facts_of(const struct md__facts *facts, int t, int value)
{
    const struct md_trace *trace = &facts->traces[t];
    return value != MD_NONE && md__trace_sure(trace, value) ? &trace->values[value] : NULL;
}

bool md__sizes_are_fixed(const struct md_graph *graph)
{
    bool fixed = true;
    for (int i = 0; i < graph->input_count; i++) {
        const struct md_shape *shape = &graph->values[graph->inputs[i].value].shape;
        fixed &= shape->rank >= 0;
        for (int d = 0; d < shape->rank; d++)
            fixed &= shape->dim[d] >= 0;
    }
    return fixed;
}

static const struct md_value_info *fact(const struct md__rewrite *rewrite, int t, int value)
{
    return md__facts_of(rewrite->facts, t, value);
}

enum md_dtype md__rw_dtype(const struct md__rewrite *rewrite, int value)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    if (constant)
        return constant->dtype;
    enum md_dtype dtype = 0;
    for (int t = 0; t < rewrite->facts->count; t++) {
        const struct md_value_info *info = fact(rewrite, t, value);
        if (!info || (dtype && info->dtype != dtype))
            return 0;
        dtype = info->dtype;
    }
    return dtype;
}

int md__rw_rank(const struct md__rewrite *rewrite, int value)
{
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    if (constant)
        return constant->shape.rank;
    int rank = -1;
    for (int t = 0; t < rewrite->facts->count; t++) {
        const struct md_value_info *info = fact(rewrite, t, value);
        if (!info || (rank >= 0 && info->shape.rank != rank))
            return -1;
        rank = info->shape.rank;
    }
    return rank;
}

int64_t md__rw_dim(const struct md__rewrite *rewrite, int value, int axis)
{
    int rank = md__rw_rank(rewrite, value);
    axis += axis < 0 ? rank : 0;
    if (rank < 0 || axis < 0 || axis >= rank)
        return -1;
    const struct md_tensor *constant = md__rw_constant(rewrite, value);
    if (constant)
        return constant->shape.dim[axis];
    int64_t dim = fact(rewrite, 0, value)->shape.dim[axis];
    for (int t = 1; t < rewrite->facts->count; t++)
        if (fact(rewrite, t, value)->shape.dim[axis] != dim)
            return -1;
    return dim;
}

bool md__rw_same_shape(const struct md__rewrite *rewrite, int a, int b)
{
    bool same = rewrite->facts->count > 0;
    for (int t = 0; same && t < rewrite->facts->count; t++) {
        const struct md_value_info *x = fact(rewrite, t, a), *y = fact(rewrite, t, b);
        same = x && y && md_shape_equal(&x->shape, &y->shape);
    }
    return same;
}

bool md__rw_alike(const struct md__rewrite *rewrite, int a, int b)
{
    enum md_dtype dtype = md__rw_dtype(rewrite, a);
    return dtype && dtype == md__rw_dtype(rewrite, b) && md__rw_same_shape(rewrite, a, b);
}
