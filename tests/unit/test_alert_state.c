/*
 * The engine as bytes: a night with everything in it is saved; what comes back is the same, to the
 * byte and in what it does next; damage is refused and changes nothing; a tick without memory, too.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alerts.h"
#include "base/buffer.h"
#include "failing.h"
#include "unit.h"

static const char *const keys[] = {"db1", "db2", "web1", NULL};
static const char *const columns[] = {"cpu", "mem", NULL};
static const struct md_alert_label own[] = {{"team", "infra"}, {"area", "south"}};

static struct alerts_frame frame;
static struct md_alert_rules *rules;
static struct md_buffer saved; /* of the night's engine */
static struct md_error err;

static struct md_alert_rules *new_rules(int count)
{
    struct md_alert_rule made[] = {
        alerts_rule("high", columns, 2, 50), alerts_rule("soon", columns, 1, 50),
        alerts_rule("slow", columns, 2, 50), alerts_rule("gone", columns, 1, 5)};
    struct md_alert_rules *set;
    made[0].labels = own;
    made[0].label_count = 2;
    made[0].keep_firing_ms = 5 * 60000;
    made[1].watch = MD_ALERT_FORECAST;
    made[1].quantile = 0.5f;
    made[1].within_ms = 10 * 60000;
    made[2].for_ms = 10 * 60000;
    assert_ok(md_alert_rules_new(made, count, &set, &err));
    return set;
}

static struct md_alert_engine *new_engine(void)
{
    struct md_alert_engine *engine;
    assert_ok(md_alert_engine_new("server", &engine, &err));
    return engine;
}

/* What the tick sees: `over` is db1's cpu, and its forecast is over the limit from some step on. */
static void set_frame(int minute, float over)
{
    alerts_frame_at(&frame, minute);
    alerts_frame_set(&frame, "db1", "cpu", over);
    alerts_frame_set(&frame, "db2", "mem", minute % 2 ? 60 : 10);
    alerts_frame_set(&frame, "web1", "cpu", minute > 3 ? NAN : 30);
    for (int s = 0; s < ALERTS_STEPS; s++)
        frame.forecasts[0][s] = (float)(44 + s + minute);
}

/* Pending, firing, kept, resolved, removed alerts; grades given and open. */
static int make_night(void **state)
{
    static struct md_alert_rules *all;
    struct md_alert_engine *engine = new_engine();
    alerts_frame_init(&frame, keys, columns);
    frame.profiles[0] = "database";
    alerts_frame_forecast(&frame, "cpu", 0.5f);
    all = new_rules(4);
    rules = new_rules(3);
    for (int minute = 0; minute < 9; minute++) {
        set_frame(minute, minute % 3 == 2 ? 55 : 45);
        md_alert_engine_set_rules(engine, minute < 8 ? all : rules);
        assert_ok(md_alert_engine_tick(engine, &frame.frame, NULL, NULL, &err));
    }
    md_buffer_init(&saved, 0);
    assert_ok(md_alert_engine_save(engine, &saved, &err));
    md_alert_engine_delete(engine);
    md_alert_rules_unref(all);
    set_frame(9, 56);
    return 0;
}

static int end_night(void **state)
{
    md_alert_rules_unref(rules);
    md_buffer_fini(&saved);
    return 0;
}

static bool count(void *context, const struct md_alert *alert)
{
    int *counts = context; /* inactive, pending, firing */
    counts[alert->state]++;
    return true;
}

static void the_night_has_everything_in_it(void **state)
{
    struct md_alert_engine *engine = new_engine();
    int counts[3] = {0};
    assert_ok(md_alert_engine_restore(engine, saved.data, saved.length, &err));
    md_alert_engine_set_rules(engine, rules);
    md_alert_engine_visit(engine, count, counts);
    assert_true(counts[MD_ALERT_INACTIVE] > 0);
    assert_true(counts[MD_ALERT_PENDING] > 0);
    assert_true(counts[MD_ALERT_FIRING] > 0);
    md_alert_engine_delete(engine);
}

static void assert_saves_as(struct md_alert_engine *engine, const struct md_buffer *wanted)
{
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_engine_save(engine, &bytes, &err));
    assert_int_equal(bytes.length, wanted->length);
    assert_memory_equal(bytes.data, wanted->data, bytes.length);
    md_buffer_fini(&bytes);
}

static void what_is_restored_saves_the_same(void **state)
{
    struct md_alert_engine *engine = new_engine();
    md_alert_engine_set_rules(engine, rules);
    assert_ok(md_alert_engine_restore(engine, saved.data, saved.length, &err));
    assert_saves_as(engine, &saved);
    assert_ok(md_alert_engine_restore(engine, saved.data, saved.length, &err)); /* once more */
    assert_saves_as(engine, &saved);
    md_alert_engine_delete(engine);
}

static void rules_may_come_before_or_after(void **state)
{
    struct md_alert_engine *before = new_engine(), *after = new_engine();
    struct md_buffer bytes;
    md_alert_engine_set_rules(before, rules);
    assert_ok(md_alert_engine_restore(before, saved.data, saved.length, &err));
    assert_ok(md_alert_engine_restore(after, saved.data, saved.length, &err));
    md_alert_engine_set_rules(after, rules);
    assert_ok(md_alert_engine_tick(before, &frame.frame, NULL, NULL, &err));
    assert_ok(md_alert_engine_tick(after, &frame.frame, NULL, NULL, &err));
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_engine_save(before, &bytes, &err));
    assert_saves_as(after, &bytes);
    md_buffer_fini(&bytes);
    md_alert_engine_delete(before);
    md_alert_engine_delete(after);
}

static void cut_off_bytes_are_refused(void **state)
{
    struct md_alert_engine *engine = new_engine();
    md_alert_engine_set_rules(engine, rules);
    assert_ok(md_alert_engine_restore(engine, saved.data, saved.length, &err));
    for (size_t length = 0; length < saved.length; length++) {
        void *copy = malloc(length + 1); /* AddressSanitizer sees one byte too far */
        memcpy(copy, saved.data, length);
        copy = realloc(copy, length ? length : 1);
        assert_fails(MD_ERR_CORRUPT, md_alert_engine_restore(engine, copy, length, &err));
        free(copy);
    }
    char *longer = malloc(saved.length + 1);
    memcpy(longer, saved.data, saved.length);
    longer[saved.length] = '\0';
    assert_fails(MD_ERR_CORRUPT, md_alert_engine_restore(engine, longer, saved.length + 1, &err));
    free(longer);
    assert_saves_as(engine, &saved);
    md_alert_engine_delete(engine);
}

/* Whatever a bit makes of the bytes, the engine is what it was or one that can go on. */
static void no_bit_breaks_it(void **state)
{
    char *bytes = malloc(saved.length);
    int refused = 0, taken = 0;
    for (size_t bit = 0; bit < 8 * saved.length; bit++) {
        struct md_alert_engine *engine = new_engine();
        memcpy(bytes, saved.data, saved.length);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        md_alert_engine_set_rules(engine, rules);
        enum md_status status = md_alert_engine_restore(engine, bytes, saved.length, &err);
        if (status == MD_OK) {
            enum md_status next = md_alert_engine_tick(engine, &frame.frame, NULL, NULL, &err);
            assert_true(next == MD_OK || next == MD_ERR_CONFLICT); /* its time may be later */
            taken++;
        } else {
            assert_true(status == MD_ERR_CORRUPT || status == MD_ERR_UNSUPPORTED);
            assert_true(md_alert_engine_time_ms(engine) == 0);
            refused++;
        }
        md_alert_engine_delete(engine);
    }
    assert_true(refused > 100 && taken > 100);
    free(bytes);
}

static void other_versions_and_labels_are_refused(void **state)
{
    struct md_alert_engine *engine;
    char *bytes = malloc(saved.length);
    memcpy(bytes, saved.data, saved.length);
    bytes[4]++;
    engine = new_engine();
    assert_fails(MD_ERR_UNSUPPORTED, md_alert_engine_restore(engine, bytes, saved.length, &err));
    assert_says("version 2; this program reads version 1");
    md_alert_engine_delete(engine);
    assert_ok(md_alert_engine_new("host", &engine, &err));
    assert_fails(MD_ERR_CORRUPT, md_alert_engine_restore(engine, saved.data, saved.length, &err));
    assert_says("of entities labelled server, not host");
    md_alert_engine_delete(engine);
    free(bytes);
}

static void an_empty_engine_is_saved_too(void **state)
{
    struct md_alert_engine *engine = new_engine(), *later = new_engine();
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_engine_save(engine, &bytes, &err));
    assert_ok(md_alert_engine_restore(later, bytes.data, bytes.length, &err));
    assert_saves_as(later, &bytes);
    md_buffer_fini(&bytes);
    md_buffer_init(&bytes, 10);
    assert_fails(MD_ERR_TOO_LARGE, md_alert_engine_save(engine, &bytes, &err));
    md_buffer_fini(&bytes);
    md_alert_engine_delete(engine);
    md_alert_engine_delete(later);
}

/* ---- out of memory --------------------------------------------------------------------------- */

static bool tick_changed_something;

static enum md_status restore_and_tick(void)
{
    struct md_alert_engine *engine = NULL;
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    enum md_status status = md_alert_engine_new("server", &engine, &err);
    if (status == MD_OK)
        md_alert_engine_set_rules(engine, rules);
    if (status == MD_OK)
        status = md_alert_engine_restore(engine, saved.data, saved.length, &err);
    if (status == MD_OK) {
        status = md_alert_engine_tick(engine, &frame.frame, NULL, NULL, &err);
        if (status != MD_OK) {
            md_alert_engine_save(engine, &bytes, NULL);
            tick_changed_something |=
                bytes.length != saved.length || memcmp(bytes.data, saved.data, saved.length) != 0;
        }
    }
    md_alert_engine_delete(engine);
    md_buffer_fini(&bytes);
    return status;
}

static enum md_status make_rules(void)
{
    struct md_alert_rule made[] = {alerts_rule("high", columns, 2, 50),
                                   alerts_rule("soon", columns, 1, 50)};
    struct md_alert_rules *set = NULL;
    made[0].labels = made[0].annotations = own;
    made[0].label_count = made[0].annotation_count = 2;
    enum md_status status = md_alert_rules_new(made, 2, &set, &err);
    md_alert_rules_unref(set);
    return status;
}

static void fails_cleanly(enum md_status (*operation)(void))
{
    enum md_status status;
    long kept;
    int allowed = 0;
    for (; failing_run(operation, allowed, &status, &kept); allowed++) {
        assert_int_equal(kept, 0);
        assert_true(status == MD_OK || status == MD_ERR_MEMORY);
    }
    assert_true(allowed > 1);
    assert_int_equal(status, MD_OK);
}

static void without_memory_nothing_changes(void **state)
{
    if (!FAILING_AVAILABLE)
        skip();
    fails_cleanly(make_rules);
    fails_cleanly(restore_and_tick);
    assert_false(tick_changed_something);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_night_has_everything_in_it),
        cmocka_unit_test(what_is_restored_saves_the_same),
        cmocka_unit_test(rules_may_come_before_or_after),
        cmocka_unit_test(cut_off_bytes_are_refused),
        cmocka_unit_test(no_bit_breaks_it),
        cmocka_unit_test(other_versions_and_labels_are_refused),
        cmocka_unit_test(an_empty_engine_is_saved_too),
        cmocka_unit_test(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests(tests, make_night, end_night);
}
