/*
 * If, Loop and Scan: what they compute, what they capture, and where they stop. Guards lie between
 * the values of every executable, bodies included.
 */
#include <string.h>

#include "base/clock.h"
#include "graph/control.h"
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

static enum md_status try_make(int64_t iterations_max, struct md_executable **executable)
{
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .tail_bytes_max = 1 << 20,
                                                  .iterations_max = iterations_max};
    return md_executable_new(graph, &options, executable, &err);
}

static struct md_executable *make(void)
{
    struct md_executable *executable;
    assert_ok(try_make(1000, &executable));
    md__executable_set_guards(executable, true);
    return executable;
}

static struct md_tensor scalar(enum md_dtype dtype, int64_t number)
{
    struct md_tensor tensor;
    const struct md_shape shape = {0};
    assert_ok(md_tensor_new(dtype, &shape, &tensor, &err));
    memcpy(tensor.data, &number, md_dtype_bytes(dtype));
    return tensor;
}

static struct md_tensor matrix(int64_t rows, int64_t columns, const float *data)
{
    struct md_tensor tensor;
    const struct md_shape shape = {2, {rows, columns}};
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    memcpy(tensor.data, data, md_tensor_bytes(&tensor));
    return tensor;
}

static struct md_tensor floats(int count, const float *data)
{
    struct md_tensor tensor = matrix(count, 1, data);
    tensor.shape.rank = 1;
    return tensor;
}

static void expect_floats(const struct md_tensor *have, int rank, const int64_t *dim,
                          const float *want)
{
    const struct md_shape shape = md_shape_of(rank, dim);
    assert_int_equal(have->dtype, MD_F32);
    assert_true(md_shape_equal(&have->shape, &shape));
    assert_floats_close((const float *)have->data, want, md_tensor_count(have), 1e-6, 1e-6);
}

/* ---- If ---- */

/* yes: x + y; no: Concat(y, y, y). Both capture x and y. */
static void build_if(struct md_graph *into, int condition, int x, int y, int *out)
{
    struct md_graph *yes = graphs_new("yes"), *no = graphs_new("no");
    int a = graphs_any(yes, "x", MD_F32), b = graphs_any(yes, "y", MD_F32);
    graphs_output(yes, "sum", graphs_node(yes, "Add", a, b));
    graphs_any(no, "x", MD_F32);
    b = graphs_any(no, "y", MD_F32);
    const struct md_attr axis = graphs_attr_int("axis", 0);
    graphs_output(no, "three", graphs_node_with(no, "Concat", (int[]){b, b, b}, 3, &axis, 1));
    const struct md_attr attrs[] = {graphs_attr_graph("then_branch", yes),
                                    graphs_attr_graph("else_branch", no)};
    graphs_control(into, "If", (int[]){condition, x, y}, 3, attrs, 2, 2, out, 1);
}

static void if_runs_one_branch(void **state)
{
    int condition = graphs_input(graph, "condition", MD_BOOL, 0, NULL), made;
    int x = graphs_any(graph, "x", MD_F32), y = graphs_any(graph, "y", MD_F32);
    build_if(graph, condition, graphs_node(graph, "Neg", x), y, &made);
    graphs_output(graph, "z", graphs_node(graph, "Abs", made));
    struct md_executable *executable = make();
    for (int round = 0; round < 4; round++) {
        struct md_tensor out, in[3] = {scalar(MD_BOOL, round % 2), floats(2, (float[]){1, 2}),
                                       floats(2, (float[]){-4, 5})};
        assert_ok(md_executable_run(executable, in, 3, &out, 1, &err));
        if (round % 2)
            expect_floats(&out, 1, (int64_t[]){2}, (float[]){5, 3});
        else
            expect_floats(&out, 1, (int64_t[]){6}, (float[]){4, 5, 4, 5, 4, 5});
        graphs_drop(&out, 1);
        graphs_drop(in, 3);
    }
    md_executable_delete(executable);
}

static void captured_constants_become_the_body_s_own(void **state)
{
    int condition = graphs_input(graph, "condition", MD_BOOL, 0, NULL), made;
    int x = graphs_floats(graph, 1, (int64_t[]){2}, (float[]){10, 20});
    build_if(graph, condition, x, graphs_any(graph, "y", MD_F32), &made);
    graphs_output(graph, "z", made);
    struct md_executable *executable = make();
    const struct md__control *own = executable->controls[0];
    assert_int_equal(own->captured, 1);
    assert_int_equal(own->bodies[0]->graph->input_count, 1);
    assert_int_equal(own->bodies[1]->graph->input_count, 1);
    struct md_tensor out, in[2] = {scalar(MD_BOOL, 1), floats(2, (float[]){1, 2})};
    assert_ok(md_executable_run(executable, in, 2, &out, 1, &err));
    expect_floats(&out, 1, (int64_t[]){2}, (float[]){11, 22});
    graphs_drop(&out, 1);
    graphs_drop(in, 2);
    md_executable_delete(executable);
}

static void a_condition_is_one_boolean(void **state)
{
    int condition = graphs_any(graph, "condition", MD_BOOL), made;
    build_if(graph, condition, graphs_any(graph, "x", MD_F32), graphs_any(graph, "y", MD_F32),
             &made);
    graphs_output(graph, "z", made);
    struct md_executable *executable = make();
    struct md_tensor out, in[3] = {{0}, floats(1, (float[]){1}), floats(1, (float[]){2})};
    const struct md_shape two = {1, {2}};
    assert_ok(md_tensor_new(MD_BOOL, &two, &in[0], &err));
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, in, 3, &out, 1, &err));
    assert_says("If: its condition is 2 of bool");
    graphs_drop(in, 3);
    md_executable_delete(executable);
}

/* ---- Loop ---- */

/*
 * Carries `total` and collects what is added in each iteration: total += step * (i + 1), while
 * total < limit. `step` is captured.
 */
static struct md_graph *adding_body(float limit)
{
    const struct md_attr to_float = graphs_attr_int("to", MD_F32);
    struct md_graph *body = graphs_new("body");
    int i = graphs_any(body, "i", MD_I64),
        total = (graphs_any(body, "going", MD_BOOL), graphs_any(body, "t", MD_F32));
    int step = graphs_any(body, "step", MD_F32);
    int next = graphs_node(body, "Add", i, graphs_int(body, 1));
    int factor = graphs_node_with(body, "Cast", &next, 1, &to_float, 1);
    int added = graphs_node(body, "Mul", step, factor);
    int sum = graphs_node(body, "Add", total, added);
    int going = graphs_node(body, "Less", graphs_node(body, "ReduceSum", sum),
                            graphs_floats(body, 0, NULL, &limit));
    const int64_t none = 0;
    graphs_output(body, "going", graphs_node(body, "Reshape", going, graphs_ints(body, 0, &none)));
    graphs_output(body, "total", sum);
    graphs_output(body, "added", added);
    return body;
}

static void build_adding_loop(int trips, int going, float limit)
{
    int total = graphs_any(graph, "total", MD_F32), step = graphs_any(graph, "step", MD_F32),
        out[2];
    const struct md_attr body = graphs_attr_graph("body", adding_body(limit));
    graphs_control(graph, "Loop", (int[]){trips, going, total, step}, 4, &body, 1, 1, out, 2);
    graphs_output(graph, "sum", graphs_node(graph, "Neg", out[0]));
    graphs_output(graph, "all", out[1]);
}

static void loop_ends_by_count_or_condition(void **state)
{
    int trips = graphs_input(graph, "trips", MD_I64, 0, NULL);
    int going = graphs_input(graph, "going", MD_BOOL, 0, NULL);
    build_adding_loop(trips, going, 50);
    struct md_executable *executable = make();
    static const struct {
        int64_t trips, going, ran;
    } cases[] = {{3, 1, 3}, {100, 1, 5}, {0, 1, 0}, {3, 0, 0}, {-2, 1, 0}, {3, 1, 3}, {1, 1, 1}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct md_tensor out[2];
        struct md_tensor in[4] = {scalar(MD_I64, cases[c].trips), scalar(MD_BOOL, cases[c].going),
                                  floats(2, (float[]){0, 1}), floats(2, (float[]){1, 3})};
        assert_ok(md_executable_run(executable, in, 4, out, 2, &err));
        float sum[2] = {0, 1}, all[12];
        for (int i = 0; i < cases[c].ran; i++) {
            all[2 * i] = (float)(i + 1);
            all[2 * i + 1] = (float)(3 * (i + 1));
            sum[0] += all[2 * i];
            sum[1] += all[2 * i + 1];
        }
        sum[0] = -sum[0];
        sum[1] = -sum[1];
        expect_floats(&out[0], 1, (int64_t[]){2}, sum);
        expect_floats(&out[1], 2, (int64_t[]){cases[c].ran, 2}, all);
        graphs_drop(out, 2);
        graphs_drop(in, 4);
    }
    md_executable_delete(executable);
}

static void loop_needs_neither_count_nor_condition(void **state)
{
    build_adding_loop(MD_NONE, MD_NONE, 100);
    struct md_executable *executable = make();
    struct md_tensor out[2], in[2] = {floats(1, (float[]){0}), floats(1, (float[]){1})};
    assert_ok(md_executable_run(executable, in, 2, out, 2, &err));
    expect_floats(&out[0], 1, (int64_t[]){1}, (float[]){-105});
    assert_int_equal(out[1].shape.dim[0], 14);
    graphs_drop(out, 2);
    graphs_drop(in, 2);
    md_executable_delete(executable);
}

static void an_endless_loop_is_stopped(void **state)
{
    build_adding_loop(MD_NONE, MD_NONE, 1e30f);
    struct md_executable *executable = make();
    struct md_clock_manual clock;
    struct md_tensor out[2], in[2] = {floats(1, (float[]){0}), floats(1, (float[]){0})};
    assert_fails(MD_ERR_TOO_LARGE, md_executable_run(executable, in, 2, out, 2, &err));
    assert_says("Loop: iteration 1000: loops went through more iterations");
    md_clock_manual_init(&clock, 5000);
    md_executable_set_clock(executable, &clock.base);
    const struct md_run_limits past = {.deadline_ns = 1};
    assert_fails(MD_ERR_TIMEOUT, md_executable_run_within(executable, in, 2, out, 2, &past, &err));
    _Atomic bool cancelled = true;
    const struct md_run_limits gone = {.cancelled = &cancelled};
    assert_fails(MD_ERR_CANCELLED,
                 md_executable_run_within(executable, in, 2, out, 2, &gone, &err));
    graphs_drop(in, 2);
    md_executable_delete(executable);
}

/* Carries x, grown by one element each time; collects it, which cannot work after the first. */
static void build_growing_loop(bool collects, int64_t trips)
{
    const struct md_attr axis = graphs_attr_int("axis", 0);
    struct md_graph *body = graphs_new("grow");
    int out[2], going = (graphs_any(body, "i", MD_I64), graphs_any(body, "going", MD_BOOL));
    int x = graphs_any(body, "x", MD_F32),
        one = graphs_floats(body, 1, (int64_t[]){1}, (float[]){7});
    int longer = graphs_node_with(body, "Concat", (int[]){x, one}, 2, &axis, 1);
    graphs_output(body, "going", going);
    graphs_output(body, "x", longer);
    if (collects)
        graphs_output(body, "each", longer);
    const struct md_attr attr = graphs_attr_graph("body", body);
    graphs_control(graph, "Loop",
                   (int[]){graphs_int(graph, trips), MD_NONE, graphs_any(graph, "x", MD_F32)}, 3,
                   &attr, 1, 0, out, 1 + collects);
    graphs_output(graph, "x", out[0]);
    if (collects)
        graphs_output(graph, "each", out[1]);
}

static void carried_values_may_change_their_shape(void **state)
{
    build_growing_loop(false, 40);
    struct md_executable *executable = make();
    struct md_tensor out, in = floats(2, (float[]){1, 2});
    assert_ok(md_executable_run(executable, &in, 1, &out, 1, &err));
    assert_int_equal(out.shape.dim[0], 42);
    assert_true(((float *)out.data)[1] == 2 && ((float *)out.data)[41] == 7);
    /* Forty shapes were planned, and few are kept. */
    assert_true(md__executable_plan_count(executable->controls[0]->bodies[0]) <= 16);
    graphs_drop(&out, 1);
    graphs_drop(&in, 1);
    md_executable_delete(executable);
}

static void collected_slices_may_not(void **state)
{
    build_growing_loop(true, 2);
    struct md_executable *executable = make();
    struct md_tensor out[2], in = floats(2, (float[]){1, 2});
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, &in, 1, out, 2, &err));
    assert_says("Loop: collected output 0 changes its shape: [4] after 1 iterations");
    assert_null(out[0].data);
    graphs_drop(&in, 1);
    md_executable_delete(executable);
}

static void a_loop_that_collects_too_much_is_refused(void **state)
{
    build_adding_loop(MD_NONE, MD_NONE, 1e30f);
    struct md_executable *executable = make();
    float many[2000] = {0};
    struct md_tensor out[2], in[2] = {floats(2000, many), floats(2000, many)};
    assert_fails(MD_ERR_TOO_LARGE, md_executable_run(executable, in, 2, out, 2, &err));
    assert_says("takes more than 1048576 bytes");
    graphs_drop(in, 2);
    md_executable_delete(executable);
}

static void the_type_of_a_carried_value_stays(void **state)
{
    const struct md_attr to = graphs_attr_int("to", MD_F64);
    struct md_graph *body = graphs_new("turn");
    int going = (graphs_any(body, "i", MD_I64), graphs_any(body, "going", MD_BOOL)), out;
    int x = graphs_any(body, "x", MD_F32);
    graphs_output(body, "going", going);
    graphs_output(body, "x", graphs_node_with(body, "Cast", &x, 1, &to, 1));
    const struct md_attr attr = graphs_attr_graph("body", body);
    graphs_control(graph, "Loop",
                   (int[]){graphs_int(graph, 2), MD_NONE, graphs_any(graph, "x", MD_F32)}, 3, &attr,
                   1, 0, &out, 1);
    graphs_output(graph, "x", out);
    struct md_executable *executable = make();
    struct md_tensor result, in = floats(2, (float[]){1, 2});
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, &in, 1, &result, 1, &err));
    assert_says("iteration 1: input \"x\" is float64, wanted float32");
    graphs_drop(&in, 1);
    md_executable_delete(executable);
}

/* A Loop whose body holds an If whose branches use the loop's count, its carried value and a value
 * from outside the loop. */
static void bodies_nest_and_capture_through(void **state)
{
    const struct md_attr to = graphs_attr_int("to", MD_F32);
    struct md_graph *body = graphs_new("body");
    int i = graphs_any(body, "i", MD_I64), going = graphs_any(body, "going", MD_BOOL), made, out;
    int x = graphs_any(body, "x", MD_F32), bias = graphs_any(body, "bias", MD_F32);
    int late = graphs_node(body, "Greater", i, graphs_int(body, 1));
    build_if(body, late, x, bias, &made);
    int count = graphs_node_with(body, "Cast", &i, 1, &to, 1);
    graphs_output(body, "going", going);
    graphs_output(body, "x", graphs_node(body, "Add", made, count));
    const struct md_attr attr = graphs_attr_graph("body", body);
    int loop[] = {graphs_int(graph, 4), MD_NONE, graphs_any(graph, "x", MD_F32),
                  graphs_node(graph, "Neg", graphs_any(graph, "bias", MD_F32))};
    graphs_control(graph, "Loop", loop, 4, &attr, 1, 1, &out, 1);
    graphs_output(graph, "x", out);
    struct md_executable *executable = make();
    for (int round = 0; round < 2; round++) {
        struct md_tensor result, in[2] = {floats(1, (float[]){5}), floats(1, (float[]){2})};
        /* -2 -2 -2; the same + 1; each + (-2) + 2; + (-2) + 3 */
        assert_ok(md_executable_run(executable, in, 2, &result, 1, &err));
        expect_floats(&result, 1, (int64_t[]){3}, (float[]){0, 0, 0});
        graphs_drop(&result, 1);
        graphs_drop(in, 2);
    }
    md_executable_delete(executable);
}

/* ---- Scan ---- */

/* state' = state + a; collected: state' * b. Slices of a and b are vectors. */
static struct md_graph *scan_body(void)
{
    struct md_graph *body = graphs_new("scan");
    int state = graphs_any(body, "state", MD_F32), a = graphs_any(body, "a", MD_F32);
    int b = graphs_any(body, "b", MD_F32), sum = graphs_node(body, "Add", state, a);
    graphs_output(body, "state", sum);
    graphs_output(body, "product", graphs_node(body, "Mul", sum, b));
    return body;
}

static void build_scan(const struct md_attr *more, int more_count)
{
    struct md_attr attrs[8] = {graphs_attr_graph("body", scan_body()),
                               graphs_attr_int("num_scan_inputs", 2)};
    int out[2], in[3] = {graphs_any(graph, "state", MD_F32), graphs_any(graph, "a", MD_F32),
                         graphs_any(graph, "b", MD_F32)};
    for (int i = 0; i < more_count; i++)
        attrs[2 + i] = more[i];
    graphs_control(graph, "Scan", in, 3, attrs, 2 + more_count, 0, out, 2);
    graphs_output(graph, "state", out[0]);
    graphs_output(graph, "products", out[1]);
}

static void scan_goes_over_the_first_axis(void **state)
{
    build_scan(NULL, 0);
    struct md_executable *executable = make();
    struct md_tensor out[2],
        in[3] = {floats(2, (float[]){1, 2}), matrix(3, 2, (float[]){1, 1, 2, 2, 3, 3}),
                 matrix(3, 2, (float[]){1, 1, 1, 1, -1, 2})};
    assert_ok(md_executable_run(executable, in, 3, out, 2, &err));
    expect_floats(&out[0], 1, (int64_t[]){2}, (float[]){7, 8});
    expect_floats(&out[1], 2, (int64_t[]){3, 2}, (float[]){2, 3, 4, 5, -7, 16});
    graphs_drop(out, 2);
    graphs_drop(&in[1], 2);
    in[1] = matrix(0, 2, (float[]){0});
    in[2] = matrix(0, 2, (float[]){0});
    assert_ok(md_executable_run(executable, in, 3, out, 2, &err));
    expect_floats(&out[0], 1, (int64_t[]){2}, (float[]){1, 2});
    expect_floats(&out[1], 2, (int64_t[]){0, 2}, NULL);
    graphs_drop(out, 2);
    graphs_drop(in, 3);
    md_executable_delete(executable);
}

static void scan_takes_any_axis_in_both_directions(void **state)
{
    const int64_t axes[] = {1, -2}, directions[] = {0, 1}, out_axes[] = {-1}, backwards[] = {1};
    const struct md_attr more[] = {graphs_attr_ints("scan_input_axes", 2, axes),
                                   graphs_attr_ints("scan_input_directions", 2, directions),
                                   graphs_attr_ints("scan_output_axes", 1, out_axes),
                                   graphs_attr_ints("scan_output_directions", 1, backwards)};
    build_scan(more, 4);
    struct md_executable *executable = make();
    struct md_tensor out[2],
        in[3] = {floats(2, (float[]){0, 0}), matrix(2, 3, (float[]){1, 2, 3, 10, 20, 30}),
                 matrix(3, 2, (float[]){5, 5, 3, 3, 1, 2})};
    assert_ok(md_executable_run(executable, in, 3, out, 2, &err));
    expect_floats(&out[0], 1, (int64_t[]){2}, (float[]){6, 60});
    /* sums (1,10) (3,30) (6,60); b from its end (1,2) (3,3) (5,5); written from the end */
    expect_floats(&out[1], 2, (int64_t[]){2, 3}, (float[]){30, 9, 1, 300, 90, 20});
    graphs_drop(out, 2);
    graphs_drop(&in[2], 1);
    in[2] = matrix(2, 2, (float[]){1, 1, 1, 1});
    assert_fails(MD_ERR_INVALID, md_executable_run(executable, in, 3, out, 2, &err));
    assert_says("scans 3 and 2 slices");
    graphs_drop(in, 3);
    md_executable_delete(executable);
}

/* ---- what is refused when it is made ---- */

static void malformed_nodes_are_refused(void **state)
{
    struct md_executable *executable;
    int out, condition = graphs_any(graph, "condition", MD_BOOL);
    assert_ok(md_graph_node(graph, "If", "odd", &condition, 1, NULL, 0, &out, 1, &err));
    graphs_output(graph, "out", out);
    assert_fails(MD_ERR_INVALID, try_make(0, &executable));
    assert_says("If \"odd\": has no graph \"then_branch\"");

    graph = graphs_new("counts");
    struct md_attr attrs[] = {graphs_attr_graph("body", adding_body(1)),
                              graphs_attr_int("moondial.captured", 1)};
    int in[3] = {MD_NONE, MD_NONE, graphs_any(graph, "x", MD_F32)};
    assert_ok(md_graph_node(graph, "Loop", "", in, 3, attrs, 2, &out, 1, &err));
    graphs_output(graph, "out", out);
    assert_fails(MD_ERR_INVALID, try_make(0, &executable));
    assert_says("Loop: its body has 4 inputs, wanted 3");

    graph = graphs_new("captured");
    attrs[0] = graphs_attr_graph("body", adding_body(1));
    attrs[1] = graphs_attr_int("moondial.captured", 9);
    in[2] = graphs_any(graph, "x", MD_F32);
    assert_ok(md_graph_node(graph, "Loop", "", in, 3, attrs, 2, &out, 1, &err));
    graphs_output(graph, "out", out);
    assert_fails(MD_ERR_INVALID, try_make(0, &executable));
    assert_says("has 3 inputs, 9 captured");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(if_runs_one_branch),
        TEST(captured_constants_become_the_body_s_own),
        TEST(a_condition_is_one_boolean),
        TEST(loop_ends_by_count_or_condition),
        TEST(loop_needs_neither_count_nor_condition),
        TEST(an_endless_loop_is_stopped),
        TEST(carried_values_may_change_their_shape),
        TEST(collected_slices_may_not),
        TEST(a_loop_that_collects_too_much_is_refused),
        TEST(the_type_of_a_carried_value_stays),
        TEST(bodies_nest_and_capture_through),
        TEST(scan_goes_over_the_first_axis),
        TEST(scan_takes_any_axis_in_both_directions),
        TEST(malformed_nodes_are_refused),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
