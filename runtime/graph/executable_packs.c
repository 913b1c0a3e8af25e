/* An executable's packed weights on disk: which file is its own, and what goes into it. */
#include <stdlib.h>
#include <string.h>

#include "graph/executable_internal.h"

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
            *fresh += item->mapped ? 0 : item->bytes;
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
