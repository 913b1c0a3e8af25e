/*
 * Lowering: a region, the body of a fused operator, is replaced by the operator itself when the
 * backend has a kernel that accepts it and whose numbers agree with the body's.
 *
 * The check runs both on random inputs at the symbols' sample sizes and once more at larger ones,
 * so that a kernel's main loop and its tail are both seen; constant inputs are used as they are. A
 * kernel that disagrees costs speed, not correctness: the primitives stay, a warning is logged and
 * the report counts it. Outermost regions are tried first.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "graph/graph_internal.h"
#include "graph/pass.h"
#include "graph/trace.h"

#define CHECK_BYTES_MAX ((size_t)256 << 20) /* of one node's outputs */
#define CHECK_TOLERANCE 1e-4                /* of the largest output */
/* One chance draw near a division by a tiny variance is no disagreement. */
#define CHECK_SEEDS 2

/*
 * The second check, at larger sizes, is left out once the checks have cost this much: a model with
 * that much weight would take minutes to load.
 */
#define CHECK_LARGER_FLOPS 2e9

enum verdict { AGREES, DISAGREES, UNSUITABLE };

struct lowering {
    struct md_graph *graph;
    const struct md_executable_options *options;
    struct md_trace traces[2]; /* at the sample sizes, and at larger ones */
    struct md_contents contents[2];
    int trace_count;
    struct md_plan_report spent;
    struct md_tensor *values; /* of the region being checked, by value id */
    int *last_reader;
    struct md_node_room room;
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static double uniform(uint64_t *state)
{
    return ((double)(next_random(state) >> 11) + 0.5) / 9007199254740992.0;
}

/* Floats from N(0, 1) by Box and Muller, integers 0 or 1 (valid for any index into two or more),
 * booleans. */
static bool fill_random(struct md_tensor *tensor, uint64_t *state)
{
    size_t count = md_tensor_count(tensor);
    for (size_t i = 0; i < count; i++) {
        double u = uniform(state), v = uniform(state);
        if (tensor->dtype == MD_F32)
            ((float *)tensor->data)[i] = (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
        else if (tensor->dtype == MD_I64)
            ((int64_t *)tensor->data)[i] = u < 0.5;
        else if (tensor->dtype == MD_I32)
            ((int32_t *)tensor->data)[i] = u < 0.5;
        else if (tensor->dtype == MD_BOOL)
            ((uint8_t *)tensor->data)[i] = u < 0.5;
        else
            return false;
    }
    return true;
}

/* NaN agrees with NaN; a difference is measured against the largest finite magnitude. */
static bool tensors_agree(const struct md_tensor *want, const struct md_tensor *have)
{
    size_t count = md_tensor_count(want);
    const float *a = want->data, *b = have->data;
    double largest = 0, difference = 0;
    if (want->dtype != have->dtype || !md_shape_equal(&want->shape, &have->shape))
        return false;
    if (want->dtype != MD_F32)
        return memcmp(a, b, md_tensor_bytes(want)) == 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(a[i]) || isinf(a[i])) {
            if (isnan(a[i]) ? !isnan(b[i]) : a[i] != b[i])
                return false;
            continue;
        }
        if (!isfinite(b[i]))
            return false;
        largest = fmax(largest, fabs((double)a[i]));
        difference = fmax(difference, fabs((double)a[i] - (double)b[i]));
    }
    return difference <= CHECK_TOLERANCE * largest + 1e-6;
}

/* Forgets the inputs and results of one check. */
static void drop_values(struct lowering *lowering, const struct md_region *region)
{
    for (int i = 0; i < region->fused.in_count; i++)
        if (region->fused.in[i] != MD_NONE)
            md_tensor_unref(&lowering->values[region->fused.in[i]]);
    for (int n = region->node_begin; n < region->node_end; n++)
        for (int i = 0; i < lowering->graph->nodes[n].out_count; i++)
            md_tensor_unref(&lowering->values[lowering->graph->nodes[n].out[i]]);
}

/* The fused operator's inputs: constants and contents known to the trace as they are, the others
 * random. */
static enum md_status make_inputs(struct lowering *lowering, const struct md_trace *trace,
                                  const struct md_node *fused, uint64_t seed, struct md_error *err)
{
    uint64_t state = 0x9e3779b97f4a7c15u * (seed + 1);
    for (int i = 0; i < fused->in_count; i++) {
        int v = fused->in[i];
        if (v == MD_NONE || lowering->values[v].data)
            continue;
        const struct md_value_info *info = &trace->values[v];
        if (info->known) {
            lowering->values[v] =
                (struct md_tensor){info->dtype, info->shape, (void *)(uintptr_t)info->known, NULL};
            continue;
        }
        enum md_status status = md_tensor_new(info->dtype, &info->shape, &lowering->values[v], err);
        if (status)
            return status;
        if (!fill_random(&lowering->values[v], &state))
            return md_fail(err, MD_ERR_UNSUPPORTED, "no random %s", md_dtype_name(info->dtype));
    }
    return MD_OK;
}

static void gather_inputs(struct lowering *lowering, const struct md_node *node)
{
    for (int i = 0; i < node->in_count; i++) {
        int v = node->in[i];
        lowering->room.in[i] = (struct md_tensor){0};
        if (v == MD_NONE)
            continue;
        lowering->room.in[i] =
            lowering->values[v].data ? lowering->values[v] : lowering->graph->values[v].constant;
    }
}

/* Runs the body with the reference kernels; results stay in lowering->values. */
static enum md_status run_body(struct lowering *lowering, const struct md_region *region,
                               struct md_error *err)
{
    const struct md_executable_options *options = lowering->options;
    for (int n = region->node_begin; n < region->node_end; n++) {
        const struct md_node *node = &lowering->graph->nodes[n];
        gather_inputs(lowering, node);
        enum md_status status =
            md__evaluate_node(options->reference, options->pool, node, lowering->room.in,
                              lowering->room.in, lowering->room.out, CHECK_BYTES_MAX, err);
        if (status)
            return status;
        for (int i = 0; i < node->out_count; i++)
            lowering->values[node->out[i]] = lowering->room.out[i];
    }
    return MD_OK;
}

/* One comparison on one draw of inputs. */
static enum verdict compare(struct lowering *lowering, const struct md_region *region,
                            const struct md_trace *trace, uint64_t seed)
{
    const struct md_node *fused = &region->fused;
    const struct md_executable_options *options = lowering->options;
    struct md_tensor *out = lowering->room.out;
    struct md_error err = {0};
    enum verdict verdict = AGREES;
    enum md_status status = make_inputs(lowering, trace, fused, seed, &err);
    if (!status)
        status = run_body(lowering, region, &err);
    if (!status) {
        gather_inputs(lowering, fused);
        md__trace_inputs(trace, fused, false, lowering->room.shown);
        status = md__evaluate_node(options->backend, options->pool, fused, lowering->room.in,
                                   lowering->room.shown, out, CHECK_BYTES_MAX, &err);
    }
    for (int i = 0; !status && i < fused->out_count; i++) {
        if (!tensors_agree(&lowering->values[fused->out[i]], &out[i]))
            verdict = DISAGREES;
        md_tensor_unref(&out[i]);
    }
    drop_values(lowering, region);
    md__trace_infos(trace, fused->in, fused->in_count, lowering->room.in_info);
    md__trace_infos(trace, fused->out, fused->out_count, lowering->room.out_info);
    md__node_cost(fused, lowering->room.in_info, lowering->room.out_info, &lowering->spent);
    if (!status)
        return verdict;
    md_log(MD_LOG_DEBUG, "graph", "%s \"%s\" stays primitive: %s", md_op_info(fused->op)->name,
           fused->name, err.text);
    return UNSUITABLE;
}

/* Inputs that planning would show to the kernel: data only for constants. */
static bool accepted(struct lowering *lowering, const struct md_node *fused)
{
    for (int t = 0; t < lowering->trace_count; t++) {
        const struct md_trace *trace = &lowering->traces[t];
        for (int i = 0; i < fused->in_count; i++)
            if (fused->in[i] != MD_NONE && !md__trace_sure(trace, fused->in[i]))
                return false;
        for (int i = 0; i < fused->out_count; i++)
            if (!md__trace_sure(trace, fused->out[i]))
                return false;
        md__trace_inputs(trace, fused, false, lowering->room.in);
        if (!md__kernel_find(lowering->options->backend, fused, lowering->room.in))
            return false;
    }
    return lowering->trace_count > 0;
}

static enum verdict judge(struct lowering *lowering, const struct md_region *region)
{
    if (!accepted(lowering, &region->fused))
        return UNSUITABLE;
    enum verdict verdict = AGREES;
    for (int t = 0; t < lowering->trace_count && verdict == AGREES; t++) {
        if (t > 0 && lowering->spent.flops > CHECK_LARGER_FLOPS)
            break;
        verdict = DISAGREES;
        for (uint64_t seed = 0; seed < CHECK_SEEDS && verdict == DISAGREES; seed++)
            verdict = compare(lowering, region, &lowering->traces[t], seed);
    }
    return verdict;
}

/* Puts the fused node where the body ended and marks the rest of the body for removal. */
static void replace(struct md_graph *graph, const struct md_region *region, bool *keep)
{
    struct md_node *last = &graph->nodes[region->node_end - 1];
    for (int n = region->node_begin; n < region->node_end - 1; n++)
        keep[n] = false;
    *last = region->fused;
    last->region = region->parent;
}

/* The last node that reads each value; node_count for outputs of the graph. */
static void find_last_readers(const struct md_graph *graph, int *last)
{
    for (int n = 0; n < graph->node_count; n++)
        for (int i = 0; i < graph->nodes[n].in_count; i++)
            if (graph->nodes[n].in[i] != MD_NONE)
                last[graph->nodes[n].in[i]] = n;
    for (int i = 0; i < graph->output_count; i++)
        last[graph->outputs[i].value] = graph->node_count;
}

/* Something but the operator's outputs is read outside the region: it must stay written out. */
static bool leaks(const struct lowering *lowering, const struct md_region *region)
{
    for (int n = region->node_begin; n < region->node_end; n++) {
        const struct md_node *node = &lowering->graph->nodes[n];
        for (int i = 0; i < node->out_count; i++) {
            bool result = false;
            for (int k = 0; k < region->fused.out_count; k++)
                result |= region->fused.out[k] == node->out[i];
            if (!result && lowering->last_reader[node->out[i]] >= region->node_end)
                return true;
        }
    }
    return false;
}

/* Folding may have computed the result already. */
static bool is_constant(const struct md_graph *graph, const struct md_node *fused)
{
    for (int i = 0; i < fused->out_count; i++)
        if (graph->values[fused->out[i]].constant.data)
            return true;
    return false;
}

static void lower_region(struct lowering *lowering, int r, bool *done, bool *keep,
                         struct md_pass_report *report)
{
    struct md_graph *graph = lowering->graph;
    const struct md_region *region = &graph->regions[r];
    const struct md_kernel *kernel = lowering->options->backend->kernels[region->op];
    done[r] = region->parent != MD_NONE && done[region->parent];
    if (done[r] || region->node_begin == region->node_end || is_constant(graph, &region->fused))
        return;
    bool wanted = kernel && !md__device_lacks(lowering->options, region->op) &&
                  !md__is_listed(lowering->options->passes_off,
                                           strchr(md_op_info(region->op)->name, '.') + 1);
    enum verdict verdict =
        wanted && !leaks(lowering, region) ? judge(lowering, region) : UNSUITABLE;
    if (verdict == AGREES) {
        replace(graph, region, keep);
        done[r] = true;
        report->regions_lowered++;
    } else {
        report->regions_kept += region->parent == MD_NONE;
    }
    if (verdict == DISAGREES) {
        report->regions_disagreed++;
        md_log(MD_LOG_WARN, "graph", "%s \"%s\": kernel of %s disagrees with its body, not used",
               md_op_info(region->op)->name, region->fused.name, lowering->options->backend->name);
    }
}

/* One more trace, at sample sizes; `cause` says why not. MD_ERR_MEMORY alone is fatal. */
static enum md_status trace_at(struct lowering *lowering, const struct md_tensor *inputs,
                               struct md_error *cause)
{
    int t = lowering->trace_count;
    enum md_status status =
        md__trace_init(&lowering->traces[t], lowering->graph, lowering->options->reference,
                       lowering->options->pool, cause);
    if (status)
        return status;
    status = md__trace_all(&lowering->traces[t], inputs, &lowering->contents[t], cause);
    if (!status) {
        lowering->trace_count++;
        return MD_OK;
    }
    md__trace_fini(&lowering->traces[t]);
    md__contents_fini(&lowering->contents[t]);
    return status == MD_ERR_MEMORY ? status : MD_OK;
}

/* A model that has no shapes at its sample sizes (say, a fixed minimum length) keeps its
 * primitives. */
static enum md_status trace_samples(struct lowering *lowering, struct md_error *err)
{
    const struct md_graph *graph = lowering->graph;
    struct md_error cause = {0};
    struct md_tensor *inputs = calloc((size_t)graph->input_count + 1, sizeof *inputs);
    enum md_status status = inputs ? MD_OK : md_fail(&cause, MD_ERR_MEMORY, "out of memory");
    for (int t = 0; !status && t < 2; t++) {
        md__sample_shapes(graph, t == 1, inputs);
        status = trace_at(lowering, inputs, &cause);
    }
    free(inputs);
    if (status && err)
        *err = cause;
    if (!status && lowering->trace_count == 0)
        md_log(MD_LOG_WARN, "graph", "\"%s\" has no shapes at its sample sizes, not lowered: %s",
               graph->name, cause.text);
    return status;
}

enum md_status md__pass_lower(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err)
{
    struct lowering lowering = {.graph = graph, .options = options};
    bool *keep = calloc((size_t)graph->node_count + 1, sizeof *keep);
    bool *done = calloc((size_t)graph->region_count + 1, sizeof *done);
    lowering.last_reader = calloc((size_t)graph->value_count + 1, sizeof *lowering.last_reader);
    lowering.values = calloc((size_t)graph->value_count + 1, sizeof *lowering.values);
    enum md_status status = MD_OK;
    if (graph->region_count == 0)
        goto out;
    if (!keep || !done || !lowering.values || !lowering.last_reader)
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (!status)
        status = md__node_room_init(&lowering.room, graph, err);
    if (!status)
        status = trace_samples(&lowering, err);
    if (status)
        goto out;
    memset(keep, true, (size_t)graph->node_count);
    find_last_readers(graph, lowering.last_reader);
    /* Regions are listed in the order in which they were opened: a parent comes before its
     * children. */
    for (int r = 0; r < graph->region_count; r++)
        lower_region(&lowering, r, done, keep, report);
    status = md__graph_compact(graph, keep, err);
out:
    for (int t = 0; t < lowering.trace_count; t++) {
        md__trace_fini(&lowering.traces[t]);
        md__contents_fini(&lowering.contents[t]);
    }
    md__node_room_fini(&lowering.room);
    free(lowering.values);
    free(lowering.last_reader);
    free(done);
    free(keep);
    return status;
}
