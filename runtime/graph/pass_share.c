/*
 * Sharing: what is known of the future is often the same in every sequence of a batch, hours and
 * positions among others. This pass tells selections of variables to look whether some are, when
 * they run, and to encode those for one sequence only. Whether it is worth looking is the kernel's
 * to judge; results are the same either way.
 */
#include <string.h>

#include "graph/pass.h"

enum md_status md__pass_share(struct md_graph *graph, const struct md_executable_options *options,
                              struct md_pass_report *report, struct md_error *err)
{
    static const struct md_attr share = {.name = "share", .type = MD_ATTR_INT, .i = 1};
    (void)options, (void)report;
    for (int r = 0; r < graph->region_count; r++) {
        struct md_node *fused = &graph->regions[r].fused;
        if (fused->op != MD_OP_VARIABLE_SELECTION || md_node_attr(fused, share.name))
            continue;
        struct md_attr *attrs =
            md_arena_array(&graph->arena, (size_t)fused->attr_count + 1, sizeof *attrs);
        if (!attrs)
            return md_fail(err, MD_ERR_MEMORY, "out of memory");
        memcpy(attrs, fused->attrs, (size_t)fused->attr_count * sizeof *attrs);
        attrs[fused->attr_count++] = share;
        fused->attrs = attrs;
    }
    return MD_OK;
}
