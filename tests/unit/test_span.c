/* Stages and traces: what a request's times are, what is kept, what is bounded. */
#include <pthread.h>
#include <string.h>

#include "base/span.h"
#include "base/stack.h"
#include "unit.h"

/* Its monotonic time is one later at every look. */
struct counting_clock {
    struct md_clock base;
    _Atomic int64_t now_ns;
};

static int64_t count_wall(struct md_clock *clock)
{
    return 1000;
}

static int64_t count_ns(struct md_clock *clock)
{
    return ++((struct counting_clock *)clock)->now_ns;
}

static struct counting_clock counting = {{count_wall, count_ns}, 100};

static void assert_span(const struct md_trace *trace, int index, const char *name, int depth,
                        int64_t begin_ns, int64_t end_ns)
{
    const struct md_span *span = &trace->spans[index];
    assert_true(index < trace->count);
    assert_string_equal(span->name, name);
    assert_int_equal(span->depth, depth);
    assert_int_equal(span->begin_ns - trace->begin_ns, begin_ns);
    assert_int_equal(span->end_ns - trace->begin_ns, end_ns);
}

static void stages_nest_and_are_kept(void **state)
{
    struct md_trace trace, copy;
    md_trace_begin(&trace, 71, &counting.base, counting.now_ns);
    int outer = md_span_begin("handle"); /* 1 */
    int inner = md_span_begin("lua");    /* 2 */
    md_span_mark("run", trace.begin_ns - 5, trace.begin_ns + 1);
    md_span_end(inner);           /* 3 */
    md_span_next(outer, "write"); /* 4 */
    assert_int_equal(md_stages.depth, 1);
    assert_string_equal(md_stages.levels[0].name, "write");
    assert_false(md_trace_find(71, &copy));                               /* not before its end */
    md_trace_end(&trace, count_ns(&counting.base), "GET", "/hello", 200); /* 5 */
    assert_null(md_stages.trace);
    assert_int_equal(md_stages.depth, 0);
    assert_true(md_trace_find(71, &copy));
    assert_string_equal(copy.what, "GET /hello");
    assert_int_equal(copy.status, 200);
    assert_int_equal(copy.begin_ms, 1000);
    assert_int_equal(copy.end_ns - copy.begin_ns, 5);
    assert_int_equal(copy.count, 4);
    assert_span(&copy, 0, "handle", 0, 1, 4);
    assert_span(&copy, 1, "lua", 1, 2, 3);
    assert_span(&copy, 2, "run", 2, -5, 1);
    assert_span(&copy, 3, "write", 0, 4, 5);
    assert_false(copy.cut);
}

static void an_outer_end_ends_what_was_left_inside(void **state)
{
    struct md_trace trace;
    md_trace_begin(&trace, 72, &counting.base, counting.now_ns);
    int outer = md_span_begin("lua");
    md_span_begin("encode"); /* left by a longjmp */
    md_span_end(outer);
    assert_int_equal(md_stages.depth, 0);
    assert_span(&trace, 0, "lua", 0, 1, 3);
    assert_span(&trace, 1, "encode", 1, 2, 3);
    md_trace_end(&trace, count_ns(&counting.base), "GET", "/", 500);
}

static void stages_that_touch_share_a_reading_of_the_clock(void **state)
{
    struct md_trace trace;
    md_trace_begin(&trace, 75, &counting.base, counting.now_ns);
    int span = md_span_begin("state");  /* 1 */
    int64_t now_ns = md_span_end(span); /* 2 */
    assert_int_equal(now_ns, counting.now_ns);
    span = md_span_begin_at("lua", now_ns);
    md_span_begin("encode"); /* 3 */
    md_span_end_at(span, trace.begin_ns + 9);
    assert_int_equal(counting.now_ns, now_ns + 1);
    assert_span(&trace, 0, "state", 0, 1, 2);
    assert_span(&trace, 1, "lua", 0, 2, 9);
    assert_span(&trace, 2, "encode", 1, 3, 9);
    md_trace_end(&trace, count_ns(&counting.base), "GET", "/", 200);
    assert_int_equal(md_span_end(md_span_begin("run")), 0);
}

static void without_a_trace_only_names_are_kept(void **state)
{
    int64_t before = counting.now_ns;
    int span = md_span_begin("run");
    assert_int_equal(md_stages.depth, 1);
    assert_string_equal(md_stages.levels[0].name, "run");
    md_span_mark("queue", 1, 2);
    md_span_end(span);
    assert_int_equal(md_stages.depth, 0);
    assert_int_equal(counting.now_ns, before);
}

static void too_many_and_too_deep_are_left_out(void **state)
{
    struct md_trace trace, copy;
    char path[300];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    md_trace_begin(&trace, 73, &counting.base, counting.now_ns);
    for (int i = 0; i < 3 * MD_TRACE_SPANS_MAX; i++)
        md_span_end(md_span_begin("one"));
    for (int i = 0; i < 3 * MD_SPAN_DEPTH_MAX; i++)
        md_span_begin("deep");
    assert_int_equal(md_stages.depth, 3 * MD_SPAN_DEPTH_MAX);
    md_trace_end(&trace, count_ns(&counting.base), "GET", path, 200);
    assert_true(md_trace_find(73, &copy));
    assert_int_equal(copy.count, MD_TRACE_SPANS_MAX);
    assert_true(copy.cut);
    assert_int_equal(strlen(copy.what), sizeof copy.what - 1);
}

static void one_trace(uint64_t id, int status)
{
    struct md_trace trace;
    md_trace_begin(&trace, id, &counting.base, counting.now_ns);
    md_trace_end(&trace, count_ns(&counting.base), "GET", "/", status);
}

static void the_newest_are_kept_and_failures_longer(void **state)
{
    struct md_trace copies[3], copy;
    one_trace(1000, 503);
    for (uint64_t i = 0; i < MD_TRACE_RECENT_MAX; i++)
        one_trace(2000 + i, 200);
    assert_true(md_trace_find(2000, &copy));
    one_trace(3000, 200);
    assert_false(md_trace_find(2000, &copy));
    assert_true(md_trace_find(1000, &copy));
    assert_int_equal(copy.status, 503);
    assert_false(md_trace_find(0, &copy));
    assert_int_equal(md_trace_recent(copies, 3, false), 3);
    assert_int_equal(copies[0].id, 3000);
    assert_int_equal(copies[1].id, 2000 + MD_TRACE_RECENT_MAX - 1);
    assert_int_equal(copies[2].id, 2000 + MD_TRACE_RECENT_MAX - 2);
    assert_true(md_trace_recent(copies, 1, true) == 1 && copies[0].id == 1000);
}

static void on_companion(void *context)
{
    int span = md_span_begin("lua");
    *(int *)context = span;
    md_span_end(span);
}

static void a_companion_thread_works_for_the_same_request(void **state)
{
    struct md_trace trace;
    struct md_error err;
    int level = -1;
    md_trace_begin(&trace, 74, &counting.base, counting.now_ns);
    int span = md_span_begin("handle");
    assert_ok(md_stack_call(on_companion, &level, &err));
    md_span_end(span);
    md_trace_end(&trace, count_ns(&counting.base), "GET", "/", 200);
    assert_int_equal(level, 1);
    assert_span(&trace, 0, "handle", 0, 1, 4);
    assert_span(&trace, 1, "lua", 1, 2, 3);
}

static void *many_traces(void *context)
{
    for (int i = 0; i < 20000; i++)
        one_trace(10000 + (uint64_t)i, 500);
    return NULL;
}

static void readers_and_writers_do_not_disturb_each_other(void **state)
{
    pthread_t threads[2];
    struct md_trace copies[8];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, many_traces, NULL);
    for (int i = 0; i < 2000; i++) {
        int count = md_trace_recent(copies, 8, i % 2 == 0);
        for (int k = 0; k < count; k++)
            assert_string_equal(copies[k].what, "GET /");
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(md_trace_recent(copies, 8, false), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_nest_and_are_kept),
        cmocka_unit_test(an_outer_end_ends_what_was_left_inside),
        cmocka_unit_test(stages_that_touch_share_a_reading_of_the_clock),
        cmocka_unit_test(without_a_trace_only_names_are_kept),
        cmocka_unit_test(too_many_and_too_deep_are_left_out),
        cmocka_unit_test(the_newest_are_kept_and_failures_longer),
        cmocka_unit_test(a_companion_thread_works_for_the_same_request),
        cmocka_unit_test(readers_and_writers_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
