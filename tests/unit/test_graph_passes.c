/*
 * Passes over graphs as exporters write them: branches that are decided, constants that would grow
 * out of hand, values that are several things at once.
 */
#include <string.h>

#include "graph/executable_internal.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

static struct md_error err;
static struct md_pool *pool;
static struct md_graph *graph;

static int start_pool(void **state)
{
    return md_pool_new(1, 0, &pool, &err);
}

static int stop_pool(void **state)
{
    md_pool_delete(pool);
    return 0;
}

static int setup(void **state)
{
    graph = graphs_new("test");
    return 0;
}

static struct md_executable *make(void)
{
    struct md_executable *executable;
    const struct md_executable_options options = {
        .backend = md_cpu_reference(), .reference = md_cpu_reference(), .pool = pool};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    md__executable_set_guards(executable, true);
    return executable;
}

static struct md_tensor floats(int count, const float *data)
{
    struct md_tensor tensor;
    const struct md_shape shape = {1, {count}};
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    memcpy(tensor.data, data, (size_t)count * 4);
    return tensor;
}

/* yes: -x; no: a nested If on a constant of its own, |x| + step or x. */
static void add_choice(struct md_graph *into, int condition, int x, bool inner, int *out)
{
    struct md_graph *yes = graphs_new("yes"), *no = graphs_new("no");
    struct md_graph *deep = graphs_new("deep"), *deeper = graphs_new("deeper");
    graphs_output(yes, "y", graphs_node(yes, "Neg", graphs_any(yes, "x", MD_F32)));
    int own = graphs_any(no, "x", MD_F32), chosen, limit = graphs_int(no, inner ? 2 : 9);
    int step = graphs_floats(deep, 1, (int64_t[]){1}, (float[]){10});
    graphs_output(
        deep, "y",
        graphs_node(deep, "Add", graphs_node(deep, "Abs", graphs_any(deep, "x", MD_F32)), step));
    graphs_output(deeper, "y", graphs_any(deeper, "x", MD_F32));
    const struct md_attr nested[] = {graphs_attr_graph("then_branch", deep),
                                     graphs_attr_graph("else_branch", deeper)};
    graphs_control(no, "If", (int[]){graphs_node(no, "Less", limit, graphs_int(no, 5)), own}, 2,
                   nested, 2, 1, &chosen, 1);
    graphs_output(no, "y", chosen);
    const struct md_attr attrs[] = {graphs_attr_graph("then_branch", yes),
                                    graphs_attr_graph("else_branch", no)};
    graphs_control(into, "If", (int[]){condition, x}, 2, attrs, 2, 1, out, 1);
}

static void decided_branches_become_part_of_the_graph(void **state)
{
    static const float want[3][2] = {{-1, 2}, {11, 12}, {1, -2}};
    for (int way = 0; way < 3; way++) {
        int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){2}), out;
        /* Shapes that are known decide, too: here by folding Less. */
        int yes = graphs_node(graph, "Less", graphs_int(graph, way), graphs_int(graph, 1));
        add_choice(graph, yes, x, way == 1, &out);
        graphs_output(graph, "y", graphs_node(graph, "Identity", out));
        graphs_output(graph, "again", out);
        struct md_executable *executable = make();
        for (int n = 0; n < executable->graph->node_count; n++)
            assert_int_not_equal(executable->graph->nodes[n].op, MD_OP_IF);
        struct md_tensor out_tensors[2], in = floats(2, (float[]){1, -2});
        assert_ok(md_executable_run(executable, &in, 1, out_tensors, 2, &err));
        struct md_plan_report report;
        assert_ok(md_executable_report(executable, &report, &err));
        assert_int_equal(report.splits, 0);
        for (int i = 0; i < 2; i++)
            assert_memory_equal(out_tensors[i].data, want[way], 8);
        graphs_drop(out_tensors, 2);
        graphs_drop(&in, 1);
        md_executable_delete(executable);
        setup(NULL);
    }
    md_graph_delete(graph);
}

static void small_files_do_not_unfold(void **state)
{
    const int64_t large[3] = {100, 100, 100}, small[2] = {10, 10};
    int zeros = graphs_node(graph, "ConstantOfShape", graphs_ints(graph, 3, large));
    int table = graphs_node(graph, "ConstantOfShape", graphs_ints(graph, 2, small));
    int wide = graphs_node(graph, "Expand", graphs_floats(graph, 0, NULL, (float[]){2}),
                           graphs_ints(graph, 3, large));
    graphs_output(graph, "zeros", zeros);
    graphs_output(graph, "table", table);
    graphs_output(graph, "wide", wide);
    struct md_executable *executable = make();
    assert_null(executable->graph->values[zeros].constant.data);
    assert_null(executable->graph->values[wide].constant.data);
    assert_non_null(executable->graph->values[table].constant.data);
    struct md_tensor out[3];
    assert_ok(md_executable_run(executable, NULL, 0, out, 3, &err));
    assert_true(((float *)out[0].data)[999999] == 0 && ((float *)out[2].data)[999999] == 2);
    graphs_drop(out, 3);
    md_executable_delete(executable);
}

static void renamed_weights_are_not_copied(void **state)
{
    float data[6] = {1, 2, 3, 4, 5, 6};
    int weights = graphs_floats(graph, 2, (int64_t[]){2, 3}, data);
    int turned = graphs_node(graph, "Reshape", weights, graphs_ints(graph, 1, (int64_t[]){-1}));
    graphs_output(graph, "y", turned);
    graphs_output(graph, "w", weights);
    struct md_executable *executable = make();
    const struct md_value *values = executable->graph->values;
    assert_ptr_equal(values[turned].constant.data, values[weights].constant.data);
    assert_int_equal(values[turned].shape.rank, 1);
    md_executable_delete(executable);
}

/* Outputs that are inputs, constants, the same value twice; inputs that nobody reads. */
static void values_may_be_several_things(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){2});
    graphs_input(graph, "unused", MD_F32, 1, (int64_t[]){2});
    int c = graphs_floats(graph, 1, (int64_t[]){2}, (float[]){7, 8});
    int y = graphs_node(graph, "Neg", x), made;
    const uint8_t yes = 1;
    const struct md_tensor truth = {.dtype = MD_BOOL, .data = (void *)(uintptr_t)&yes};
    assert_ok(md_graph_constant(graph, "", &truth, &made, &err));
    const int values[] = {x, c, y, y, x, graphs_node(graph, "Identity", c), made};
    for (int i = 0; i < 7; i++)
        graphs_output(graph, (char[]){(char)('a' + i), 0}, values[i]);
    struct md_executable *executable = make();
    struct md_tensor out[7], in[2] = {floats(2, (float[]){1, 2}), floats(2, (float[]){0, 0})};
    static const float want[6][2] = {{1, 2}, {7, 8}, {-1, -2}, {-1, -2}, {1, 2}, {7, 8}};
    for (int round = 0; round < 2; round++) {
        assert_ok(md_executable_run(executable, in, 2, out, 7, &err));
        for (int i = 0; i < 6; i++)
            assert_memory_equal(out[i].data, want[i], 8);
        assert_int_equal(*(uint8_t *)out[6].data, 1);
        graphs_drop(out, 7);
    }
    graphs_drop(in, 2);
    md_executable_delete(executable);
}

/* What inspect says before anything ran. */
static void shapes_are_told_as_far_as_they_are_known(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){2, graphs_symbol(graph, "n", 3)});
    int shape = graphs_input(graph, "shape", MD_I64, 1, (int64_t[]){2});
    graphs_output(graph, "where", graphs_node(graph, "NonZero", x));
    graphs_output(graph, "rank", graphs_node(graph, "Shape", x));
    graphs_output(graph, "shaped", graphs_node(graph, "Reshape", x, shape));
    graphs_output(graph, "after", graphs_node(graph, "Neg", graphs_node(graph, "NonZero", x)));
    struct md_executable *executable = make();
    struct md_tensor out[4],
        in[2] = {{.dtype = MD_F32, .shape = {2, {2, 3}}}, {.dtype = MD_I64, .shape = {1, {2}}}};
    assert_ok(md_executable_infer(executable, in, 2, out, 4, &err));
    assert_true(out[0].dtype == MD_I64 && out[0].shape.rank == 2);
    assert_true(out[0].shape.dim[0] == 2 && out[0].shape.dim[1] == -1);
    assert_true(out[1].dtype == MD_I64 && out[1].shape.dim[0] == 2);
    assert_int_equal(out[2].shape.rank, MD_RANK_UNKNOWN);
    assert_int_equal(out[3].shape.rank, MD_RANK_UNKNOWN);
    in[1].data = (int64_t[]){3, -1};
    assert_ok(md_executable_infer(executable, in, 2, out, 4, &err));
    assert_true(out[2].shape.rank == 2 && out[2].shape.dim[1] == 2);
    in[0].shape.rank = MD_RANK_UNKNOWN;
    assert_ok(md_executable_infer(executable, in, 2, out, 4, &err));
    assert_int_equal(out[1].shape.rank, MD_RANK_UNKNOWN);
    md_executable_delete(executable);
}

static struct md_graph *body_of(const char *op, const char *more)
{
    struct md_graph *body = graphs_new("body");
    int x = graphs_any(body, "x", MD_F32);
    graphs_output(body, "y", graphs_node(body, op, x));
    if (more)
        graphs_output(body, "z", graphs_node(body, more, x));
    return body;
}

/* Branches that agree, and ones that do not; states that stay, and slices of a scan. */
static void bodies_tell_shapes(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){2, 3}), out[4];
    int choice = graphs_input(graph, "choice", MD_BOOL, 0, NULL);
    const struct md_attr branches[] = {graphs_attr_graph("then_branch", body_of("Neg", "NonZero")),
                                       graphs_attr_graph("else_branch", body_of("Abs", "Relu"))};
    graphs_control(graph, "If", (int[]){choice, x}, 2, branches, 2, 1, out, 2);
    struct md_graph *scan = graphs_new("scan");
    int sum = graphs_any(scan, "sum", MD_F32), slice = graphs_any(scan, "slice", MD_F32);
    graphs_output(scan, "sum", graphs_node(scan, "Add", sum, slice));
    graphs_output(scan, "each", graphs_node(scan, "Neg", slice));
    const struct md_attr attrs[] = {graphs_attr_graph("body", scan),
                                    graphs_attr_int("num_scan_inputs", 1)};
    int start = graphs_floats(graph, 1, (int64_t[]){3}, (float[]){0, 0, 0});
    graphs_control(graph, "Scan", (int[]){start, x}, 2, attrs, 2, 0, out + 2, 2);
    for (int i = 0; i < 4; i++)
        graphs_output(graph, (char[]){(char)('a' + i), 0}, out[i]);
    struct md_executable *executable = make();
    struct md_tensor told[4], in[2] = {{.dtype = MD_F32, .shape = {2, {2, 3}}}, {.dtype = MD_BOOL}};
    assert_ok(md_executable_infer(executable, in, 2, told, 4, &err));
    const struct md_shape same = {2, {2, 3}}, row = {1, {3}};
    assert_true(told[0].dtype == MD_F32 && md_shape_equal(&told[0].shape, &same));
    assert_true(told[1].dtype == 0 && told[1].shape.rank == MD_RANK_UNKNOWN);
    assert_true(told[2].dtype == MD_F32 && md_shape_equal(&told[2].shape, &row));
    assert_true(told[3].dtype == MD_F32 && md_shape_equal(&told[3].shape, &same));
    md_executable_delete(executable);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(decided_branches_become_part_of_the_graph),
        TEST(small_files_do_not_unfold),
        TEST(renamed_weights_are_not_copied),
        TEST(values_may_be_several_things),
        TEST(shapes_are_told_as_far_as_they_are_known),
        TEST(bodies_tell_shapes),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
