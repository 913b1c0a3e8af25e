#include "proto.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"

static void append(struct proto *message, const void *data, size_t length)
{
    if (length > sizeof message->data - message->length)
        fail_msg("a message is over %d bytes", PROTO_BYTES_MAX);
    memcpy(message->data + message->length, data, length);
    message->length += length;
}

static void varint(struct proto *message, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        append(message, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    append(message, &(uint8_t){(uint8_t)value}, 1);
}

void proto_int(struct proto *message, int field, int64_t value)
{
    varint(message, (uint64_t)field << 3);
    varint(message, (uint64_t)value);
}

void proto_bytes(struct proto *message, int field, const void *data, size_t length)
{
    varint(message, (uint64_t)field << 3 | 2);
    varint(message, length);
    append(message, data, length);
}

void proto_text(struct proto *message, int field, const char *text)
{
    proto_bytes(message, field, text, strlen(text));
}

void proto_float(struct proto *message, int field, float value)
{
    varint(message, (uint64_t)field << 3 | 5);
    append(message, &value, sizeof value);
}

void proto_sub(struct proto *message, int field, const struct proto *sub)
{
    proto_bytes(message, field, sub->data, sub->length);
}

/* ---- ONNX ---- */

static void names(struct proto *message, int field, const char *text)
{
    while (*text) {
        size_t length = strcspn(text, " ");
        proto_bytes(message, field, text, length == 1 && *text == '-' ? 0 : length);
        text += length + (text[length] == ' ');
    }
}

struct proto onnx_node(const char *op, const char *inputs, const char *outputs)
{
    struct proto node = {.length = 0};
    names(&node, 1, inputs);
    names(&node, 2, outputs);
    proto_text(&node, 4, op);
    return node;
}

struct proto onnx_attr_int(const char *name, int64_t value)
{
    struct proto attr = {.length = 0};
    proto_text(&attr, 1, name);
    proto_int(&attr, 3, value);
    proto_int(&attr, 20, 2);
    return attr;
}

struct proto onnx_attr_ints(const char *name, const int64_t *values, size_t count)
{
    struct proto attr = {.length = 0};
    proto_text(&attr, 1, name);
    for (size_t i = 0; i < count; i++)
        proto_int(&attr, 8, values[i]);
    proto_int(&attr, 20, 7);
    return attr;
}

struct proto onnx_attr_graph(const char *name, const struct proto *graph)
{
    struct proto attr = {.length = 0};
    proto_text(&attr, 1, name);
    proto_sub(&attr, 6, graph);
    proto_int(&attr, 20, 5);
    return attr;
}

struct proto onnx_value(const char *name, int type, const char *dims)
{
    struct proto shape = {.length = 0}, tensor = {.length = 0}, any = {.length = 0};
    struct proto value = {.length = 0};
    while (*dims) {
        char text[64] = "";
        size_t length = strcspn(dims, " ");
        struct proto dim = {.length = 0};
        memcpy(text, dims, length);
        if (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'))
            proto_int(&dim, 1, strtoll(text, NULL, 10));
        else if (text[0] != '?')
            proto_text(&dim, 2, text);
        proto_sub(&shape, 1, &dim);
        dims += length + (dims[length] == ' ');
    }
    proto_int(&tensor, 1, type);
    proto_sub(&tensor, 2, &shape);
    proto_sub(&any, 1, &tensor);
    proto_text(&value, 1, name);
    proto_sub(&value, 2, &any);
    return value;
}

struct proto onnx_tensor(const char *name, int type, const int64_t *dims, size_t rank,
                         const void *raw, size_t bytes)
{
    struct proto tensor = {.length = 0};
    for (size_t i = 0; i < rank; i++)
        proto_int(&tensor, 1, dims[i]);
    proto_int(&tensor, 2, type);
    proto_text(&tensor, 8, name);
    proto_bytes(&tensor, 9, raw, bytes);
    return tensor;
}

struct proto onnx_model(const struct proto *graph, int64_t opset)
{
    struct proto model = {.length = 0}, import = {.length = 0};
    proto_int(&model, 1, 8);
    proto_sub(&model, 7, graph);
    proto_int(&import, 2, opset);
    proto_sub(&model, 8, &import);
    return model;
}
