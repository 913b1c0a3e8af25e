/*
 * Who hears of which alert, and when: tables of moments and messages for groups and for direct
 * receivers; memory that survives, and damage to it.
 */
#include <stdio.h>
#include <string.h>

#include "notified.h"
#include "unit.h"

static struct md_error err;

/* ---- groups ---------------------------------------------------------------------------------- */

struct row {
    int64_t at_s;
    const char *change; /* "+x@a" fires, "-x@a" resolves, "" nothing */
    const char *told;
};

static void change(struct fleet *f, const char *what)
{
    char name[40], server[40];
    if (sscanf(what, "%*c%39[^@]@%39s", name, server) != 2)
        return;
    if (what[0] == '+')
        fleet_fires(f, name, server);
    else
        fleet_resolves(f, name, server);
}

static void run_table(struct fleet *f, const struct row *rows, int count)
{
    for (int i = 0; i < count; i++) {
        f->now_ms = T0 + rows[i].at_s * 1000;
        change(f, rows[i].change);
        const char *told = fleet_step(f, f->now_ms);
        if (strcmp(told, rows[i].told) != 0)
            fail_msg("at %lld s: \"%s\", not \"%s\"", (long long)rows[i].at_s, told, rows[i].told);
    }
}

static const struct row grouping[] = {
    {0, "+cpu@a", ""},               /* waits for others */
    {10, "+cpu@b", ""},              /* one of them */
    {20, "+mem@a", ""},              /* a group of its own */
    {29, "", ""},                    /* still */
    {30, "", "hook: cpu@a cpu@b /"}, /* group_wait */
    {50, "", "hook: mem@a /"},       /* the other's */
    {60, "+cpu@c", ""},              /* waits for group_interval */
    {329, "", ""},                   /* ... */
    {330, "", "hook: cpu@a cpu@b cpu@c /"},
    {350, "", ""}, /* mem: nothing new */
    {400, "-cpu@b", ""},
    {630, "", "hook: cpu@a cpu@c / cpu@b"},
    {640, "-mem@a", ""},
    {650, "", "hook: / mem@a"}, /* the group ends with it */
    {700, "+cpu@d", ""},        /* comes and goes between two looks: nobody hears */
    {710, "-cpu@d", ""},
    {930, "", ""},
    {940, "-cpu@a", ""},
    {941, "-cpu@c", ""},
    {1000, "+cpu@a", ""}, /* back before anybody heard that it had gone */
    {1230, "", "hook: cpu@a / cpu@c"},
    {1240, "-cpu@a", ""},
    {1530, "", "hook: / cpu@a"},
    {1900, "+cpu@a", ""}, /* a new group: waits again */
    {1930, "", "hook: cpu@a /"},
};

static void groups_wait_gather_and_end(void **state)
{
    struct fleet f;
    fleet_begin(&f, &fleet_hook, 1);
    run_table(&f, grouping, (int)(sizeof grouping / sizeof *grouping));
    fleet_end(&f);
}

static void a_restart_before_every_step_changes_nothing(void **state)
{
    struct fleet f;
    fleet_begin(&f, &fleet_hook, 1);
    f.restarts = true;
    run_table(&f, grouping, (int)(sizeof grouping / sizeof *grouping));
    fleet_end(&f);
}

static void unchanged_groups_are_repeated(void **state)
{
    char all[FLEET_TOLD_BYTES];
    struct fleet f;
    struct md_notify_receiver often = fleet_hook;
    often.repeat_ms = 12 * MINUTE;
    fleet_begin(&f, &often, 1);
    fleet_fires(&f, "cpu", "a");
    fleet_step(&f, T0);
    fleet_run(&f, T0 + 40 * MINUTE,
              all); /* looks every 5 minutes: the first after 12 is the third */
    assert_string_equal(all, "30 s hook: cpu@a / | 930 s hook: cpu@a / | 1830 s hook: cpu@a /");
    f.pending = 1; /* the receiver is down: more of the same would not help it */
    fleet_run(&f, T0 + 120 * MINUTE, all);
    assert_string_equal(all, "");
    fleet_end(&f);
}

static void without_send_resolved_only_firing_is_told(void **state)
{
    static const struct row rows[] = {
        {0, "+cpu@a", ""},  {5, "+cpu@b", ""},   {30, "", "hook: cpu@a cpu@b /"},
        {40, "-cpu@a", ""}, {330, "", ""},       {340, "-cpu@b", ""},
        {630, "", ""},      {640, "+cpu@b", ""}, {670, "", "hook: cpu@b /"},
    };
    struct fleet f;
    struct md_notify_receiver quiet = fleet_hook;
    quiet.send_resolved = false;
    fleet_begin(&f, &quiet, 1);
    run_table(&f, rows, (int)(sizeof rows / sizeof *rows));
    fleet_end(&f);
}

static void an_old_alert_does_not_wait_again(void **state)
{
    struct fleet f;
    fleet_begin(&f, &fleet_hook, 1);
    fleet_fires(&f, "cpu", "a");
    assert_string_equal(fleet_step(&f, T0 + 31000), "hook: cpu@a /"); /* the notifier was away */
    fleet_end(&f);
}

static void groups_are_made_by_labels(void **state)
{
    static const char *const one_each[] = {"..."};
    struct fleet f;
    struct md_notify_receiver each = fleet_hook, all = fleet_hook;
    each.group_by = one_each;
    each.name = each.target = "each";
    each.match = (struct md_notify_match){1, fleet_critical};
    all.group_by_count = 0;
    all.name = all.target = "all";
    all.alerts_max = 2;
    const struct md_notify_receiver both[] = {each, all};
    fleet_begin(&f, both, 2);
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "warm", "b");
    fleet_fires(&f, "mem", "a");
    fleet_step(&f, T0);
    const char *told = fleet_step(&f, T0 + 30000);
    assert_non_null(strstr(told, "each: cpu@a /"));
    assert_non_null(strstr(told, "each: mem@a /"));
    assert_null(strstr(told, "each: warm"));
    assert_int_equal(json_integer_value(json_object_get(f.body, "truncatedAlerts")), 1);
    assert_int_equal(json_array_size(json_object_get(f.body, "alerts")), 2);
    assert_string_equal(json_string_value(json_object_get(f.body, "groupKey")), "{}:{}");
    fleet_end(&f);
}

static void other_groups_begin_anew(void **state)
{
    struct fleet f;
    struct md_notify_receiver other = fleet_hook;
    static const char *const by_server[] = {"server"};
    fleet_begin(&f, &fleet_hook, 1);
    fleet_fires(&f, "cpu", "a");
    fleet_step(&f, T0);
    fleet_step(&f, T0 + 30000);
    other.group_by = by_server;
    fleet_configure(&f, &(struct md_notify_settings){.receiver_count = 1, .receivers = &other});
    assert_string_equal(fleet_step(&f, T0 + 60001), "hook: cpu@a /");
    fleet_resolves(&f, "cpu", "a");
    assert_string_equal(fleet_step(&f, T0 + 20 * MINUTE), "hook: / cpu@a");
    fleet_end(&f);
}

static void the_webhook_body_is_alertmanagers(void **state)
{
    struct fleet f;
    struct md_notify_receiver matched = fleet_hook;
    matched.match = (struct md_notify_match){1, fleet_critical};
    fleet_begin(&f, &matched, 1);
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "cpu", "b");
    fleet_step(&f, T0);
    fleet_step(&f, T0 + 30000);
    json_t *wanted =
        json_pack("{s:s,s:s,s:i,s:s,s:s,s:{s:s},s:{s:s,s:s},s:{s:s},s:s}", "version", "4",
                  "groupKey", "{}/{severity=\"critical\"}:{alertname=\"cpu\"}", "truncatedAlerts",
                  0, "status", "firing", "receiver", "hook", "groupLabels", "alertname", "cpu",
                  "commonLabels", "alertname", "cpu", "severity", "critical", "commonAnnotations",
                  "summary", "look at \"it\"", "externalURL", "http://here:8000");
    json_t *first = json_incref(json_array_get(json_object_get(f.body, "alerts"), 0));
    json_object_del(f.body, "alerts");
    assert_true(json_equal(f.body, wanted));
    json_decref(wanted);
    char fingerprint[20];
    snprintf(fingerprint, sizeof fingerprint, "%016llx",
             (unsigned long long)fleet_alert(&f, "cpu", fleet_label(first, "server"))->fingerprint);
    wanted =
        json_pack("{s:s,s:{s:s,s:s,s:s},s:{s:s},s:s,s:s,s:s,s:s}", "status", "firing", "labels",
                  "alertname", "cpu", "server", fleet_label(first, "server"), "severity",
                  "critical", "annotations", "summary", "look at \"it\"", "startsAt",
                  "2026-01-01T00:00:00Z", "endsAt", "0001-01-01T00:00:00Z", "generatorURL",
                  "http://here:8000/alerts/active", "fingerprint", fingerprint);
    assert_true(json_equal(first, wanted));
    json_decref(wanted);
    json_decref(first);
    fleet_end(&f);
}

/* ---- direct receivers ------------------------------------------------------------------------ */

static void an_alertmanager_is_told_again_and_again(void **state)
{
    char all[FLEET_TOLD_BYTES];
    struct fleet f;
    fleet_begin(&f, &fleet_manager, 1);
    fleet_fires(&f, "cpu", "a");
    assert_string_equal(fleet_step(&f, T0), "manager: cpu@a /");
    json_t *sent = json_array_get(f.body, 0);
    assert_string_equal(json_string_value(json_object_get(sent, "startsAt")),
                        "2026-01-01T00:00:00Z");
    assert_string_equal(json_string_value(json_object_get(sent, "endsAt")),
                        "2026-01-01T00:20:00Z"); /* four evaluations */
    assert_string_equal(json_string_value(json_object_get(sent, "generatorURL")),
                        "http://here:8000/alerts/active");
    fleet_run(&f, T0 + 130000, all);
    assert_string_equal(all, "60 s manager: cpu@a / | 120 s manager: cpu@a /");
    f.now_ms = T0 + 130000;
    fleet_resolves(&f, "cpu", "a");
    assert_string_equal(fleet_step(&f, f.now_ms), "manager: / cpu@a");
    sent = json_array_get(f.body, 0);
    assert_string_equal(json_string_value(json_object_get(sent, "endsAt")), "2026-01-01T00:02:10Z");
    fleet_run(&f, T0 + 255000, all);
    assert_string_equal(all, "190 s manager: / cpu@a | 250 s manager: / cpu@a");
    fleet_run(&f, T0 + 130000 + 14 * MINUTE + 59000, all);
    assert_int_equal(strstr(all, "970 s manager: / cpu@a") != NULL, 1);
    f.count = 0; /* the engine forgets it after 15 minutes, and so do we */
    fleet_run(&f, T0 + 60 * MINUTE, all);
    assert_string_equal(all, "");
    fleet_end(&f);
}

static void nothing_is_repeated_over_a_backlog(void **state)
{
    struct fleet f;
    fleet_begin(&f, &fleet_manager, 1);
    fleet_fires(&f, "cpu", "a");
    fleet_step(&f, T0);
    f.pending = 1;
    assert_string_equal(fleet_step(&f, T0 + MINUTE), "");
    f.now_ms = T0 + MINUTE + 1;
    fleet_fires(&f, "mem", "a"); /* news are told all the same */
    assert_string_equal(fleet_step(&f, f.now_ms), "manager: mem@a /");
    f.pending = 0;
    assert_string_equal(fleet_step(&f, f.now_ms + 1), "manager: cpu@a /");
    fleet_end(&f);
}

static void many_alerts_go_in_batches(void **state)
{
    struct fleet f;
    static char servers[130][16];
    fleet_begin(&f, &fleet_manager, 1);
    for (int i = 0; i < 130; i++) {
        snprintf(servers[i], sizeof servers[i], "s%03d", i);
        fleet_fires(&f, "cpu", servers[i]);
    }
    fleet_step(&f, T0);
    assert_int_equal(f.key_count, 3);
    assert_int_equal(json_array_size(f.body), 2);
    fleet_end(&f);
}

static void a_file_gets_a_line_for_each_change(void **state)
{
    static const struct row rows[] = {
        {0, "+cpu@a", "lines: cpu@a /"},  {60, "", ""},
        {90, "-cpu@a", "lines: / cpu@a"}, {95, "", ""},
        {99, "+cpu@a", "lines: cpu@a /"},
    };
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    run_table(&f, rows, (int)(sizeof rows / sizeof *rows));
    assert_string_equal(json_string_value(json_object_get(f.body, "receiver")), "lines");
    assert_string_equal(json_string_value(json_object_get(f.body, "key")), f.keys[f.key_count - 1]);
    fleet_end(&f);
}

static void an_alert_that_vanishes_has_resolved(void **state)
{
    struct fleet f;
    fleet_begin(&f, &fleet_lines, 1);
    fleet_fires(&f, "cpu", "a");
    fleet_step(&f, T0);
    f.count = 0;
    assert_string_equal(fleet_step(&f, T0 + MINUTE), "lines: / cpu@a");
    assert_string_equal(fleet_step(&f, T0 + 2 * MINUTE), "");
    fleet_end(&f);
}

static void what_only_ever_resolved_is_not_told(void **state)
{
    struct fleet f;
    const struct md_notify_receiver all[] = {fleet_hook, fleet_manager, fleet_lines};
    fleet_begin(&f, all, 3);
    fleet_fires(&f, "cpu", "a");
    fleet_resolves(&f, "cpu", "a");
    assert_string_equal(fleet_step(&f, T0 + MINUTE), "");
    fleet_end(&f);
}

static void a_sink_that_refuses_is_asked_again(void **state)
{
    struct fleet f;
    struct md_notify_sink sink = fleet_sink(&f);
    const struct md_notify_receiver both[] = {fleet_lines, fleet_hook};
    fleet_begin(&f, both, 2);
    fleet_fires(&f, "cpu", "a");
    f.refuses = true;
    assert_fails(MD_ERR_MEMORY,
                 md_notify_step(f.notify, T0 + MINUTE, f.alerts, f.count, &sink, NULL, &err));
    f.refuses = false;
    assert_string_equal(fleet_step(&f, T0 + MINUTE), "lines: cpu@a /; hook: cpu@a /");
    fleet_end(&f);
}

/* An alert that was told a day ahead of T0. */
static void begin_late(struct fleet *f, const struct md_notify_receiver *receivers)
{
    fleet_begin(f, receivers, 2);
    f->now_ms = T0 + 1440 * MINUTE;
    fleet_fires(f, "cpu", "a");
    fleet_step(f, f->now_ms);
    fleet_step(f, f->now_ms + 30000);
}

static void a_clock_that_is_set_back_puts_nothing_off(void **state)
{
    struct fleet f;
    const struct md_notify_receiver both[] = {fleet_manager, fleet_hook};
    begin_late(&f, both);
    assert_string_equal(fleet_step(&f, T0 + MINUTE), "manager: cpu@a /");
    f.now_ms = T0 + 2 * MINUTE;
    fleet_fires(&f, "cpu", "b");
    fleet_step(&f, T0 + 2 * MINUTE);
    assert_non_null(strstr(fleet_step(&f, T0 + 8 * MINUTE), "hook: cpu@b cpu@a /"));
    fleet_end(&f);
}

static void a_target_that_left_is_forgotten(void **state)
{
    struct fleet f;
    const struct md_notify_receiver both[] = {fleet_lines, fleet_manager};
    fleet_begin(&f, both, 2);
    fleet_fires(&f, "cpu", "a");
    fleet_step(&f, T0);
    fleet_configure(&f,
                    &(struct md_notify_settings){.receiver_count = 1, .receivers = &fleet_manager});
    assert_string_equal(fleet_step(&f, T0 + 1), ""); /* in another place, and known all the same */
    fleet_configure(&f, &(struct md_notify_settings){.receiver_count = 2, .receivers = both});
    assert_string_equal(fleet_step(&f, T0 + 2), "lines: cpu@a /");
    fleet_end(&f);
}

/* Any cut and any changed byte is refused or gives something that works. */
static void damaged_memory_is_refused(void **state)
{
    char id[MD_NOTIFY_ID_BYTES];
    struct md_buffer bytes;
    struct fleet f;
    const struct md_notify_receiver both[] = {fleet_hook, fleet_manager};
    fleet_begin(&f, both, 2);
    fleet_silence(&f, "server", "~x.*", T0, T0 + MINUTE, id);
    fleet_fires(&f, "cpu", "a");
    fleet_fires(&f, "cpu", "b");
    fleet_step(&f, T0);
    fleet_step(&f, T0 + MINUTE);
    md_buffer_init(&bytes, 0);
    assert_ok(md_notify_save(f.notify, &bytes, &err));
    for (size_t cut = 0; cut < bytes.length; cut++) {
        struct md_notify *empty;
        assert_ok(md_notify_new(&empty, &err));
        assert_fails(MD_ERR_CORRUPT, md_notify_restore(empty, bytes.data, cut, &err));
        md_notify_delete(empty);
    }
    for (size_t i = 0; i < bytes.length; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct md_notify *read;
            struct md_notify_sink sink = fleet_sink(&f);
            bytes.data[i] = (char)(bytes.data[i] ^ 1 << bit);
            assert_ok(md_notify_new(&read, &err));
            if (md_notify_restore(read, bytes.data, bytes.length, &err) == MD_OK) {
                f.key_count = 0;
                assert_ok(md_notify_set_config(read, f.config, &err));
                assert_ok(md_notify_step(read, f.now_ms, f.alerts, f.count, &sink, NULL, &err));
                f.told[0] = '\0';
            }
            md_notify_delete(read);
            bytes.data[i] = (char)(bytes.data[i] ^ 1 << bit);
        }
    }
    md_buffer_fini(&bytes);
    fleet_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_wait_gather_and_end),
        cmocka_unit_test(a_restart_before_every_step_changes_nothing),
        cmocka_unit_test(unchanged_groups_are_repeated),
        cmocka_unit_test(without_send_resolved_only_firing_is_told),
        cmocka_unit_test(an_old_alert_does_not_wait_again),
        cmocka_unit_test(groups_are_made_by_labels),
        cmocka_unit_test(other_groups_begin_anew),
        cmocka_unit_test(the_webhook_body_is_alertmanagers),
        cmocka_unit_test(an_alertmanager_is_told_again_and_again),
        cmocka_unit_test(nothing_is_repeated_over_a_backlog),
        cmocka_unit_test(many_alerts_go_in_batches),
        cmocka_unit_test(a_file_gets_a_line_for_each_change),
        cmocka_unit_test(an_alert_that_vanishes_has_resolved),
        cmocka_unit_test(what_only_ever_resolved_is_not_told),
        cmocka_unit_test(a_sink_that_refuses_is_asked_again),
        cmocka_unit_test(a_clock_that_is_set_back_puts_nothing_off),
        cmocka_unit_test(a_target_that_left_is_forgotten),
        cmocka_unit_test(damaged_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
