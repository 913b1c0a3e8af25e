/*
 * Out of memory while serving: an executor is started, a model published, called and taken down,
 * with each allocation failing in turn, the executor's own included. Every failure ends in a
 * status and keeps nothing.
 */
#include <stdio.h>

#include "failing.h"
#include "moondial.h"
#include "unit.h"

static struct md_error err;

/* y = x + w, x [batch, 2] */
static enum md_status make_graph(struct md_graph **graph)
{
    struct md_shape shape = {.rank = 2, .dim = {0, 2}}, two = {.rank = 1, .dim = {2}};
    struct md_tensor w = {0};
    int in[2], y;
    enum md_status status = md_graph_new("sum", graph, &err);

    if (status != MD_OK) {
        return status;
    }
    status = md_tensor_new(MD_F32, &two, &w, &err);
    if (status == MD_OK) {
        status = md_graph_symbol(*graph, "batch", 2, &shape.dim[0], &err);
    }
    if (status == MD_OK) {
        status = md_graph_input(*graph, "x", MD_F32, &shape, &in[0], &err);
    }
    if (status == MD_OK) {
        status = md_graph_constant(*graph, "w", &w, &in[1], &err);
    }
    if (status == MD_OK) {
        status = md_graph_node(*graph, "Add", "", in, 2, NULL, 0, &y, 1, &err);
    }
    if (status == MD_OK) {
        status = md_graph_output(*graph, "y", y, &err);
    }
    md_tensor_unref(&w);
    if (status != MD_OK) {
        md_graph_delete(*graph);
    }
    return status;
}

/* Three rows with two in a batch: views, pieces and the joined output. */
static enum md_status call_model(struct md_serve *serve, struct md_model *model)
{
    struct md_shape shape = {.rank = 2, .dim = {3, 2}};
    struct md_port_tensor input = {.name = "x"};
    struct md_call *call = NULL;
    enum md_status status = md_tensor_new(MD_F32, &shape, &input.tensor, &err);

    if (status == MD_OK) {
        status = md_serve_submit(serve, model, &input, 1, 0, &call, &err);
    }
    if (status == MD_OK) {
        status = md_call_wait(call, -1, &err);
    }
    md_call_unref(call);
    md_tensor_unref(&input.tensor);
    return status;
}

static enum md_status serve_once(void)
{
    struct md_serve_options options = {.clock = md_clock_system(),
                                       .backend = md_cpu_reference(),
                                       .reference = md_cpu_reference(),
                                       .threads = 1,
                                       .batch_max = 2};
    struct md_serve *serve = NULL;
    struct md_graph *graph = NULL;
    struct md_model *model = NULL;
    enum md_status status = md_serve_new(&options, &serve, &err);

    if (status == MD_OK) {
        status = make_graph(&graph);
    }
    if (status == MD_OK) {
        status = md_serve_publish(serve, "sum", "memory", graph, "{}", &err);
    }
    if (status == MD_OK) {
        status = md_serve_model(serve, "sum", &model, &err);
    }
    if (status == MD_OK) {
        status = call_model(serve, model);
    }
    md_model_unref(model);
    md_serve_delete(serve);
    return status;
}

static void test_every_failure_is_clean(void **state)
{
    enum md_status status;
    long kept;
    int allowed = 0;

    if (!FAILING_AVAILABLE) {
        skip();
    }
    assert_ok(serve_once()); /* metrics and a thread's stack stay for good */
    while (failing_run(serve_once, allowed, &status, &kept)) {
        if (kept > 0 || (status != MD_ERR_MEMORY && status != MD_OK)) {
            fail_msg("with allocation %d failing: %s (%s), %ld blocks kept", allowed,
                     md_status_name(status), err.text, kept);
        }
        allowed++;
    }
    assert_ok(status);
    assert_true(allowed > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_failure_is_clean)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
