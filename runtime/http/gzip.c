/*
 * Response compression. A forecast of 500 servers is sent to every dashboard that asks, so a
 * blob is compressed once: its compressed copy stays in a small cache, keyed by the blob itself
 * (which the cache holds, so that its address cannot be reused). Whoever asks while a copy is
 * being made waits for it.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "http/internal.h"

#define ENTRIES        8
#define BLOB_BYTES_MAX ((size_t)64 << 20) /* larger ones are compressed for each client */
#define GZIP_WINDOW    (15 + 16)          /* zlib: 32 KiB window, gzip header */

struct entry {
    struct md_blob *plain, *packed;
    bool building;
    uint64_t used;
};

struct md__gzip {
    int level;
    pthread_mutex_t lock;
    pthread_cond_t built;
    uint64_t tick;
    struct entry entries[ENTRIES];
};

struct md__gzip *md__gzip_new(int level)
{
    struct md__gzip *gzip = calloc(1, sizeof *gzip);

    if (gzip != NULL) {
        gzip->level = level;
        pthread_mutex_init(&gzip->lock, NULL);
        pthread_cond_init(&gzip->built, NULL);
    }
    return gzip;
}

static void entry_clear(struct entry *entry)
{
    if (entry->plain != NULL) {
        md_blob_unref(entry->plain);
    }
    if (entry->packed != NULL) {
        md_blob_unref(entry->packed);
    }
    *entry = (struct entry){0};
}

void md__gzip_delete(struct md__gzip *gzip)
{
    if (gzip == NULL) {
        return;
    }
    for (int i = 0; i < ENTRIES; i++) {
        entry_clear(&gzip->entries[i]);
    }
    pthread_cond_destroy(&gzip->built);
    pthread_mutex_destroy(&gzip->lock);
    free(gzip);
}

struct md_blob *md__gzip_bytes(struct md__gzip *gzip, const void *data, size_t length)
{
    z_stream stream = {0};
    struct md_buffer packed;
    struct md_blob *blob = NULL;

    if (gzip->level < 0 || length > UINT32_MAX / 2 ||
        deflateInit2(&stream, gzip->level, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) !=
            Z_OK) {
        return NULL;
    }
    /* Room for no more than the plain size: a body that does not shrink is not worth packing. */
    md_buffer_init(&packed, 0);
    if (md_buffer_reserve(&packed, length)) {
        stream.next_in = (unsigned char *)(uintptr_t)data;
        stream.avail_in = (unsigned)length;
        stream.next_out = (unsigned char *)packed.data;
        stream.avail_out = (unsigned)length;
        if (deflate(&stream, Z_FINISH) == Z_STREAM_END) {
            blob = md_blob_new(packed.data, stream.total_out);
        }
    }
    deflateEnd(&stream);
    md_buffer_fini(&packed);
    return blob;
}

/* Drops the copies of blobs that nobody but the cache holds: no answer can ask for them again. */
static void forget_stale(struct md__gzip *gzip)
{
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *entry = &gzip->entries[i];
        if (entry->plain != NULL && !entry->building && entry->plain->refs == 1) {
            entry_clear(entry);
        }
    }
}

/* The entry of this blob, or the least used one that nobody is building; NULL when all are busy. */
static struct entry *find(struct md__gzip *gzip, const struct md_blob *blob)
{
    struct entry *oldest = NULL;

    for (int i = 0; i < ENTRIES; i++) {
        struct entry *entry = &gzip->entries[i];
        if (entry->plain == blob) {
            return entry;
        }
        if (!entry->building && (oldest == NULL || entry->used < oldest->used)) {
            oldest = entry;
        }
    }
    return oldest;
}

/* Called with the lock held, which it gives up while it compresses. */
static void build(struct md__gzip *gzip, struct entry *entry, struct md_blob *blob)
{
    struct md_blob *packed;

    entry_clear(entry);
    entry->plain = md_blob_ref(blob);
    entry->building = true;
    pthread_mutex_unlock(&gzip->lock);
    packed = md__gzip_bytes(gzip, blob->data, blob->length);
    pthread_mutex_lock(&gzip->lock);
    entry->packed = packed;
    entry->building = false;
    pthread_cond_broadcast(&gzip->built);
}

struct md_blob *md__gzip_blob(struct md__gzip *gzip, struct md_blob *blob)
{
    struct md_blob *packed = NULL;
    struct entry *entry;

    if (blob->length > BLOB_BYTES_MAX) {
        return md__gzip_bytes(gzip, blob->data, blob->length);
    }
    pthread_mutex_lock(&gzip->lock);
    forget_stale(gzip);
    entry = find(gzip, blob);
    if (entry != NULL && entry->plain != blob) {
        build(gzip, entry, blob);
    }
    while (entry != NULL && entry->plain == blob && entry->building) {
        pthread_cond_wait(&gzip->built, &gzip->lock);
    }
    if (entry == NULL || entry->plain != blob) {
        pthread_mutex_unlock(&gzip->lock); /* all busy, or replaced while we waited */
        return md__gzip_bytes(gzip, blob->data, blob->length);
    }
    entry->used = ++gzip->tick;
    packed = entry->packed != NULL ? md_blob_ref(entry->packed) : NULL;
    pthread_mutex_unlock(&gzip->lock);
    return packed;
}
