/*
 * Buffers. `struct md_buffer` is a growable byte string with a byte cap, for building messages:
 * appends that would exceed the cap or run out of memory set `failed` and are dropped, so that
 * callers check once at the end. `struct md_blob` is an immutable, reference-counted result of
 * building (a response body built once, sent many times).
 */
#ifndef MD_BASE_BUFFER_H
#define MD_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"

struct md_buffer {
    char *data; /* NUL-terminated after every append, when not NULL */
    size_t length;
    size_t capacity;  /* at most bytes_max + 1 when there is a cap */
    size_t bytes_max; /* 0: no cap */
    enum md_status
        failed; /* MD_OK, or why an append was dropped: cap (MD_ERR_TOO_LARGE) or memory */
    bool fixed; /* data is the caller's memory: it neither grows nor is freed */
};

void md_buffer_init(struct md_buffer *buffer, size_t bytes_max);
/* Builds in the caller's memory (size >= 1, one byte for the NUL) and never allocates. */
void md_buffer_init_fixed(struct md_buffer *buffer, void *memory, size_t size);
void md_buffer_fini(struct md_buffer *buffer);
void md_buffer_clear(struct md_buffer *buffer); /* keeps the memory, forgets a failure */
/*
 * Room for `extra` more bytes and the NUL, so that data + length may be written directly. False:
 * failed is set.
 */
bool md_buffer_reserve(struct md_buffer *buffer, size_t extra);
static inline void md_buffer_append(struct md_buffer *buffer, const void *data, size_t length);
static inline void md_buffer_text(struct md_buffer *buffer, const char *text);
void md_buffer_printf(struct md_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
enum md_status md_buffer_check(const struct md_buffer *buffer, struct md_error *err);

/*
 * Messages are made of many small pieces, so the common case is inline. It need not look at the
 * cap: the capacity never goes beyond it.
 */
static inline void md_buffer_append(struct md_buffer *buffer, const void *data, size_t length)
{
    bool fits = buffer->failed == MD_OK && length < buffer->capacity - buffer->length;
    if (!fits && !md_buffer_reserve(buffer, length))
        return;
    if (length > 0)
        memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

static inline void md_buffer_text(struct md_buffer *buffer, const char *text)
{
    md_buffer_append(buffer, text, strlen(text));
}

struct md_blob {
    _Atomic int refs;
    uint64_t number; /* of this blob alone among those of the process, past ones included */
    size_t length;
    char *data;   /* length bytes, then a NUL */
    char inner[]; /* where they are, unless they are a buffer's memory */
};

/*
 * A new blob (refs = 1) with the bytes of `buffer`, which is cleared: fini it as ever. A long text
 * is not copied, the blob takes over the buffer's memory. NULL when out of memory.
 */
struct md_blob *md_blob_from_buffer(struct md_buffer *buffer);
struct md_blob *md_blob_new(const void *data, size_t length);
struct md_blob *md_blob_ref(struct md_blob *blob);
void md_blob_unref(struct md_blob *blob);

#endif
