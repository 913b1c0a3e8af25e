/*
 * Files in memory; see sources.h. Entries form a list that only grows, under a lock: a folder has a
 * few dozen files.
 */
#include "script/sources.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_out.h"

enum { PATH_BYTES = 4096 };

static const size_t source_bytes_max = (size_t)4 << 20;

struct md__sources {
    _Atomic int refs;
    pthread_mutex_t lock;
    char *folder;
    bool snapshot, sealed;
    struct md__sources *from; /* NULL: none, or sealed */
    struct md__source *first, **end;
};

/* ---- life ------------------------------------------------------------------------------------ */

struct md__sources *md__sources_new(const char *folder, bool snapshot)
{
    struct md__sources *sources = calloc(1, sizeof *sources);
    if (sources == NULL || (sources->folder = strdup(folder)) == NULL) {
        free(sources);
        return NULL;
    }
    atomic_init(&sources->refs, 1);
    pthread_mutex_init(&sources->lock, NULL);
    sources->snapshot = snapshot;
    sources->end = &sources->first;
    return sources;
}

struct md__sources *md__sources_ref(struct md__sources *sources)
{
    atomic_fetch_add(&sources->refs, 1);
    return sources;
}

static void source_delete(struct md__source *source)
{
    md_blob_unref(atomic_load(&source->code));
    free(source->name);
    free(source->text);
    free(source);
}

void md__sources_unref(struct md__sources *sources)
{
    if (sources == NULL || atomic_fetch_sub(&sources->refs, 1) != 1)
        return;
    while (sources->first != NULL) {
        struct md__source *source = sources->first;
        sources->first = source->next;
        source_delete(source);
    }
    md__sources_unref(sources->from);
    pthread_mutex_destroy(&sources->lock);
    free(sources->folder);
    free(sources);
}

void md__sources_seal(struct md__sources *sources)
{
    pthread_mutex_lock(&sources->lock);
    struct md__sources *from = sources->from;
    sources->sealed = true;
    sources->from = NULL; /* or every generation would keep the one before */
    pthread_mutex_unlock(&sources->lock);
    md__sources_unref(from);
}

void md__sources_unseal(struct md__sources *sources)
{
    pthread_mutex_lock(&sources->lock);
    sources->sealed = false;
    pthread_mutex_unlock(&sources->lock);
}

void md__sources_inherit(struct md__sources *sources, struct md__sources *from)
{
    sources->from = md__sources_ref(from);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Public domain: Fowler, Noll, Vo, "The FNV Non-Cryptographic Hash Algorithm" (1a, 64 bits). */
static uint64_t hash_of(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash;
}

static enum md_status read_file(const struct md__sources *sources, const char *name,
                                struct md_buffer *text, struct md_error *err)
{
    char path[PATH_BYTES];
    if (snprintf(path, sizeof path, "%s/%s", sources->folder, name) >= (int)sizeof path)
        return md_fail(err, MD_ERR_INVALID, "%.150s: the path is too long", name);
    return md_file_read(path, source_bytes_max, text, err);
}

/* Takes the text's memory; NULL: a file that is not there. */
static struct md__source *source_new(const char *name, struct md_buffer *text)
{
    struct md__source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return NULL;
    source->name = strdup(name);
    if (text != NULL) {
        source->text = text->data != NULL ? text->data : strdup("");
        source->length = text->length;
        md_buffer_init(text, 0);
    }
    if (source->name == NULL || (text != NULL && source->text == NULL)) {
        source_delete(source);
        return NULL;
    }
    source->hash = hash_of(source->text, source->length);
    return source;
}

static struct md__source *find(const struct md__sources *sources, const char *name)
{
    struct md__source *source = sources->first;
    while (source != NULL && strcmp(source->name, name) != 0)
        source = source->next;
    return source;
}

static void inherit_code(struct md__source *source, const struct md__sources *from)
{
    const struct md__source *before = find(from, source->name);
    struct md_blob *code = before != NULL ? atomic_load(&before->code) : NULL;
    if (code != NULL && before->length == source->length &&
        memcmp(before->text, source->text, source->length) == 0)
        atomic_store(&source->code, md_blob_ref(code));
}

/* With the lock held: reads the file, or that there is none. */
static enum md_status take(struct md__sources *sources, const char *name,
                           struct md__source **source, struct md_error *err)
{
    struct md_buffer text;
    md_buffer_init(&text, source_bytes_max);
    enum md_status status = read_file(sources, name, &text, err);
    bool missing = status == MD_ERR_NOT_FOUND && sources->snapshot;
    if (status == MD_OK || missing) {
        *source = source_new(name, missing ? NULL : &text);
        if (*source == NULL)
            status = md_fail(err, MD_ERR_MEMORY, "no memory for %.150s", name);
    }
    md_buffer_fini(&text);
    if (*source != NULL && (*source)->text != NULL && sources->from != NULL)
        inherit_code(*source, sources->from);
    if (*source != NULL) {
        *sources->end = *source;
        sources->end = &(*source)->next;
    }
    return status;
}

static enum md_status get(struct md__sources *sources, const char *name, struct md__source **source,
                          struct md_error *err)
{
    *source = find(sources, name);
    if (*source == NULL && !sources->sealed)
        return take(sources, name, source, err);
    if (*source == NULL || (*source)->text == NULL)
        return md_fail(err, MD_ERR_NOT_FOUND, "%.150s: no such file", name);
    return MD_OK;
}

enum md_status md__sources_get(struct md__sources *sources, const char *name,
                               struct md__source **source, struct md_error *err)
{
    pthread_mutex_lock(&sources->lock);
    enum md_status status = get(sources, name, source, err);
    pthread_mutex_unlock(&sources->lock);
    return status;
}

enum md_status md__sources_put(struct md__sources *sources, const char *name, const char *text,
                               size_t length, struct md_error *err)
{
    struct md_buffer copy;
    md_buffer_init(&copy, source_bytes_max);
    md_buffer_append(&copy, text, length);
    enum md_status status = md_buffer_check(&copy, err);
    struct md__source *source = status == MD_OK ? source_new(name, &copy) : NULL;
    md_buffer_fini(&copy);
    if (source == NULL)
        return status != MD_OK ? status : md_fail(err, MD_ERR_MEMORY, "no memory for %s", name);
    pthread_mutex_lock(&sources->lock);
    *sources->end = source;
    sources->end = &source->next;
    pthread_mutex_unlock(&sources->lock);
    return MD_OK;
}

void md__source_set_code(struct md__source *source, const void *code, size_t length)
{
    struct md_blob *none = NULL, *blob = md_blob_new(code, length);
    if (blob != NULL && !atomic_compare_exchange_strong(&source->code, &none, blob))
        md_blob_unref(blob);
}

/* ---- all of them ----------------------------------------------------------------------------- */

void md__sources_visit(struct md__sources *sources,
                       void (*visit)(void *context, const struct md__source *source), void *context)
{
    pthread_mutex_lock(&sources->lock);
    for (const struct md__source *at = sources->first; at != NULL; at = at->next) {
        if (at->text != NULL)
            visit(context, at);
    }
    pthread_mutex_unlock(&sources->lock);
}

static bool is_current(const struct md__sources *sources, const struct md__source *source)
{
    struct md_buffer text;
    md_buffer_init(&text, source_bytes_max);
    enum md_status status = read_file(sources, source->name, &text, NULL);
    bool same = source->text == NULL
                    ? status == MD_ERR_NOT_FOUND
                    : status == MD_OK && text.length == source->length &&
                          (text.length == 0 || memcmp(text.data, source->text, text.length) == 0);
    md_buffer_fini(&text);
    return same;
}

bool md__sources_current(struct md__sources *sources)
{
    bool same = true;
    pthread_mutex_lock(&sources->lock);
    for (const struct md__source *at = sources->first; at != NULL && same; at = at->next)
        same = is_current(sources, at);
    pthread_mutex_unlock(&sources->lock);
    return same;
}

/* Files of `sources` that `other` lacks or, with `changed`, has with another text. */
static void differences(const struct md__sources *sources, const struct md__sources *other,
                        bool changed, size_t before, struct md_buffer *json)
{
    for (const struct md__source *at = sources->first; at != NULL; at = at->next) {
        const struct md__source *same = find(other, at->name);
        bool lacks = same == NULL || same->text == NULL;
        if (at->text == NULL ||
            !(lacks || (changed && (same->hash != at->hash || same->length != at->length))))
            continue;
        md_buffer_text(json, json->length > before ? "," : "");
        md_json_string(json, at->name, strlen(at->name));
    }
}

void md__sources_differences(struct md__sources *sources, struct md__sources *other,
                             struct md_buffer *json)
{
    size_t before = json->length;
    differences(sources, other, true, before, json);
    differences(other, sources, false, before, json);
}
