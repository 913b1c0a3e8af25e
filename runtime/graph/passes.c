/* The table of passes, in the order in which they run, and the surgery they share. */
#include <stdlib.h>
#include <string.h>

#include "graph/pass.h"

/*
 * Folding first, so that weights put together from several tensors are constants when lowering
 * shows them to kernels; dead code last, because lowering leaves the bodies' constants behind.
 */
static const struct {
    const char *name;
    enum md_status (*run)(struct md_graph *graph, const struct md_executable_options *options,
                          struct md_pass_report *report, struct md_error *err);
} passes[] = {
    {"fold", md__pass_fold},
    {"branch", md__pass_branch},
    {"lower", md__pass_lower},
    {"dead", md__pass_dead},
};
#define PASS_COUNT (sizeof passes / sizeof *passes)

/* Bit p is set when the comma-separated list names pass p. */
static enum md_status parse_off(const char *list, unsigned *off, struct md_error *err)
{
    *off = 0;
    while (list && *list) {
        size_t length = strcspn(list, ","), p = 0;
        while (p < PASS_COUNT &&
               (strlen(passes[p].name) != length || strncmp(passes[p].name, list, length) != 0))
            p++;
        if (p == PASS_COUNT)
            return md_fail(err, MD_ERR_INVALID, "no graph pass is named \"%.*s\"",
                           (int)(length < 40 ? length : 40), list);
        *off |= 1u << p;
        list += length + (list[length] == ',');
    }
    return MD_OK;
}

enum md_status md__passes_run(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err)
{
    unsigned off;
    enum md_status status = parse_off(options->passes_off, &off, err);
    for (size_t p = 0; !status && p < PASS_COUNT; p++)
        if (!(off >> p & 1))
            status = passes[p].run(graph, options, report, err);
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
