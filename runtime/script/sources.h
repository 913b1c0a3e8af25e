/*
 * The texts of one folder's Lua files as one generation sees them. A file is read from disk when it
 * is first asked for and then stays what it was, so that every state of the generation loads the
 * same bytes, however often the disk changes meanwhile, and a rollback needs no disk at all. Each
 * file is compiled once: its bytecode, made by us from text, is what further states load.
 *
 * A *snapshot* also remembers which files were asked for and were not there, and once *sealed* it
 * reads nothing any more: what is not in it does not exist. Shared by reference; every function may
 * be called from any thread.
 */
#ifndef MD_SCRIPT_SOURCES_H
#define MD_SCRIPT_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/status.h"

struct md__sources;

/* One file; constant but for `code`, which is set once, and lives as long as its set. */
struct md__source {
    char *name; /* relative to the folder: "routes.lua" */
    char *text; /* NULL: there is no such file */
    size_t length;
    uint64_t hash; /* FNV-1a of the text */
    struct md_blob *_Atomic code;
    struct md__source *next;
};

/* NULL: no memory */
struct md__sources *md__sources_new(const char *folder, bool snapshot);
/* Files that are in `from` (sealed) with the same text need not be compiled again. */
void md__sources_inherit(struct md__sources *sources, struct md__sources *from);
struct md__sources *md__sources_ref(struct md__sources *sources);
void md__sources_unref(struct md__sources *sources); /* NULL is fine */
void md__sources_seal(struct md__sources *sources);
/* For tests, which may need files that the app does not: what was not asked for yet can be read. */
void md__sources_unseal(struct md__sources *sources);

/* The file, read now when it was not before. MD_ERR_NOT_FOUND and others name the path. */
enum md_status md__sources_get(struct md__sources *sources, const char *name,
                               struct md__source **source, struct md_error *err);
/* Says what a file is to be, before it is asked for: nothing is read for it. */
enum md_status md__sources_put(struct md__sources *sources, const char *name, const char *text,
                               size_t length, struct md_error *err);
/* Keeps the compiled form; the first one wins. */
void md__source_set_code(struct md__source *source, const void *code, size_t length);

/* The files, in the order in which they were read. */
void md__sources_visit(struct md__sources *sources,
                       void (*visit)(void *context, const struct md__source *source),
                       void *context);
/* The folder is still as the snapshot found it, as far as it looked. */
bool md__sources_current(struct md__sources *sources);
/* Appends the names of files that differ or are in one set only, as JSON strings with commas
 * between; both sets are sealed. Nothing is appended when they are the same. */
void md__sources_differences(struct md__sources *sources, struct md__sources *other,
                             struct md_buffer *json);

#endif
