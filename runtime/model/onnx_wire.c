/* The protobuf wire format; see onnx_wire.h. */
#include "model/onnx_wire.h"

#include <string.h>

enum { TAG_TYPE_BITS = 3, VARINT_BYTES_MAX = 10 };

static enum md_status cut_short(size_t position, struct md_error *err)
{
    return md_fail(err, MD_ERR_CORRUPT, "the field at byte %zu is cut short", position);
}

static enum md_status read_varint(struct md__wire *wire, uint64_t *value, struct md_error *err)
{
    size_t position = md__wire_position(wire);
    uint64_t bits = 0;
    for (int i = 0; i < VARINT_BYTES_MAX; i++) {
        if (wire->at == wire->end)
            return cut_short(position, err);
        uint8_t byte = *wire->at++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1)
            break;
        bits |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *value = bits;
            return MD_OK;
        }
    }
    return md_fail(err, MD_ERR_CORRUPT, "the number at byte %zu is longer than 64 bits", position);
}

static enum md_status read_fixed(struct md__wire *wire, size_t size, uint64_t *value,
                                 struct md_error *err)
{
    if ((size_t)(wire->end - wire->at) < size)
        return cut_short(md__wire_position(wire), err);
    uint64_t bits = 0;
    for (size_t i = 0; i < size; i++)
        bits |= (uint64_t)wire->at[i] << (8 * i);
    wire->at += size;
    *value = bits;
    return MD_OK;
}

static enum md_status read_bytes(struct md__wire *wire, struct md__wire *bytes,
                                 struct md_error *err)
{
    size_t position = md__wire_position(wire);
    uint64_t length = 0;
    enum md_status status = read_varint(wire, &length, err);
    if (status)
        return status;
    if (length > (uint64_t)(wire->end - wire->at))
        return cut_short(position, err);
    *bytes = (struct md__wire){wire->file, wire->at, wire->at + length};
    wire->at += length;
    return MD_OK;
}

static enum md_status read_number(struct md__wire *wire, enum md__wire_type type, uint64_t *value,
                                  struct md_error *err)
{
    if (type == MD__WIRE_VARINT)
        return read_varint(wire, value, err);
    return read_fixed(wire, type == MD__WIRE_FIXED64 ? 8 : 4, value, err);
}

enum md_status md__wire_next(struct md__wire *wire, struct md__wire_field *field, bool *more,
                             struct md_error *err)
{
    size_t position = md__wire_position(wire);
    uint64_t tag = 0;
    *more = wire->at < wire->end;
    if (!*more)
        return MD_OK;
    enum md_status status = read_varint(wire, &tag, err);
    if (status)
        return status;
    *field = (struct md__wire_field){.number = (uint32_t)(tag >> TAG_TYPE_BITS),
                                     .type = (enum md__wire_type)(tag & 7)};
    if (tag > UINT32_MAX || field->number == 0)
        return md_fail(err, MD_ERR_CORRUPT, "there is no field at byte %zu", position);
    switch (field->type) {
    case MD__WIRE_VARINT:
    case MD__WIRE_FIXED64:
    case MD__WIRE_FIXED32:
        return read_number(wire, field->type, &field->value, err);
    case MD__WIRE_BYTES:
        return read_bytes(wire, &field->bytes, err);
    default:
        return md_fail(err, MD_ERR_CORRUPT, "the field at byte %zu has wire type %d", position,
                       (int)field->type);
    }
}

enum md_status md__wire_count(struct md__wire wire, uint32_t number, size_t *count,
                              struct md_error *err)
{
    struct md__wire_field field;
    bool more = true;
    *count = 0;
    while (more) {
        enum md_status status = md__wire_next(&wire, &field, &more, err);
        if (status)
            return status;
        *count += more && field.number == number;
    }
    return MD_OK;
}

static enum md_status expect(const struct md__wire_field *field, enum md__wire_type type,
                             struct md_error *err)
{
    if (field->type == type)
        return MD_OK;
    return md_fail(err, MD_ERR_CORRUPT, "field %u has wire type %d, not %d",
                   (unsigned)field->number, (int)field->type, (int)type);
}

enum md_status md__wire_bytes(const struct md__wire_field *field, struct md__wire *bytes,
                              struct md_error *err)
{
    enum md_status status = expect(field, MD__WIRE_BYTES, err);
    if (!status)
        *bytes = field->bytes;
    return status;
}

enum md_status md__wire_text(const struct md__wire_field *field, struct md_arena *arena,
                             const char **text, struct md_error *err)
{
    enum md_status status = expect(field, MD__WIRE_BYTES, err);
    if (status)
        return status;
    size_t length = (size_t)(field->bytes.end - field->bytes.at);
    if (memchr(field->bytes.at, '\0', length))
        return md_fail(err, MD_ERR_CORRUPT, "the text at byte %zu has a NUL inside",
                       md__wire_position(&field->bytes));
    char *copy = md_arena_alloc(arena, length + 1);
    if (!copy)
        return md_fail(err, MD_ERR_TOO_LARGE, "the model's structure does not fit in memory");
    memcpy(copy, field->bytes.at, length);
    *text = copy;
    return MD_OK;
}

enum md_status md__wire_int(const struct md__wire_field *field, int64_t *value,
                            struct md_error *err)
{
    enum md_status status = expect(field, MD__WIRE_VARINT, err);
    if (!status)
        *value = (int64_t)field->value;
    return status;
}

enum md_status md__wire_int32(const struct md__wire_field *field, int32_t *value,
                              struct md_error *err)
{
    int64_t wide = 0;
    enum md_status status = md__wire_int(field, &wide, err);
    if (!status && (wide < INT32_MIN || wide > INT32_MAX))
        status =
            md_fail(err, MD_ERR_CORRUPT, "field %u does not fit 32 bits", (unsigned)field->number);
    *value = (int32_t)wide;
    return status;
}

enum md_status md__wire_float(const struct md__wire_field *field, float *value,
                              struct md_error *err)
{
    enum md_status status = expect(field, MD__WIRE_FIXED32, err);
    uint32_t bits = (uint32_t)field->value;
    memcpy(value, &bits, sizeof bits);
    return status;
}

enum md_status md__wire_numbers(struct md__wire message, uint32_t number, enum md__wire_type type,
                                void (*visit)(void *context, uint64_t bits), void *context,
                                struct md_error *err)
{
    struct md__wire_field field;
    bool more = true;
    for (;;) {
        enum md_status status = md__wire_next(&message, &field, &more, err);
        if (status || !more)
            return status;
        if (field.number != number)
            continue;
        if (field.type == type) {
            visit(context, field.value);
            continue;
        }
        status = expect(&field, MD__WIRE_BYTES, err);
        while (!status && field.bytes.at < field.bytes.end) {
            status = read_number(&field.bytes, type, &field.value, err);
            if (!status)
                visit(context, field.value);
        }
        if (status)
            return status;
    }
}

static void count_one(void *context, uint64_t bits)
{
    (void)bits;
    ++*(size_t *)context;
}

enum md_status md__wire_numbers_count(struct md__wire message, uint32_t number,
                                      enum md__wire_type type, size_t *count, struct md_error *err)
{
    *count = 0;
    return md__wire_numbers(message, number, type, count_one, count, err);
}
