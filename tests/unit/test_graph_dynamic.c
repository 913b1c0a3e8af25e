/*
 * Values whose shape depends on data: what rules and kernels use to say so, runs that split into
 * several plans, and what is kept of those. Random graphs must give what running one node after
 * another gives, bit for bit, with guards between values.
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

static int new_graph(void **state)
{
    return md_graph_new("test", &graph, &err);
}

static struct md_executable *make_within(size_t tail_bytes_max, int plans_max)
{
    struct md_executable *executable;
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .tail_bytes_max = tail_bytes_max,
                                                  .plans_max = plans_max};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    md__executable_set_guards(executable, true);
    return executable;
}

static struct md_executable *make(void)
{
    return make_within(0, 0);
}

static struct md_tensor ints(int count, const int64_t *data)
{
    struct md_tensor tensor;
    const struct md_shape shape = {1, {count}};
    assert_ok(md_tensor_new(MD_I64, &shape, &tensor, &err));
    memcpy(tensor.data, data, (size_t)count * 8);
    return tensor;
}

static void a_rule_asks_for_contents(void **state)
{
    bool asked[2] = {false, false};
    const struct md_value_info in[2] = {
        {.dtype = MD_F32, .asked = &asked[0]},
        {.dtype = MD_I64, .shape = {1, {2}}, .asked = &asked[1]},
    };
    int64_t ints[MD_RANK_MAX];
    int count;
    assert_int_equal(md__infer_ints(in, 1, "shape", ints, MD_RANK_MAX, &count, &err),
                     MD_ERR_PENDING);
    assert_false(asked[0]);
    assert_true(asked[1]);
    assert_string_equal(err.text, "shape (input 1) depends on data");
    /* An empty list has no contents to ask for. */
    const struct md_value_info none = {.dtype = MD_I64, .shape = {1, {0}}};
    assert_ok(md__infer_ints(&none, 0, "axes", ints, MD_RANK_MAX, &count, &err));
    assert_int_equal(count, 0);
}

static void a_kernel_makes_the_output_that_no_plan_knew(void **state)
{
    struct md_tensor out[2] = {{.dtype = MD_I64}, {.dtype = MD_F32}};
    struct md_tail tail = {.bytes_max = 100};
    const struct md_kernel_call call = {.out = out, .out_count = 2, .tail = &tail};
    const struct md_shape three_by_four = {2, {3, 4}}, none = {2, {3, 0}}, endless = {1, {-1}};
    assert_ok(md_kernel_output(&call, 0, &three_by_four, &err));
    assert_int_equal(tail.bytes, 96);
    assert_int_equal(((int64_t *)out[0].data)[11], 0);
    assert_int_equal(md_kernel_output(&call, 0, &none, &err), MD_ERR_INTERNAL);
    assert_int_equal(md_kernel_output(&call, 1, &three_by_four, &err), MD_ERR_TOO_LARGE);
    assert_int_equal(md_kernel_output(&call, 1, &endless, &err), MD_ERR_INVALID);
    assert_null(out[1].data);
    assert_ok(md_kernel_output(&call, 1, &none, &err));
    assert_non_null(out[1].data);
    assert_int_equal(tail.bytes, 96);
    md_tensor_unref(&out[0]);
    md_tensor_unref(&out[1]);
}

static void a_shape_comes_as_an_input(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){2, 6});
    int shape = graphs_input(graph, "shape", MD_I64, 1, (int64_t[]){2});
    int y = graphs_node(graph, "Neg", x);
    int z = graphs_node(graph, "Relu", graphs_node(graph, "Reshape", y, shape));
    graphs_output(graph, "z", z);
    graphs_output(graph, "y", y);
    struct md_executable *executable = make();
    static const int64_t shapes[][2] = {{3, 4}, {12, 1}, {3, 4}, {-1, 2}, {0, 6}};
    uint64_t random = 1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct md_tensor in[2] = {graphs_random(&random, 2, (int64_t[]){2, 6}), ints(2, shapes[i])};
        struct md_tensor out[2];
        assert_ok(md_executable_run(executable, in, 2, out, 2, &err));
        const float *have = out[0].data, *before = in[0].data;
        assert_int_equal(out[0].shape.rank, 2);
        assert_int_equal(out[0].shape.dim[1], shapes[i][1]);
        for (int k = 0; k < 12; k++) {
            assert_true(have[k] == (before[k] < 0 ? -before[k] : 0));
            assert_true(((const float *)out[1].data)[k] == -before[k]);
        }
        graphs_drop(in, 2);
        graphs_drop(out, 2);
    }
    /* One root, and one plan for each of the four lists. */
    assert_int_equal(md__executable_plan_count(executable), 5);
    struct md_plan_report report;
    assert_ok(md_executable_report(executable, &report, &err));
    assert_int_equal(report.splits, 1);
    assert_int_equal(report.steps, 2);
    struct md_tensor in[2] = {graphs_random(&random, 2, (int64_t[]){2, 6}),
                              ints(2, (int64_t[]){5, 3})};
    struct md_tensor out[2];
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, in, 2, out, 2, &err));
    assert_says("cannot reshape");
    assert_null(out[0].data);
    assert_null(out[1].data);
    graphs_drop(in, 2);
    md_executable_delete(executable);
}

static void contents_that_change_each_call_leave_no_trail(void **state)
{
    int begin = graphs_input(graph, "begin", MD_I64, 1, (int64_t[]){1});
    int end = graphs_node(graph, "Add", begin, graphs_ints(graph, 1, (int64_t[]){3}));
    float data[200];
    for (int i = 0; i < 200; i++)
        data[i] = (float)i;
    int x = graphs_floats(graph, 1, (int64_t[]){200}, data);
    graphs_output(graph, "y", graphs_node(graph, "Slice", x, begin, end));
    struct md_executable *executable = make_within(0, 4);
    for (int round = 0; round < 2; round++)
        for (int64_t i = 0; i < 190; i++) {
            struct md_tensor in = ints(1, &i), out;
            assert_ok(md_executable_run(executable, &in, 1, &out, 1, &err));
            assert_int_equal(out.shape.dim[0], 3);
            assert_true(((float *)out.data)[2] == (float)(i + 2));
            graphs_drop(&in, 1);
            graphs_drop(&out, 1);
            /* Its root, and at most four ways on. */
            assert_true(md__executable_plan_count(executable) <= 1 + 4 * 2);
        }
    md_executable_delete(executable);
}

/* Each Expand's shape is what the one before made of x. */
static enum md_status run_chain(int length, struct md_tensor *out)
{
    const struct md_attr to = graphs_attr_int("to", MD_I64);
    const int64_t one = 1;
    graph = graphs_new("chain");
    int x = graphs_input(graph, "x", MD_F32, 1, &one);
    int shape = graphs_input(graph, "shape", MD_I64, 1, &one);
    for (int i = 0; i < length; i++) {
        int wide = graphs_node(graph, "Expand", x, shape);
        shape = graphs_node_with(graph, "Cast", &wide, 1, &to, 1);
    }
    graphs_output(graph, "y", shape);
    struct md_executable *executable = make();
    const float data[1] = {1};
    struct md_tensor in[2] = {{.dtype = MD_F32, .shape = {1, {1}}, .data = (void *)(uintptr_t)data},
                              {.dtype = MD_I64, .shape = {1, {1}}, .data = (int64_t[]){1}}};
    enum md_status status = md_executable_run(executable, in, 2, out, 1, &err);
    if (!status)
        assert_int_equal(md__executable_plan_count(executable), length + 1);
    md_executable_delete(executable);
    return status;
}

static void a_run_splits_only_so_often(void **state)
{
    struct md_tensor out;
    assert_ok(run_chain(500, &out));
    assert_int_equal(*(int64_t *)out.data, 1);
    graphs_drop(&out, 1);
    assert_fails(MD_ERR_TOO_LARGE, run_chain(5000, &out));
    assert_says("depend on data at more than 4096 places");
}

/* ---- random graphs of vectors whose lengths nobody knows before ---- */

enum { FLATS_MAX = 40, OUTPUTS = 4 };

struct flats {
    int values[FLATS_MAX];
    int count;
    int lists[3]; /* inputs: one integer each */
};

static int draw_flat(struct flats *flats, uint64_t *random)
{
    return flats->values[graphs_next(random) % (uint64_t)flats->count];
}

/* A list of one integer in 0 .. 5 that follows from a vector's contents. */
static int small_integer(int flat)
{
    const int64_t one = 1, to = MD_I64;
    const struct md_attr cast = graphs_attr_int("to", to);
    int sum = graphs_node(graph, "ReduceSum", graphs_node(graph, "Abs", flat));
    int low = graphs_floats(graph, 0, NULL, (float[]){0}),
        high = graphs_floats(graph, 0, NULL, (float[]){5});
    int clipped = graphs_node(graph, "Clip", sum, low, high);
    int made = graphs_node_with(graph, "Cast", &clipped, 1, &cast, 1);
    return graphs_node(graph, "Reshape", made, graphs_ints(graph, 1, &one));
}

static void add_flat(struct flats *flats, uint64_t *random)
{
    static const char *const unary[] = {"Neg", "Relu", "Identity", "Sigmoid"};
    const struct md_attr axis = graphs_attr_int("axis", 0);
    int a = draw_flat(flats, random), b = draw_flat(flats, random);
    int list = flats->lists[graphs_next(random) % 3];
    const struct md_attr to_float = graphs_attr_int("to", MD_F32);
    switch (graphs_next(random) % 10) {
    case 8:
        b = graphs_node(graph, "Greater", a, graphs_floats(graph, 0, NULL, (float[]){-0.5f}));
        a = graphs_node_with(graph, "Compress", (int[]){a, b}, 2, &axis, 1);
        break;
    case 9:
        a = graphs_node(graph, "NonZero", graphs_node(graph, "Relu", a));
        a = graphs_node_with(graph, "Cast", &a, 1, &to_float, 1);
        a = graphs_node(graph, "Reshape", a, graphs_ints(graph, 1, (int64_t[]){-1}));
        break;
    case 0:
        a = graphs_node(graph, "Slice", a, list, graphs_ints(graph, 1, (int64_t[]){100}));
        break;
    case 1:
        a = graphs_node(graph, "Slice", a, small_integer(b),
                        graphs_ints(graph, 1, (int64_t[]){-1}));
        break;
    case 2:
        a = graphs_node_with(graph, "Concat", (int[]){a, b}, 2, &axis, 1);
        a = graphs_node(graph, "Slice", a, graphs_ints(graph, 1, (int64_t[]){0}),
                        graphs_ints(graph, 1, (int64_t[]){40}));
        break;
    case 3:
        a = graphs_node(graph, "Expand", graphs_node(graph, "ReduceSum", a), list);
        a = graphs_node(graph, "Reshape", a, graphs_ints(graph, 1, (int64_t[]){-1}));
        break;
    case 4:
        b = graphs_node(graph, "Unsqueeze", a, graphs_ints(graph, 1, (int64_t[]){0}));
        a = graphs_node(graph, "Reshape", graphs_node(graph, "Transpose", b),
                        graphs_node(graph, "Shape", a));
        break;
    case 5:
        a = graphs_node(graph, "Mul", a, graphs_node(graph, "ReduceSum", b));
        break;
    default:
        a = graphs_node(graph, unary[graphs_next(random) % 4], a);
    }
    flats->values[flats->count++] = a;
}

static void build_flats(uint64_t seed)
{
    uint64_t random = seed;
    struct flats flats = {.count = 2};
    const int64_t n = graphs_symbol(graph, "n", 0), one = 1;
    flats.values[0] = graphs_input(graph, "a", MD_F32, 1, (int64_t[]){n});
    flats.values[1] = graphs_input(graph, "b", MD_F32, 1, (int64_t[]){7});
    for (int i = 0; i < 3; i++)
        flats.lists[i] = graphs_input(graph, (char[]){(char)('i' + i), 0}, MD_I64, 1, &one);
    for (int i = 3 + (int)(graphs_next(&random) % 20); i > 0; i--)
        add_flat(&flats, &random);
    for (int i = 0; i < OUTPUTS; i++)
        graphs_output(graph, (char[]){(char)('p' + i), 0}, draw_flat(&flats, &random));
}

static void random_graphs_equal_node_by_node(void **state)
{
    int ran = 0, most_splits = 0;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        struct md_plan_report report;
        assert_ok(md_graph_new("slow", &graph, &err));
        build_flats(seed * 7121);
        struct md_graph *slow = graph;
        assert_ok(md_graph_new("fast", &graph, &err));
        build_flats(seed * 7121);
        struct md_executable *executable = make_within(0, 1 + (int)(seed % 3));
        uint64_t random = seed;
        for (int round = 0; round < 6; round++) {
            struct md_tensor want[OUTPUTS] = {{0}}, have[OUTPUTS] = {{0}}, in[5];
            in[0] = graphs_random(&random, 1, (int64_t[]){(int64_t)(graphs_next(&random) % 3 * 3)});
            in[1] = graphs_random(&random, 1, (int64_t[]){7});
            for (int i = 2; i < 5; i++)
                in[i] = ints(1, (int64_t[]){(int64_t)(graphs_next(&random) % 4)});
            enum md_status status =
                graphs_run_slowly(slow, md_cpu_reference(), pool, in, want, &err);
            if (status == MD_OK) {
                assert_ok(md_executable_run(executable, in, 5, have, OUTPUTS, &err));
                ran++;
                assert_ok(md_executable_report(executable, &report, &err));
                most_splits = report.splits > most_splits ? report.splits : most_splits;
            }
            for (int i = 0; status == MD_OK && i < OUTPUTS; i++) {
                assert_true(md_shape_equal(&have[i].shape, &want[i].shape));
                assert_memory_equal(have[i].data, want[i].data, md_tensor_bytes(&want[i]));
            }
            graphs_drop(in, 5);
            graphs_drop(want, OUTPUTS);
            graphs_drop(have, OUTPUTS);
        }
        md_executable_delete(executable);
        md_graph_delete(slow);
    }
    assert_true(ran > 500);
    assert_true(most_splits >= 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_asks_for_contents),
        cmocka_unit_test(a_kernel_makes_the_output_that_no_plan_knew),
        cmocka_unit_test_setup(a_shape_comes_as_an_input, new_graph),
        cmocka_unit_test_setup(contents_that_change_each_call_leave_no_trail, new_graph),
        cmocka_unit_test(a_run_splits_only_so_often),
        cmocka_unit_test(random_graphs_equal_node_by_node),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
