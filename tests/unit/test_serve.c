/*
 * Serving, on a graph small enough to check by hand: y = x * scale + bias over [batch, steps].
 * Tests that need a busy executor hold the device's lock, which keeps the first batch from
 * running while others gather.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/cpu/cpu.h"
#include "serve/internal.h"
#include "unit.h"

#define BIAS 0.5f

/* ---- helpers ---- */

static struct md_tensor filled(int rank, const int64_t *dim, float first)
{
    struct md_shape shape = md_shape_of(rank, dim);
    struct md_tensor tensor;

    assert_int_equal(md_tensor_new(MD_F32, &shape, &tensor, NULL), MD_OK);
    for (size_t i = 0; i < md_tensor_count(&tensor); i++) {
        ((float *)tensor.data)[i] = first + (float)i;
    }
    return tensor;
}

static int add_input(struct md_graph *graph, const char *name, int rank, const int64_t *dim)
{
    struct md_shape shape = md_shape_of(rank, dim);
    int value;

    assert_int_equal(md_graph_input(graph, name, MD_F32, &shape, &value, NULL), MD_OK);
    return value;
}

static int add_binary(struct md_graph *graph, const char *op, int a, int b)
{
    int inputs[] = {a, b}, output;

    assert_int_equal(md_graph_node(graph, op, "", inputs, 2, NULL, 0, &output, 1, NULL), MD_OK);
    return output;
}

/* x [batch, steps] and scale [1] give y [batch, steps]. */
static struct md_graph *affine(void)
{
    struct md_graph *graph;
    struct md_tensor bias;
    int64_t batch, steps;
    int x, scale, constant;

    assert_int_equal(md_graph_new("affine", &graph, NULL), MD_OK);
    assert_int_equal(md_graph_symbol(graph, "batch", 2, &batch, NULL), MD_OK);
    assert_int_equal(md_graph_symbol(graph, "steps", 3, &steps, NULL), MD_OK);
    x = add_input(graph, "x", 2, (int64_t[]){batch, steps});
    scale = add_input(graph, "scale", 1, (int64_t[]){1});
    bias = filled(1, (int64_t[]){1}, BIAS);
    assert_int_equal(md_graph_constant(graph, "bias", &bias, &constant, NULL), MD_OK);
    md_tensor_unref(&bias);
    x = add_binary(graph, "Add", add_binary(graph, "Mul", x, scale), constant);
    assert_int_equal(md_graph_output(graph, "y", x, NULL), MD_OK);
    return graph;
}

struct fixture {
    struct md_serve *serve;
    struct md_model *model;
    struct md_tensor scale;
};

static void fixture_init(struct fixture *fixture, int queue_max, int batch_max)
{
    struct md_serve_options options = {.clock = md_clock_system(),
                                       .backend = md_cpu_reference(),
                                       .reference = md_cpu_reference(),
                                       .threads = 1,
                                       .queue_max = queue_max,
                                       .batch_max = batch_max};
    struct md_error err = {0};

    assert_ok(md_serve_new(&options, &fixture->serve, &err));
    assert_ok(md_serve_publish(fixture->serve, "affine", "memory", affine(), "{}", &err));
    assert_int_equal(md_serve_model(fixture->serve, "affine", &fixture->model, NULL), MD_OK);
    fixture->scale = filled(1, (int64_t[]){1}, 3.0f);
}

static void fixture_fini(struct fixture *fixture)
{
    md_tensor_unref(&fixture->scale);
    md_model_unref(fixture->model);
    md_serve_delete(fixture->serve);
}

static enum md_status submit(struct fixture *fixture, int64_t rows, int64_t steps, float first,
                             int64_t deadline_ns, struct md_call **call, struct md_error *err)
{
    struct md_tensor x = filled(2, (int64_t[]){rows, steps}, first);
    struct md_port_tensor inputs[] = {{NULL, x}, {"scale", fixture->scale}};
    enum md_status status =
        md_serve_submit(fixture->serve, fixture->model, inputs, 2, deadline_ns, call, err);

    md_tensor_unref(&x);
    return status;
}

static struct md_call *must_submit(struct fixture *fixture, int64_t rows, int64_t steps,
                                   float first)
{
    struct md_call *call;
    struct md_error err = {0};

    assert_ok(submit(fixture, rows, steps, first, 0, &call, &err));
    return call;
}

static void check_answer(struct md_call *call, int64_t rows, int64_t steps, float first)
{
    struct md_error err = {0};
    const struct md_tensor *y;

    assert_ok(md_call_wait(call, -1, &err));
    y = md_call_output(call, 0);
    assert_int_equal(y->shape.rank, 2);
    assert_int_equal(y->shape.dim[0], rows);
    assert_int_equal(y->shape.dim[1], steps);
    for (size_t i = 0; i < md_tensor_count(y); i++) {
        float want = (first + (float)i) * 3.0f + BIAS;
        assert_true(((float *)y->data)[i] == want);
    }
}

/*
 * Waits until the executor has taken everything out of the queue (and stands at the device's
 * lock).
 */
static void wait_taken(struct fixture *fixture)
{
    while (md_serve_queue_depth(fixture->serve) > 0) {
        usleep(1000);
    }
}

/* ---- tests ---- */

static void test_model_describes_itself(void **state)
{
    struct fixture fixture;
    fixture_init(&fixture, 0, 0);
    const struct md_model *model = fixture.model;

    assert_string_equal(md_model_name(model), "affine");
    assert_int_equal(md_model_generation(model), 1);
    assert_int_equal(md_model_parameters(model), 1);
    assert_int_equal(md_model_input_count(model), 2);
    assert_string_equal(md_model_symbol(model, md_model_input(model, 0)->shape.dim[0]), "batch");
    assert_string_equal(md_model_output(model, 0)->name, "y");
    assert_string_equal(md_model_symbol(model, md_model_output(model, 0)->shape.dim[0]), "batch");
    assert_string_equal(md_model_symbol(model, md_model_output(model, 0)->shape.dim[1]), "steps");
    assert_true(md_model_batches(model));
    assert_null(md_model_output(model, 1));
    fixture_fini(&fixture);
}

static void test_call_gives_the_result(void **state)
{
    struct fixture fixture;
    fixture_init(&fixture, 0, 0);
    struct md_call *call = must_submit(&fixture, 2, 3, 10);

    check_answer(call, 2, 3, 10);
    assert_true(md_call_done(call));
    md_call_unref(call);
    fixture_fini(&fixture);
}

static void test_concurrent_calls_share_a_batch(void **state)
{
    struct fixture fixture;
    struct md_call *first, *calls[5], *other;
    double batches;
    fixture_init(&fixture, 0, 0);

    batches = md_metric_value(fixture.model->metrics.batch_rows);
    pthread_mutex_lock(&fixture.serve->device);
    first = must_submit(&fixture, 1, 3, 0);
    wait_taken(&fixture);
    for (int i = 0; i < 5; i++) {
        calls[i] = must_submit(&fixture, i + 1, 3, 100.0f * (float)i);
    }
    other = must_submit(&fixture, 1, 4, 7); /* another length: a batch of its own */
    pthread_mutex_unlock(&fixture.serve->device);
    check_answer(first, 1, 3, 0);
    for (int i = 0; i < 5; i++) {
        check_answer(calls[i], i + 1, 3, 100.0f * (float)i);
        md_call_unref(calls[i]);
    }
    check_answer(other, 1, 4, 7);
    assert_true(md_metric_value(fixture.model->metrics.batch_rows) == batches + 3);
    md_call_unref(first);
    md_call_unref(other);
    fixture_fini(&fixture);
}

static void test_batch_stays_below_its_limit(void **state)
{
    struct fixture fixture;
    struct md_call *first, *calls[3];
    double batches;
    fixture_init(&fixture, 0, 4);

    batches = md_metric_value(fixture.model->metrics.batch_rows);
    pthread_mutex_lock(&fixture.serve->device);
    first = must_submit(&fixture, 1, 3, 0);
    wait_taken(&fixture);
    for (int i = 0; i < 3; i++) {
        calls[i] = must_submit(&fixture, 2, 3, (float)i); /* 2 + 2, then 2 */
    }
    pthread_mutex_unlock(&fixture.serve->device);
    for (int i = 0; i < 3; i++) {
        check_answer(calls[i], 2, 3, (float)i);
        md_call_unref(calls[i]);
    }
    assert_true(md_metric_value(fixture.model->metrics.batch_rows) == batches + 3);
    md_call_unref(first);
    fixture_fini(&fixture);
}

static void test_large_call_runs_in_pieces(void **state)
{
    struct fixture fixture;
    fixture_init(&fixture, 0, 4);
    double batches = md_metric_value(fixture.model->metrics.batch_rows);
    struct md_call *call = must_submit(&fixture, 10, 3, 5);

    check_answer(call, 10, 3, 5);
    assert_true(md_metric_value(fixture.model->metrics.batch_rows) == batches + 3);
    md_call_unref(call);
    fixture_fini(&fixture);
}

static void expect_refusal(struct fixture *fixture, const struct md_port_tensor *inputs, int count,
                           enum md_status status, const char *text)
{
    struct md_call *call = NULL;
    struct md_error err = {0};

    assert_int_equal(md_serve_submit(fixture->serve, fixture->model, inputs, count, 0, &call, &err),
                     status);
    assert_null(call);
    if (strstr(err.text, text) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", err.text, text);
    }
}

static void test_bad_inputs_are_named(void **state)
{
    struct fixture fixture;
    fixture_init(&fixture, 0, 0);
    struct md_tensor x = filled(2, (int64_t[]){2, 3}, 0), flat = filled(1, (int64_t[]){6}, 0);
    struct md_tensor wide = filled(1, (int64_t[]){2}, 0), empty = filled(2, (int64_t[]){0, 3}, 0);
    struct md_tensor integers = x;
    struct md_port_tensor scale = {"scale", fixture.scale};
    integers.dtype = MD_I32;

    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", x}}, 1, MD_ERR_INVALID,
                   "\"scale\" is missing");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", x}, {"x", x}}, 2, MD_ERR_INVALID,
                   "given twice");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"z", x}, scale}, 2, MD_ERR_INVALID,
                   "no input \"z\"");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", x}, scale, scale}, 3, MD_ERR_INVALID,
                   "takes 2 inputs");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", flat}, scale}, 2, MD_ERR_INVALID,
                   "\"x\" has 1 dimensions");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", integers}, scale}, 2, MD_ERR_INVALID,
                   "\"x\" is int32");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", x}, {"scale", wide}}, 2,
                   MD_ERR_INVALID, "dimension 0 is 2, the model takes 1");
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", empty}, scale}, 2, MD_ERR_INVALID,
                   "empty");
    ((float *)x.data)[4] = NAN;
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", x}, scale}, 2, MD_ERR_UNPROCESSABLE,
                   "NaN at element 4");
    ((float *)x.data)[4] = -INFINITY;
    expect_refusal(&fixture, (struct md_port_tensor[]){{"x", x}, scale}, 2, MD_ERR_UNPROCESSABLE,
                   "infinite at element 4");
    md_tensor_unref(&x);
    md_tensor_unref(&flat);
    md_tensor_unref(&wide);
    md_tensor_unref(&empty);
    fixture_fini(&fixture);
}

static void test_queue_is_bounded(void **state)
{
    struct fixture fixture;
    struct md_call *first, *second, *third;
    struct md_error err = {0};
    fixture_init(&fixture, 1, 0);

    pthread_mutex_lock(&fixture.serve->device);
    first = must_submit(&fixture, 1, 3, 0);
    wait_taken(&fixture);
    second = must_submit(&fixture, 1, 3, 0);
    assert_int_equal(submit(&fixture, 1, 3, 0, 0, &third, &err), MD_ERR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "queue_full"));
    pthread_mutex_unlock(&fixture.serve->device);
    check_answer(second, 1, 3, 0);
    md_call_unref(first);
    md_call_unref(second);
    fixture_fini(&fixture);
}

static void test_late_and_abandoned_calls_do_not_run(void **state)
{
    struct fixture fixture;
    struct md_call *first, *late, *abandoned;
    double failures;
    fixture_init(&fixture, 0, 0);

    failures = md_metric_value(fixture.model->metrics.failures);
    pthread_mutex_lock(&fixture.serve->device);
    first = must_submit(&fixture, 1, 3, 0);
    wait_taken(&fixture);
    assert_int_equal(submit(&fixture, 1, 3, 0, 1, &late, NULL), MD_OK);
    assert_int_equal(submit(&fixture, 1, 3, 0, 0, &abandoned, NULL), MD_OK);
    md_call_unref(abandoned);
    assert_int_equal(md_call_wait(late, 1000000, NULL), MD_ERR_TIMEOUT);
    assert_false(md_call_done(late));
    pthread_mutex_unlock(&fixture.serve->device);
    assert_int_equal(md_call_wait(late, -1, NULL), MD_ERR_TIMEOUT);
    assert_true(md_call_done(late));
    check_answer(first, 1, 3, 0);
    while (md_metric_value(fixture.model->metrics.failures) < failures + 2) {
        usleep(1000);
    }
    md_call_unref(first);
    md_call_unref(late);
    fixture_fini(&fixture);
}

static void test_old_version_lives_until_its_calls_end(void **state)
{
    struct fixture fixture;
    struct md_model *current;
    struct md_call *call;
    fixture_init(&fixture, 0, 0);

    assert_int_equal(
        md_serve_publish(fixture.serve, "affine", "memory", affine(), "{\"v\":2}", NULL), MD_OK);
    assert_int_equal(md_serve_model(fixture.serve, "affine", &current, NULL), MD_OK);
    assert_ptr_not_equal(current, fixture.model);
    assert_int_equal(md_model_generation(current), 2);
    assert_string_equal(md_model_config(current), "{\"v\":2}");
    call = must_submit(&fixture, 2, 3, 1); /* the old one */
    check_answer(call, 2, 3, 1);
    md_call_unref(call);
    assert_int_equal(md_serve_unload(fixture.serve, "affine", NULL), MD_OK);
    assert_int_equal(md_serve_model(fixture.serve, "affine", &current, NULL), MD_ERR_NOT_FOUND);
    assert_int_equal(md_serve_unload(fixture.serve, "affine", NULL), MD_ERR_NOT_FOUND);
    md_model_unref(current);
    fixture_fini(&fixture);
}

struct caller {
    struct md_serve *serve;
    struct md_tensor scale;
    _Atomic bool stop;
    _Atomic int answered, wrong;
};

static void *call_current(void *context)
{
    struct caller *caller = context;

    while (!caller->stop) {
        struct md_tensor x = filled(2, (int64_t[]){1, 3}, 1);
        struct md_port_tensor inputs[] = {{"x", x}, {"scale", caller->scale}};
        struct md_model *model = NULL;
        struct md_call *call = NULL;
        bool right = md_serve_model(caller->serve, "affine", &model, NULL) == MD_OK &&
                     md_serve_submit(caller->serve, model, inputs, 2, 0, &call, NULL) == MD_OK &&
                     md_call_wait(call, -1, NULL) == MD_OK &&
                     ((float *)md_call_output(call, 0)->data)[2] == 9.0f + BIAS;
        caller->answered++;
        caller->wrong += !right;
        md_call_unref(call);
        md_model_unref(model);
        md_tensor_unref(&x);
    }
    return NULL;
}

/* A new version takes over under load: it is not starved, and no call fails. */
static void test_versions_change_under_load(void **state)
{
    struct fixture fixture;
    struct caller caller = {0};
    pthread_t threads[4];
    fixture_init(&fixture, 0, 0);

    caller.serve = fixture.serve;
    caller.scale = fixture.scale;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, call_current, &caller), 0);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(md_serve_publish(fixture.serve, "affine", "memory", affine(), "{}", NULL),
                         MD_OK);
    }
    while (caller.answered < 100) {
        usleep(1000);
    }
    caller.stop = true;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(caller.wrong, 0);
    fixture_fini(&fixture);
}

static void test_models_are_listed_by_name(void **state)
{
    struct fixture fixture;
    struct md_model *models[4];
    fixture_init(&fixture, 0, 0);

    assert_int_equal(md_serve_publish(fixture.serve, "a", "memory", affine(), "{}", NULL), MD_OK);
    assert_int_equal(md_serve_publish(fixture.serve, "z", "memory", affine(), "{}", NULL), MD_OK);
    assert_int_equal(md_serve_publish(fixture.serve, "a/b", "memory", affine(), "{}", NULL),
                     MD_ERR_INVALID);
    assert_int_equal(md_serve_models(fixture.serve, models, 4), 3);
    assert_string_equal(md_model_name(models[0]), "a");
    assert_string_equal(md_model_name(models[1]), "affine");
    assert_string_equal(md_model_name(models[2]), "z");
    for (int i = 0; i < 3; i++) {
        md_model_unref(models[i]);
    }
    fixture_fini(&fixture);
}

static void *delete_serve(void *serve)
{
    md_serve_delete(serve);
    return NULL;
}

static void test_ending_refuses_what_waits(void **state)
{
    struct fixture fixture;
    struct md_call *running, *waiting;
    struct md_error err = {0};
    pthread_t thread;
    bool ending = false;
    fixture_init(&fixture, 0, 0);

    pthread_mutex_lock(&fixture.serve->device);
    running = must_submit(&fixture, 1, 3, 0);
    wait_taken(&fixture);
    waiting = must_submit(&fixture, 1, 3, 0);
    assert_int_equal(pthread_create(&thread, NULL, delete_serve, fixture.serve), 0);
    while (!ending) {
        pthread_mutex_lock(&fixture.serve->lock);
        ending = fixture.serve->ending;
        pthread_mutex_unlock(&fixture.serve->lock);
    }
    pthread_mutex_unlock(&fixture.serve->device);
    pthread_join(thread, NULL);
    check_answer(running, 1, 3, 0);
    assert_int_equal(md_call_wait(waiting, -1, &err), MD_ERR_UNAVAILABLE);
    md_call_unref(running);
    md_call_unref(waiting);
    fixture.serve = NULL;
    fixture_fini(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_describes_itself),
        cmocka_unit_test(test_call_gives_the_result),
        cmocka_unit_test(test_concurrent_calls_share_a_batch),
        cmocka_unit_test(test_batch_stays_below_its_limit),
        cmocka_unit_test(test_large_call_runs_in_pieces),
        cmocka_unit_test(test_bad_inputs_are_named),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_late_and_abandoned_calls_do_not_run),
        cmocka_unit_test(test_old_version_lives_until_its_calls_end),
        cmocka_unit_test(test_versions_change_under_load),
        cmocka_unit_test(test_models_are_listed_by_name),
        cmocka_unit_test(test_ending_refuses_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
