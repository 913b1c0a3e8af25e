/*
 * ONNX messages from their wire format; see onnx_proto.h. Which field of a message goes where is
 * data: one table a message, read by one decoder. Repeated fields are counted first, so that their
 * arrays have the right size; counts are bounded by the bytes of the message, arrays by the cap of
 * the arena.
 */
#include "model/onnx_proto.h"

#include <string.h>

enum kind {
    TEXT,    /* const char *, "" when absent */
    DOMAIN_, /* the same; "ai.onnx" is another name of "" */
    INT,     /* int64_t */
    INT32,   /* int32_t */
    FLOAT,   /* float */
    BYTES,   /* struct md__wire */
    PRESENT, /* bool: the field is there; may stand beside another row of the same number */
    INLINE,  /* a struct, in place */
    POINTER, /* a struct, in the arena; NULL when absent */
    TEXTS,   /* the repeated kinds: a pointer and a count */
    INTS,
    FLOATS, /* kept as double */
    STRUCTS
};

struct message;

struct row {
    uint32_t number;
    enum kind kind;
    size_t offset, count_offset; /* in the struct */
    const struct message *message;
};

struct message {
    size_t size; /* of the struct */
    size_t all;  /* 1 + offset of a struct md__wire that receives the whole message; 0: none */
    const struct row *rows;
    size_t row_count;
};

/* ---- the tables ---- */

#define MESSAGE(name, type, ...)                                                                   \
    static const struct row name##_rows[] = {__VA_ARGS__};                                         \
    static const struct message name = {sizeof(struct type), 0, name##_rows,                       \
                                        sizeof name##_rows / sizeof *name##_rows}
#define ROW(number, kind, type, member)                                                            \
    {                                                                                              \
        number, kind, offsetof(struct type, member), 0, NULL                                       \
    }
#define SUB(number, kind, type, member, message)                                                   \
    {                                                                                              \
        number, kind, offsetof(struct type, member), 0, &message                                   \
    }
#define LIST(number, kind, type, member, count, message)                                           \
    {                                                                                              \
        number, kind, offsetof(struct type, member), offsetof(struct type, count), message         \
    }

MESSAGE(entry, md__onnx_entry, ROW(1, TEXT, md__onnx_entry, key),
        ROW(2, TEXT, md__onnx_entry, value));

MESSAGE(opset, md__onnx_opset, ROW(1, DOMAIN_, md__onnx_opset, domain),
        ROW(2, INT, md__onnx_opset, version));

static const struct row tensor_rows[] = {
    LIST(1, INTS, md__onnx_tensor, dims, dim_count, NULL),
    ROW(2, INT32, md__onnx_tensor, data_type),
    ROW(3, PRESENT, md__onnx_tensor, is_segment),
    ROW(8, TEXT, md__onnx_tensor, name),
    ROW(9, BYTES, md__onnx_tensor, raw),
    ROW(9, PRESENT, md__onnx_tensor, has_raw),
    LIST(13, STRUCTS, md__onnx_tensor, external, external_count, &entry),
    ROW(14, INT32, md__onnx_tensor, location),
};
static const struct message tensor = {sizeof(struct md__onnx_tensor),
                                      1 + offsetof(struct md__onnx_tensor, all), tensor_rows,
                                      sizeof tensor_rows / sizeof *tensor_rows};

MESSAGE(sparse, md__onnx_sparse, SUB(1, INLINE, md__onnx_sparse, values, tensor),
        SUB(2, INLINE, md__onnx_sparse, indices, tensor),
        LIST(3, INTS, md__onnx_sparse, dims, dim_count, NULL));

MESSAGE(dim, md__onnx_dim, ROW(1, INT, md__onnx_dim, size), ROW(1, PRESENT, md__onnx_dim, has_size),
        ROW(2, TEXT, md__onnx_dim, symbol));

MESSAGE(shape, md__onnx_shape, LIST(1, STRUCTS, md__onnx_shape, dims, dim_count, &dim));

MESSAGE(tensor_type, md__onnx_tensor_type, ROW(1, INT32, md__onnx_tensor_type, elem_type),
        SUB(2, POINTER, md__onnx_tensor_type, shape, shape));

MESSAGE(type, md__onnx_type, SUB(1, POINTER, md__onnx_type, tensor, tensor_type),
        ROW(4, PRESENT, md__onnx_type, is_sequence), ROW(5, PRESENT, md__onnx_type, is_map),
        ROW(7, PRESENT, md__onnx_type, is_opaque), ROW(8, PRESENT, md__onnx_type, is_sparse),
        ROW(9, PRESENT, md__onnx_type, is_optional));

MESSAGE(value, md__onnx_value, ROW(1, TEXT, md__onnx_value, name),
        SUB(2, INLINE, md__onnx_value, type, type));

static const struct message graph; /* attributes hold graphs, whose nodes hold attributes */

MESSAGE(attr, md__onnx_attr, ROW(1, TEXT, md__onnx_attr, name), ROW(2, FLOAT, md__onnx_attr, f),
        ROW(2, PRESENT, md__onnx_attr, has_f), ROW(3, INT, md__onnx_attr, i),
        ROW(3, PRESENT, md__onnx_attr, has_i), ROW(4, TEXT, md__onnx_attr, s),
        SUB(5, POINTER, md__onnx_attr, tensor, tensor),
        SUB(6, POINTER, md__onnx_attr, graph, graph),
        LIST(7, FLOATS, md__onnx_attr, floats, float_count, NULL),
        LIST(8, INTS, md__onnx_attr, ints, int_count, NULL),
        LIST(9, TEXTS, md__onnx_attr, strings, string_count, NULL),
        ROW(20, INT32, md__onnx_attr, type), ROW(21, TEXT, md__onnx_attr, ref),
        SUB(22, POINTER, md__onnx_attr, sparse, sparse));

MESSAGE(node, md__onnx_node, LIST(1, TEXTS, md__onnx_node, inputs, input_count, NULL),
        LIST(2, TEXTS, md__onnx_node, outputs, output_count, NULL),
        ROW(3, TEXT, md__onnx_node, name), ROW(4, TEXT, md__onnx_node, op_type),
        LIST(5, STRUCTS, md__onnx_node, attrs, attr_count, &attr),
        ROW(7, DOMAIN_, md__onnx_node, domain), ROW(8, TEXT, md__onnx_node, overload));

static const struct row graph_rows[] = {
    LIST(1, STRUCTS, md__onnx_graph, nodes, node_count, &node),
    ROW(2, TEXT, md__onnx_graph, name),
    LIST(5, STRUCTS, md__onnx_graph, initializers, initializer_count, &tensor),
    LIST(11, STRUCTS, md__onnx_graph, inputs, input_count, &value),
    LIST(12, STRUCTS, md__onnx_graph, outputs, output_count, &value),
    LIST(13, STRUCTS, md__onnx_graph, infos, info_count, &value),
    LIST(15, STRUCTS, md__onnx_graph, sparse, sparse_count, &sparse),
};
static const struct message graph = {sizeof(struct md__onnx_graph), 0, graph_rows,
                                     sizeof graph_rows / sizeof *graph_rows};

MESSAGE(function, md__onnx_function, ROW(1, TEXT, md__onnx_function, name),
        LIST(4, TEXTS, md__onnx_function, inputs, input_count, NULL),
        LIST(5, TEXTS, md__onnx_function, outputs, output_count, NULL),
        LIST(6, TEXTS, md__onnx_function, attr_names, attr_name_count, NULL),
        LIST(7, STRUCTS, md__onnx_function, nodes, node_count, &node),
        LIST(9, STRUCTS, md__onnx_function, opsets, opset_count, &opset),
        ROW(10, DOMAIN_, md__onnx_function, domain),
        LIST(11, STRUCTS, md__onnx_function, defaults, default_count, &attr),
        ROW(13, TEXT, md__onnx_function, overload));

MESSAGE(model, md__onnx_model, ROW(1, INT, md__onnx_model, ir_version),
        ROW(2, TEXT, md__onnx_model, producer), SUB(7, POINTER, md__onnx_model, graph, graph),
        LIST(8, STRUCTS, md__onnx_model, opsets, opset_count, &opset),
        LIST(25, STRUCTS, md__onnx_model, functions, function_count, &function));

/* ---- the decoder ---- */

struct decoder {
    struct md_arena *arena;
    int depth;
};

static enum md_status decode(struct decoder *decoder, const struct message *message,
                             struct md__wire wire, void *out, struct md_error *err);

static enum md_status too_large(struct md_error *err)
{
    return md_fail(err, MD_ERR_TOO_LARGE, "the model's structure does not fit in memory");
}

/* Array and count of a repeated field, wherever the table says they are in the struct. */
static size_t *count_of(const struct row *row, void *out)
{
    return (size_t *)(void *)((char *)out + row->count_offset);
}

static void *array_of(const struct row *row, void *out)
{
    void *items;
    memcpy(&items, (char *)out + row->offset, sizeof items);
    return items;
}

static size_t item_size(const struct row *row)
{
    return row->kind == STRUCTS ? row->message->size : 8;
}

static enum md_status make_array(struct decoder *decoder, const struct row *row,
                                 struct md__wire wire, void *out, struct md_error *err)
{
    size_t count = 0;
    enum md_status status =
        row->kind == INTS || row->kind == FLOATS
            ? md__wire_numbers_count(wire, row->number,
                                     row->kind == INTS ? MD__WIRE_VARINT : MD__WIRE_FIXED32, &count,
                                     err)
            : md__wire_count(wire, row->number, &count, err);
    if (status || count == 0)
        return status;
    void *items = md_arena_array(decoder->arena, count, item_size(row));
    if (!items)
        return too_large(err);
    memcpy((char *)out + row->offset, &items, sizeof items);
    return MD_OK;
}

struct numbers {
    void *items;
    size_t count;
};

static void push_int(void *context, uint64_t bits)
{
    struct numbers *numbers = context;
    ((int64_t *)numbers->items)[numbers->count++] = (int64_t)bits;
}

static void push_float(void *context, uint64_t bits)
{
    struct numbers *numbers = context;
    uint32_t low = (uint32_t)bits;
    float number;
    memcpy(&number, &low, sizeof number);
    ((double *)numbers->items)[numbers->count++] = number;
}

static enum md_status fill_numbers(const struct row *row, struct md__wire wire, void *out,
                                   struct md_error *err)
{
    struct numbers numbers = {array_of(row, out), 0};
    enum md_status status =
        row->kind == INTS
            ? md__wire_numbers(wire, row->number, MD__WIRE_VARINT, push_int, &numbers, err)
            : md__wire_numbers(wire, row->number, MD__WIRE_FIXED32, push_float, &numbers, err);
    *count_of(row, out) = numbers.count;
    return status;
}

/* Before the walk: "" for texts, arrays of the right size, and lists of numbers, which may be
 * packed. */
static enum md_status prepare(struct decoder *decoder, const struct message *message,
                              struct md__wire wire, void *out, struct md_error *err)
{
    const char *empty = "";
    enum md_status status = MD_OK;
    for (size_t i = 0; !status && i < message->row_count; i++) {
        const struct row *row = &message->rows[i];
        if (row->kind == TEXT || row->kind == DOMAIN_)
            memcpy((char *)out + row->offset, &empty, sizeof empty);
        else if (row->kind == INLINE)
            status = decode(decoder, row->message, (struct md__wire){wire.file, wire.at, wire.at},
                            (char *)out + row->offset, err);
        else if (row->kind >= TEXTS)
            status = make_array(decoder, row, wire, out, err);
        if (!status && (row->kind == INTS || row->kind == FLOATS))
            status = fill_numbers(row, wire, out, err);
    }
    return status;
}

static enum md_status decode_bytes(struct decoder *decoder, const struct message *message,
                                   const struct md__wire_field *field, void *out,
                                   struct md_error *err)
{
    struct md__wire bytes;
    enum md_status status = md__wire_bytes(field, &bytes, err);
    return status ? status : decode(decoder, message, bytes, out, err);
}

static enum md_status decode_pointer(struct decoder *decoder, const struct row *row,
                                     const struct md__wire_field *field, void *slot,
                                     struct md_error *err)
{
    void *made = md_arena_alloc(decoder->arena, row->message->size);
    if (!made)
        return too_large(err);
    memcpy(slot, &made, sizeof made);
    return decode_bytes(decoder, row->message, field, made, err);
}

static enum md_status decode_text(struct decoder *decoder, const struct md__wire_field *field,
                                  bool is_domain, void *slot, struct md_error *err)
{
    const char *text = "";
    enum md_status status = md__wire_text(field, decoder->arena, &text, err);
    if (is_domain && strcmp(text, "ai.onnx") == 0)
        text = "";
    memcpy(slot, &text, sizeof text);
    return status;
}

static enum md_status decode_field(struct decoder *decoder, const struct row *row,
                                   const struct md__wire_field *field, void *out,
                                   struct md_error *err)
{
    char *slot = (char *)out + row->offset;
    switch (row->kind) {
    case TEXT:
    case DOMAIN_:
        return decode_text(decoder, field, row->kind == DOMAIN_, slot, err);
    case INT:
        return md__wire_int(field, (int64_t *)(void *)slot, err);
    case INT32:
        return md__wire_int32(field, (int32_t *)(void *)slot, err);
    case FLOAT:
        return md__wire_float(field, (float *)(void *)slot, err);
    case BYTES:
        return md__wire_bytes(field, (struct md__wire *)(void *)slot, err);
    case PRESENT:
        *(bool *)(void *)slot = true;
        return MD_OK;
    case INLINE:
        return decode_bytes(decoder, row->message, field, slot, err);
    case POINTER:
        return decode_pointer(decoder, row, field, slot, err);
    case TEXTS:
        slot = (char *)array_of(row, out) + (*count_of(row, out))++ * item_size(row);
        return decode_text(decoder, field, false, slot, err);
    case STRUCTS:
        slot = (char *)array_of(row, out) + (*count_of(row, out))++ * item_size(row);
        return decode_bytes(decoder, row->message, field, slot, err);
    default: /* numbers are there already */
        return MD_OK;
    }
}

static enum md_status decode(struct decoder *decoder, const struct message *message,
                             struct md__wire wire, void *out, struct md_error *err)
{
    struct md__wire_field field;
    bool more = true;
    if (decoder->depth >= MD__ONNX_DEPTH_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "more than %d messages are nested at byte %zu",
                       MD__ONNX_DEPTH_MAX, md__wire_position(&wire));
    decoder->depth++;
    memset(out, 0, message->size);
    if (message->all)
        memcpy((char *)out + message->all - 1, &wire, sizeof wire);
    enum md_status status = prepare(decoder, message, wire, out, err);
    while (!status && !(status = md__wire_next(&wire, &field, &more, err)) && more)
        for (size_t i = 0; !status && i < message->row_count; i++)
            if (message->rows[i].number == field.number)
                status = decode_field(decoder, &message->rows[i], &field, out, err);
    decoder->depth--;
    return status;
}

enum md_status md__onnx_decode(const void *bytes, size_t length, struct md_arena *arena,
                               struct md__onnx_model *out, struct md_error *err)
{
    static const uint8_t nothing[1];
    const uint8_t *file = length ? bytes : nothing;
    struct decoder decoder = {.arena = arena};
    return decode(&decoder, &model, (struct md__wire){file, file, file + length}, out, err);
}

const struct md__onnx_attr *md__onnx_attr_named(const struct md__onnx_attr *attrs, size_t count,
                                                const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(attrs[i].name, name) == 0)
            return &attrs[i];
    return NULL;
}
