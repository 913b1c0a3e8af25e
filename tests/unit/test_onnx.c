/* ONNX files: inputs, tensors, names, versions; and every way that a file can be wrong. */
#include <stdlib.h>
#include <string.h>

#include "model/onnx.h"
#include "proto.h"
#include "unit.h"

enum { FLOAT = 1, INT8 = 3, INT32 = 6, INT64 = 7, STRING = 8, BOOL = 9, FLOAT16 = 10, DOUBLE = 11 };

static struct md_error err;
static struct md_graph *graph;

static enum md_status parse(const struct proto *model)
{
    return md_onnx_parse(model->data, model->length, &graph, &err);
}

/* A graph y = Relu(x), to which tests add. */
static struct proto relu_graph(const char *dims)
{
    struct proto made = {.length = 0}, node = onnx_node("Relu", "x", "y");
    struct proto x = onnx_value("x", FLOAT, dims), y = onnx_value("y", FLOAT, dims);
    proto_sub(&made, 1, &node);
    proto_sub(&made, 11, &x);
    proto_sub(&made, 12, &y);
    return made;
}

static enum md_status parse_graph(const struct proto *source)
{
    struct proto model = onnx_model(source, 17);
    return parse(&model);
}

/* Relu beside a tensor "w", which is an output. */
static enum md_status parse_tensor(const struct proto *tensor)
{
    struct proto source = relu_graph("2"), w = onnx_value("w", FLOAT, "");
    proto_sub(&source, 5, tensor);
    proto_sub(&source, 12, &w);
    return parse_graph(&source);
}

static const struct md_tensor *read_tensor(const struct proto *tensor)
{
    assert_ok(parse_tensor(tensor));
    return &graph->values[graph->outputs[1].value].constant;
}

/* ---- what is read ---- */

static void a_small_model_is_read(void **state)
{
    struct proto source = relu_graph("batch 2");
    assert_ok(parse_graph(&source));
    assert_int_equal(graph->input_count, 1);
    assert_string_equal(graph->inputs[0].name, "x");
    assert_int_equal(graph->values[graph->inputs[0].value].dtype, MD_F32);
    assert_string_equal(graph->symbols[0], "batch");
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(graph->nodes[0].op, MD_OP_RELU);
    assert_string_equal(graph->outputs[0].name, "y");
    md_graph_delete(graph);
}

static void dimensions_are_sizes_or_symbols(void **state)
{
    struct proto source = relu_graph("4 height ? -1");
    assert_ok(parse_graph(&source));
    const struct md_shape *shape = &graph->values[graph->inputs[0].value].shape;
    assert_int_equal(shape->dim[0], 4);
    assert_string_equal(graph->symbols[0], "height");
    assert_string_equal(graph->symbols[1], "x_dim2");
    assert_string_equal(graph->symbols[2], "x_dim3");
    assert_int_equal(shape->dim[3], -4);
    md_graph_delete(graph);
    source = relu_graph("None None");
    assert_ok(parse_graph(&source));
    assert_string_equal(graph->symbols[0], "x_dim0");
    assert_string_equal(graph->symbols[1], "x_dim1");
    md_graph_delete(graph);
    source = relu_graph("1 1 1 1 1 1 1 1 1");
    assert_fails(MD_ERR_UNSUPPORTED, parse_graph(&source));
    assert_says("9 dimensions");
}

static void an_input_may_have_no_shape_but_needs_a_type(void **state)
{
    struct proto source = {.length = 0}, node = onnx_node("Relu", "x", "y");
    struct proto tensor = {.length = 0}, type = {.length = 0}, x = {.length = 0};
    struct proto bare = {.length = 0}, y = onnx_value("y", FLOAT, "");
    proto_int(&tensor, 1, FLOAT);
    proto_sub(&type, 1, &tensor);
    proto_text(&x, 1, "x");
    bare = x;
    proto_sub(&x, 2, &type);
    proto_sub(&source, 1, &node);
    proto_sub(&source, 12, &y);
    struct proto typed = source;
    proto_sub(&typed, 11, &x);
    assert_ok(parse_graph(&typed));
    assert_int_equal(graph->values[graph->inputs[0].value].shape.rank, MD_RANK_UNKNOWN);
    md_graph_delete(graph);
    proto_sub(&source, 11, &bare);
    assert_fails(MD_ERR_CORRUPT, parse_graph(&source));
    assert_says("input \"x\": has no type");
}

static void other_types_are_named(void **state)
{
    static const struct {
        int field;
        const char *says;
    } kinds[] = {{4, "a sequence"}, {5, "a map"}, {8, "a sparse tensor"}, {9, "an optional"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct proto source = relu_graph("2"), nothing = {.length = 0}, type = {.length = 0};
        struct proto value = {.length = 0};
        proto_sub(&type, kinds[i].field, &nothing);
        proto_text(&value, 1, "z");
        proto_sub(&value, 2, &type);
        proto_sub(&source, 11, &value);
        assert_fails(MD_ERR_UNSUPPORTED, parse_graph(&source));
        assert_says(kinds[i].says);
    }
    struct proto source = relu_graph("2"), text = onnx_value("t", STRING, "2");
    proto_sub(&source, 11, &text);
    assert_fails(MD_ERR_UNSUPPORTED, parse_graph(&source));
    assert_says("type string");
}

static void initialisers_among_inputs_are_constants(void **state)
{
    const int64_t dims[] = {2};
    const float numbers[] = {1, 2};
    struct proto source = relu_graph("2"), w = onnx_value("w", FLOAT, "2");
    struct proto tensor = onnx_tensor("w", FLOAT, dims, 1, numbers, sizeof numbers);
    proto_sub(&source, 11, &w);
    proto_sub(&source, 5, &tensor);
    assert_ok(parse_graph(&source));
    assert_int_equal(graph->input_count, 1);
    md_graph_delete(graph);
}

/* ---- tensors ---- */

static struct proto bare_tensor(int type, int64_t dim)
{
    struct proto tensor = {.length = 0};
    proto_int(&tensor, 1, dim);
    proto_int(&tensor, 2, type);
    proto_text(&tensor, 8, "w");
    return tensor;
}

static void typed_lists_are_read_packed_and_not(void **state)
{
    struct proto tensor = bare_tensor(FLOAT, 2), packed = bare_tensor(INT64, 3);
    const float numbers[] = {1.5f, -2};
    proto_bytes(&tensor, 4, numbers, sizeof numbers);
    const struct md_tensor *w = read_tensor(&tensor);
    assert_true(((const float *)w->data)[0] == 1.5f && ((const float *)w->data)[1] == -2);
    md_graph_delete(graph);
    proto_int(&packed, 7, -1);
    proto_bytes(&packed, 7, "\x05\x07", 2);
    w = read_tensor(&packed);
    assert_int_equal(((const int64_t *)w->data)[0], -1);
    assert_int_equal(((const int64_t *)w->data)[2], 7);
    md_graph_delete(graph);
    tensor = bare_tensor(INT8, 2); /* narrow types travel in int32_data */
    proto_int(&tensor, 5, -3);
    proto_int(&tensor, 5, 200);
    w = read_tensor(&tensor);
    assert_int_equal(((const int8_t *)w->data)[0], -3);
    md_graph_delete(graph);
    tensor = bare_tensor(FLOAT16, 1); /* as bits */
    proto_int(&tensor, 5, 0x3c00);
    w = read_tensor(&tensor);
    assert_true(md_f16_to_f32(((const uint16_t *)w->data)[0]) == 1);
    md_graph_delete(graph);
}

static void booleans_are_0_or_1(void **state)
{
    const int64_t dims[] = {3};
    struct proto raw = onnx_tensor("w", BOOL, dims, 1, "\x02\x00\xff", 3);
    const struct md_tensor *w = read_tensor(&raw);
    assert_memory_equal(w->data, "\x01\x00\x01", 3);
    md_graph_delete(graph);
    struct proto list = bare_tensor(BOOL, 2);
    proto_int(&list, 5, 256);
    proto_int(&list, 5, 0);
    w = read_tensor(&list);
    assert_memory_equal(w->data, "\x01\x00", 2);
    md_graph_delete(graph);
}

static void tensors_must_agree_with_their_data(void **state)
{
    const int64_t dims[] = {2}, huge[] = {INT64_MAX, INT64_MAX}, negative[] = {-1};
    const int64_t nine[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const struct {
        struct proto tensor;
        enum md_status status;
        const char *says;
    } cases[] = {
        {onnx_tensor("w", FLOAT, dims, 1, "1234567", 7), MD_ERR_CORRUPT, "takes 8 bytes"},
        {onnx_tensor("w", FLOAT, huge, 2, "", 0), MD_ERR_INVALID, "w"},
        {onnx_tensor("w", FLOAT, negative, 1, "", 0), MD_ERR_CORRUPT, "dimension 0 is -1"},
        {onnx_tensor("w", FLOAT, nine, 9, "1234", 4), MD_ERR_UNSUPPORTED, "9 dimensions"},
        {onnx_tensor("w", STRING, dims, 1, "", 0), MD_ERR_UNSUPPORTED, "type string"},
        {onnx_tensor("w", 17, dims, 1, "ab", 2), MD_ERR_UNSUPPORTED, "float8e4m3fn"},
        {onnx_tensor("w", 22, dims, 1, "a", 1), MD_ERR_UNSUPPORTED, "int4"},
        {onnx_tensor("w", 99, dims, 1, "a", 1), MD_ERR_UNSUPPORTED, "99"},
        {onnx_tensor("w", 0, dims, 1, "a", 1), MD_ERR_CORRUPT, "no type"},
        {bare_tensor(FLOAT, 2), MD_ERR_CORRUPT, "0 numbers for 2"},
        {onnx_tensor("", FLOAT, dims, 1, "12345678", 8), MD_ERR_CORRUPT, "no name"},
        {onnx_tensor("x", FLOAT, dims, 1, "12345678", 8), MD_ERR_CORRUPT, "\"w\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum md_status status = parse_tensor(&cases[i].tensor);
        if (cases[i].status == MD_ERR_INVALID) /* the size overflows, however it is called */
            assert_true(status == MD_ERR_INVALID || status == MD_ERR_TOO_LARGE);
        else
            assert_int_equal(status, cases[i].status);
        assert_says(cases[i].says);
        assert_null(graph);
    }
}

static void bytes_in_memory_have_no_folder(void **state)
{
    struct proto tensor = bare_tensor(FLOAT, 1), entry = {.length = 0};
    proto_text(&entry, 1, "location");
    proto_text(&entry, 2, "w.bin");
    proto_sub(&tensor, 13, &entry);
    proto_int(&tensor, 14, 1);
    assert_fails(MD_ERR_INVALID, parse_tensor(&tensor));
    assert_says("no folder");
}

/* values [2] at indices, dense [dense] */
static struct proto sparse(const int64_t *indices, size_t count, int64_t dense)
{
    const int64_t dims[] = {2}, index_dims[] = {(int64_t)count};
    const float numbers[] = {5, 6};
    struct proto made = {.length = 0};
    struct proto values = onnx_tensor("w", FLOAT, dims, 1, numbers, sizeof numbers);
    struct proto places = onnx_tensor("", INT64, index_dims, 1, indices, count * sizeof *indices);
    proto_sub(&made, 1, &values);
    proto_sub(&made, 2, &places);
    proto_int(&made, 3, dense);
    return made;
}

static enum md_status parse_sparse(const struct proto *tensor)
{
    struct proto source = relu_graph("2"), w = onnx_value("w", FLOAT, "");
    proto_sub(&source, 15, tensor);
    proto_sub(&source, 12, &w);
    return parse_graph(&source);
}

static void sparse_tensors_become_dense(void **state)
{
    struct proto good = sparse((int64_t[]){3, 1}, 2, 4);
    assert_ok(parse_sparse(&good));
    const float *w = graph->values[graph->outputs[1].value].constant.data;
    assert_true(w[0] == 0 && w[1] == 6 && w[2] == 0 && w[3] == 5);
    md_graph_delete(graph);
    struct proto outside = sparse((int64_t[]){4, 1}, 2, 4);
    assert_fails(MD_ERR_CORRUPT, parse_sparse(&outside));
    assert_says("index 4");
    struct proto below = sparse((int64_t[]){0, -1}, 2, 4);
    assert_fails(MD_ERR_CORRUPT, parse_sparse(&below));
    struct proto uneven = sparse((int64_t[]){0, 1, 2}, 3, 4);
    assert_fails(MD_ERR_CORRUPT, parse_sparse(&uneven));
    struct proto huge = sparse((int64_t[]){0, 1}, 2, (int64_t)1 << 40);
    assert_fails(MD_ERR_TOO_LARGE, parse_sparse(&huge));
}

/* ---- the model ---- */

static struct proto versioned(int64_t ir_version, int64_t opset)
{
    struct proto model = {.length = 0}, import = {.length = 0}, source = relu_graph("2");
    proto_int(&model, 1, ir_version);
    proto_sub(&model, 7, &source);
    proto_int(&import, 2, opset);
    if (opset)
        proto_sub(&model, 8, &import);
    return model;
}

static void versions_are_checked(void **state)
{
    const struct {
        int64_t ir_version, opset;
        enum md_status status;
        const char *says;
    } cases[] = {{99, 17, MD_ERR_UNSUPPORTED, "IR version 99"},
                 {8, 29, MD_ERR_UNSUPPORTED, "opset 29"},
                 {8, INT64_MAX, MD_ERR_UNSUPPORTED, "opset"},
                 {0, 17, MD_ERR_CORRUPT, "not an ONNX model"},
                 {8, 0, MD_ERR_CORRUPT, "no opset"},
                 {8, -1, MD_ERR_CORRUPT, "-1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proto model = versioned(cases[i].ir_version, cases[i].opset);
        assert_fails(cases[i].status, parse(&model));
        assert_says(cases[i].says);
    }
    struct proto model = versioned(2, 0); /* before imports were invented */
    assert_ok(parse(&model));
    md_graph_delete(graph);
}

static void a_model_needs_a_graph_with_outputs(void **state)
{
    struct proto model = {.length = 0}, nothing = {.length = 0};
    proto_int(&model, 1, 8);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("no graph");
    assert_fails(MD_ERR_CORRUPT, parse_graph(&nothing));
    assert_says("no outputs");
    assert_fails(MD_ERR_CORRUPT, md_onnx_parse(NULL, 0, &graph, &err));
}

static void a_wire_that_is_broken_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *says;
    } cases[] = {
        {"\x08", 1, "cut short"},
        {"\x3a\xff\xff\xff\xff\x0f", 6, "cut short"},
        {"\x3a\x05\x0a\x09zzz", 7, "cut short"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "longer than 64 bits"},
        {"\x08\x08\x02\x00", 4, "no field"},
        {"\x08\x08\x0b", 3, "wire type 3"},
        {"not a model", 11, "no ONNX model"},
        {"\x08\x08\x38\x01", 4, "wire type 0, not 2"},
        {"\x0a\x00", 2, "wire type 2, not 0"},
        {"\x08\x08\x12\x03"
         "a\0b",
         7, "NUL"},
        {"\x09\x08", 2, "cut short"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_fails(MD_ERR_CORRUPT, md_onnx_parse(cases[i].bytes, cases[i].length, &graph, &err));
        assert_says(cases[i].says);
    }
}

static void names_must_fit(void **state)
{
    const struct {
        const char *in, *out, *says;
    } cases[] = {{"x", "y", "called \"y\""}, /* two of them */
                 {"x", "x", "cycle"},
                 {"nowhere", "z", "\"nowhere\""},
                 {"z", "z", "cycle"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct proto source = relu_graph("2");
        struct proto node = onnx_node("Relu", cases[i].in, cases[i].out);
        proto_sub(&source, 1, &node);
        assert_fails(MD_ERR_CORRUPT, parse_graph(&source));
        assert_says(cases[i].says);
    }
    struct proto source = {.length = 0}, y = onnx_value("y", FLOAT, "");
    proto_sub(&source, 12, &y);
    assert_fails(MD_ERR_CORRUPT, parse_graph(&source));
}

static void nodes_are_sorted(void **state)
{
    struct proto source = {.length = 0}, last = onnx_node("Relu", "b", "y");
    struct proto middle = onnx_node("Abs", "a", "b"), first = onnx_node("Neg", "x", "a");
    struct proto x = onnx_value("x", FLOAT, "2"), y = onnx_value("y", FLOAT, "2");
    proto_sub(&source, 1, &last);
    proto_sub(&source, 1, &middle);
    proto_sub(&source, 1, &first);
    proto_sub(&source, 11, &x);
    proto_sub(&source, 12, &y);
    assert_ok(parse_graph(&source));
    assert_int_equal(graph->nodes[0].op, MD_OP_NEG);
    assert_int_equal(graph->nodes[2].op, MD_OP_RELU);
    md_graph_delete(graph);
    struct proto loop = onnx_node("Add", "x y", "a");
    source = (struct proto){.length = 0};
    proto_sub(&source, 1, &last);
    proto_sub(&source, 1, &middle);
    proto_sub(&source, 1, &loop);
    proto_sub(&source, 11, &x);
    proto_sub(&source, 12, &y);
    assert_fails(MD_ERR_CORRUPT, parse_graph(&source));
    assert_says("cycle");
}

static void nesting_ends_somewhere(void **state)
{
    static struct proto deep, outer; /* If in If in If ... */
    deep = relu_graph("2");
    enum md_status status = MD_OK;
    for (int i = 0; i < 40; i++) {
        struct proto node = onnx_node("If", "x", "y"), attr = onnx_attr_graph("then_branch", &deep);
        struct proto y = onnx_value("y", FLOAT, "");
        proto_sub(&node, 5, &attr);
        outer = (struct proto){.length = 0};
        proto_sub(&outer, 1, &node);
        proto_sub(&outer, 12, &y);
        deep = outer;
    }
    status = parse_graph(&deep);
    assert_int_equal(status, MD_ERR_TOO_LARGE);
    assert_says("nested");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_model_is_read),
        cmocka_unit_test(dimensions_are_sizes_or_symbols),
        cmocka_unit_test(an_input_may_have_no_shape_but_needs_a_type),
        cmocka_unit_test(other_types_are_named),
        cmocka_unit_test(initialisers_among_inputs_are_constants),
        cmocka_unit_test(typed_lists_are_read_packed_and_not),
        cmocka_unit_test(booleans_are_0_or_1),
        cmocka_unit_test(tensors_must_agree_with_their_data),
        cmocka_unit_test(bytes_in_memory_have_no_folder),
        cmocka_unit_test(sparse_tensors_become_dense),
        cmocka_unit_test(versions_are_checked),
        cmocka_unit_test(a_model_needs_a_graph_with_outputs),
        cmocka_unit_test(a_wire_that_is_broken_is_refused),
        cmocka_unit_test(names_must_fit),
        cmocka_unit_test(nodes_are_sorted),
        cmocka_unit_test(nesting_ends_somewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
