/* The profiler sees what threads say they do; the picture holds what was counted. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/flame.h"
#include "base/profile.h"
#include "unit.h"

static _Atomic bool ended;

static void *work(void *context)
{
    int outer = md_span_begin("outer");
    while (!ended) {
        int inner = md_span_begin("inner");
        usleep(500);
        md_span_end(inner);
    }
    md_span_end(outer);
    return context;
}

/* A script: answers when it is asked. */
static void *run_lua(void *context)
{
    int span = md_span_begin(MD_PROFILE_LUA);
    while (!ended) {
        if (md_profile_wanted())
            md_profile_add("main app.lua:1;f app.lua:2");
        usleep(500);
    }
    md_span_end(span);
    return context;
}

/* One that is in C for long, and never asks. */
static void *run_c(void *context)
{
    int span = md_span_begin(MD_PROFILE_LUA);
    while (!ended)
        usleep(500);
    md_span_end(span);
    return context;
}

static void *run_second(void *context)
{
    struct md_buffer out;
    struct md_error err = {0};
    md_buffer_init(&out, 0);
    while (md_profile_run(1, MD_PROFILE_FOLDED, &ended, &out, &err) != MD_ERR_CONFLICT && !ended)
        usleep(1000);
    *(bool *)context = err.code == MD_ERR_CONFLICT;
    md_buffer_fini(&out);
    return NULL;
}

static void test_threads_are_seen(void **state)
{
    void *(*const bodies[])(void *) = {work, run_lua, run_c, run_second};
    pthread_t threads[4];
    bool refused = false;
    struct md_buffer out;
    struct md_error err;
    ended = false;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, bodies[i], NULL);
    pthread_create(&threads[3], NULL, run_second, &refused);
    usleep(20000);
    md_buffer_init(&out, 0);
    enum md_status status;
    while ((status = md_profile_run(1, MD_PROFILE_FOLDED, NULL, &out, &err)) == MD_ERR_CONFLICT)
        usleep(1000);
    ended = true;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_ok(status);
    assert_non_null(strstr(out.data, "outer;inner "));
    assert_non_null(strstr(out.data, "lua;main app.lua:1;f app.lua:2 "));
    assert_non_null(strstr(out.data, "lua;(C) "));
    assert_true(refused);
    md_buffer_fini(&out);
}

static void test_ended_threads_are_not(void **state)
{
    struct md_buffer out;
    struct md_error err;
    md_buffer_init(&out, 0);
    assert_ok(md_profile_run(1, MD_PROFILE_FOLDED, NULL, &out, &err));
    assert_int_equal(out.length, 0);
    md_buffer_clear(&out);
    int64_t begun_ns = md_monotonic_ns(md_clock_system());
    assert_ok(md_profile_run(1, MD_PROFILE_SVG, NULL, &out, &err));
    assert_true(md_monotonic_ns(md_clock_system()) - begun_ns >= 1000000000); /* not fewer ticks */
    assert_non_null(strstr(out.data, "</svg>"));
    md_buffer_fini(&out);
}

static void test_seconds_are_limited(void **state)
{
    struct md_error err;
    static const int bad[] = {0, -1, MD_PROFILE_SECONDS_MAX + 1};
    for (int i = 0; i < 3; i++)
        assert_fails(MD_ERR_INVALID, md_profile_run(bad[i], MD_PROFILE_SVG, NULL, NULL, &err));
}

static int count(const char *text, const char *part)
{
    int found = 0;
    for (; (text = strstr(text, part)) != NULL; text++)
        found++;
    return found;
}

static void test_picture(void **state)
{
    const struct md_flame_stack stacks[] = {
        {"a", 1}, {"a;b", 2}, {"a;b;<f> \"x\" & y\x01", 3}, {"a;c", 4}, {"ab", 5}};
    struct md_buffer out;
    md_buffer_init(&out, 0);
    md_flame_svg(stacks, 5, 10, &out);
    assert_non_null(strstr(out.data, "one every 10 ms"));
    assert_int_equal(count(out.data, "<title>"), 5); /* a, b, f, c, ab */
    assert_non_null(strstr(out.data, "<title>a (100 ms, 66.7%)"));
    assert_non_null(strstr(out.data, "<title>b (50 ms, 33.3%)"));
    assert_non_null(strstr(out.data, "<title>&lt;f&gt; &quot;x&quot; &amp; y? (30 ms, 20.0%)"));
    assert_non_null(strstr(out.data, "<title>ab (50 ms, 33.3%)"));
    md_buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_are_seen),
        cmocka_unit_test(test_ended_threads_are_not),
        cmocka_unit_test(test_seconds_are_limited),
        cmocka_unit_test(test_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
