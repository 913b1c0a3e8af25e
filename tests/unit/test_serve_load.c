/* Loading beside serving: a model of the tests' is loaded from its folder while batches run. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "script/builder.h"
#include "serve/internal.h"
#include "tensor/npy.h"
#include "unit.h"

#define FOLDER MD_SOURCE_DIR "/tests/reference/tft/fleet_small/"

static struct md_model_builder builder;
static struct md_serve *serve;
static struct md_error err; /* of the main thread */

static int begin(void **state)
{
    struct md_serve_options options = {.clock = md_clock_system(),
                                       .backend = md_cpu_backend(MD_ISA_BEST),
                                       .reference = md_cpu_reference(),
                                       .threads = 2};
    assert_ok(md_serve_new(&options, &serve, &err));
    assert_ok(md_script_builder_new(MD_SOURCE_DIR "/lua", options.clock, &builder, &err));
    md_serve_set_builder(serve, &builder);
    assert_ok(md_serve_load(serve, "tft", FOLDER "model", NULL, &err));
    return 0;
}

static int end(void **state)
{
    md_serve_delete(serve);
    md_script_builder_delete(&builder);
    return 0;
}

static struct md_call *submit(struct md_model *model)
{
    struct md_port_tensor inputs[16];
    struct md_call *call;
    char path[512];
    int count = md_model_input_count(model);
    for (int i = 0; i < count; i++) {
        inputs[i].name = md_model_input(model, i)->name;
        snprintf(path, sizeof path, FOLDER "%s.npy", inputs[i].name);
        assert_ok(md_npy_read(path, &inputs[i].tensor, &err));
    }
    assert_ok(md_serve_submit(serve, model, inputs, count, 0, &call, &err));
    for (int i = 0; i < count; i++)
        md_tensor_unref(&inputs[i].tensor);
    return call;
}

static void check_answer(struct md_call *call, const struct md_tensor *expected)
{
    assert_ok(md_call_wait(call, -1, &err));
    const struct md_tensor *output = md_call_output(call, 0);
    assert_int_equal(md_tensor_bytes(output), md_tensor_bytes(expected));
    assert_memory_equal(output->data, expected->data, md_tensor_bytes(expected));
    md_call_unref(call);
}

static struct md_tensor answer_now(void)
{
    struct md_model *model;
    assert_ok(md_serve_model(serve, "tft", &model, &err));
    struct md_call *call = submit(model);
    assert_ok(md_call_wait(call, -1, &err));
    struct md_tensor answer = md_tensor_ref(md_call_output(call, 0));
    md_call_unref(call);
    md_model_unref(model);
    return answer;
}

/* A load that waited for the executor would never end here. */
static void test_a_load_waits_for_no_batch(void **state)
{
    struct md_tensor expected = answer_now();
    struct md_model *old, *new;
    assert_ok(md_serve_model(serve, "tft", &old, &err));
    pthread_mutex_lock(&serve->device);
    struct md_call *call = submit(old);
    assert_ok(md_serve_load(serve, "tft", FOLDER "model", NULL, &err));
    assert_ok(md_serve_model(serve, "tft", &new, &err));
    assert_true(md_model_generation(new) > md_model_generation(old));
    pthread_mutex_unlock(&serve->device);
    check_answer(call, &expected); /* by the version that it began with */
    md_model_unref(old);
    md_model_unref(new);
    md_tensor_unref(&expected);
}

/* The first call of the new version finds its plan made: of the sizes that the old one ran with. */
static void test_a_load_plans_for_what_is_asked(void **state)
{
    struct md_plan_report ran, planned;
    struct md_model *old, *new;
    struct md_tensor answer = answer_now();
    md_tensor_unref(&answer);
    assert_ok(md_serve_model(serve, "tft", &old, &err));
    assert_int_equal(old->recent_count, 1);
    assert_ok(md_executable_report(old->executable, &ran, &err));
    assert_ok(md_serve_load(serve, "tft", FOLDER "model", NULL, &err));
    assert_ok(md_serve_model(serve, "tft", &new, &err));
    assert_ok(md_executable_report(new->executable, &planned, &err));
    assert_true(planned.flops == ran.flops && planned.arena_bytes == ran.arena_bytes);
    md_model_unref(old);
    md_model_unref(new);
}

static void *load_often(void *context)
{
    for (int i = 0; i < 10; i++)
        assert_int_equal(md_serve_load(serve, "tft", FOLDER "model", NULL, NULL), MD_OK);
    *(_Atomic bool *)context = true;
    return NULL;
}

static void test_answers_stay_right_meanwhile(void **state)
{
    struct md_tensor expected = answer_now();
    _Atomic bool done = false;
    pthread_t loader;
    int answers = 0;
    pthread_create(&loader, NULL, load_often, (void *)&done);
    while (!done || answers < 20) {
        struct md_tensor answer = answer_now();
        assert_memory_equal(answer.data, expected.data, md_tensor_bytes(&expected));
        md_tensor_unref(&answer);
        answers++;
    }
    pthread_join(loader, NULL);
    md_tensor_unref(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_load_waits_for_no_batch, begin, end),
        cmocka_unit_test_setup_teardown(test_a_load_plans_for_what_is_asked, begin, end),
        cmocka_unit_test_setup_teardown(test_answers_stay_right_meanwhile, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
