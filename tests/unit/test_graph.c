/* The graph builder: what it keeps, what it refuses, and that fused operators become regions. */

#include <stdio.h>
#include <string.h>

#include "graphs.h"
#include "unit.h"

static struct md_graph *graph;
static struct md_error err;

static int setup(void **state)
{
    return md_graph_new("test", &graph, &err);
}

static int teardown(void **state)
{
    md_graph_delete(graph);
    return 0;
}

static int add_input(const char *name, int rank, const int64_t *dim)
{
    int value = -7;
    struct md_shape shape = md_shape_of(rank, dim);
    assert_ok(md_graph_input(graph, name, MD_F32, &shape, &value, &err));
    return value;
}

static int add_floats(int rank, const int64_t *dim, const float *data)
{
    int value = -7;
    struct md_tensor tensor = {MD_F32, md_shape_of(rank, dim), (void *)(uintptr_t)data, NULL};
    assert_ok(md_graph_constant(graph, "c", &tensor, &value, &err));
    return value;
}

static void keeps_copies_of_what_it_is_told(void **state)
{
    char name[] = "first", key[] = "axis";
    int x = add_input(name, 2, (int64_t[]){2, 3}), in[1] = {x}, y;
    int64_t ints[2] = {1, 0};
    struct md_attr attrs[2] = {{.name = key, .type = MD_ATTR_INT, .i = 5},
                               {.name = "perm", .type = MD_ATTR_INTS, .ints = ints, .count = 2}};
    assert_ok(md_graph_node(graph, "Transpose", name, in, 1, attrs, 2, &y, 1, &err));
    assert_ok(md_graph_output(graph, name, y, &err));
    memset(name, 'z', 5);
    memset(key, 'z', 4);
    in[0] = ints[0] = 99;
    const struct md_node *node = &graph->nodes[0];
    assert_string_equal(node->name, "first");
    assert_string_equal(graph->outputs[0].name, "first");
    assert_int_equal(node->in[0], x);
    assert_int_equal(node->out[0], y);
    assert_int_equal(md_node_int(node, "axis", 0), 5);
    assert_int_equal(md_node_attr(node, "perm")->ints[0], 1);
    assert_int_equal(graph->values[y].producer, 0);
}

static void holds_owned_constants_and_copies_borrowed_ones(void **state)
{
    struct md_tensor owned;
    struct md_shape shape = md_shape_of(1, (int64_t[]){4});
    int value;
    assert_ok(md_tensor_new(MD_F32, &shape, &owned, &err));
    ((float *)owned.data)[3] = 7;
    assert_ok(md_graph_constant(graph, "w", &owned, &value, &err));
    assert_ptr_equal(graph->values[value].constant.data, owned.data);
    md_tensor_unref(&owned);
    assert_true(((float *)graph->values[value].constant.data)[3] == 7);

    float local[2] = {1, 2};
    int copy = add_floats(1, (int64_t[]){2}, local);
    assert_ptr_not_equal(graph->values[copy].constant.data, local);
    local[0] = 9;
    assert_true(((float *)graph->values[copy].constant.data)[0] == 1);
}

static void symbols_are_negative_and_found_again(void **state)
{
    int64_t batch, time, again;
    assert_ok(md_graph_symbol(graph, "batch", 0, &batch, &err));
    assert_ok(md_graph_symbol(graph, "time", 9, &time, &err));
    assert_ok(md_graph_symbol(graph, "batch", 5, &again, &err));
    assert_true(batch == -2 && time == -3 && again == batch);
    assert_int_equal(graph->symbol_samples[0], 5);
    assert_int_equal(graph->symbol_samples[1], 9);
    assert_ok(md_graph_symbol(graph, "time", 0, &again, &err));
    assert_int_equal(graph->symbol_samples[1], 9);
    add_input("x", 2, (int64_t[]){batch, time});
    for (int i = 0; i < 40; i++) {
        char name[8] = {'s', (char)('A' + i)};
        assert_ok(md_graph_symbol(graph, name, 0, &again, &err));
        assert_true(again == -4 - i && graph->symbol_samples[2 + i] == 3);
    }
    assert_fails(MD_ERR_INVALID, md_graph_symbol(graph, "", 0, &again, &err));
    assert_says("name");
    assert_fails(MD_ERR_INVALID, md_graph_symbol(graph, "x", -1, &again, &err));
    assert_says("sample");
}

static void refuses_bad_inputs_and_outputs(void **state)
{
    int x = add_input("x", 1, (int64_t[]){2}), value;
    struct md_shape shape = md_shape_of(1, (int64_t[]){-1});
    assert_fails(MD_ERR_INVALID, md_graph_input(graph, "y", MD_F32, &shape, &value, &err));
    assert_says("dimension 0");
    shape.dim[0] = -2; /* no symbol was made */
    assert_fails(MD_ERR_INVALID, md_graph_input(graph, "y", MD_F32, &shape, &value, &err));
    assert_says("symbol");
    shape.dim[0] = 1;
    assert_fails(MD_ERR_INVALID, md_graph_input(graph, "x", MD_F32, &shape, &value, &err));
    assert_says("two inputs named \"x\"");
    assert_fails(MD_ERR_INVALID,
                 md_graph_input(graph, "y", (enum md_dtype)5000, &shape, &value, &err));
    assert_says("dtype");
    shape.rank = 9;
    assert_fails(MD_ERR_INVALID, md_graph_input(graph, "y", MD_F32, &shape, &value, &err));
    assert_says("rank 9");
    assert_fails(MD_ERR_INVALID, md_graph_output(graph, "y", 1, &err));
    assert_says("value 1");
    assert_fails(MD_ERR_INVALID, md_graph_output(graph, "", x, &err));
    assert_says("name");
    assert_ok(md_graph_output(graph, "y", x, &err));
    assert_fails(MD_ERR_INVALID, md_graph_output(graph, "y", x, &err));
    assert_says("two outputs");
    struct md_tensor empty = {.dtype = MD_F32};
    assert_fails(MD_ERR_INVALID, md_graph_constant(graph, "w", &empty, &value, &err));
    assert_says("\"w\"");
}

static void refuses_bad_nodes_and_stays_as_it_was(void **state)
{
    int x = add_input("x", 1, (int64_t[]){2}), out[3];
    const int ids[3] = {x, x, 77};
    struct md_attr twice[2] = {{.name = "to", .type = MD_ATTR_INT}, {.name = "to"}};
    assert_fails(MD_ERR_UNSUPPORTED,
                 md_graph_node(graph, "Nonsense", "n", ids, 1, NULL, 0, out, 1, &err));
    assert_says("\"Nonsense\"");
    assert_fails(MD_ERR_INVALID, md_graph_node(graph, "Add", "n", ids, 1, NULL, 0, out, 1, &err));
    assert_says("Add \"n\": has 1 inputs");
    assert_fails(MD_ERR_INVALID, md_graph_node(graph, "Add", "n", ids, 2, NULL, 0, out, 2, &err));
    assert_says("2 outputs");
    assert_fails(MD_ERR_INVALID,
                 md_graph_node(graph, "Add", "n", ids + 1, 2, NULL, 0, out, 1, &err));
    assert_says("input 1 is value 77");
    assert_fails(MD_ERR_INVALID, md_graph_node(graph, "Concat", "n", (int[]){x, MD_NONE}, 2, NULL,
                                               0, out, 1, &err));
    assert_says("input 1 is missing");
    assert_fails(MD_ERR_INVALID, md_graph_node(graph, "Cast", "n", ids, 1, twice, 2, out, 1, &err));
    assert_says("given twice");
    assert_fails(MD_ERR_INVALID,
                 md_graph_node(graph, "Cast", "n", ids, 1, twice, 1000, out, 1, &err));
    assert_says("1000 attributes");
    struct md_attr axes = {.name = "axes", .type = MD_ATTR_FLOATS};
    assert_fails(MD_ERR_INVALID,
                 md_graph_node(graph, "Transpose", "n", ids, 1, &axes, 1, out, 1, &err));
    assert_says("\"axes\" is a list of numbers, wanted a list of integers");
    assert_int_equal(graph->node_count, 0);
    assert_int_equal(graph->value_count, 1);
    assert_ok(md_graph_node(graph, "Clip", "", (int[]){x, MD_NONE, x}, 3, NULL, 0, out, 1, &err));
}

static void attributes_have_defaults(void **state)
{
    int x = add_input("x", 1, (int64_t[]){2}), y;
    struct md_attr attrs[] = {{.name = "i", .type = MD_ATTR_INT, .i = 4},
                              {.name = "f", .type = MD_ATTR_FLOAT, .f = 0.5},
                              {.name = "s", .type = MD_ATTR_STRING, .s = "text"}};
    assert_ok(md_graph_node(graph, "Relu", "", &x, 1, attrs, 3, &y, 1, &err));
    const struct md_node *node = &graph->nodes[0];
    assert_int_equal(md_node_int(node, "i", 9), 4);
    assert_int_equal(md_node_int(node, "f", 9), 9);
    assert_true(md_node_float(node, "f", 9) == 0.5);
    assert_true(md_node_float(node, "i", 9) == 4.0);
    assert_string_equal(md_node_string(node, "s", "no"), "text");
    assert_string_equal(md_node_string(node, "i", "no"), "no");
    assert_null(md_node_attr(node, "absent"));
}

static int gated_residual(int x, int features, int units, bool resample)
{
    const float zeros[256] = {0};
    int hidden = 4, ids[14], y;
    const int64_t f = features, h = hidden, u = units, u2 = 2 * units;
    ids[0] = x;
    ids[1] = add_floats(2, (int64_t[]){h, f}, zeros);
    ids[2] = add_floats(1, &h, zeros);
    ids[3] = add_floats(2, (int64_t[]){h, h}, zeros);
    ids[4] = add_floats(1, &h, zeros);
    ids[5] = add_floats(2, (int64_t[]){u2, h}, zeros);
    ids[6] = add_floats(1, &u2, zeros);
    ids[7] = add_floats(1, &u, zeros);
    ids[8] = add_floats(1, &u, zeros);
    ids[9] = ids[10] = MD_NONE;
    for (int i = 11; i < 14; i++)
        ids[i] = resample ? add_floats(1, &u, zeros) : MD_NONE;
    assert_ok(md_graph_node(graph, "moondial.GatedResidualNetwork", "grn", ids, 14, NULL, 0, &y, 1,
                            &err));
    return y;
}

static void fused_operators_become_nested_regions(void **state)
{
    int x = add_input("x", 2, (int64_t[]){3, 6});
    int y = gated_residual(x, 6, 5, true);
    const struct md_region *outer = &graph->regions[0];
    assert_int_equal(outer->op, MD_OP_GATED_RESIDUAL);
    assert_int_equal(outer->parent, MD_NONE);
    assert_int_equal(outer->node_begin, 0);
    assert_int_equal(outer->node_end, graph->node_count);
    assert_int_equal(outer->fused.out[0], y);
    assert_int_equal(outer->fused.in_count, 14);
    assert_int_equal(graph->values[y].producer, graph->node_count - 1);
    assert_int_equal(graph->region_open, MD_NONE);
    for (int i = 1; i < graph->region_count; i++) {
        const struct md_region *inner = &graph->regions[i];
        const struct md_region *parent = &graph->regions[inner->parent];
        assert_true(inner->parent >= 0 && inner->parent < i);
        assert_true(inner->node_begin >= parent->node_begin && inner->node_end <= parent->node_end);
        assert_true(inner->node_begin < inner->node_end);
    }
    for (int i = 0; i < graph->node_count; i++)
        assert_null(md_op_info(graph->nodes[i].op)->body);
}

static void a_failing_body_leaves_nothing_behind(void **state)
{
    int x = add_input("x", 2, (int64_t[]){3, 6}), y;
    int gamma = add_floats(1, (int64_t[]){2}, (float[]){1, 1});
    struct md_attr size = {.name = "input_size", .type = MD_ATTR_INT, .i = -4};
    int values = graph->value_count;
    assert_fails(MD_ERR_INVALID, md_graph_node(graph, "moondial.ResampleNorm", "r",
                                               (int[]){x, gamma, gamma}, 3, &size, 1, &y, 1, &err));
    assert_says("moondial.ResampleNorm \"r\": cannot resample -4");
    assert_fails(MD_ERR_INVALID, md_graph_node(graph, "moondial.ResampleNorm", "r",
                                               (int[]){x, x, gamma}, 3, &size, 1, &y, 1, &err));
    assert_says("gamma");
    assert_int_equal(graph->value_count, values);
    assert_int_equal(graph->node_count, 0);
    assert_int_equal(graph->region_count, 0);
    assert_int_equal(graph->region_open, MD_NONE);
}

/* An If over one boolean, with these branches. */
static enum md_status add_if(struct md_graph *outer, struct md_graph *yes, struct md_graph *no)
{
    static int count;
    char name[16];
    snprintf(name, sizeof name, "c%d", count++);
    int condition = graphs_input(outer, name, MD_BOOL, 0, NULL), out;
    const struct md_attr attrs[] = {
        {.name = "then_branch", .type = MD_ATTR_GRAPH, .graph = yes},
        {.name = "else_branch", .type = MD_ATTR_GRAPH, .graph = no},
    };
    return md_graph_node(outer, "If", "", &condition, 1, attrs, 2, &out, 1, &err);
}

static void a_node_owns_its_bodies_once_it_is_added(void **state)
{
    struct md_graph *yes, *no;
    assert_ok(md_graph_new("yes", &yes, &err));
    assert_ok(md_graph_new("no", &no, &err));
    assert_int_equal(add_if(graph, yes, yes), MD_ERR_INVALID);
    assert_int_equal(add_if(graph, yes, graph), MD_ERR_INVALID);
    assert_int_equal(add_if(graph, yes, NULL), MD_ERR_INVALID);
    assert_int_equal(graph->body_count, 0);
    assert_ok(add_if(graph, yes, no));
    assert_int_equal(graph->body_count, 2);
    assert_int_equal(graph->depth, 1);
    assert_ptr_equal(md_node_attr(&graph->nodes[0], "else_branch")->graph, no);
    struct md_graph *other;
    assert_ok(md_graph_new("other", &other, &err));
    assert_int_equal(add_if(graph, no, other), MD_ERR_INVALID);
    assert_non_null(strstr(err.text, "else_branch") ? err.text : strstr(err.text, "then_branch"));
    md_graph_delete(other);
}

static void bodies_nest_only_so_deep(void **state)
{
    struct md_graph *inner = NULL, *outer, *leaf;
    assert_ok(md_graph_new("0", &inner, &err));
    for (int depth = 1; depth <= MD_GRAPH_DEPTH_MAX; depth++) {
        assert_ok(md_graph_new("deeper", &outer, &err));
        assert_ok(md_graph_new("leaf", &leaf, &err));
        assert_ok(add_if(outer, inner, leaf));
        assert_int_equal(outer->depth, depth);
        inner = outer;
    }
    assert_ok(md_graph_new("leaf", &leaf, &err));
    assert_int_equal(add_if(graph, inner, leaf), MD_ERR_TOO_LARGE);
    md_graph_delete(inner);
    md_graph_delete(leaf);
}

static void an_input_may_have_any_rank(void **state)
{
    int value;
    const struct md_shape any = {.rank = MD_RANK_UNKNOWN}, less = {.rank = -2};
    assert_ok(md_graph_input(graph, "x", MD_F32, &any, &value, &err));
    assert_int_equal(graph->values[value].shape.rank, MD_RANK_UNKNOWN);
    assert_int_equal(md_graph_input(graph, "y", MD_F32, &less, &value, &err), MD_ERR_INVALID);
}

static void every_row_of_the_table_is_found_by_name(void **state)
{
    for (int i = 0; i < MD_OP_COUNT; i++) {
        enum md_op op;
        const struct md_op_info *info = md_op_info((enum md_op)i);
        assert_ok(md_op_find(info->name, &op, &err));
        assert_int_equal(op, i);
        assert_non_null(info->infer);
        assert_true((info->body != NULL) == (strncmp(info->name, "moondial.", 9) == 0));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_copies_of_what_it_is_told),
        TEST(holds_owned_constants_and_copies_borrowed_ones),
        TEST(symbols_are_negative_and_found_again),
        TEST(refuses_bad_inputs_and_outputs),
        TEST(refuses_bad_nodes_and_stays_as_it_was),
        TEST(attributes_have_defaults),
        TEST(fused_operators_become_nested_regions),
        TEST(a_failing_body_leaves_nothing_behind),
        TEST(a_node_owns_its_bodies_once_it_is_added),
        TEST(bodies_nest_only_so_deep),
        TEST(an_input_may_have_any_rank),
        TEST(every_row_of_the_table_is_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
