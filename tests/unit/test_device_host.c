/*
 * The host as a device: work is done when somebody waits for it, or recorded; captures run as often
 * as they are launched and read what is in memory then, streams follow events, conversions round,
 * and nothing is lost count of.
 */
#include <math.h>

#include "graph/device_host.h"
#include "unit.h"

static struct md_error err;
static const struct md_device_kernel *kernels[MD_OP_COUNT];
static struct md_device_driver driver;
static struct md_device_context *context;
static struct md_device_stream *stream;

static int open_device(void **state)
{
    md_device_host_driver(&driver, "host", kernels);
    return driver.open(0, &context, &err) || driver.stream_new(context, &stream, &err);
}

static int close_device(void **state)
{
    driver.stream_delete(stream);
    int alive = md_device_host_alive(context);
    driver.close(context);
    return alive;
}

static void *device_memory(size_t bytes)
{
    void *memory;
    assert_ok(driver.allocate(context, bytes, &memory, &err));
    return memory;
}

static void the_table_is_whole(void **state)
{
    void *const *slot = (void *const *)&driver.count;
    void *const *end = (void *const *)(&driver + 1);
    for (; slot < end; slot++)
        assert_non_null(*slot);
    assert_int_equal(driver.abi, MD_DEVICE_ABI);
    assert_int_equal(driver.op_count, MD_OP_COUNT);
}

static void there_is_one_device(void **state)
{
    struct md_device_context *other;
    int count = 0;
    assert_ok(driver.count(&count, &err));
    assert_int_equal(count, 1);
    assert_int_equal(driver.open(1, &other, &err), MD_ERR_UNAVAILABLE);
    assert_false(driver.lost(context));
}

static void memory_that_nobody_has_is_refused(void **state)
{
    void *memory = &err;
    assert_int_equal(driver.allocate(context, SIZE_MAX, &memory, &err), MD_ERR_MEMORY);
    assert_null(memory);
}

static void captured_work_runs_when_launched(void **state)
{
    float host[2] = {1, 2}, back[2] = {0};
    void *a = device_memory(sizeof host), *b = device_memory(sizeof host);
    struct md_device_capture *capture;
    assert_ok(driver.fill(stream, b, 0, sizeof host, &err));
    assert_ok(driver.capture_begin(stream, &err));
    assert_ok(driver.upload(stream, a, host, sizeof host, &err));
    assert_ok(driver.copy(stream, b, a, sizeof host, &err));
    assert_int_equal(driver.stream_wait(stream, &err), MD_ERR_DEVICE);
    assert_ok(driver.capture_end(stream, &capture, &err));
    back[1] = 5;
    assert_ok(driver.download(stream, back, b, sizeof back, &err));
    assert_ok(driver.stream_wait(stream, &err));
    assert_true(back[1] == 0);
    for (int round = 0; round < 2; round++) {
        host[1] = (float)(7 + round);
        assert_ok(driver.capture_launch(capture, stream, &err));
        assert_ok(driver.download(stream, back, b, sizeof back, &err));
        assert_ok(driver.stream_wait(stream, &err));
        assert_true(back[0] == 1 && back[1] == host[1]);
    }
    driver.capture_delete(capture);
    driver.release(context, a);
    driver.release(context, b);
}

static void work_waits_for_whoever_wants_it(void **state)
{
    struct md_device_stream *other;
    struct md_device_event *event;
    int host = 1, back = 0;
    void *a = device_memory(sizeof host);
    assert_ok(driver.stream_new(context, &other, &err));
    assert_ok(driver.event_new(context, &event, &err));
    assert_ok(driver.event_follow(event, other, &err)); /* never recorded: nothing to wait for */
    assert_ok(driver.upload(other, a, &host, sizeof host, &err));
    assert_ok(driver.event_record(event, other, &err));
    assert_ok(driver.fill(other, a, 0, sizeof host, &err)); /* after what is followed */
    assert_ok(driver.event_follow(event, stream, &err));
    assert_ok(driver.event_record(event, other, &err)); /* does not change what is followed */
    assert_ok(driver.download(stream, &back, a, sizeof back, &err));
    host = 2; /* too early: the upload is still to come */
    assert_int_equal(back, 0);
    assert_ok(driver.stream_wait(stream, &err));
    assert_int_equal(back, 2);
    driver.stream_delete(other);
    assert_int_equal(*(int *)a, 0);
    assert_ok(driver.event_follow(event, stream, &err)); /* a stream that is gone has done it all */
    assert_ok(driver.stream_wait(stream, &err));
    driver.event_delete(event);
    driver.release(context, a);
}

static void a_capture_that_nobody_ended_dies_with_its_stream(void **state)
{
    struct md_device_stream *other;
    int byte = 3;
    void *a = device_memory(1);
    assert_ok(driver.stream_new(context, &other, &err));
    assert_ok(driver.capture_begin(other, &err));
    assert_int_equal(driver.capture_begin(other, &err), MD_ERR_DEVICE);
    assert_ok(driver.upload(other, a, &byte, 1, &err));
    driver.stream_delete(other);
    driver.release(context, a);
}

static void conversions_round_as_tensors_do(void **state)
{
    const float given[] = {1.0f, 65520.0f, -1e9f, INFINITY, NAN, 0.1f};
    float back[6];
    void *wide = device_memory(sizeof given), *narrow = device_memory(12);
    assert_ok(driver.upload(stream, wide, given, sizeof given, &err));
    assert_ok(driver.convert(stream, narrow, MD_F16, wide, MD_F32, 6, &err));
    assert_ok(driver.convert(stream, wide, MD_F32, narrow, MD_F16, 6, &err));
    assert_ok(driver.download(stream, back, wide, sizeof back, &err));
    assert_ok(driver.stream_wait(stream, &err));
    assert_true(back[0] == 1 && isinf(back[1]) && isinf(back[2]) && back[2] < 0);
    assert_true(isinf(back[3]) && isnan(back[4]) && back[5] == md_f16_to_f32(md_f32_to_f16(0.1f)));
    assert_ok(driver.upload(stream, wide, given, sizeof given, &err));
    assert_ok(driver.convert(stream, narrow, MD_BF16, wide, MD_F32, 6, &err));
    assert_ok(driver.convert(stream, wide, MD_F32, narrow, MD_BF16, 6, &err));
    assert_ok(driver.download(stream, back, wide, sizeof back, &err));
    assert_ok(driver.stream_wait(stream, &err));
    assert_true(back[2] < -9e8f && isinf(back[3]) && isnan(back[4]));
    driver.release(context, wide);
    driver.release(context, narrow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_whole),
        cmocka_unit_test(there_is_one_device),
        cmocka_unit_test(memory_that_nobody_has_is_refused),
        cmocka_unit_test(captured_work_runs_when_launched),
        cmocka_unit_test(work_waits_for_whoever_wants_it),
        cmocka_unit_test(a_capture_that_nobody_ended_dies_with_its_stream),
        cmocka_unit_test(conversions_round_as_tensors_do),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
