/*
 * The public header stands alone, and what it promises works: a graph built by hand is
 * published, called from several threads, and its answer goes through a file.
 */
#include "moondial.h"

#include <pthread.h>
#include <stdlib.h>

#include "scratch.h"
#include "unit.h"

static struct md_error err;

/* y = tanh(x), x [batch, 4] */
static struct md_graph *tanh_graph(void)
{
    struct md_graph *graph;
    struct md_shape shape = {.rank = 2, .dim = {0, 4}};
    int x, y;

    assert_ok(md_graph_new("tanh", &graph, &err));
    assert_ok(md_graph_symbol(graph, "batch", 2, &shape.dim[0], &err));
    assert_ok(md_graph_input(graph, "x", MD_F32, &shape, &x, &err));
    assert_ok(md_graph_node(graph, "Tanh", "", &x, 1, NULL, 0, &y, 1, &err));
    assert_ok(md_graph_output(graph, "y", y, &err));
    return graph;
}

struct caller {
    struct md_serve *serve;
    struct md_model *model;
    struct md_tensor x;
    int wrong;
};

static void *call_often(void *context)
{
    struct caller *caller = context;

    for (int i = 0; i < 50; i++) {
        struct md_port_tensor input = {"x", caller->x};
        struct md_call *call = NULL;
        if (md_serve_submit(caller->serve, caller->model, &input, 1, 0, &call, NULL) != MD_OK ||
            md_call_wait(call, -1, NULL) != MD_OK ||
            ((float *)md_call_output(call, 0)->data)[0] != 0.0f ||
            ((float *)md_call_output(call, 0)->data)[3] < 0.99f) {
            caller->wrong++;
        }
        md_call_unref(call);
    }
    return NULL;
}

static void test_the_worked_example_holds(void **state)
{
    struct md_serve_options options = {.clock = md_clock_system(),
                                       .threads = 2,
                                       .backend = md_cpu_backend(MD_ISA_BEST),
                                       .reference = md_cpu_reference()};
    struct md_shape shape = {.rank = 2, .dim = {1, 4}};
    char *folder = scratch_new(), *path = scratch_path(folder, "x.npy");
    struct caller callers[4] = {0};
    struct md_tensor x;
    pthread_t threads[4];

    assert_ok(md_tensor_new(MD_F32, &shape, &x, &err));
    ((float *)x.data)[3] = 4;
    assert_ok(md_npy_write(path, &x, &err));
    md_tensor_unref(&x);
    assert_ok(md_npy_read(path, &x, &err));
    assert_ok(md_serve_new(&options, &callers[0].serve, &err));
    assert_ok(md_serve_publish(callers[0].serve, "demo", "memory", tanh_graph(), "{}", &err));
    assert_ok(md_serve_model(callers[0].serve, "demo", &callers[0].model, &err));
    for (int i = 0; i < 4; i++) {
        callers[i] = (struct caller){callers[0].serve, callers[0].model, x, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].wrong, 0);
    }
    md_tensor_unref(&x);
    md_model_unref(callers[0].model);
    md_serve_delete(callers[0].serve);
    free(path);
    scratch_delete(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_worked_example_holds)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
