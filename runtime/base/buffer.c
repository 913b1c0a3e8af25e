/* Growable byte strings and shared immutable blobs; see buffer.h. */
#include "base/buffer.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CAPACITY_MIN = 64, TAKEN_OVER_MIN = 65536, HUGE_PAGE = 2 << 20 };

void md_buffer_init(struct md_buffer *buffer, size_t bytes_max)
{
    *buffer = (struct md_buffer){.bytes_max = bytes_max};
}

void md_buffer_init_fixed(struct md_buffer *buffer, void *memory, size_t size)
{
    assert(size > 0);
    *buffer =
        (struct md_buffer){.data = memory, .capacity = size, .bytes_max = size - 1, .fixed = true};
    buffer->data[0] = '\0';
}

void md_buffer_fini(struct md_buffer *buffer)
{
    if (!buffer->fixed)
        free(buffer->data);
    *buffer = (struct md_buffer){0};
}

void md_buffer_clear(struct md_buffer *buffer)
{
    buffer->length = 0;
    buffer->failed = MD_OK;
    if (buffer->data)
        buffer->data[0] = '\0';
}

static size_t cap(const struct md_buffer *buffer)
{
    return buffer->fixed || buffer->bytes_max ? buffer->bytes_max : SIZE_MAX / 2;
}

static bool over_cap(const struct md_buffer *buffer, size_t extra)
{
    return buffer->length > cap(buffer) || extra > cap(buffer) - buffer->length;
}

/*
 * Memory that has just been got from the kernel costs a fault for each page that is written to
 * first, which for an answer of megabytes takes longer than writing it; huge pages have few.
 */
static void ask_for_huge_pages(char *data, size_t bytes)
{
    uintptr_t begin = ((uintptr_t)data + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uintptr_t end = ((uintptr_t)data + bytes) / HUGE_PAGE * HUGE_PAGE;
    if (begin < end)
        madvise((char *)data + (begin - (uintptr_t)data), end - begin, MADV_HUGEPAGE);
}

static bool grow(struct md_buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity + buffer->capacity / 2;
    if (capacity < needed)
        capacity = needed;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    if (capacity > cap(buffer) + 1)
        capacity = cap(buffer) + 1;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    if (capacity >= 2 * HUGE_PAGE)
        ask_for_huge_pages(data, capacity);
    return true;
}

bool md_buffer_reserve(struct md_buffer *buffer, size_t extra)
{
    if (buffer->failed)
        return false;
    if (over_cap(buffer, extra))
        buffer->failed = MD_ERR_TOO_LARGE;
    else if (buffer->length + extra >= buffer->capacity &&
             !grow(buffer, buffer->length + extra + 1))
        buffer->failed = MD_ERR_MEMORY;
    return !buffer->failed;
}

void md_buffer_printf(struct md_buffer *buffer, const char *format, ...)
{
    /*
     * Most texts are short: written once into room for them, and again only when that was too
     * little.
     */
    if (!md_buffer_reserve(buffer, 0))
        return;
    size_t room = buffer->capacity - buffer->length;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(buffer->data + buffer->length, room, format, arguments);
    va_end(arguments);

    size_t length = written < 0 ? 0 : (size_t)written;
    if (md_buffer_reserve(buffer, length)) {
        if (length >= room) {
            va_start(arguments, format);
            vsnprintf(buffer->data + buffer->length, length + 1, format, arguments);
            va_end(arguments);
        }
        buffer->length += length;
    }
    buffer->data[buffer->length] = '\0';
}

enum md_status md_buffer_check(const struct md_buffer *buffer, struct md_error *err)
{
    if (buffer->failed == MD_ERR_TOO_LARGE)
        return md_fail(err, MD_ERR_TOO_LARGE, "text is over its limit of %zu bytes",
                       buffer->bytes_max);
    if (buffer->failed)
        return md_fail(err, buffer->failed, "out of memory after %zu bytes of text",
                       buffer->length);
    return MD_OK;
}

static _Atomic uint64_t blobs_made;

static struct md_blob *blob_alloc(size_t length)
{
    if (length > SIZE_MAX - sizeof(struct md_blob) - 1)
        return NULL;
    struct md_blob *blob = malloc(sizeof *blob + length + 1);
    if (!blob)
        return NULL;
    atomic_init(&blob->refs, 1);
    blob->number = atomic_fetch_add_explicit(&blobs_made, 1, memory_order_relaxed);
    blob->length = length;
    blob->data = blob->inner;
    blob->inner[length] = '\0';
    return blob;
}

struct md_blob *md_blob_new(const void *data, size_t length)
{
    struct md_blob *blob = blob_alloc(length);
    if (blob && length > 0)
        memcpy(blob->data, data, length);
    return blob;
}

/* With what it holds beyond its text given back. */
static struct md_blob *take_over(struct md_buffer *buffer)
{
    struct md_blob *blob = blob_alloc(0);
    if (!blob)
        return NULL;
    char *trimmed = realloc(buffer->data, buffer->length + 1);
    blob->data = trimmed ? trimmed : buffer->data;
    blob->length = buffer->length;
    md_buffer_init(buffer, buffer->bytes_max);
    return blob;
}

struct md_blob *md_blob_from_buffer(struct md_buffer *buffer)
{
    if (!buffer->fixed && buffer->length >= TAKEN_OVER_MIN)
        return take_over(buffer);
    struct md_blob *blob = md_blob_new(buffer->data, buffer->length);
    if (blob)
        md_buffer_clear(buffer);
    return blob;
}

struct md_blob *md_blob_ref(struct md_blob *blob)
{
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

void md_blob_unref(struct md_blob *blob)
{
    if (!blob || atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (blob->data != blob->inner)
        free(blob->data);
    free(blob);
}
