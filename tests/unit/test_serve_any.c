/*
 * Serving models of every kind: without a batch, with inputs of any rank and dtype, whose outputs
 * depend on data, that cannot be warmed with guessed inputs, that loop.
 */
#include <math.h>
#include <string.h>

#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "serve/internal.h"
#include "unit.h"

static struct md_error err;
static struct md_serve *serve;
static struct md_model *model;
static struct md_graph *graph;

static int setup(void **state)
{
    const struct md_serve_options options = {.clock = md_clock_system(),
                                             .backend = md_cpu_backend(MD_ISA_BEST),
                                             .reference = md_cpu_reference(),
                                             .threads = 1,
                                             .batch_max = 4};
    graph = graphs_new("test");
    return md_serve_new(&options, &serve, &err);
}

static int teardown(void **state)
{
    md_model_unref(model);
    md_serve_delete(serve);
    model = NULL;
    return 0;
}

static void publish(const char *config)
{
    assert_ok(md_serve_publish(serve, "m", "memory", graph, config, &err));
    assert_ok(md_serve_model(serve, "m", &model, &err));
}

static struct md_tensor tensor(enum md_dtype dtype, int rank, const int64_t *dim, const void *data)
{
    struct md_tensor made;
    const struct md_shape shape = md_shape_of(rank, dim);
    assert_ok(md_tensor_new(dtype, &shape, &made, &err));
    if (data && md_tensor_bytes(&made))
        memcpy(made.data, data, md_tensor_bytes(&made));
    return made;
}

static enum md_status submit(struct md_tensor *inputs, int count, int64_t deadline_ns,
                             struct md_call **call)
{
    struct md_port_tensor ports[4];
    for (int i = 0; i < count; i++)
        ports[i] = (struct md_port_tensor){NULL, inputs[i]};
    return md_serve_submit(serve, model, ports, count, deadline_ns, call, &err);
}

/* Runs one call to its end and lets the inputs go. */
static struct md_call *predict(struct md_tensor *inputs, int count)
{
    struct md_call *call;
    assert_ok(submit(inputs, count, 0, &call));
    assert_ok(md_call_wait(call, -1, &err));
    for (int i = 0; i < count; i++)
        md_tensor_unref(&inputs[i]);
    return call;
}

static void takes_any_rank(void **state)
{
    graphs_output(graph, "y", graphs_node(graph, "Neg", graphs_any(graph, "x", MD_F32)));
    publish("{}");
    assert_int_equal(md_model_input(model, 0)->shape.rank, MD_RANK_UNKNOWN);
    assert_int_equal(md_model_output(model, 0)->shape.rank, MD_RANK_UNKNOWN);
    assert_false(md_model_batches(model));
    for (int rank = 0; rank < 4; rank++) {
        const float data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        struct md_tensor x = tensor(MD_F32, rank, (int64_t[]){2, 2, 2}, data);
        struct md_call *call = predict(&x, 1);
        assert_int_equal(md_call_output(call, 0)->shape.rank, rank);
        assert_true(((float *)md_call_output(call, 0)->data)[0] == -1);
        md_call_unref(call);
    }
}

static void integers_booleans_and_halves_go_through(void **state)
{
    const int64_t batch = graphs_symbol(graph, "Batch_Size", 0);
    int flags = graphs_input(graph, "flags", MD_BOOL, 1, &batch);
    int ids = graphs_input(graph, "ids", MD_I64, 1, &batch);
    int halves = graphs_input(graph, "halves", MD_F16, 1, &batch);
    graphs_output(graph, "not", graphs_node(graph, "Not", flags));
    graphs_output(graph, "sum", graphs_node(graph, "Add", ids, ids));
    graphs_output(graph, "abs", graphs_node(graph, "Abs", halves));
    publish("{}");
    assert_true(md_model_batches(model));
    const int64_t six = 6, big[6] = {1, 2, 3, INT64_MAX / 2, -5, 0};
    const uint8_t bits[6] = {1, 0, 1, 1, 0, 0};
    const uint16_t half[6] = {0xbc00, 0x3c00, 0, 0x8001, 0x7bff, 0xfbff};
    struct md_tensor in[3] = {tensor(MD_BOOL, 1, &six, bits), tensor(MD_I64, 1, &six, big),
                              tensor(MD_F16, 1, &six, half)};
    struct md_call *call = predict(in, 3); /* six rows in two batches */
    for (int i = 0; i < 6; i++) {
        assert_int_equal(((uint8_t *)md_call_output(call, 0)->data)[i], !bits[i]);
        assert_true(((int64_t *)md_call_output(call, 1)->data)[i] == 2 * big[i]);
        assert_int_equal(((uint16_t *)md_call_output(call, 2)->data)[i], half[i] & 0x7fff);
    }
    md_call_unref(call);
}

static void outputs_may_depend_on_data(void **state)
{
    const int64_t batch = graphs_symbol(graph, "batch", 0), dim[2] = {batch, 3};
    int x = graphs_input(graph, "x", MD_F32, 2, dim);
    graphs_output(graph, "where", graphs_node(graph, "NonZero", x));
    graphs_output(graph, "same", graphs_node(graph, "Relu", x));
    publish("{}");
    const struct md_model_port *where = md_model_output(model, 0);
    assert_int_equal(where->dtype, MD_I64);
    assert_int_equal(where->shape.rank, 2);
    assert_true(where->shape.dim[0] == 2 && where->shape.dim[1] == -1);
    assert_string_equal(md_model_symbol(model, where->shape.dim[1]), "?");
    assert_true(md_model_output(model, 1)->shape.dim[0] == batch);
    assert_false(md_model_batches(model)); /* rows of `where` belong to nobody */
    for (int round = 0; round < 3; round++) {
        float data[6] = {0, 1, 0, 0, 2, 3};
        data[0] = (float)round;
        struct md_tensor in = tensor(MD_F32, 2, (int64_t[]){2, 3}, data);
        struct md_call *call = predict(&in, 1);
        assert_int_equal(md_call_output(call, 0)->shape.dim[1], 3 + (round > 0));
        md_call_unref(call);
    }
}

/* Rows that a call keeps depend on their contents; zeros keep all of theirs. */
static void rows_that_do_not_add_up_are_no_batch(void **state)
{
    const int64_t batch = graphs_symbol(graph, "batch", 0), dim[2] = {batch, 2};
    const struct md_attr axis = graphs_attr_int("axis", 0);
    int x = graphs_input(graph, "x", MD_F32, 2, dim);
    int first =
        graphs_node(graph, "Slice", x, graphs_ints(graph, 1, (int64_t[]){0}),
                    graphs_ints(graph, 1, (int64_t[]){1}), graphs_ints(graph, 1, (int64_t[]){1}));
    int low = graphs_node(graph, "Less", first, graphs_floats(graph, 0, NULL, (float[]){5}));
    int keep = graphs_node(graph, "Reshape", low, graphs_ints(graph, 1, (int64_t[]){-1}));
    graphs_output(graph, "kept",
                  graphs_node_with(graph, "Compress", (int[]){x, keep}, 2, &axis, 1));
    publish("{}");
    assert_int_equal(md_model_output(model, 0)->shape.dim[0], -1);
    struct md_call *calls[4];
    pthread_mutex_lock(&serve->device); /* so that they gather */
    for (int i = 0; i < 4; i++) {
        struct md_tensor in = tensor(MD_F32, 2, (int64_t[]){1, 2}, (float[]){i % 2 ? 9 : 1, 7});
        assert_ok(submit(&in, 1, 0, &calls[i]));
        md_tensor_unref(&in);
    }
    pthread_mutex_unlock(&serve->device);
    for (int i = 0; i < 4; i++) {
        assert_ok(md_call_wait(calls[i], -1, &err));
        assert_int_equal(md_call_output(calls[i], 0)->shape.dim[0], i % 2 ? 0 : 1);
        md_call_unref(calls[i]);
    }
}

static void guessed_inputs_need_not_fit(void **state)
{
    int x = graphs_input(graph, "x", MD_F32, 1, (int64_t[]){graphs_symbol(graph, "n", 0)});
    int shape = graphs_input(graph, "shape", MD_I64, 1, (int64_t[]){2});
    graphs_output(graph, "y", graphs_node(graph, "Reshape", x, shape));
    publish("{}"); /* three elements do not go into zeros copied from one dimension */
    assert_int_equal(md_model_output(model, 0)->shape.rank, MD_RANK_UNKNOWN);
    struct md_tensor in[2] = {tensor(MD_F32, 1, (int64_t[]){6}, NULL),
                              tensor(MD_I64, 1, (int64_t[]){2}, (int64_t[]){2, -1})};
    struct md_call *call = predict(in, 2);
    assert_int_equal(md_call_output(call, 0)->shape.dim[1], 3);
    md_call_unref(call);
}

/* Pictures halved and doubled again: sides must be even, and at least 8. */
static void sizes_are_guessed_until_some_fit(void **state)
{
    const int64_t batch = graphs_symbol(graph, "batch", 0), side = graphs_symbol(graph, "side", 0);
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){batch, side});
    int parts = graphs_node(graph, "Reshape", x, graphs_ints(graph, 3, (int64_t[]){0, -1, 8}));
    const struct md_attr keep = graphs_attr_int("keepdims", 1);
    int mean = graphs_node_with(graph, "ReduceMean",
                                (int[]){parts, graphs_ints(graph, 1, (int64_t[]){2})}, 2, &keep, 1);
    int wide = graphs_node(graph, "Sub", parts, mean);
    graphs_output(graph, "y", graphs_node(graph, "Reshape", wide, graphs_node(graph, "Shape", x)));
    publish("{}");
    const struct md_shape *shape = &md_model_output(model, 0)->shape;
    assert_true(shape->rank == 2 && shape->dim[0] == batch && shape->dim[1] == side);
    assert_true(md_model_batches(model));
}

static void only_the_batch_may_not_be_empty(void **state)
{
    const int64_t dim[2] = {graphs_symbol(graph, "batch", 0), graphs_symbol(graph, "n", 0)};
    const struct md_attr axis = graphs_attr_int("axis", 1);
    int x = graphs_input(graph, "x", MD_F32, 2, dim);
    graphs_output(graph, "y", graphs_node_with(graph, "Concat", (int[]){x, x}, 2, &axis, 1));
    publish("{}");
    struct md_tensor in = tensor(MD_F32, 2, (int64_t[]){2, 0}, NULL);
    struct md_call *call = predict(&in, 1);
    assert_int_equal(md_call_output(call, 0)->shape.dim[0], 2);
    assert_int_equal(md_call_output(call, 0)->shape.dim[1], 0);
    md_call_unref(call);
    in = tensor(MD_F32, 2, (int64_t[]){0, 2}, NULL);
    assert_fails(MD_ERR_INVALID, submit(&in, 1, 0, &call));
    assert_says("dimension 0 is empty");
    md_tensor_unref(&in);
}

static void what_is_not_finite_is_refused_in_any_float(void **state)
{
    static const struct {
        enum md_dtype dtype;
        double data;
        const char *text;
    } cases[] = {{MD_F32, NAN, "NaN at element 1"},
                 {MD_F64, -INFINITY, "infinite at element 1"},
                 {MD_F16, NAN, "NaN at element 1"},
                 {MD_BF16, INFINITY, "infinite at element 1"}};
    for (int i = 0; i < 4; i++) {
        char name[2] = {(char)('a' + i), 0}, out[2] = {(char)('p' + i), 0};
        int x = graphs_input(graph, name, cases[i].dtype, 1, (int64_t[]){2});
        graphs_output(graph, out, graphs_node(graph, "Identity", x));
    }
    struct md_tensor good[4], in[4];
    for (int i = 0; i < 4; i++) {
        const float one = (float)cases[i].data;
        uint16_t half = cases[i].dtype == MD_F16 ? md_f32_to_f16(one) : md_f32_to_bf16(one);
        const void *data = cases[i].dtype == MD_F32   ? (const void *)&one
                           : cases[i].dtype == MD_F64 ? (const void *)&cases[i].data
                                                      : &half;
        size_t bytes = md_dtype_bytes(cases[i].dtype);
        good[i] = tensor(cases[i].dtype, 1, (int64_t[]){2}, NULL);
        in[i] = tensor(cases[i].dtype, 1, (int64_t[]){2}, NULL);
        memcpy((char *)in[i].data + bytes, data, bytes);
    }
    publish("{\"moondial\": {\"finite_inputs\": true}}");
    struct md_call *call;
    for (int i = 0; i < 4; i++) {
        struct md_tensor mixed[4] = {good[0], good[1], good[2], good[3]};
        mixed[i] = in[i];
        assert_fails(MD_ERR_UNPROCESSABLE, submit(mixed, 4, 0, &call));
        assert_says(cases[i].text);
    }
    /* A model that takes them says so. */
    struct md_graph *same = graphs_new("same");
    graphs_output(same, "y", graphs_node(same, "Neg", graphs_any(same, "x", MD_F32)));
    md_model_unref(model);
    graph = same;
    publish("{\"moondial\": {\"finite_inputs\": false}}");
    assert_ok(submit(in, 1, 0, &call));
    assert_ok(md_call_wait(call, -1, &err));
    assert_true(isnan(((float *)md_call_output(call, 0)->data)[1]));
    md_call_unref(call);
    for (int i = 0; i < 4; i++) {
        md_tensor_unref(&good[i]);
        md_tensor_unref(&in[i]);
    }
}

static void a_loop_ends_at_the_deadline_of_its_call(void **state)
{
    struct md_graph *body = graphs_new("body");
    int going = (graphs_any(body, "i", MD_I64), graphs_any(body, "going", MD_BOOL)), out;
    graphs_output(body, "going", going);
    graphs_output(body, "x", graphs_node(body, "Neg", graphs_any(body, "x", MD_F32)));
    const struct md_attr attr = graphs_attr_graph("body", body);
    int trips = graphs_input(graph, "trips", MD_I64, 0, NULL);
    graphs_control(graph, "Loop", (int[]){trips, MD_NONE, graphs_any(graph, "x", MD_F32)}, 3, &attr,
                   1, 0, &out, 1);
    graphs_output(graph, "x", out);
    publish("{}");
    struct md_call *call;
    struct md_tensor in[2] = {tensor(MD_I64, 0, NULL, &(int64_t){INT64_MAX}),
                              tensor(MD_F32, 1, (int64_t[]){1}, NULL)};
    int64_t now_ns = md_monotonic_ns(md_clock_system());
    assert_ok(submit(in, 2, now_ns + 50000000, &call));
    assert_fails(MD_ERR_TIMEOUT, md_call_wait(call, -1, &err));
    assert_says("Loop");
    md_call_unref(call);
    *(int64_t *)in[0].data = 3;
    md_call_unref(predict(in, 2));
}

/* A second passes whenever somebody looks at it. */
static int64_t hasty_ns(struct md_clock *clock)
{
    static _Atomic int64_t seconds;
    return md_monotonic_ns(md_clock_system()) + INT64_C(1000000000) * ++seconds;
}

static void a_loop_that_never_ends_on_zeros_is_still_a_model(void **state)
{
    md_serve_delete(serve);
    struct md_clock hasty = {.wall_ms = md_clock_system()->wall_ms, .monotonic_ns = hasty_ns};
    const struct md_serve_options options = {.clock = &hasty,
                                             .backend = md_cpu_backend(MD_ISA_BEST),
                                             .reference = md_cpu_reference(),
                                             .threads = 1};
    assert_ok(md_serve_new(&options, &serve, &err));
    struct md_graph *body = graphs_new("body");
    int going = (graphs_any(body, "i", MD_I64), graphs_any(body, "going", MD_BOOL)), out;
    graphs_output(body, "going", going);
    graphs_output(body, "x", graphs_node(body, "Neg", graphs_any(body, "x", MD_F32)));
    const struct md_attr attr = graphs_attr_graph("body", body);
    int x = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){3, 4});
    graphs_control(graph, "Loop", (int[]){MD_NONE, MD_NONE, x}, 3, &attr, 1, 0, &out, 1);
    graphs_output(graph, "y", out);
    publish("{}");
    assert_false(md_model_batches(model));
    assert_int_equal(md_model_output(model, 0)->shape.rank, 2);
    /* the clock is gone with this function */
    md_model_unref(model);
    md_serve_delete(serve);
    model = NULL;
    serve = NULL;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(takes_any_rank),
        TEST(integers_booleans_and_halves_go_through),
        TEST(outputs_may_depend_on_data),
        TEST(rows_that_do_not_add_up_are_no_batch),
        TEST(guessed_inputs_need_not_fit),
        TEST(sizes_are_guessed_until_some_fit),
        TEST(only_the_batch_may_not_be_empty),
        TEST(what_is_not_finite_is_refused_in_any_float),
        TEST(a_loop_ends_at_the_deadline_of_its_call),
        TEST(a_loop_that_never_ends_on_zeros_is_still_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
