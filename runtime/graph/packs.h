/*
 * Packed weights on disk: a folder with one file for each key, mapped by every process that loads
 * the same model, so that a second load does not pack anew, and where memory counts more than
 * speed, has no pages of its own.
 *
 * A key is the digest of all that decides what is packed and how: the graph as it was built, the
 * switches of its executable, the backend, this very build. Files are the folder owner's alone:
 * neither a folder nor a file that others could write is used, because kernels trust what they
 * prepared. A file that is truncated, damaged or half written does not count as one (sizes,
 * checksums; writing renames). The folder is kept under a number of bytes: what was used least
 * recently goes first.
 */
#ifndef MD_GRAPH_PACKS_H
#define MD_GRAPH_PACKS_H

#include "base/hash.h"
#include "graph/graph.h"

struct md__packs;

struct md__pack {
    struct md_digest key; /* within its file */
    const void *data;     /* flat (backend.h) */
    size_t bytes;
};

/* The file of this key, or NULL when there is none that can be used. */
struct md__packs *md__packs_open(const char *folder, struct md_digest key);
/* No block may be in use any more. NULL is fine. */
void md__packs_close(struct md__packs *packs);
/* A block of it, aligned to 64, or NULL. Its contents have been checked. */
const void *md__packs_find(struct md__packs *packs, struct md_digest key, size_t *bytes);
/* The block was copied: lets go of its pages. */
void md__packs_forget(const void *block, size_t bytes);

/*
 * Makes (or replaces) the file of this key, then lets others go until the folder holds bytes_max.
 * Makes the folder, too. MD_ERR_TOO_LARGE when this file alone is larger.
 */
enum md_status md__packs_write(const char *folder, struct md_digest key,
                               const struct md__pack *packs, int count, size_t bytes_max,
                               struct md_error *err);

/* Everything that a graph means: values, contents of constants, nodes, ports, bodies. */
void md__graph_hash(const struct md_graph *graph, struct md_hash *hash);

#endif
