/* An executable's packed weights on disk: which file is its own, and what goes into it. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "graph/executable_internal.h"
#include "tensor/mapping.h"

#define BYTES_DEFAULT ((size_t)2 << 30)
#define WORTH_BYTES   ((size_t)1 << 20) /* less is packed faster than found */

/* Subgraphs and programs without an identity of their own keep nothing. */
enum md_status md__executable_open_packs(struct md_executable *executable, struct md_error *err)
{
    struct md_executable_options *options = &executable->options;
    struct md_digest build;
    struct md_hash hash;
    const char *folder = options->packs_folder;
    options->packs_folder = NULL; /* the caller's string */
    options->packs_bytes_max = options->packs_bytes_max ? options->packs_bytes_max : BYTES_DEFAULT;
    if (!folder || !md_build_id(&build))
        return MD_OK;
    if (!(executable->packs_folder = strdup(folder)))
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    md_hash_init(&hash);
    md_hash_add(&hash, &build, sizeof build);
    md_hash_text(&hash, options->backend->name);
    md_hash_text(&hash, options->passes_off);
    md_hash_number(&hash, (int64_t)options->prepack_bytes_max);
    md_hash_number(&hash, options->low_memory);
    md__graph_hash(executable->graph, &hash);
    executable->packs_key = md_hash_end(&hash);
    executable->packs = md__packs_open(folder, executable->packs_key);
    return MD_OK;
}

void md__executable_close_packs(struct md_executable *executable)
{
    md__packs_close(executable->packs);
    free(executable->packs_folder);
}

/* ---- how large packed weights may be ---- */

#define GROWTH         3 /* times its weights, that unfolded ones of 3 x 3 taps may add */
#define PREPACK_SPARED ((size_t)64 << 20)

struct growing {
    int node;
    size_t bytes; /* of the weights */
};

static int by_bytes(const void *a, const void *b)
{
    size_t left = ((const struct growing *)a)->bytes, right = ((const struct growing *)b)->bytes;
    return left < right ? 1 : left > right ? -1 : 0;
}

/* Ungrouped convolutions over 3 x 3 taps: those for which it pays to unfold the weights. */
static bool may_grow(const struct md_graph *graph, const struct md_node *node)
{
    const struct md_tensor *w = node->in_count > 1 ? &graph->values[node->in[1]].constant : NULL;
    return node->op == MD_OP_CONV_LAST && w->data && w->shape.rank == 4 && w->shape.dim[2] == 3 &&
           w->shape.dim[3] == 3 && md_node_int(node, "group", 1) == 1;
}

static enum md_status mark_compact(struct md_graph *graph, struct md_node *node,
                                   struct md_error *err)
{
    size_t count = (size_t)node->attr_count;
    struct md_attr *attrs = md_arena_alloc(&graph->arena, (count + 1) * sizeof *attrs);
    if (!attrs)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (count > 0)
        memcpy(attrs, node->attrs, count * sizeof *attrs);
    attrs[count] = (struct md_attr){.name = "compact", .type = MD_ATTR_INT, .i = 1};
    node->attrs = attrs;
    node->attr_count++;
    return MD_OK;
}

/* The largest weights are the first that may not grow: they belong to the smallest pictures. */
static enum md_status bound_growth(struct md_graph *graph, size_t bytes_max, struct md_error *err)
{
    struct growing *list = calloc((size_t)graph->node_count + 1, sizeof *list);
    enum md_status status = list ? MD_OK : md_fail(err, MD_ERR_MEMORY, "out of memory");
    size_t count = 0, growth = 0;
    for (int n = 0; list && n < graph->node_count; n++)
        if (may_grow(graph, &graph->nodes[n])) {
            const struct md_tensor *w = &graph->values[graph->nodes[n].in[1]].constant;
            list[count++] = (struct growing){n, md_tensor_bytes(w)};
            growth += GROWTH * md_tensor_bytes(w);
        }
    if (count > 0)
        qsort(list, count, sizeof *list, by_bytes);
    for (size_t i = 0; i < count && growth > bytes_max && !status; i++) {
        status = mark_compact(graph, &graph->nodes[list[i].node], err);
        growth -= GROWTH * list[i].bytes;
    }
    free(list);
    return status;
}

enum md_status md__executable_bound_packs(struct md_executable *executable, struct md_error *err)
{
    struct md_graph *graph = executable->graph;
    size_t bytes = 0, bytes_max = executable->options.prepack_bytes_max;
    bool low = executable->options.low_memory;
    for (int v = 0; v < graph->value_count; v++)
        bytes += md_tensor_bytes(&graph->values[v].constant);
    if (bytes_max == 0)
        bytes_max = bytes + PREPACK_SPARED;
    enum md_status status = bound_growth(graph, low ? 0 : bytes_max, err);
    for (int v = 0; low && !status && v < graph->value_count; v++) {
        struct md_tensor *constant = &graph->values[v].constant;
        /* a disk that takes nothing costs memory, not the model */
        if (constant->data && md_tensor_spill(constant, NULL, NULL) == MD_OK)
            md_tensor_forget(constant);
    }
    if (low)
        malloc_trim(0);
    return status;
}

/* ---- what goes into the file ---- */

static bool is_kept(const struct md_prepared *item)
{
    return item->data && item->bytes > 0 && !item->kernel->prepared_free;
}

/* Counts what a file would hold, and how many bytes of it are new; fills `packs` unless NULL. */
static int gather(const struct md_executable *executable, struct md__pack *packs, size_t *fresh)
{
    int count = 0;
    *fresh = 0;
    for (int n = 0; n < executable->graph->node_count; n++)
        for (const struct md_prepared *item = executable->prepared[n]; item; item = item->next) {
            if (!is_kept(item))
                continue;
            if (packs)
                packs[count] = (struct md__pack){item->key, item->data, item->bytes};
            *fresh += item->kept ? 0 : item->bytes;
            count++;
        }
    return count;
}

enum md_status md_executable_keep_packs(struct md_executable *executable, struct md_error *err)
{
    size_t fresh = 0;
    int count = executable->packs_folder ? gather(executable, NULL, &fresh) : 0;
    if (fresh < WORTH_BYTES)
        return MD_OK;
    struct md__pack *packs = calloc((size_t)count, sizeof *packs);
    if (!packs)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    gather(executable, packs, &fresh);
    enum md_status status = md__packs_write(executable->packs_folder, executable->packs_key, packs,
                                            count, executable->options.packs_bytes_max, err);
    free(packs);
    return status;
}
