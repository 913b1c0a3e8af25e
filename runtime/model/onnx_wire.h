/*
 * The protobuf wire format (https://protobuf.dev/programming-guides/encoding/): a message is a
 * run of fields, each a tag (number and wire type) and a value. A cursor walks the fields of one
 * message; sub-messages, strings and packed lists come out as cursors over their own bytes, so
 * nothing is copied and nothing can be read outside the message that holds it.
 *
 * Every failure is MD_ERR_CORRUPT and names the byte of the file where the field began.
 */
#ifndef MD_MODEL_ONNX_WIRE_H
#define MD_MODEL_ONNX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

struct md__wire {
    const uint8_t *file; /* where the whole file begins, for positions in messages */
    const uint8_t *at, *end;
};

enum md__wire_type {
    MD__WIRE_VARINT = 0,
    MD__WIRE_FIXED64 = 1,
    MD__WIRE_BYTES = 2,
    MD__WIRE_FIXED32 = 5
};

struct md__wire_field {
    uint32_t number;
    enum md__wire_type type;
    uint64_t value;        /* of the three number types, as its bits */
    struct md__wire bytes; /* of MD__WIRE_BYTES */
};

/* *more is false at the end of the message; field is filled otherwise. */
enum md_status md__wire_next(struct md__wire *wire, struct md__wire_field *field, bool *more,
                             struct md_error *err);

/* How many fields with this number the message has; the cursor stays where it is. */
enum md_status md__wire_count(struct md__wire wire, uint32_t number, size_t *count,
                              struct md_error *err);

/* ---- the value of a field as one type ---- */

/* The field's bytes as a cursor; a field of another wire type is corrupt. */
enum md_status md__wire_bytes(const struct md__wire_field *field, struct md__wire *bytes,
                              struct md_error *err);
/* A NUL-terminated copy in the arena; text with a NUL inside is corrupt. */
enum md_status md__wire_text(const struct md__wire_field *field, struct md_arena *arena,
                             const char **text, struct md_error *err);
enum md_status md__wire_int(const struct md__wire_field *field, int64_t *value,
                            struct md_error *err);
enum md_status md__wire_int32(const struct md__wire_field *field, int32_t *value,
                              struct md_error *err);
enum md_status md__wire_float(const struct md__wire_field *field, float *value,
                              struct md_error *err);

/* ---- repeated numbers ---- */

/*
 * Every number of a repeated field, packed or not, in the order of the file: `visit` is called
 * with each value's bits. type: how one element is written.
 */
enum md_status md__wire_numbers(struct md__wire message, uint32_t number, enum md__wire_type type,
                                void (*visit)(void *context, uint64_t bits), void *context,
                                struct md_error *err);
enum md_status md__wire_numbers_count(struct md__wire message, uint32_t number,
                                      enum md__wire_type type, size_t *count, struct md_error *err);

/* The position of `at` in the file, for messages. */
static inline size_t md__wire_position(const struct md__wire *wire)
{
    return (size_t)(wire->at - wire->file);
}

#endif
