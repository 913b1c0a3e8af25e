/*
 * The pass channels_last: what it turns, that numbers stay, that transposes stand only at the ends
 * of runs, and that sizes may change from run to run.
 */
#include <math.h>
#include <string.h>

#include "graph/executable_internal.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "unit.h"

static struct md_error err;
static struct md_pool *pool;
static struct md_graph *graph;
static uint64_t state_;

static int start_pool(void **state)
{
    return md_pool_new(2, 0, &pool, &err);
}

static int stop_pool(void **state)
{
    md_pool_delete(pool);
    return 0;
}

static int setup(void **state)
{
    graph = graphs_new("test");
    state_ = 7;
    return 0;
}

static int weights(int rank, const int64_t *dim)
{
    struct md_tensor tensor = graphs_random(&state_, rank, dim);
    int value;
    assert_ok(md_graph_constant(graph, "", &tensor, &value, &err));
    md_tensor_unref(&tensor);
    return value;
}

static int conv3(int x, int64_t outputs, int64_t channels)
{
    const struct md_attr pads = graphs_attr_ints("pads", 4, (int64_t[]){1, 1, 1, 1});
    const int in[] = {x, weights(4, (int64_t[]){outputs, channels, 3, 3}),
                      weights(1, (int64_t[]){outputs})};
    return graphs_node_with(graph, "Conv", in, 3, &pads, 1);
}

static int transpose(int x, int64_t a, int64_t b, int64_t c)
{
    const struct md_attr perm = graphs_attr_ints("perm", 4, (int64_t[]){0, a, b, c});
    return graphs_node_with(graph, "Transpose", &x, 1, &perm, 1);
}

static int count_of(const struct md_executable *executable, enum md_op op)
{
    int count = 0;
    for (int n = 0; n < executable->graph->node_count; n++)
        count += executable->graph->nodes[n].op == op;
    return count;
}

/* Runs the graph slowly as it is, then takes it over and compares at the given sizes. */
static struct md_executable *compare(const char *passes_off, int outputs, const int64_t (*sizes)[4],
                                     int count)
{
    struct md_tensor x[4], want[4][4], have[4];
    const struct md_executable_options options = {.backend = md_cpu_backend(MD_ISA_BEST),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .passes_off = passes_off};
    struct md_executable *executable;
    for (int i = 0; i < count; i++) {
        x[i] = graphs_random(&state_, 4, sizes[i]);
        assert_ok(graphs_run_slowly(graph, md_cpu_reference(), pool, &x[i], want[i], &err));
    }
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    md__executable_set_guards(executable, true);
    for (int i = 0; i < count; i++) {
        assert_ok(md_executable_run(executable, &x[i], 1, have, outputs, &err));
        for (int o = 0; o < outputs; o++) {
            assert_true(md_shape_equal(&have[o].shape, &want[i][o].shape));
            for (size_t k = 0; k < md_tensor_count(&have[o]); k++) {
                float a = ((float *)have[o].data)[k], b = ((float *)want[i][o].data)[k];
                if (!(fabsf(a - b) <= 1e-3f + 1e-4f * fabsf(b)))
                    fail_msg("output %d, element %zu: %g, wanted %g", o, k, a, b);
            }
            md_tensor_unref(&have[o]);
            md_tensor_unref(&want[i][o]);
        }
        md_tensor_unref(&x[i]);
    }
    return executable;
}

static const int64_t fixed[1][4] = {{2, 5, 9, 8}};

static int input(void)
{
    return graphs_input(graph, "x", MD_F32, 4, fixed[0]);
}

/* A block with a residual, a gate of one number a channel, Concat and Split over channels. */
static int add_network(int x)
{
    int a = graphs_node(graph, "Relu", conv3(x, 6, 5));
    int b = graphs_node(graph, "Add", conv3(a, 6, 6), a);
    int gate = weights(3, (int64_t[]){6, 1, 1});
    b = graphs_node(graph, "Mul", b, gate);
    b = graphs_node(graph, "Add", b, graphs_floats(graph, 0, NULL, (float[]){0.5f}));
    const struct md_attr axis = graphs_attr_int("axis", 1);
    int both = graphs_node_with(graph, "Concat", (int[]){a, b, x}, 3, &axis, 1);
    const struct md_attr split[] = {axis, graphs_attr_int("num_outputs", 2)};
    int parts[2];
    assert_ok(md_graph_node(graph, "Split", "", &both, 1, split, 2, parts, 2, &err));
    return graphs_node(graph, "Sigmoid", conv3(parts[1], 7, 8));
}

static void runs_of_convolutions_are_turned_once(void **state)
{
    graphs_output(graph, "y", add_network(input()));
    struct md_executable *executable = compare(NULL, 1, fixed, 1);
    assert_int_equal(count_of(executable, MD_OP_CONV_LAST), 3);
    assert_int_equal(count_of(executable, MD_OP_CONV), 0);
    assert_int_equal(count_of(executable, MD_OP_TRANSPOSE), 2);
    md_executable_delete(executable);
}

static void the_pass_and_the_operator_switch_off(void **state)
{
    static const char *const off[] = {"conv,channels_last", "conv,ConvLast"};
    for (int i = 0; i < 2; i++) {
        graphs_output(graph, "y", add_network(input()));
        struct md_executable *executable = compare(off[i], 1, fixed, 1);
        assert_int_equal(count_of(executable, MD_OP_CONV), 3);
        assert_int_equal(count_of(executable, MD_OP_TRANSPOSE), 0);
        md_executable_delete(executable);
        setup(NULL);
    }
    md_graph_delete(graph);
}

static void sizes_may_be_symbols(void **state)
{
    static const int64_t sizes[3][4] = {{1, 5, 3, 3}, {3, 5, 17, 40}, {1, 5, 1, 64}};
    const int64_t dim[4] = {graphs_symbol(graph, "n", 0), 5, graphs_symbol(graph, "h", 0),
                            graphs_symbol(graph, "w", 0)};
    graphs_output(graph, "y", add_network(graphs_input(graph, "x", MD_F32, 4, dim)));
    struct md_executable *executable = compare(NULL, 1, sizes, 3);
    assert_int_equal(count_of(executable, MD_OP_CONV_LAST), 3);
    md_executable_delete(executable);
}

/* What others read between, and outputs of the graph, come as the graph has them. */
static void values_are_turned_back_where_somebody_reads_them(void **state)
{
    int a = conv3(input(), 6, 5);
    int sum = graphs_node(graph, "CumSum", a, graphs_int(graph, 2));
    graphs_output(graph, "a", a);
    graphs_output(graph, "sum", sum);
    graphs_output(graph, "b", conv3(a, 4, 6));
    graphs_output(graph, "again", a);
    struct md_executable *executable = compare(NULL, 4, fixed, 1);
    assert_int_equal(count_of(executable, MD_OP_TRANSPOSE), 3);
    md_executable_delete(executable);
}

/* Layers that work on rows of channels between convolutions, as ConvNeXt has them. */
static void transposes_of_the_graph_go(void **state)
{
    int a = transpose(conv3(input(), 6, 5), 2, 3, 1);
    int scale = weights(1, (int64_t[]){6});
    int norm = graphs_node(graph, "LayerNormalization", a, scale, scale);
    int back = transpose(norm, 3, 1, 2);
    graphs_output(graph, "y", transpose(conv3(back, 4, 6), 2, 3, 1));
    graphs_output(graph, "a", a);
    struct md_executable *executable = compare(NULL, 2, fixed, 1);
    assert_int_equal(count_of(executable, MD_OP_TRANSPOSE), 1);
    md_executable_delete(executable);
}

/* Means over places, slices, padding: the same with other axes. */
static void axes_are_renamed(void **state)
{
    int a = conv3(input(), 6, 5);
    const struct md_attr drop = graphs_attr_int("keepdims", 0);
    int places = graphs_ints(graph, 2, (int64_t[]){2, -1});
    int mean = graphs_node(graph, "ReduceMean", a, places);
    int scaled = graphs_node(graph, "Mul", a, graphs_node(graph, "Sigmoid", mean));
    int cut = graphs_node(graph, "Slice", scaled, graphs_ints(graph, 2, (int64_t[]){1, 2}),
                          graphs_ints(graph, 2, (int64_t[]){6, 7}),
                          graphs_ints(graph, 2, (int64_t[]){1, 3}));
    int wide =
        graphs_node(graph, "Pad", cut, graphs_ints(graph, 8, (int64_t[]){0, 1, 2, 3, 0, 2, 0, 1}));
    int b = conv3(wide, 4, 8);
    graphs_output(graph, "y", b);
    const int flat[] = {b, places};
    graphs_output(graph, "flat", graphs_node_with(graph, "ReduceMax", flat, 2, &drop, 1));
    const int some[] = {b, graphs_ints(graph, 1, (int64_t[]){3})};
    graphs_output(graph, "lines", graphs_node_with(graph, "ReduceSum", some, 2, &drop, 1));
    const int deep[] = {b, graphs_ints(graph, 1, (int64_t[]){1})};
    graphs_output(graph, "depth", graphs_node_with(graph, "ReduceSum", deep, 2, &drop, 1));
    struct md_executable *executable = compare("pattern,transpose", 4, fixed, 1);
    assert_int_equal(count_of(executable, MD_OP_CONV_LAST), 2);
    assert_int_equal(count_of(executable, MD_OP_TRANSPOSE), 2);
    md_executable_delete(executable);
}

/* A filter that the graph computes is no weight. */
static void computed_weights_stay(void **state)
{
    int x = input();
    const struct md_attr axis = graphs_attr_int("axis", 0);
    int parts[2];
    const struct md_attr split[] = {axis, graphs_attr_int("num_outputs", 2)};
    assert_ok(md_graph_node(graph, "Split", "", &x, 1, split, 2, parts, 2, &err));
    graphs_output(graph, "y", graphs_node(graph, "Conv", parts[0], parts[1]));
    struct md_executable *executable = compare(NULL, 1, fixed, 1);
    assert_int_equal(count_of(executable, MD_OP_CONV), 1);
    assert_int_equal(count_of(executable, MD_OP_TRANSPOSE), 0);
    md_executable_delete(executable);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(runs_of_convolutions_are_turned_once),
        TEST(the_pass_and_the_operator_switch_off),
        TEST(sizes_may_be_symbols),
        TEST(values_are_turned_back_where_somebody_reads_them),
        TEST(transposes_of_the_graph_go),
        TEST(axes_are_renamed),
        TEST(computed_weights_stay),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
