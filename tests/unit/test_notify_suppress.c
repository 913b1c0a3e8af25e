/* What keeps alerts from being sent: silences, inhibition, maintenance windows across changes of
 * clocks; matchers; settings that are wrong. */
#include <string.h>

#include "base/timestamp.h"
#include "notified.h"
#include "unit.h"

static struct md_error err;

/* ---- what suppresses ------------------------------------------------------------------------- */

static void a_silence_holds_while_it_lasts(void **state)
{
    char id[MD_NOTIFY_ID_BYTES];
    struct md_notify_suppression why;
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    f.restarts = true;
    fleet_silence(&f, "server", "~(a|b).*", T0 + MINUTE, T0 + 3 * MINUTE, id);
    fleet_fires(&f, "cpu", "a1");
    assert_string_equal(fleet_step(&f, T0), "lines: cpu@a1 /");
    f.now_ms = T0 + MINUTE;
    fleet_fires(&f, "mem", "b7");
    fleet_fires(&f, "mem", "c");
    assert_string_equal(fleet_step(&f, T0 + MINUTE), "lines: mem@c /");
    assert_true(md_notify_suppressed(f.notify, fleet_alert(&f, "mem", "b7")->fingerprint, &why));
    assert_string_equal(why.silenced_by, id);
    assert_false(md_notify_suppressed(f.notify, fleet_alert(&f, "mem", "c")->fingerprint, &why));
    f.now_ms = T0 + 2 * MINUTE;
    fleet_resolves(&f, "cpu", "a1"); /* was told: its end is, too */
    assert_string_equal(fleet_step(&f, f.now_ms), "lines: / cpu@a1");
    fleet_fires(&f, "cpu", "b8");
    fleet_step(&f, f.now_ms + 1);
    f.now_ms += 2;
    fleet_resolves(&f, "cpu", "b8"); /* was not */
    assert_string_equal(fleet_step(&f, f.now_ms), "");
    assert_string_equal(fleet_step(&f, T0 + 3 * MINUTE), "lines: mem@b7 /");
    fleet_end(&f);
}

static void a_silence_can_be_ended(void **state)
{
    char id[MD_NOTIFY_ID_BYTES];
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_silence(&f, "alertname", "cpu", T0, T0 + 60 * MINUTE, id);
    fleet_fires(&f, "cpu", "a");
    assert_string_equal(fleet_step(&f, T0), "");
    assert_ok(md_notify_silence_expire(f.notify, id, T0 + 1, &err));
    assert_fails(MD_ERR_CONFLICT, md_notify_silence_expire(f.notify, id, T0 + 2, &err));
    assert_fails(MD_ERR_NOT_FOUND, md_notify_silence_expire(f.notify, "nothing", T0 + 2, &err));
    assert_string_equal(fleet_step(&f, T0 + 2), "lines: cpu@a /");
    fleet_end(&f);
}

static bool count_one(void *context, const struct md_notify_silence *found)
{
    assert_string_equal(found->author, "ann");
    assert_string_equal(found->comment, "disk swap");
    ++*(int *)context;
    return true;
}

static void silences_are_kept_for_some_days(void **state)
{
    char id[MD_NOTIFY_ID_BYTES];
    int count = 0;
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_silence(&f, "alertname", "cpu", T0, T0 + MINUTE, id);
    fleet_restart(&f);
    fleet_step(&f, T0 + MINUTE + MD_NOTIFY_SILENCE_KEEP_MS - 1);
    md_notify_silence_visit(f.notify, count_one, &count);
    assert_int_equal(count, 1);
    fleet_step(&f, T0 + MINUTE + MD_NOTIFY_SILENCE_KEEP_MS);
    md_notify_silence_visit(f.notify, count_one, &count);
    assert_int_equal(count, 1);
    fleet_end(&f);
}

static void bad_silences_are_refused(void **state)
{
    static const struct md_alert_label nothing[] = {{"server", ""}}, any[] = {{"server", "~.*"}};
    struct md_notify_matchers *matchers;
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    struct md_notify_silence made = {.starts_ms = T0, .ends_ms = T0 + 1};
    assert_fails(MD_ERR_UNPROCESSABLE, md_notify_silence_add(f.notify, &made, T0, &err));
    for (int i = 0; i < 2; i++) {
        assert_ok(md_notify_matchers_new(i ? any : nothing, 1, &matchers, &err));
        made.matchers = matchers;
        assert_fails(MD_ERR_UNPROCESSABLE, md_notify_silence_add(f.notify, &made, T0, &err));
        md_notify_matchers_delete(matchers);
    }
    assert_ok(md_notify_matchers_new(fleet_critical, 1, &matchers, &err));
    made.matchers = matchers;
    made.ends_ms = T0;
    assert_fails(MD_ERR_UNPROCESSABLE, md_notify_silence_add(f.notify, &made, T0, &err));
    made.ends_ms = T0 + 10; /* over already */
    assert_fails(MD_ERR_UNPROCESSABLE, md_notify_silence_add(f.notify, &made, T0 + 10, &err));
    md_notify_matchers_delete(matchers);
    fleet_end(&f);
}

/* A fleet_critical alert inhibits the warnings of its server. */
static void inhibition_is_by_server(void **state)
{
    static const struct md_alert_label warning[] = {{"severity", "warning"}};
    static const char *const equal[] = {"server"};
    struct md_notify_inhibition rule = {{1, fleet_critical}, {1, warning}, 1, equal};
    struct md_notify_suppression why;
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_configure(&f, &(struct md_notify_settings){.receiver_count = 1,
                                                     .receivers = &fleet_lines,
                                                     .inhibition_count = 1,
                                                     .inhibitions = &rule});
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "warm", "a");
    fleet_fires(&f, "warm", "b");
    const char *told = fleet_step(&f, T0);
    assert_null(strstr(told, "warm@a"));
    assert_true(md_notify_suppressed(f.notify, fleet_alert(&f, "warm", "a")->fingerprint, &why));
    assert_int_equal(why.inhibited_by, fleet_alert(&f, "cpu", "a")->fingerprint);
    assert_false(md_notify_suppressed(f.notify, fleet_alert(&f, "warm", "b")->fingerprint, &why));
    f.now_ms = T0 + 1;
    fleet_resolves(&f, "cpu", "a");
    told = fleet_step(&f, f.now_ms); /* nothing inhibits it any more */
    assert_false(md_notify_suppressed(f.notify, fleet_alert(&f, "warm", "a")->fingerprint, &why));
    fleet_end(&f);
}

static void alerts_on_both_sides_do_not_inhibit_each_other(void **state)
{
    struct md_notify_inhibition rule = {{1, fleet_critical}, {1, fleet_critical}, 0, NULL};
    struct md_notify_suppression why;
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_configure(&f, &(struct md_notify_settings){.receiver_count = 1,
                                                     .receivers = &fleet_lines,
                                                     .inhibition_count = 1,
                                                     .inhibitions = &rule});
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "mem", "a");
    fleet_step(&f, T0);
    assert_false(md_notify_suppressed(f.notify, fleet_alert(&f, "cpu", "a")->fingerprint, &why));
    assert_false(md_notify_suppressed(f.notify, fleet_alert(&f, "mem", "a")->fingerprint, &why));
    fleet_end(&f);
}

static void equal_labels_that_both_lack_are_equal(void **state)
{
    static const struct md_alert_label warning[] = {{"severity", "warning"}};
    static const char *const equal[] = {"datacenter"};
    struct md_notify_inhibition rule = {{1, fleet_critical}, {1, warning}, 1, equal};
    struct md_notify_suppression why;
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_configure(&f, &(struct md_notify_settings){.receiver_count = 1,
                                                     .receivers = &fleet_lines,
                                                     .inhibition_count = 1,
                                                     .inhibitions = &rule});
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "warm", "b");
    fleet_step(&f, T0);
    assert_true(md_notify_suppressed(f.notify, fleet_alert(&f, "warm", "b")->fingerprint, &why));
    fleet_end(&f);
}

static void matchers_say_what_they_match(void **state)
{
    static const struct {
        const char *text, *value;
        bool matches;
    } cases[] = {
        {"x", "x", true},       {"x", "xx", false},   {"=~x", "~x", true},   {"!x", "x", false},
        {"!x", "", true},       {"~a.*", "ab", true}, {"~a|b", "ab", false}, {"~a|b", "b", true},
        {"!~a.*", "ab", false}, {"!~a.*", "", true},  {"", "", true},        {"", "x", false},
        {"!", "x", true},       {"~", "", true},      {"!=x", "=x", false},  {"~[{]x", "{x", true},
        {"~a\\{", "a{", true},  {"=", "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct md_alert_label text = {"server", cases[i].text}, label = {"server", cases[i].value};
        struct md_notify_matchers *matchers;
        assert_ok(md_notify_matchers_new(&text, 1, &matchers, &err));
        if (md_notify_matchers_match(matchers, &label, 1) != cases[i].matches)
            fail_msg("\"%s\" on \"%s\"", cases[i].text, cases[i].value);
        md_notify_matchers_delete(matchers);
    }
}

static void patterns_without_bounds_are_refused(void **state)
{
    static const char *const bad[] = {"~a{1000}{1000}", "~(a*)\\1", "~(", "~[", "~a{2}", "~*{"};
    struct md_notify_matchers *matchers;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct md_alert_label text = {"server", bad[i]};
        assert_fails(MD_ERR_INVALID, md_notify_matchers_new(&text, 1, &matchers, &err));
        assert_says("server");
    }
    struct md_alert_label name = {"no name", "x"};
    assert_fails(MD_ERR_INVALID, md_notify_matchers_new(&name, 1, &matchers, &err));
    assert_says("no name");
}

/* ---- maintenance windows --------------------------------------------------------------------- */

static int64_t at(const char *text)
{
    int64_t ms;
    assert_ok(md_timestamp_parse(text, NULL, &ms, &err));
    return ms;
}

static void windows_open_by_the_wall_clock(void **state)
{
    enum { SAT = 1 << 5, SUN = 1 << 6, ALL = 127 };
    static const struct {
        unsigned days;
        int from, to;             /* hours and minutes as hhmm */
        const char *first, *last; /* the first moment, and the first after it; "" never */
        const char *probe;
    } cases[] = {
        /* Saturday night into Sunday, in winter */
        {SAT, 2200, 600, "2026-01-10T21:00:00Z", "2026-01-11T05:00:00Z", "2026-01-11T03:00:00Z"},
        /* by the day on which it begins */
        {SUN, 2200, 600, "", "", "2026-01-11T03:00:00Z"},
        /* clocks go forward: an hour less */
        {SAT, 2200, 600, "2026-03-28T21:00:00Z", "2026-03-29T04:00:00Z", "2026-03-29T02:00:00Z"},
        /* and back: an hour more */
        {SAT, 2200, 600, "2026-10-24T20:00:00Z", "2026-10-25T05:00:00Z", "2026-10-25T00:30:00Z"},
        /* begins in the hour that is skipped */
        {SUN, 230, 400, "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z", "2026-03-29T01:10:00Z"},
        /* ends in it */
        {SUN, 100, 230, "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T00:30:00Z"},
        /* lies in it */
        {SUN, 200, 300, "", "", "2026-03-29T01:00:00Z"},
        /* in the hour that comes twice: the first */
        {SUN, 200, 230, "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T00:15:00Z"},
        {SUN, 200, 230, "", "", "2026-10-25T01:15:00Z"},
        /* a whole day, of 23 hours */
        {SUN, 0, 2400, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-29T12:00:00Z"},
        {SUN, 0, 0, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-29T12:00:00Z"},
        {ALL, 900, 1700, "2026-01-14T08:00:00Z", "2026-01-14T16:00:00Z", "2026-01-14T12:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct md_notify_window window = {.name = "w",
                                          .days = cases[i].days,
                                          .from_min =
                                              cases[i].from / 100 * 60 + cases[i].from % 100,
                                          .to_min = cases[i].to / 100 * 60 + cases[i].to % 100,
                                          .timezone = "Europe/Berlin"};
        struct md_notify_config *config;
        int64_t begin_ms, end_ms;
        assert_ok(md_notify_config_new(
            &(struct md_notify_settings){.window_count = 1, .windows = &window}, &config, &err));
        bool open = md_notify_window_open(config, 0, at(cases[i].probe), &begin_ms, &end_ms);
        if (open != (*cases[i].first != '\0'))
            fail_msg("case %zu: %s", i, open ? "open" : "closed");
        if (open && (begin_ms != at(cases[i].first) || end_ms != at(cases[i].last)))
            fail_msg("case %zu: from %lld to %lld", i, (long long)begin_ms, (long long)end_ms);
        if (open) {
            assert_true(md_notify_window_open(config, 0, begin_ms, &begin_ms, &end_ms));
            assert_true(md_notify_window_open(config, 0, end_ms - 1, &begin_ms, &end_ms));
        }
        md_notify_config_unref(config);
    }
}

static void maintenance_holds_alerts_back(void **state)
{
    static const struct md_alert_label on_a[] = {{"server", "a"}};
    struct md_notify_window window = {.name = "nightly",
                                      .days = 127,
                                      .from_min = 0,
                                      .to_min = 2,
                                      .timezone = "UTC",
                                      .match = {1, on_a}};
    struct md_notify_suppression why;
    char all[FLEET_TOLD_BYTES];
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_configure(&f, &(struct md_notify_settings){.receiver_count = 1,
                                                     .receivers = &fleet_lines,
                                                     .window_count = 1,
                                                     .windows = &window});
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "cpu", "b");
    assert_string_equal(fleet_step(&f, T0), "lines: cpu@b /");
    assert_true(md_notify_suppressed(f.notify, fleet_alert(&f, "cpu", "a")->fingerprint, &why));
    assert_string_equal(why.maintenance, "nightly");
    fleet_run(&f, T0 + 5 * MINUTE, all);
    assert_string_equal(all, "120 s lines: cpu@a /");
    fleet_end(&f);
}

/* ---- bad settings, damage -------------------------------------------------------------------- */

static void bad_settings_name_their_place(void **state)
{
    static const struct md_alert_label bad[] = {{"server", "~("}};
    const struct {
        struct md_notify_settings settings;
        const char *says;
    } cases[] = {
        {{.receiver_count = 2, .receivers = (struct md_notify_receiver[]){fleet_hook, fleet_hook}},
         "receivers[2]: another receiver"},
        {{.receiver_count = 1,
          .receivers = &(struct md_notify_receiver){.name = "x", .target = "x", .timeout_ms = 1}},
         "receivers[1]: it needs a URL"},
        {{.receiver_count = 1, .receivers = &(struct md_notify_receiver){.timeout_ms = 1}},
         "receivers[1]: a receiver needs a name"},
        {{.receiver_count = MD_NOTIFY_RECEIVERS_MAX + 1}, "at most"},
        {{.inhibition_count = 1, .inhibitions = &(struct md_notify_inhibition){.target = {1, bad}}},
         "inhibition[1]: server"},
        {{.window_count = 1,
          .windows = &(struct md_notify_window){.name = "w", .days = 1, .timezone = "Mars/Base"}},
         "maintenance[1]"},
        {{.window_count = 1, .windows = &(struct md_notify_window){.name = "w", .timezone = "UTC"}},
         "days"},
        {{.window_count = 1,
          .windows =
              &(struct md_notify_window){
                  .name = "w", .days = 1, .from_min = 1440, .timezone = "UTC"}},
         "from is"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct md_notify_config *config;
        assert_fails(MD_ERR_INVALID, md_notify_config_new(&cases[i].settings, &config, &err));
        assert_says(cases[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silence_holds_while_it_lasts),
        cmocka_unit_test(a_silence_can_be_ended),
        cmocka_unit_test(silences_are_kept_for_some_days),
        cmocka_unit_test(bad_silences_are_refused),
        cmocka_unit_test(inhibition_is_by_server),
        cmocka_unit_test(alerts_on_both_sides_do_not_inhibit_each_other),
        cmocka_unit_test(equal_labels_that_both_lack_are_equal),
        cmocka_unit_test(matchers_say_what_they_match),
        cmocka_unit_test(patterns_without_bounds_are_refused),
        cmocka_unit_test(windows_open_by_the_wall_clock),
        cmocka_unit_test(maintenance_holds_alerts_back),
        cmocka_unit_test(bad_settings_name_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
