/* Protobuf messages for tests, as bytes: append fields, then nest one message in another. */
#ifndef MD_TESTS_PROTO_H
#define MD_TESTS_PROTO_H

#include <stddef.h>
#include <stdint.h>

#define PROTO_BYTES_MAX 16384

struct proto {
    uint8_t data[PROTO_BYTES_MAX];
    size_t length;
};

/* These fail the test when the message gets too long. */
void proto_int(struct proto *message, int field, int64_t value);
void proto_bytes(struct proto *message, int field, const void *data, size_t length);
void proto_text(struct proto *message, int field, const char *text);
void proto_float(struct proto *message, int field, float value);
void proto_sub(struct proto *message, int field, const struct proto *sub);

/* ---- ONNX ---- */

/* A node; names are separated by spaces, "-" is an absent one. Attributes are added as field 5. */
struct proto onnx_node(const char *op, const char *inputs, const char *outputs);
/* An attribute of type INT (2) or INTS (7). */
struct proto onnx_attr_int(const char *name, int64_t value);
struct proto onnx_attr_ints(const char *name, const int64_t *values, size_t count);
struct proto onnx_attr_graph(const char *name, const struct proto *graph);
/* A value of this type (TensorProto.DataType); dims are sizes or names, separated by spaces. */
struct proto onnx_value(const char *name, int type, const char *dims);
/* A tensor with raw data. */
struct proto onnx_tensor(const char *name, int type, const int64_t *dims, size_t rank,
                         const void *raw, size_t bytes);
/* A model around a graph, importing this opset. */
struct proto onnx_model(const struct proto *graph, int64_t opset);

#endif
