/*
 * ONNX files: functions, subgraphs, older operator forms. And three models of which every
 * truncation must be refused, and no changed byte may do harm.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/onnx.h"
#include "proto.h"
#include "unit.h"

enum { FLOAT = 1, INT64 = 7, BOOL = 9 };

static struct md_error err;
static struct md_graph *graph;

static enum md_status parse(const struct proto *model)
{
    return md_onnx_parse(model->data, model->length, &graph, &err);
}

static void add_port(struct proto *source, int field, const char *name, int type, const char *dims)
{
    struct proto value = onnx_value(name, type, dims);
    proto_sub(source, field, &value);
}

static void add_attr(struct proto *node, struct proto attr)
{
    proto_sub(node, 5, &attr);
}

static void add_node(struct proto *source, struct proto node)
{
    proto_sub(source, 1, &node);
}

/* ---- functions ---- */

/* Function `name` of domain "own" with one input a, one output r and one node. */
static struct proto function(const char *name, const struct proto *node)
{
    struct proto made = {.length = 0}, own = {.length = 0}, standard = {.length = 0};
    proto_text(&made, 1, name);
    proto_text(&made, 4, "a");
    proto_text(&made, 5, "r");
    if (node)
        proto_sub(&made, 7, node);
    proto_int(&standard, 2, 17);
    proto_sub(&made, 9, &standard);
    proto_text(&own, 1, "own");
    proto_int(&own, 2, 1);
    proto_sub(&made, 9, &own);
    proto_text(&made, 10, "own");
    return made;
}

static struct proto call(const char *name, const char *in, const char *out)
{
    struct proto node = onnx_node(name, in, out);
    proto_text(&node, 7, "own");
    return node;
}

/* x -> the node -> y */
static struct proto around(const struct proto *node)
{
    struct proto source = {.length = 0}, own = {.length = 0};
    proto_sub(&source, 1, node);
    add_port(&source, 11, "x", FLOAT, "2 2");
    add_port(&source, 12, "y", FLOAT, "2 2");
    struct proto model = onnx_model(&source, 17);
    proto_text(&own, 1, "own");
    proto_int(&own, 2, 1);
    proto_sub(&model, 8, &own);
    return model;
}

static void functions_are_expanded_with_their_attributes(void **state)
{
    struct proto node = onnx_node("Concat", "a a", "r"), ref = {.length = 0};
    proto_text(&ref, 1, "axis"); /* Concat's axis is the call's "where" */
    proto_int(&ref, 20, 2);
    proto_text(&ref, 21, "where");
    add_attr(&node, ref);
    struct proto made = function("Twice", &node), calling = call("Twice", "x", "y");
    add_attr(&calling, onnx_attr_int("where", 1));
    struct proto model = around(&calling);
    proto_sub(&model, 25, &made);
    assert_ok(parse(&model));
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(graph->nodes[0].op, MD_OP_CONCAT);
    assert_int_equal(md_node_int(&graph->nodes[0], "axis", -9), 1);
    md_graph_delete(graph);

    struct proto with_default = onnx_attr_int("where", 0); /* and its default */
    proto_sub(&made, 11, &with_default);
    calling = call("Twice", "x", "y");
    model = around(&calling);
    proto_sub(&model, 25, &made);
    assert_ok(parse(&model));
    assert_int_equal(md_node_int(&graph->nodes[0], "axis", -9), 0);
    md_graph_delete(graph);
}

static void functions_may_not_call_themselves(void **state)
{
    struct proto a = call("B", "a", "r"), b = call("A", "a", "r"), calling = call("A", "x", "y");
    struct proto model = around(&calling), first = function("A", &a), second = function("B", &b);
    proto_sub(&model, 25, &first);
    proto_sub(&model, 25, &second);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("calls itself");
}

static void wrong_calls_are_refused(void **state)
{
    struct proto node = onnx_node("Relu", "a", "r"), made = function("F", &node);
    struct proto many = call("F", "x x", "y"), model = around(&many);
    proto_sub(&model, 25, &made);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("1 inputs");
    struct proto inner = onnx_node("Relu", "x", "r"), hidden = function("F", &inner);
    struct proto once = call("F", "x", "y"); /* a function sees no names but its own */
    model = around(&once);
    proto_sub(&model, 25, &hidden);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("called \"x\"");
}

/* f0 calls f1 twice, that f2 twice, ...: 2^30 calls, and not one node. */
static void expansion_is_capped(void **state)
{
    struct proto calling = call("f0", "x", "y"), model = around(&calling);
    for (int i = 0; i < 30; i++) {
        char name[16], next[16];
        snprintf(name, sizeof name, "f%d", i);
        snprintf(next, sizeof next, "f%d", i + 1);
        struct proto first = call(next, "a", "h"), second = call(next, "h", "r");
        struct proto made = function(name, &first);
        proto_sub(&made, 7, &second);
        proto_sub(&model, 25, &made);
    }
    struct proto node = onnx_node("Identity", "a", "r"), last = function("f30", &node);
    proto_sub(&model, 25, &last);
    assert_fails(MD_ERR_TOO_LARGE, parse(&model));
}

/* ---- subgraphs ---- */

/* A branch that adds x to one of its outer names. */
static struct proto branch(const char *in)
{
    struct proto made = {.length = 0};
    add_node(&made, onnx_node("Add", in, "b"));
    add_port(&made, 12, "b", FLOAT, "");
    return made;
}

static struct proto if_model(void)
{
    struct proto source = {.length = 0}, node = onnx_node("If", "c", "y");
    struct proto then = branch("x u"), other = branch("v x");
    add_attr(&node, onnx_attr_graph("then_branch", &then));
    add_attr(&node, onnx_attr_graph("else_branch", &other));
    proto_sub(&source, 1, &node);
    add_port(&source, 11, "c", BOOL, "");
    add_port(&source, 11, "x", FLOAT, "n");
    add_port(&source, 11, "u", FLOAT, "n");
    add_port(&source, 11, "v", FLOAT, "n");
    add_port(&source, 12, "y", FLOAT, "n");
    return onnx_model(&source, 17);
}

static void branches_share_what_they_capture(void **state)
{
    struct proto model = if_model();
    static const char *const names[] = {"x", "u", "v"};
    assert_ok(parse(&model));
    const struct md_node *node = &graph->nodes[0];
    assert_int_equal(node->in_count, 4);
    assert_int_equal(md_node_int(node, "moondial.captured", -1), 3);
    for (int i = 0; i < 2; i++) {
        const struct md_graph *body = md_node_attr(node, i ? "else_branch" : "then_branch")->graph;
        assert_int_equal(body->input_count, 3);
        for (int k = 0; k < 3; k++) {
            assert_string_equal(body->inputs[k].name, names[k]);
            assert_string_equal(graph->values[node->in[k + 1]].name, names[k]);
        }
        const struct md_node *add = &body->nodes[0];
        assert_string_equal(body->values[add->in[i]].name, "x");
        assert_string_equal(body->values[add->in[1 - i]].name, i ? "v" : "u");
    }
    md_graph_delete(graph);
}

/* y = Loop(3, "", x) of x + If(cond) {w} {x0}: captures reach through two levels. */
static struct proto loop_model(void)
{
    const int64_t dims[] = {1}, three[] = {3};
    const float one[] = {1};
    struct proto source = {.length = 0}, body = {.length = 0}, then = branch("t w");
    struct proto other = branch("t x0"), test = onnx_node("If", "cond", "d");
    struct proto loop = onnx_node("Loop", "m - x", "y");
    struct proto w = onnx_tensor("w", FLOAT, dims, 1, one, sizeof one);
    struct proto m = onnx_tensor("m", INT64, dims, 0, three, sizeof three);
    add_attr(&test, onnx_attr_graph("then_branch", &then));
    add_attr(&test, onnx_attr_graph("else_branch", &other));
    proto_sub(&body, 1, &test);
    add_node(&body, onnx_node("Identity", "cond", "more"));
    add_port(&body, 11, "i", INT64, "");
    add_port(&body, 11, "cond", BOOL, "");
    add_port(&body, 11, "t", FLOAT, "1");
    add_port(&body, 12, "more", BOOL, "");
    add_port(&body, 12, "d", FLOAT, "1");
    add_attr(&loop, onnx_attr_graph("body", &body));
    proto_sub(&source, 1, &loop);
    proto_sub(&source, 5, &w);
    proto_sub(&source, 5, &m);
    add_port(&source, 11, "x", FLOAT, "1");
    add_port(&source, 11, "x0", FLOAT, "1");
    add_port(&source, 12, "y", FLOAT, "1");
    return onnx_model(&source, 17);
}

static void captures_reach_through_levels(void **state)
{
    struct proto model = loop_model();
    assert_ok(parse(&model));
    const struct md_node *loop = &graph->nodes[0];
    assert_int_equal(loop->in_count, 4); /* m, no condition, x, and x0: constants are repeated */
    assert_int_equal(loop->in[1], MD_NONE);
    assert_string_equal(graph->values[loop->in[3]].name, "x0");
    const struct md_graph *body = md_node_attr(loop, "body")->graph;
    assert_int_equal(body->input_count, 4);
    assert_string_equal(body->inputs[3].name, "x0");
    assert_int_equal(body->values[body->inputs[2].value].dtype, MD_F32);
    assert_int_equal(body->nodes[0].op, MD_OP_IF);
    assert_int_equal(md_node_int(&body->nodes[0], "moondial.captured", -1), 2);
    md_graph_delete(graph);
}

static void wrong_subgraphs_are_refused(void **state)
{
    struct proto source = {.length = 0}, node = onnx_node("If", "c", "y");
    struct proto then = branch("c nowhere");
    add_attr(&node, onnx_attr_graph("then_branch", &then));
    add_port(&source, 11, "c", BOOL, "");
    add_port(&source, 12, "y", FLOAT, "");
    struct proto bare = source;
    add_node(&bare, onnx_node("If", "c", "y"));
    struct proto model = onnx_model(&bare, 17);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("then_branch");
    struct proto lost = source;
    proto_sub(&lost, 1, &node);
    model = onnx_model(&lost, 17);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("\"nowhere\"");
    struct proto loop = onnx_node("Loop", "- c c", "y"), body = branch("c c");
    add_attr(&loop, onnx_attr_graph("body", &body)); /* takes nothing, is given three */
    proto_sub(&source, 1, &loop);
    model = onnx_model(&source, 17);
    assert_fails(MD_ERR_CORRUPT, parse(&model));
    assert_says("body takes 0 inputs");
}

/* ---- older forms ---- */

static enum md_status parse_node(struct proto node, int64_t opset)
{
    struct proto source = {.length = 0};
    proto_sub(&source, 1, &node);
    add_port(&source, 11, "x", FLOAT, "2 3 4");
    add_port(&source, 11, "z", FLOAT, "3");
    add_port(&source, 12, "y", FLOAT, "");
    struct proto model = onnx_model(&source, opset);
    return parse(&model);
}

/* The last node is `op`, and its input i holds these integers. */
static void check_ints(enum md_op op, int i, const int64_t *ints, size_t count)
{
    const struct md_node *node = &graph->nodes[graph->node_count - 1];
    assert_int_equal(node->op, op);
    assert_true(node->in_count > i && node->in[i] != MD_NONE);
    const struct md_tensor *tensor = &graph->values[node->in[i]].constant;
    assert_non_null(tensor->data);
    assert_int_equal(tensor->dtype, MD_I64);
    assert_int_equal(md_tensor_count(tensor), count);
    assert_memory_equal(tensor->data, ints, count * sizeof *ints);
    assert_int_equal(node->attr_count, 0);
    md_graph_delete(graph);
}

static void attributes_become_inputs(void **state)
{
    const int64_t axes[] = {1, 2}, shape[] = {6, 4}, starts[] = {0, 1}, ends[] = {1, 3};
    struct proto node = onnx_node("ReduceMax", "x", "y");
    add_attr(&node, onnx_attr_ints("axes", axes, 2));
    assert_ok(parse_node(node, 13));
    check_ints(MD_OP_REDUCE_MAX, 1, axes, 2);
    node = onnx_node("Reshape", "x", "y");
    add_attr(&node, onnx_attr_ints("shape", shape, 2));
    assert_ok(parse_node(node, 1));
    check_ints(MD_OP_RESHAPE, 1, shape, 2);
    node = onnx_node("Slice", "x", "y");
    add_attr(&node, onnx_attr_ints("axes", axes, 2));
    add_attr(&node, onnx_attr_ints("starts", starts, 2));
    add_attr(&node, onnx_attr_ints("ends", ends, 2));
    assert_ok(parse_node(node, 9));
    check_ints(MD_OP_SLICE, 2, ends, 2);
    node = onnx_node("Unsqueeze", "x", "y");
    add_attr(&node, onnx_attr_ints("axes", axes, 2));
    assert_ok(parse_node(node, 11));
    check_ints(MD_OP_UNSQUEEZE, 1, axes, 2);
}

static void an_empty_list_of_axes_means_all(void **state)
{
    struct proto node = onnx_node("ReduceSum", "x", "y");
    add_attr(&node, onnx_attr_ints("axes", NULL, 0));
    assert_ok(parse_node(node, 11));
    assert_int_equal(graph->nodes[0].in_count, 1);
    md_graph_delete(graph);
}

static int count_of(enum md_op op)
{
    int count = 0;
    for (int i = 0; i < graph->node_count; i++)
        count += graph->nodes[i].op == op;
    return count;
}

static void old_broadcasting_aligns(void **state)
{
    struct proto node = onnx_node("Add", "x z", "y");
    add_attr(&node, onnx_attr_int("broadcast", 1));
    add_attr(&node, onnx_attr_int("axis", 1));
    assert_ok(parse_node(node, 6));
    assert_int_equal(count_of(MD_OP_RESHAPE), 1);
    md_graph_delete(graph);
    node = onnx_node("Add", "x z", "y"); /* at the end, as everywhere since */
    add_attr(&node, onnx_attr_int("broadcast", 1));
    assert_ok(parse_node(node, 6));
    assert_int_equal(graph->node_count, 1);
    md_graph_delete(graph);
}

static void old_softmax_sees_a_matrix(void **state)
{
    assert_ok(parse_node(onnx_node("Softmax", "x", "y"), 12));
    assert_int_equal(graph->nodes[graph->node_count - 1].op, MD_OP_RESHAPE);
    md_graph_delete(graph);
    struct proto node = onnx_node("Softmax", "x", "y");
    add_attr(&node, onnx_attr_int("axis", 2)); /* the last axis: no difference */
    assert_ok(parse_node(node, 12));
    assert_int_equal(graph->node_count, 1);
    assert_int_equal(md_node_int(&graph->nodes[0], "axis", 0), -1);
    md_graph_delete(graph);
    assert_ok(parse_node(onnx_node("Softmax", "x", "y"), 13));
    assert_int_equal(graph->node_count, 1);
    md_graph_delete(graph);
}

static void training_forms_are_refused(void **state)
{
    assert_fails(MD_ERR_UNSUPPORTED, parse_node(onnx_node("Dropout", "x", "y"), 6));
    assert_says("training");
    assert_fails(MD_ERR_UNSUPPORTED,
                 parse_node(onnx_node("BatchNormalization", "x z z z z", "y m"), 9));
    assert_says("training");
}

static void unknown_operators_are_named(void **state)
{
    struct proto node = onnx_node("Frobnicate", "x", "y");
    assert_fails(MD_ERR_UNSUPPORTED, parse_node(node, 17));
    assert_says("operator Frobnicate (opset 17) at node \"y\"");
    proto_text(&node, 7, "com.foo");
    assert_fails(MD_ERR_CORRUPT, parse_node(node, 17));
    assert_says("domain \"com.foo\" is not imported");
}

static struct proto around_microsoft(struct proto node)
{
    proto_text(&node, 7, "com.microsoft");
    struct proto model = around(&node), import = {.length = 0};
    proto_text(&import, 1, "com.microsoft");
    proto_int(&import, 2, 1);
    proto_sub(&model, 8, &import);
    return model;
}

static void quantised_operators_want_their_scales(void **state)
{
    static const char *const wrong[][3] = {{"QLinearAdd", "x", "lacks input 0 or its scale"},
                                           {"QLinearConcat", "x x x", "has 3 inputs"}};
    for (int i = 0; i < 2; i++) {
        struct proto model = around_microsoft(onnx_node(wrong[i][0], wrong[i][1], "y"));
        assert_fails(MD_ERR_CORRUPT, parse(&model));
        assert_says(wrong[i][2]);
    }
}

static void unknown_attributes_are_refused(void **state)
{
    struct proto node = onnx_node("Concat", "x x", "y"), wrong = node;
    add_attr(&node, onnx_attr_int("axes", 1));
    assert_fails(MD_ERR_CORRUPT, parse_node(node, 17));
    assert_says("Concat has no attribute \"axes\"");
    add_attr(&wrong, onnx_attr_ints("axis", (int64_t[]){1}, 1));
    assert_fails(MD_ERR_CORRUPT, parse_node(wrong, 17));
    assert_says("has type 7");
    node = onnx_node("LeakyRelu", "x", "y"); /* a whole number is a float, too */
    add_attr(&node, onnx_attr_int("alpha", 1));
    assert_ok(parse_node(node, 17));
    md_graph_delete(graph);
}

/* ---- any bytes ---- */

static struct proto function_model(void)
{
    struct proto node = onnx_node("Relu", "a", "r"), made = function("F", &node);
    struct proto calling = call("F", "x", "y"), model = around(&calling);
    proto_sub(&model, 25, &made);
    return model;
}

/* In memory of its own size, so that reading on is seen. */
static enum md_status parse_copy(const uint8_t *bytes, size_t length)
{
    uint8_t *copy = malloc(length + 1);
    memcpy(copy, bytes, length);
    enum md_status status = md_onnx_parse(copy, length, &graph, &err);
    free(copy);
    return status;
}

static void every_truncation_is_an_error(void **state)
{
    struct proto models[] = {if_model(), loop_model(), function_model()};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        assert_ok(parse(&models[i]));
        md_graph_delete(graph);
        for (size_t length = 0; length < models[i].length; length++) {
            enum md_status status = parse_copy(models[i].data, length);
            if (status == MD_OK)
                fail_msg("model %zu, cut to %zu of %zu bytes, is taken", i, length,
                         models[i].length);
            assert_null(graph);
            assert_true(status == MD_ERR_CORRUPT || status == MD_ERR_UNSUPPORTED);
            assert_true(err.text[0] != '\0');
        }
    }
}

static void no_changed_byte_does_harm(void **state)
{
    struct proto models[] = {if_model(), loop_model(), function_model()};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        for (size_t at = 0; at < models[i].length * 8; at++) {
            models[i].data[at / 8] ^= (uint8_t)(1 << at % 8);
            enum md_status status = parse_copy(models[i].data, models[i].length);
            models[i].data[at / 8] ^= (uint8_t)(1 << at % 8);
            assert_int_not_equal(status, MD_ERR_INTERNAL);
            if (status == MD_OK)
                md_graph_delete(graph);
            else
                assert_true(err.text[0] != '\0');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_expanded_with_their_attributes),
        cmocka_unit_test(functions_may_not_call_themselves),
        cmocka_unit_test(wrong_calls_are_refused),
        cmocka_unit_test(expansion_is_capped),
        cmocka_unit_test(branches_share_what_they_capture),
        cmocka_unit_test(captures_reach_through_levels),
        cmocka_unit_test(wrong_subgraphs_are_refused),
        cmocka_unit_test(attributes_become_inputs),
        cmocka_unit_test(an_empty_list_of_axes_means_all),
        cmocka_unit_test(old_broadcasting_aligns),
        cmocka_unit_test(old_softmax_sees_a_matrix),
        cmocka_unit_test(training_forms_are_refused),
        cmocka_unit_test(unknown_operators_are_named),
        cmocka_unit_test(quantised_operators_want_their_scales),
        cmocka_unit_test(unknown_attributes_are_refused),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(no_changed_byte_does_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
