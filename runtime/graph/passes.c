/* The table of passes, in the order in which they run, and the surgery they share. */
#include <stdlib.h>
#include <string.h>

#include "graph/rewrite.h"

/*
 * Quantised networks first, whose weights folding would turn into float32; then folding, so that
 * weights put together from several tensors are constants when lowering shows them to kernels;
 * composing before lowering, which checks what it did; channels_last after it, because it cuts
 * through regions and forgets them; tail, gate and pair for what it made, chain for what is then
 * left; dead code last, because lowering leaves the bodies' constants behind.
 */
static const struct {
    const char *name;
    enum md_status (*run)(struct md_graph *graph, const struct md_executable_options *options,
                          struct md_pass_report *report, struct md_error *err);
} passes[] = {
    /* clang-format off */
    {"dequantized", md__pass_dequantized},
    {"quantized", md__pass_quantized},
    {"fold", md__pass_fold},
    {"branch", md__pass_branch},
    {"identity", md__pass_identity},
    {"pattern", md__pass_pattern},
    {"lookup", md__pass_lookup},
    {"pad", md__pass_pad},
    {"conv", md__pass_conv},
    {"strides", md__pass_strides},
    {"resized", md__pass_resized},
    {"linear", md__pass_linear},
    {"rotary", md__pass_rotary},
    {"attention", md__pass_attention},
    {"slice", md__pass_slice},
    {"compose", md__pass_compose},
    {"share", md__pass_share},
    {"lower", md__pass_lower},
    {"channels_last", md__pass_channels_last},
    {"transpose", md__pass_transpose},
    {"tail", md__pass_tail},
    {"gate", md__pass_gate},
    {"pair", md__pass_pair},
    {"chain", md__pass_chain},
    {"concat", md__pass_concat},
    {"dead", md__pass_dead},
    {"place", NULL}, /* while planning for an accelerator: device_choose.c */
    /* clang-format on */
};
#define PASS_COUNT (sizeof passes / sizeof *passes)

#define FUSED_PREFIX "moondial."

/* The name that switches something off: a pass's, or a fused operator's without its domain. */
static const char *name_of(int i)
{
    int left = i - (int)PASS_COUNT;
    if (left < 0)
        return passes[i].name;
    for (enum md_op op = 0; op < MD_OP_COUNT; op++)
        if (md_op_info(op)->body && left-- == 0)
            return md_op_info(op)->name + strlen(FUSED_PREFIX);
    return NULL;
}

const char *md_executable_pass_name(int i)
{
    return i < 0 ? NULL : name_of(i);
}

bool md__is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    if (list && strcmp(list, "all") == 0)
        return true;
    for (; list && *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == length && strncmp(list, name, length) == 0)
            return true;
    return false;
}

bool md__device_lacks(const struct md_executable_options *options, enum md_op op)
{
    if (!options->accelerator || !md_accelerator_usable(options->accelerator))
        return false;
    const struct md_device_kernel *const *kernels =
        md__accelerator_driver(options->accelerator)->kernels;
    switch (op) {
    case MD_OP_QLINEAR_CONV:
    case MD_OP_QLINEAR_CONV_LAST:
    case MD_OP_CONV_INTEGER_LAST:
    case MD_OP_QLINEAR_ADD:
    case MD_OP_QLINEAR_GEMM: /* written out they are float32 between these two */
        return !kernels[op] && kernels[MD_OP_QUANTIZE_LINEAR] && kernels[MD_OP_DEQUANTIZE_LINEAR];
    default:
        return !kernels[op];
    }
}

static enum md_status check_names(const char *list, struct md_error *err)
{
    if (list && strcmp(list, "all") == 0)
        return MD_OK;
    for (; list && *list; list += strcspn(list, ","), list += *list == ',') {
        size_t length = strcspn(list, ",");
        int i = 0;
        while (name_of(i) &&
               (strlen(name_of(i)) != length || strncmp(name_of(i), list, length) != 0))
            i++;
        if (!name_of(i))
            return md_fail(err, MD_ERR_INVALID, "no graph pass is named \"%.*s\"",
                           (int)(length < 40 ? length : 40), list);
    }
    return MD_OK;
}

enum md_status md__passes_run(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err)
{
    enum md_status status = check_names(options->passes_off, err);
    for (size_t p = 0; !status && p < PASS_COUNT; p++)
        if (passes[p].run && !md__is_listed(options->passes_off, passes[p].name))
            status = passes[p].run(graph, options, report, err);
    md__facts_delete(report->facts);
    report->facts = NULL;
    return status;
}

enum md_status md__graph_compact(struct md_graph *graph, const bool *keep, struct md_error *err)
{
    int *moved = calloc((size_t)graph->node_count + 1, sizeof *moved), kept = 0;
    if (!moved)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (int n = 0; n < graph->node_count; n++) {
        moved[n] = kept;
        if (!keep[n])
            continue;
        graph->nodes[kept] = graph->nodes[n];
        for (int i = 0; i < graph->nodes[kept].out_count; i++)
            graph->values[graph->nodes[kept].out[i]].producer = kept;
        kept++;
    }
    moved[graph->node_count] = kept;
    for (int r = 0; r < graph->region_count; r++) {
        graph->regions[r].node_begin = moved[graph->regions[r].node_begin];
        graph->regions[r].node_end = moved[graph->regions[r].node_end];
    }
    graph->node_count = kept;
    free(moved);
    return MD_OK;
}
