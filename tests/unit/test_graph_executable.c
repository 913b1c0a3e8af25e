/*
 * Executables: views and in-place results, symbols, the LRU of plans, size caps, outputs of every
 * kind, reports, guards.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
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

static struct md_executable *make(const char *passes_off)
{
    struct md_executable *executable;
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .passes_off = passes_off};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    return executable;
}

static struct md_tensor floats(int rank, const int64_t *dim, const float *data)
{
    struct md_tensor tensor;
    struct md_shape shape = md_shape_of(rank, dim);
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    if (data)
        memcpy(tensor.data, data, md_tensor_bytes(&tensor));
    return tensor;
}

static void runs_in_place_and_shares_memory(void **state)
{
    /* A chain of 30 elementwise steps over [100, 64] needs room for one or two values, not for
     * thirty. */
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){100, 64}), y = x;
    for (int i = 0; i < 30; i++)
        y = graphs_node(graph, i % 2 ? "Relu" : "Neg", y);
    y = graphs_node(graph, "Transpose", y);
    graphs_output(graph, "y", y);
    struct md_executable *executable = make(NULL);
    struct md_shape shape = md_shape_of(2, (int64_t[]){100, 64});
    struct md_plan_report report;
    assert_fails(MD_ERR_NOT_FOUND, md_executable_report(executable, &report, &err));
    assert_ok(md_executable_plan(executable, &shape, 1, &err));
    assert_ok(md_executable_report(executable, &report, &err));
    assert_int_equal(report.steps, 31);
    assert_in_range(report.arena_bytes, 100 * 64 * 4, 2 * 100 * 64 * 4);
    assert_true(report.bytes == 31.0 * 2 * 100 * 64 * 4);
    md_executable_delete(executable);
}

static enum md_status add_apart(const struct md_kernel_call *call, struct md_error *error)
{
    if (call->out[0].data == call->in[1].data)
        return md_fail(error, MD_ERR_INTERNAL, "input 1 was overwritten");
    for (size_t i = 0; i < md_tensor_count(&call->out[0]); i++)
        ((float *)call->out[0].data)[i] =
            ((float *)call->in[0].data)[i] + ((float *)call->in[1].data)[i];
    return MD_OK;
}

static void in_place_spares_an_input_that_is_read_twice(void **state)
{
    const struct md_kernel add = {.run = add_apart, .in_place = true};
    struct md_backend backend = *md_cpu_reference();
    backend.kernels[MD_OP_ADD] = &add;
    int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){4});
    int y = graphs_node(graph, "Neg", x);
    y = graphs_node(graph, "Add", y, graphs_node(graph, "Identity", y));
    graphs_output(graph, "y", graphs_node(graph, "ReduceSum", y));
    struct md_executable_options options = {
        .backend = &backend, .reference = md_cpu_reference(), .pool = pool};
    struct md_executable *executable;
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    struct md_tensor in = floats(1, (int64_t[]){4}, (float[]){1, 2, 3, 4}), out;
    assert_ok(md_executable_run(executable, &in, 1, &out, 1, &err));
    assert_true(*(float *)out.data == -20);
    md_tensor_unref(&in);
    md_tensor_unref(&out);
    md_executable_delete(executable);
}

static void views_cost_nothing(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 3, (int64_t[]){2, 1, 6});
    int64_t perm[3] = {1, 0, 2};
    struct md_attr attr = graphs_attr_ints("perm", 3, perm);
    int y = graphs_node(graph, "Reshape", x, graphs_ints(graph, 2, (int64_t[]){2, 6}));
    y = graphs_node(graph, "Unsqueeze", y, graphs_ints(graph, 1, (int64_t[]){1}));
    y = graphs_node_with(graph, "Transpose", &y, 1, &attr, 1);
    y = graphs_node(graph, "Identity", y);
    graphs_output(graph, "view", y);
    graphs_output(graph, "neg", graphs_node(graph, "Neg", y));
    struct md_executable *executable = make(NULL);
    struct md_tensor in = floats(3, (int64_t[]){2, 1, 6}, (float[12]){1, 2, 3}), out[2];
    assert_ok(md_executable_run(executable, &in, 1, out, 2, &err));
    assert_int_equal(md__executable_last_plan(executable)->step_count, 1);
    assert_ptr_not_equal(out[0].data, in.data);
    assert_true(out[0].shape.dim[0] == 1 && out[0].shape.dim[1] == 2);
    assert_floats_close((float *)out[0].data, (float *)in.data, 12, 0, 0);
    assert_true(((float *)out[1].data)[2] == -3);
    md_tensor_unref(&in);
    md_tensor_unref(&out[0]);
    md_tensor_unref(&out[1]);
    md_executable_delete(executable);
}

static void outputs_may_repeat_inputs_and_constants(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){2});
    int c = graphs_floats(graph, 1, (int64_t[]){3}, (float[]){7, 8, 9});
    int y = graphs_node(graph, "Neg", x);
    graphs_output(graph, "x", x);
    graphs_output(graph, "c", c);
    graphs_output(graph, "y", y);
    graphs_output(graph, "y2", y);
    struct md_executable *executable = make(NULL);
    struct md_tensor in = floats(1, (int64_t[]){2}, (float[]){1, 2}), out[4];
    assert_ok(md_executable_run(executable, &in, 1, out, 4, &err));
    assert_floats_close((float *)out[0].data, ((float[]){1, 2}), 2, 0, 0);
    assert_floats_close((float *)out[1].data, ((float[]){7, 8, 9}), 3, 0, 0);
    assert_floats_close((float *)out[2].data, ((float[]){-1, -2}), 2, 0, 0);
    assert_floats_close((float *)out[3].data, ((float[]){-1, -2}), 2, 0, 0);
    for (int i = 0; i < 4; i++) {
        assert_non_null(out[i].owner);
        for (int k = 0; k < i; k++)
            assert_ptr_not_equal(out[i].data, out[k].data);
        md_tensor_unref(&out[i]);
    }
    md_tensor_unref(&in);
    md_executable_delete(executable);
}

static void shape_arithmetic_is_done_while_planning(void **state)
{
    /* y = reshape(x, concat(shape(x)[0], [-1])), as exporters write a flatten. */
    const int64_t batch = graphs_symbol(graph, "batch", 0), time = graphs_symbol(graph, "time", 0);
    int x = graphs_input(graph, "x", MD_F32, 3, (int64_t[]){batch, time, 2});
    struct md_attr axis = graphs_attr_int("axis", 0);
    int size = graphs_node(graph, "Gather", graphs_node(graph, "Shape", x),
                           graphs_ints(graph, 1, (int64_t[]){0}));
    int rest = graphs_ints(graph, 1, (int64_t[]){-1});
    int shape = graphs_node_with(graph, "Concat", (int[]){size, rest}, 2, &axis, 1);
    graphs_output(graph, "y", graphs_node(graph, "Neg", graphs_node(graph, "Reshape", x, shape)));
    graphs_output(graph, "size", size);
    struct md_executable *executable = make(NULL);
    struct md_tensor in = floats(3, (int64_t[]){3, 5, 2}, NULL), out[2];
    assert_ok(md_executable_run(executable, &in, 1, out, 2, &err));
    assert_true(out[0].shape.rank == 2 && out[0].shape.dim[0] == 3 && out[0].shape.dim[1] == 10);
    assert_int_equal(*(int64_t *)out[1].data, 3);
    assert_int_equal(md__executable_last_plan(executable)->step_count, 1);
    md_tensor_unref(&in);
    md_tensor_unref(&out[0]);
    md_tensor_unref(&out[1]);
    md_executable_delete(executable);
}

static void symbols_must_agree(void **state)
{
    const int64_t batch = graphs_symbol(graph, "batch", 0);
    int x = graphs_input(graph, "first", MD_F32, 2, (int64_t[]){batch, 2});
    int y = graphs_input(graph, "second", MD_F32, 2, (int64_t[]){batch, 2});
    graphs_output(graph, "sum", graphs_node(graph, "Add", x, y));
    struct md_executable *executable = make(NULL);
    struct md_shape shapes[2] = {md_shape_of(2, (int64_t[]){3, 2}),
                                 md_shape_of(2, (int64_t[]){4, 2})};
    assert_fails(MD_ERR_INVALID, md_executable_plan(executable, shapes, 2, &err));
    assert_says("input \"second\" has batch = 4, but input \"first\" has 3");
    shapes[1].dim[0] = 3;
    shapes[1].dim[1] = 5;
    assert_fails(MD_ERR_INVALID, md_executable_plan(executable, shapes, 2, &err));
    assert_says("input \"second\": dimension 1 is 5, wanted 2");
    shapes[1].rank = 1;
    assert_fails(MD_ERR_INVALID, md_executable_plan(executable, shapes, 2, &err));
    assert_says("rank 1, wanted 2");
    shapes[0].dim[0] = -3;
    assert_fails(MD_ERR_INVALID, md_executable_plan(executable, shapes, 2, &err));
    assert_says("dimension -3");
    assert_fails(MD_ERR_INVALID, md_executable_plan(executable, shapes, 1, &err));
    struct md_tensor in[2] = {floats(2, (int64_t[]){1, 2}, NULL), {.dtype = MD_I64}}, out;
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, in, 2, &out, 1, &err));
    assert_says("input \"second\" is int64, wanted float32");
    in[1] = in[0];
    in[1].data = NULL;
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, in, 2, &out, 1, &err));
    assert_says("input \"second\" has no data");
    assert_null(out.data);
    md_tensor_unref(&in[0]);
    md_executable_delete(executable);
}

static void a_shape_error_names_the_node(void **state)
{
    const int64_t n = graphs_symbol(graph, "n", 0), m = graphs_symbol(graph, "m", 0);
    int ids[2] = {graphs_input(graph, "x", MD_F32, 1, &n), graphs_input(graph, "y", MD_F32, 1, &m)};
    int y;
    assert_ok(md_graph_node(graph, "Add", "residual", ids, 2, NULL, 0, &y, 1, &err));
    graphs_output(graph, "y", y);
    struct md_executable *executable = make(NULL);
    struct md_shape shapes[2] = {md_shape_of(1, (int64_t[]){3}), md_shape_of(1, (int64_t[]){4})};
    assert_fails(MD_ERR_INVALID, md_executable_plan(executable, shapes, 2, &err));
    assert_says("Add \"residual\": input 1 of shape [4] does not broadcast with [3]");
    shapes[0].dim[0] = 4;
    assert_ok(md_executable_plan(executable, shapes, 2, &err));
    md_executable_delete(executable);
}

static void enormous_shapes_never_plan(void **state)
{
    const int64_t n = graphs_symbol(graph, "n", 0);
    int x = graphs_input(graph, "x", MD_F32, 1, &n);
    int wide = graphs_node(graph, "Unsqueeze", x, graphs_ints(graph, 1, (int64_t[]){1}));
    int y = graphs_node(graph, "Mul", wide, graphs_node(graph, "Neg", x));
    int z = graphs_node(graph, "Neg", graphs_node(graph, "Neg", y));
    graphs_output(graph, "y", graphs_node(graph, "ReduceSum", z));
    struct md_executable *executable = make(NULL);
    const int64_t sizes[] = {(int64_t)1 << 40, (int64_t)1 << 61, INT64_MAX, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct md_shape shape = md_shape_of(1, &sizes[i]);
        enum md_status status = md_executable_plan(executable, &shape, 1, &err);
        assert_true(status == MD_ERR_TOO_LARGE || status == MD_ERR_INVALID);
        assert_int_equal(md__executable_plan_count(executable), 0);
    }
    struct md_shape fits = md_shape_of(1, (int64_t[]){100});
    assert_ok(md_executable_plan(executable, &fits, 1, &err));
    md_executable_delete(executable);
}

/* Outputs are no part of the arena; they are held to the same cap before anything is allocated. */
static void outputs_count_against_the_cap(void **state)
{
    const int64_t n = graphs_symbol(graph, "n", 0);
    graphs_output(graph, "y", graphs_node(graph, "Neg", graphs_input(graph, "x", MD_F32, 1, &n)));
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .plan_bytes_max = 4096};
    struct md_executable *executable;
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    struct md_shape fits = md_shape_of(1, (int64_t[]){1024});
    struct md_shape is_over = md_shape_of(1, (int64_t[]){1025});
    assert_ok(md_executable_plan(executable, &fits, 1, &err));
    assert_fails(MD_ERR_TOO_LARGE, md_executable_plan(executable, &is_over, 1, &err));
    md_executable_delete(executable);
}

static void plans_are_kept_up_to_a_limit(void **state)
{
    const int64_t n = graphs_symbol(graph, "n", 0);
    graphs_output(graph, "y", graphs_node(graph, "Neg", graphs_input(graph, "x", MD_F32, 1, &n)));
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .plans_max = 3};
    struct md_executable *executable;
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    struct md_shape shapes[5];
    for (int64_t i = 0; i < 5; i++)
        shapes[i] = md_shape_of(1, &(int64_t){i + 1});
    for (int i = 0; i < 3; i++)
        assert_ok(md_executable_plan(executable, &shapes[i], 1, &err));
    assert_ok(md_executable_plan(executable, &shapes[0], 1, &err));
    const struct md_plan *first = md__executable_last_plan(executable);
    assert_ok(md_executable_plan(executable, &shapes[3], 1, &err)); /* evicts shape 1 */
    assert_int_equal(md__executable_plan_count(executable), 3);
    assert_ok(md_executable_plan(executable, &shapes[0], 1, &err));
    assert_ptr_equal(md__executable_last_plan(executable), first);
    assert_ok(md_executable_plan(executable, &shapes[1], 1, &err));
    assert_int_equal(md__executable_plan_count(executable), 3);
    md_executable_delete(executable);
}

static void a_huge_plan_gives_its_memory_back(void **state)
{
    const int64_t n = graphs_symbol(graph, "n", 0);
    int y = graphs_node(graph, "Transpose", graphs_input(graph, "x", MD_F32, 2, (int64_t[]){n, n}));
    graphs_output(graph, "y", graphs_node(graph, "ReduceSum", y));
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .plans_max = 1};
    struct md_executable *executable;
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    const int64_t sizes[] = {3, 1000, 3, 900, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t dim[2] = {sizes[i], sizes[i]};
        struct md_tensor in = floats(2, dim, NULL), out;
        assert_ok(md_executable_run(executable, &in, 1, &out, 1, &err));
        size_t need = md__executable_last_plan(executable)->arena_bytes;
        assert_in_range(md__executable_memory(executable), need, 2 * need + 4096);
        md_tensor_unref(&in);
        md_tensor_unref(&out);
    }
    md_executable_delete(executable);
}

static void zero_sized_batches_work(void **state)
{
    const int64_t batch = graphs_symbol(graph, "batch", 0);
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){batch, 2});
    int w = graphs_floats(graph, 2, (int64_t[]){2, 3}, (float[6]){1});
    graphs_output(graph, "y", graphs_node(graph, "Relu", graphs_node(graph, "MatMul", x, w)));
    graphs_output(graph, "sum", graphs_node(graph, "ReduceSum", x));
    struct md_executable *executable = make(NULL);
    struct md_tensor in = {.dtype = MD_F32, .shape = md_shape_of(2, (int64_t[]){0, 2})}, out[2];
    assert_ok(md_executable_run(executable, &in, 1, out, 2, &err));
    assert_true(out[0].shape.dim[0] == 0 && out[0].shape.dim[1] == 3);
    assert_true(*(float *)out[1].data == 0);
    md_tensor_unref(&out[0]);
    md_tensor_unref(&out[1]);
    md_executable_delete(executable);
}

static void counts_flops_and_profiles(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){5, 2});
    int w = graphs_floats(graph, 2, (int64_t[]){2, 3}, (float[6]){1});
    graphs_output(graph, "y", graphs_node(graph, "Sigmoid", graphs_node(graph, "MatMul", x, w)));
    struct md_executable *executable = make(NULL);
    struct md_tensor in = floats(2, (int64_t[]){5, 2}, NULL), out;
    struct md_plan_report report;
    struct md_step_time rows[8];
    struct md_clock_manual clock;
    md_clock_manual_init(&clock, 1000);
    assert_int_equal(md_executable_profile(executable, rows, 8), 0);
    md_executable_set_clock(executable, &clock.base);
    md_executable_set_profiling(executable, true);
    for (int i = 0; i < 3; i++) {
        assert_ok(md_executable_run(executable, &in, 1, &out, 1, &err));
        md_tensor_unref(&out);
    }
    assert_ok(md_executable_report(executable, &report, &err));
    assert_true(report.flops == 2 * 5 * 2 * 3 && report.transcendentals == 15);
    assert_int_equal(report.constant_bytes, 24);
    assert_int_equal(md_executable_profile(executable, rows, 8), 2);
    assert_true(rows[0].node->op == MD_OP_MATMUL && rows[0].runs == 3);
    assert_true(rows[1].node->op == MD_OP_SIGMOID && rows[1].cost.transcendentals > 0);
    assert_true(rows[0].cost.flops > 0 && rows[0].cost.bytes > 0);
    md_tensor_unref(&in);
    md_executable_delete(executable);
}

static void refuses_what_it_cannot_run(void **state)
{
    struct md_backend none = {.name = "none"};
    struct md_executable_options options = {.backend = &none, .reference = &none, .pool = pool};
    struct md_executable *executable;
    int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){1}), y;
    assert_ok(md_graph_node(graph, "Erf", "gelu", &x, 1, NULL, 0, &y, 1, &err));
    graphs_output(graph, "y", y);
    assert_fails(MD_ERR_UNSUPPORTED, md_executable_new(graph, &options, &executable, &err));
    assert_says("Erf \"gelu\"");
    assert_null(executable);

    new_graph(NULL);
    assert_fails(MD_ERR_INVALID, md_executable_new(graph, &options, &executable, &err));
    assert_says("no outputs");

    new_graph(NULL);
    graphs_output(graph, "y", graphs_input(graph, "x", MD_F32, 1, (int64_t[]){1}));
    options.passes_off = "fold,typo";
    assert_fails(MD_ERR_INVALID, md_executable_new(graph, &options, &executable, &err));
    assert_says("\"typo\"");
}

static enum md_status overrun(const struct md_kernel_call *call, struct md_error *unused)
{
    memset(call->out[0].data, 0, md_tensor_bytes(&call->out[0]) + 4);
    return MD_OK;
}

static void guards_catch_an_overrun(void **state)
{
    const struct md_kernel wrong = {.run = overrun};
    struct md_backend backend = *md_cpu_reference();
    backend.kernels[MD_OP_NEG] = &wrong;
    int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){16}), y;
    assert_ok(md_graph_node(graph, "Neg", "bad", &x, 1, NULL, 0, &y, 1, &err));
    graphs_output(graph, "y", graphs_node(graph, "ReduceSum", y));
    struct md_executable_options options = {
        .backend = &backend, .reference = md_cpu_reference(), .pool = pool};
    struct md_executable *executable;
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    md__executable_set_guards(executable, true);
    struct md_tensor in = floats(1, (int64_t[]){16}, NULL), out;
    assert_fails(MD_ERR_INTERNAL, md_executable_run(executable, &in, 1, &out, 1, &err));
    assert_says("Neg \"bad\" wrote past");
    md_tensor_unref(&in);
    md_executable_delete(executable);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, new_graph)
    const struct CMUnitTest tests[] = {
        TEST(runs_in_place_and_shares_memory),
        TEST(in_place_spares_an_input_that_is_read_twice),
        TEST(views_cost_nothing),
        TEST(outputs_may_repeat_inputs_and_constants),
        TEST(shape_arithmetic_is_done_while_planning),
        TEST(symbols_must_agree),
        TEST(a_shape_error_names_the_node),
        TEST(enormous_shapes_never_plan),
        TEST(outputs_count_against_the_cap),
        TEST(plans_are_kept_up_to_a_limit),
        TEST(a_huge_plan_gives_its_memory_back),
        TEST(zero_sized_batches_work),
        TEST(counts_flops_and_profiles),
        TEST(refuses_what_it_cannot_run),
        TEST(guards_catch_an_overrun),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
