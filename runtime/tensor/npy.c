/*
 * .npy files; see npy.h. A file is magic, version, header length, header, data. The header is a
 * Python dictionary literal with three keys, padded with spaces, e.g.
 *
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
 *
 * The parser accepts that shape of literal only: each key once, in any order. It works on (pointer,
 * end) and never reads past the header.
 */
#include "tensor/npy.h"

#include <string.h>

#include "base/file.h"
#include "tensor/mapping.h"

enum { PREFIX_BYTES = 8, DATA_ALIGN = 64, HEADER_BYTES_MAX = 65536, HEADER_WRITTEN_MAX = 512 };

static const char magic[] = "\x93NUMPY";

struct text {
    const char *at;
    const char *end;
};

struct header {
    enum md_dtype dtype;
    struct md_shape shape;
    bool fortran_order;
    bool has_dtype, has_order, has_shape;
};

/* ---- a Python literal, piece by piece ---- */

static void skip_space(struct text *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n'))
        text->at++;
}

static bool take(struct text *text, char wanted)
{
    skip_space(text);
    if (text->at == text->end || *text->at != wanted)
        return false;
    text->at++;
    return true;
}

static bool take_word(struct text *text, const char *word)
{
    skip_space(text);
    size_t length = strlen(word);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0)
        return false;
    text->at += length;
    return true;
}

static bool take_string(struct text *text, struct text *string)
{
    char quote = '\'';
    if (!take(text, quote) && !take(text, quote = '"'))
        return false;
    const char *close = memchr(text->at, quote, (size_t)(text->end - text->at));
    if (!close || memchr(text->at, '\\', (size_t)(close - text->at)))
        return false;
    *string = (struct text){text->at, close};
    text->at = close + 1;
    return true;
}

static bool take_dimension(struct text *text, int64_t *value)
{
    skip_space(text);
    const char *start = text->at;
    *value = 0;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9') {
        int digit = *text->at++ - '0';
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, digit, value))
            return false;
    }
    return text->at > start;
}

static bool equals(const struct text *string, const char *word)
{
    size_t length = (size_t)(string->end - string->at);
    return length == strlen(word) && memcmp(string->at, word, length) == 0;
}

/* ---- the three values ---- */

static enum md_status corrupt(struct md_error *err)
{
    return md_fail(err, MD_ERR_CORRUPT, "the .npy header is malformed");
}

static enum md_status parse_dtype(struct text *text, struct header *header, struct md_error *err)
{
    struct text descr;
    if (!take_string(text, &descr)) {
        skip_space(text);
        if (text->at < text->end && *text->at == '[')
            return md_fail(err, MD_ERR_UNPROCESSABLE, "structured .npy arrays are not supported");
        return corrupt(err);
    }
    size_t length = (size_t)(descr.end - descr.at);
    if (!md_dtype_from_npy(descr.at, length, &header->dtype))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "dtype '%.*s' of the .npy file is not supported",
                       length < 32 ? (int)length : 32, descr.at);
    return MD_OK;
}

static enum md_status parse_order(struct text *text, struct header *header, struct md_error *err)
{
    header->fortran_order = take_word(text, "True");
    return header->fortran_order || take_word(text, "False") ? MD_OK : corrupt(err);
}

/* (), (3,), (3, 4) or (3, 4,): one number needs its comma, as in Python. */
static enum md_status parse_shape(struct text *text, struct header *header, struct md_error *err)
{
    struct md_shape *shape = &header->shape;
    bool comma = true;
    if (!take(text, '('))
        return corrupt(err);
    while (!take(text, ')')) {
        int64_t dimension;
        if (!comma || !take_dimension(text, &dimension))
            return corrupt(err);
        if (shape->rank == MD_RANK_MAX)
            return md_fail(err, MD_ERR_UNPROCESSABLE, "the .npy array has more than %d dimensions",
                           MD_RANK_MAX);
        shape->dim[shape->rank++] = dimension;
        comma = take(text, ',');
    }
    return shape->rank == 1 && !comma ? corrupt(err) : MD_OK;
}

static enum md_status parse_entry(struct text *text, struct header *header, struct md_error *err)
{
    static const struct {
        const char *key;
        size_t seen; /* offset of its flag */
        enum md_status (*parse)(struct text *, struct header *, struct md_error *);
    } entries[] = {
        {"descr", offsetof(struct header, has_dtype), parse_dtype},
        {"fortran_order", offsetof(struct header, has_order), parse_order},
        {"shape", offsetof(struct header, has_shape), parse_shape},
    };
    struct text key;
    if (!take_string(text, &key) || !take(text, ':'))
        return corrupt(err);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        bool *seen = (bool *)((char *)header + entries[i].seen);
        if (equals(&key, entries[i].key) && !*seen) {
            *seen = true;
            return entries[i].parse(text, header, err);
        }
    }
    return corrupt(err);
}

static enum md_status parse_header(struct text text, struct header *header, struct md_error *err)
{
    bool comma = true;
    *header = (struct header){0};
    if (!take(&text, '{'))
        return corrupt(err);
    while (!take(&text, '}')) {
        if (!comma)
            return corrupt(err);
        enum md_status status = parse_entry(&text, header, err);
        if (status)
            return status;
        comma = take(&text, ',');
    }
    skip_space(&text);
    if (text.at != text.end || !header->has_dtype || !header->has_order || !header->has_shape)
        return corrupt(err);
    if (header->fortran_order && header->shape.rank > 1)
        return md_fail(err, MD_ERR_UNPROCESSABLE,
                       "the .npy array is in Fortran order; save numpy.ascontiguousarray of it");
    return MD_OK;
}

/* ---- files ---- */

/* Finds the header text in a whole file. */
static enum md_status find_header(const unsigned char *bytes, size_t length, struct text *header,
                                  struct md_error *err)
{
    size_t magic_bytes = sizeof magic - 1;
    if (length < PREFIX_BYTES + 2 || memcmp(bytes, magic, magic_bytes) != 0)
        return md_fail(err, MD_ERR_CORRUPT, "not a .npy file");
    int major = bytes[magic_bytes];
    int minor = bytes[magic_bytes + 1];
    if (major < 1 || major > 3 || minor != 0)
        return md_fail(err, MD_ERR_UNPROCESSABLE, ".npy format version %d.%d is not supported",
                       major, minor);
    size_t start = major == 1 ? PREFIX_BYTES + 2 : PREFIX_BYTES + 4;
    if (length < start)
        return md_fail(err, MD_ERR_CORRUPT, "the .npy file is truncated in its header");
    size_t header_bytes = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (major > 1)
        header_bytes |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (header_bytes > HEADER_BYTES_MAX)
        return md_fail(err, MD_ERR_CORRUPT, "the .npy header claims %zu bytes; the limit is %d",
                       header_bytes, HEADER_BYTES_MAX);
    if (header_bytes > length - start)
        return md_fail(err, MD_ERR_CORRUPT, "the .npy file is truncated in its header");
    *header =
        (struct text){(const char *)bytes + start, (const char *)bytes + start + header_bytes};
    return MD_OK;
}

enum md_status md_npy_parse(const void *bytes, size_t length, struct md_tensor *tensor,
                            struct md_error *err)
{
    *tensor = (struct md_tensor){0};
    struct text text;
    struct header header;
    enum md_status status = find_header(bytes, length, &text, err);
    if (!status)
        status = parse_header(text, &header, err);
    if (status)
        return status;

    size_t element_bytes = md_dtype_bytes(header.dtype);
    size_t count = 0;
    if (md_shape_count(&header.shape, element_bytes, &count, err))
        return md_fail(err, MD_ERR_CORRUPT,
                       "the .npy header declares more data than memory can hold");
    size_t data_bytes = (size_t)((const char *)bytes + length - text.end);
    if (count * element_bytes != data_bytes)
        return md_fail(err, MD_ERR_CORRUPT,
                       "the .npy header declares %zu bytes of data, the file has %zu",
                       count * element_bytes, data_bytes);
    struct md_tensor view = {
        .dtype = header.dtype, .shape = header.shape, .data = (char *)text.end};
    if ((uintptr_t)view.data % element_bytes != 0)
        return md_tensor_copy(&view, tensor, err);
    *tensor = view;
    return MD_OK;
}

enum md_status md_npy_read(const char *path, struct md_tensor *tensor, struct md_error *err)
{
    *tensor = (struct md_tensor){0};
    struct md_owner *file = NULL;
    enum md_status status = md_mapping_open(path, &file, err);
    if (status)
        return status;
    status = md_npy_parse(file->memory, file->bytes, tensor, err);
    if (status)
        md_error_context(err, "%s", path);
    else if (!tensor->owner)
        tensor->owner = md_owner_ref(file);
    md_owner_unref(file);
    return status;
}

/* "(3, 4)" as Python prints tuples: a single dimension keeps its comma. */
static void print_shape(const struct md_shape *shape, struct md_buffer *out)
{
    md_buffer_text(out, "(");
    for (int i = 0; i < shape->rank; i++)
        md_buffer_printf(out, "%s%lld", i > 0 ? ", " : "", (long long)shape->dim[i]);
    md_buffer_text(out, shape->rank == 1 ? ",)" : ")");
}

/* Prefix and header, padded so that the data start on a 64-byte boundary, as NumPy does. */
static void build_header(const struct md_tensor *tensor, struct md_buffer *out)
{
    static const char version_and_length[] = {1, 0, 0, 0};
    md_buffer_text(out, magic);
    md_buffer_append(out, version_and_length, sizeof version_and_length);
    size_t start = out->length;
    md_buffer_printf(
        out, "{'descr': '%s', 'fortran_order': False, 'shape': ", md_dtype_npy(tensor->dtype));
    print_shape(&tensor->shape, out);
    md_buffer_text(out, ", }");
    while ((out->length + 1) % DATA_ALIGN != 0)
        md_buffer_text(out, " ");
    md_buffer_text(out, "\n");
    out->data[start - 2] = (char)((out->length - start) & 0xFF);
    out->data[start - 1] = (char)((out->length - start) >> 8);
}

enum md_status md_npy_write(const char *path, const struct md_tensor *tensor, struct md_error *err)
{
    struct md_tensor written = {0};
    enum md_dtype dtype = tensor->dtype == MD_BF16 ? MD_F32 : tensor->dtype;
    enum md_status status = md_tensor_convert(tensor, dtype, &written, err);
    if (status)
        return status;
    char memory[HEADER_WRITTEN_MAX];
    struct md_buffer header;
    md_buffer_init_fixed(&header, memory, sizeof memory);
    build_header(&written, &header);
    struct md_file_part parts[] = {
        {header.data, header.length},
        {written.data, md_tensor_bytes(&written)},
    };
    status = md_file_replace(path, parts, 2, err);
    md_tensor_unref(&written);
    return status;
}

enum md_status md_npy_read_as(const char *path, enum md_dtype dtype, struct md_tensor *tensor,
                              struct md_error *err)
{
    enum md_status status = md_npy_read(path, tensor, err);
    if (status || dtype != MD_BF16 || tensor->dtype != MD_F32)
        return status;
    struct md_tensor wide = *tensor;
    *tensor = (struct md_tensor){0};
    status = md_tensor_convert(&wide, MD_BF16, tensor, err);
    md_tensor_unref(&wide);
    return status;
}

bool md_npy_file_name(const char *name, char *file, size_t size)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    if (length + sizeof ".npy" > size)
        return false;
    for (size_t i = 0; i < length; i++)
        file[i] = strchr(legal, name[i]) ? name[i] : '_';
    memcpy(file + length, ".npy", sizeof ".npy");
    return true;
}
