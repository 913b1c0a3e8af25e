/*
 * The messages of an ONNX file that we need
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), decoded into structs that live in one
 * arena. Bulk data stay where they are: tensors keep cursors over the file.
 *
 * Decoding checks form only (wire types, lengths, nesting, sizes that fit); whether a name exists
 * or an operator is known is asked when the graph is built. Unknown fields are skipped, as the
 * format asks. Absent texts are "". Messages nest at most
 * MD__ONNX_DEPTH_MAX deep (protobuf's own limit), and the arena's cap bounds what is decoded.
 */
#ifndef MD_MODEL_ONNX_PROTO_H
#define MD_MODEL_ONNX_PROTO_H

#include "model/onnx_wire.h"

#define MD__ONNX_DEPTH_MAX 100

struct md__onnx_entry { /* StringStringEntryProto */
    const char *key, *value;
};

struct md__onnx_tensor { /* TensorProto */
    const char *name;
    int32_t data_type; /* the numbers of enum md_dtype, where we have the type */
    int32_t location;  /* 1: in the file that `external` names */
    const int64_t *dims;
    size_t dim_count;
    struct md__wire raw;                   /* raw_data, when has_raw */
    struct md__wire all;                   /* the whole message, for the typed data fields */
    const struct md__onnx_entry *external; /* location, offset, length */
    size_t external_count;
    bool has_raw, is_segment;
};

struct md__onnx_sparse { /* SparseTensorProto */
    struct md__onnx_tensor values, indices;
    const int64_t *dims;
    size_t dim_count;
};

struct md__onnx_dim {   /* TensorShapeProto.Dimension */
    const char *symbol; /* "" when there is none */
    int64_t size;       /* when has_size */
    bool has_size;
};

struct md__onnx_shape { /* TensorShapeProto */
    const struct md__onnx_dim *dims;
    size_t dim_count;
};

struct md__onnx_tensor_type { /* TypeProto.Tensor */
    int32_t elem_type;
    const struct md__onnx_shape *shape; /* NULL: the rank is unknown */
};

struct md__onnx_type { /* TypeProto: of types other than tensors it is enough to know which */
    const struct md__onnx_tensor_type *tensor;
    bool is_sequence, is_map, is_optional, is_sparse, is_opaque;
};

struct md__onnx_value { /* ValueInfoProto */
    const char *name;
    struct md__onnx_type type;
};

/* AttributeProto.AttributeType */
enum md__onnx_attr_type {
    MD__ONNX_ATTR_UNDEFINED = 0,
    MD__ONNX_ATTR_FLOAT = 1,
    MD__ONNX_ATTR_INT = 2,
    MD__ONNX_ATTR_STRING = 3,
    MD__ONNX_ATTR_TENSOR = 4,
    MD__ONNX_ATTR_GRAPH = 5,
    MD__ONNX_ATTR_FLOATS = 6,
    MD__ONNX_ATTR_INTS = 7,
    MD__ONNX_ATTR_STRINGS = 8,
    MD__ONNX_ATTR_TENSORS = 9,
    MD__ONNX_ATTR_GRAPHS = 10,
    MD__ONNX_ATTR_SPARSE = 11,
    MD__ONNX_ATTR_SPARSES = 12,
    MD__ONNX_ATTR_TYPE = 13,
    MD__ONNX_ATTR_TYPES = 14
};

struct md__onnx_graph;

struct md__onnx_attr { /* AttributeProto */
    const char *name;
    const char *ref; /* ref_attr_name: stands for an attribute of the calling node */
    int32_t type;
    float f;
    int64_t i;
    const char *s;
    const struct md__onnx_tensor *tensor;
    const struct md__onnx_graph *graph;
    const struct md__onnx_sparse *sparse;
    const int64_t *ints;
    const double *floats;
    const char *const *strings;
    size_t int_count, float_count, string_count;
    bool has_f, has_i;
};

struct md__onnx_node { /* NodeProto */
    const char *name, *op_type, *domain, *overload;
    const char *const *inputs;
    const char *const *outputs;
    size_t input_count, output_count;
    const struct md__onnx_attr *attrs;
    size_t attr_count;
    bool newest; /* never in a file: the reader has made it, in the newest opset's form */
};

struct md__onnx_graph { /* GraphProto */
    const char *name;
    const struct md__onnx_node *nodes;
    const struct md__onnx_tensor *initializers;
    const struct md__onnx_sparse *sparse;
    const struct md__onnx_value *inputs, *outputs, *infos;
    size_t node_count, initializer_count, sparse_count, input_count, output_count, info_count;
};

struct md__onnx_opset { /* OperatorSetIdProto */
    const char *domain; /* "" for ai.onnx, however it is written */
    int64_t version;
};

struct md__onnx_function { /* FunctionProto */
    const char *name, *domain, *overload;
    const char *const *inputs;
    const char *const *outputs;
    const char *const *attr_names; /* attributes without a default */
    size_t input_count, output_count, attr_name_count;
    const struct md__onnx_attr *defaults; /* attributes with one */
    size_t default_count;
    const struct md__onnx_node *nodes;
    size_t node_count;
    const struct md__onnx_opset *opsets;
    size_t opset_count;
};

struct md__onnx_model { /* ModelProto */
    int64_t ir_version;
    const char *producer;
    const struct md__onnx_opset *opsets;
    size_t opset_count;
    const struct md__onnx_graph *graph; /* NULL: the file has none */
    const struct md__onnx_function *functions;
    size_t function_count;
};

/* MD_ERR_CORRUPT, or MD_ERR_TOO_LARGE. The bytes must outlive the model. */
enum md_status md__onnx_decode(const void *bytes, size_t length, struct md_arena *arena,
                               struct md__onnx_model *model, struct md_error *err);

/* The attribute of this name, or NULL. */
const struct md__onnx_attr *md__onnx_attr_named(const struct md__onnx_attr *attrs, size_t count,
                                                const char *name);

#endif
