/*
 * safetensors; see safetensors.h. The header becomes an array of entries in an arena: read from
 * JSON, sorted by offset to check that they tile the data, then by name for lookups. Every number
 * from the file is checked before it takes part in arithmetic with another.
 */
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json_in.h"
#include "tensor/mapping.h"

enum { LENGTH_BYTES = 8, HEADER_BYTES_MAX = 16 << 20 };

struct entry {
    const char *name;
    enum md_dtype dtype;
    struct md_shape shape;
    size_t begin, end; /* within the data */
};

struct md_safetensors {
    struct md_owner *owner; /* NULL: borrowed memory */
    const char *data;
    size_t data_bytes;
    struct md_arena arena; /* entries and names */
    struct entry *entries;
    size_t count;
};

/* ---- one entry of the header ---- */

static enum md_status read_dtype(const json_t *fields, struct entry *entry, struct md_error *err)
{
    const char *dtype = json_string_value(json_object_get(fields, "dtype"));
    if (!dtype)
        return md_fail(err, MD_ERR_CORRUPT, "tensor %s has no dtype", entry->name);
    if (!md_dtype_from_safetensors(dtype, &entry->dtype))
        return md_fail(err, MD_ERR_UNSUPPORTED, "tensor %s has dtype %s, which is not supported",
                       entry->name, dtype);
    return MD_OK;
}

static enum md_status read_shape(const json_t *fields, struct entry *entry, struct md_error *err)
{
    const json_t *shape = json_object_get(fields, "shape");
    if (!json_is_array(shape))
        return md_fail(err, MD_ERR_CORRUPT, "tensor %s has no shape", entry->name);
    size_t rank = json_array_size(shape);
    if (rank > MD_RANK_MAX)
        return md_fail(err, MD_ERR_UNSUPPORTED, "tensor %s has %zu dimensions; %d are supported",
                       entry->name, rank, MD_RANK_MAX);
    entry->shape.rank = (int)rank;
    for (size_t i = 0; i < rank; i++) {
        const json_t *dimension = json_array_get(shape, i);
        if (!json_is_integer(dimension) || json_integer_value(dimension) < 0)
            return md_fail(err, MD_ERR_CORRUPT, "dimension %zu of tensor %s is not a size", i,
                           entry->name);
        entry->shape.dim[i] = json_integer_value(dimension);
    }
    return MD_OK;
}

static enum md_status read_offsets(const json_t *fields, size_t data_bytes, struct entry *entry,
                                   struct md_error *err)
{
    const json_t *offsets = json_object_get(fields, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0);
    const json_t *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return md_fail(err, MD_ERR_CORRUPT, "tensor %s has no pair of data offsets", entry->name);
    int64_t first = json_integer_value(begin), last = json_integer_value(end);
    if (first < 0 || last < first || (uint64_t)last > data_bytes)
        return md_fail(err, MD_ERR_CORRUPT,
                       "data offsets %" PRId64 " to %" PRId64
                       " of tensor %s are not within %zu bytes",
                       first, last, entry->name, data_bytes);
    entry->begin = (size_t)first;
    entry->end = (size_t)last;
    return MD_OK;
}

static enum md_status check_size(const struct entry *entry, struct md_error *err)
{
    size_t element_bytes = md_dtype_bytes(entry->dtype);
    size_t count = 0;
    char shape[128];
    if (md_shape_count(&entry->shape, element_bytes, &count, NULL) ||
        count * element_bytes != entry->end - entry->begin)
        return md_fail(err, MD_ERR_CORRUPT, "tensor %s is %s %s but has %zu bytes of data",
                       entry->name, md_dtype_name(entry->dtype),
                       md_shape_text(&entry->shape, shape, sizeof shape),
                       entry->end - entry->begin);
    return MD_OK;
}

static enum md_status read_entry(const json_t *fields, size_t data_bytes, struct entry *entry,
                                 struct md_error *err)
{
    if (!json_is_object(fields) || json_object_size(fields) != 3)
        return md_fail(err, MD_ERR_CORRUPT,
                       "tensor %s is not described by dtype, shape and data_offsets", entry->name);
    enum md_status status = read_dtype(fields, entry, err);
    if (!status)
        status = read_shape(fields, entry, err);
    if (!status)
        status = read_offsets(fields, data_bytes, entry, err);
    if (!status)
        status = check_size(entry, err);
    return status;
}

/* ---- all entries ---- */

static bool is_metadata(const char *name)
{
    return strcmp(name, "__metadata__") == 0;
}

static enum md_status check_metadata(json_t *metadata, struct md_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return md_fail(err, MD_ERR_CORRUPT, "__metadata__ is not an object");
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return md_fail(
        err, MD_ERR_CORRUPT, "__metadata__ %s is not a string", key);
    return MD_OK;
}

static enum md_status read_entries(struct md_safetensors *file, json_t *header,
                                   struct md_error *err)
{
    file->entries = md_arena_array(&file->arena, json_object_size(header), sizeof *file->entries);
    if (!file->entries)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for %zu tensors",
                       json_object_size(header));
    const char *name;
    json_t *fields;
    json_object_foreach(header, name, fields)
    {
        struct entry *entry = &file->entries[file->count];
        enum md_status status;
        if (is_metadata(name)) {
            status = check_metadata(fields, err);
        } else {
            entry->name = md_arena_strdup(&file->arena, name);
            if (!entry->name)
                return md_fail(err, MD_ERR_MEMORY, "out of memory for the name of a tensor");
            status = read_entry(fields, file->data_bytes, entry, err);
            file->count++;
        }
        if (status)
            return status;
    }
    return MD_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/*
 * Sorted by offset, each tensor must begin where the one before ended. Leaves the entries sorted by
 * name.
 */
static enum md_status check_tiling(struct md_safetensors *file, struct md_error *err)
{
    qsort(file->entries, file->count, sizeof *file->entries, by_offset);
    size_t covered = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct entry *entry = &file->entries[i];
        if (entry->begin < covered)
            return md_fail(err, MD_ERR_CORRUPT, "data of tensor %s overlap data of tensor %s",
                           entry->name, file->entries[i - 1].name);
        if (entry->begin > covered)
            return md_fail(err, MD_ERR_CORRUPT, "%zu bytes before tensor %s belong to none",
                           entry->begin - covered, entry->name);
        covered = entry->end;
    }
    if (covered != file->data_bytes)
        return md_fail(err, MD_ERR_CORRUPT, "%zu bytes after the last tensor belong to none",
                       file->data_bytes - covered);
    qsort(file->entries, file->count, sizeof *file->entries, by_name);
    return MD_OK;
}

/* ---- the file ---- */

static enum md_status find_header(const unsigned char *bytes, size_t length, size_t *header_bytes,
                                  struct md_error *err)
{
    if (length < LENGTH_BYTES)
        return md_fail(err, MD_ERR_CORRUPT, "not a safetensors file: %zu bytes", length);
    uint64_t claimed = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        claimed |= (uint64_t)bytes[i] << (8 * i);
    if (claimed > HEADER_BYTES_MAX)
        return md_fail(err, MD_ERR_CORRUPT,
                       "the safetensors header claims %" PRIu64 " bytes; the limit is %d", claimed,
                       HEADER_BYTES_MAX);
    if (claimed > length - LENGTH_BYTES)
        return md_fail(err, MD_ERR_CORRUPT, "the safetensors file is truncated in its header");
    if (claimed == 0 || bytes[LENGTH_BYTES] != '{')
        return md_fail(err, MD_ERR_CORRUPT, "not a safetensors file: no header");
    *header_bytes = (size_t)claimed;
    return MD_OK;
}

static enum md_status parse_header(const char *text, size_t length, json_t **header,
                                   struct md_error *err)
{
    struct md_error cause = {0};
    enum md_status status = md_json_parse(text, length, header, &cause);
    if (status)
        status = md_fail(err, status == MD_ERR_MEMORY ? status : MD_ERR_CORRUPT,
                         "safetensors header: %s", cause.text);
    return status;
}

enum md_status md_safetensors_parse(const void *bytes, size_t length,
                                    struct md_safetensors **file_out, struct md_error *err)
{
    json_t *header = NULL;
    size_t header_bytes = 0;
    const char *text = (const char *)bytes + LENGTH_BYTES;
    *file_out = NULL;
    struct md_safetensors *file = calloc(1, sizeof *file);
    if (!file)
        return md_fail(err, MD_ERR_MEMORY, "out of memory for a safetensors file");
    md_arena_init(&file->arena, 0);

    enum md_status status = find_header(bytes, length, &header_bytes, err);
    if (!status)
        status = parse_header(text, header_bytes, &header, err);
    if (status)
        goto out;
    file->data = text + header_bytes;
    file->data_bytes = length - LENGTH_BYTES - header_bytes;
    status = read_entries(file, header, err);
    if (!status)
        status = check_tiling(file, err);
out:
    json_decref(header);
    if (status)
        md_safetensors_close(file);
    else
        *file_out = file;
    return status;
}

enum md_status md_safetensors_open(const char *path, struct md_safetensors **file,
                                   struct md_error *err)
{
    *file = NULL;
    struct md_owner *owner = NULL;
    enum md_status status = md_mapping_open(path, &owner, err);
    if (status)
        return status;
    status = md_safetensors_parse(owner->memory, owner->bytes, file, err);
    if (status) {
        md_error_context(err, "%s", path);
        md_owner_unref(owner);
        return status;
    }
    (*file)->owner = owner;
    return MD_OK;
}

void md_safetensors_close(struct md_safetensors *file)
{
    if (!file)
        return;
    md_arena_fini(&file->arena);
    md_owner_unref(file->owner);
    free(file);
}

size_t md_safetensors_count(const struct md_safetensors *file)
{
    return file->count;
}

const char *md_safetensors_name(const struct md_safetensors *file, size_t index)
{
    return index < file->count ? file->entries[index].name : NULL;
}

enum md_status md_safetensors_get(const struct md_safetensors *file, const char *name,
                                  struct md_tensor *tensor, struct md_error *err)
{
    *tensor = (struct md_tensor){0};
    struct entry key = {.name = name};
    const struct entry *entry =
        file->count ? bsearch(&key, file->entries, file->count, sizeof key, by_name) : NULL;
    if (!entry)
        return md_fail(err, MD_ERR_NOT_FOUND, "no tensor is called %s", name);
    struct md_tensor view = {.dtype = entry->dtype,
                             .shape = entry->shape,
                             .data = (char *)file->data + entry->begin,
                             .owner = file->owner};
    if ((uintptr_t)view.data % md_dtype_bytes(view.dtype) != 0)
        return md_tensor_copy(&view, tensor, err);
    *tensor = md_tensor_ref(&view);
    return MD_OK;
}
