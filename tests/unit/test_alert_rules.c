/* Rule sets: what they refuse, that they own what they hold; templates of annotations. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alerts.h"
#include "unit.h"

static const char *const cpu[] = {"cpu"};
static const char *const cpu_twice[] = {"cpu", "mem", "cpu"};
static const char *const no_name[] = {""};
static const char *const profiles[] = {"database", "web"};
static const char *const profile_twice[] = {"web", "web"};

static struct md_alert_rule plain(void)
{
    return alerts_rule("high", cpu, 1, 90);
}

static struct md_alert_rule forecast(void)
{
    struct md_alert_rule rule = plain();
    rule.watch = MD_ALERT_FORECAST;
    rule.quantile = 0.5f;
    rule.within_ms = 3600000;
    return rule;
}

static void refuses(struct md_alert_rule rule, const char *part)
{
    struct md_alert_rules *set = NULL;
    struct md_error err;
    assert_fails(MD_ERR_INVALID, md_alert_rules_new(&rule, 1, &set, &err));
    assert_says(part);
    assert_null(set);
}

static void names_are_checked(void **state)
{
    static char long_name[202];
    struct md_alert_rule rule = plain();
    memset(long_name, 'n', sizeof long_name - 1);
    static const char *const bad[] = {NULL, "", "two\nlines", "\xff", long_name};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rule.name = bad[i];
        refuses(rule, "rule 1: name");
    }
    rule = plain();
    rule.severity = NULL;
    refuses(rule, "rule high: severity");

    struct md_alert_rule two[] = {plain(), plain()};
    struct md_alert_rules *set;
    struct md_error err;
    assert_fails(MD_ERR_INVALID, md_alert_rules_new(two, 2, &set, &err));
    assert_says("rule high: name: there are two of it");
    assert_fails(MD_ERR_INVALID, md_alert_rules_new(two, MD_ALERT_RULES_MAX + 1, &set, &err));
    assert_fails(MD_ERR_INVALID, md_alert_rules_new(two, -1, &set, &err));
}

static void what_is_watched_is_checked(void **state)
{
    struct md_alert_rule rule = plain();
    rule.column_count = 0;
    refuses(rule, "watch: names no column");
    rule = plain();
    rule.columns = no_name;
    refuses(rule, "column 1 has no proper name");
    rule.columns = cpu_twice;
    rule.column_count = 3;
    refuses(rule, "names cpu twice");
    rule = plain();
    rule.watch = (enum md_alert_watch)9;
    refuses(rule, "none of the kinds");
    rule.watch = MD_ALERT_GAUGE;
    refuses(rule, "names no gauge");
    rule.watch = MD_ALERT_FUNCTION;
    rule.function = -1;
    refuses(rule, "when: has no function");
    for (float quantile = -0.5f; quantile <= 1; quantile += 0.5f) {
        rule = forecast();
        rule.quantile = quantile;
        if (quantile != 0.5f)
            refuses(rule, "quantile: must lie between 0 and 1");
    }
    rule = forecast();
    rule.quantile = NAN;
    refuses(rule, "quantile");
    rule = forecast();
    rule.within_ms = 0;
    refuses(rule, "within_min");
    rule.within_ms = INT64_MAX;
    refuses(rule, "within_min");
}

static void limits_are_checked(void **state)
{
    float values[] = {80, NAN};
    struct md_alert_rule rule = plain();
    rule.limit.fallback = NAN;
    refuses(rule, "above: there is no limit");
    rule.is_below = true;
    refuses(rule, "below: there is no limit");
    rule.limit.fallback = INFINITY;
    refuses(rule, "below: must be a finite number");
    rule = plain();
    rule.limit.profile_count = 2;
    rule.limit.profiles = profiles;
    rule.limit.values = values;
    refuses(rule, "above: of profile 2 must be a finite number");
    values[1] = 70;
    rule.limit.profiles = profile_twice;
    refuses(rule, "names profile web twice");

    rule.limit.profiles = profiles;
    rule.clear.fallback = 75; /* below 90 and 80, but web's limit is 70 */
    refuses(rule, "clear_below: 75 of web is on the wrong side of the limit, which is 70");
    rule.is_below = true;
    refuses(rule, "clear_above: 75 of the default is on the wrong side");
    rule = plain();
    rule.clear.fallback = 91;
    refuses(rule, "clear_below: 91 of the default");
    rule = plain();
    rule.watch = MD_ALERT_GAUGE;
    rule.gauge = "queue";
    rule.limit = (struct md_alert_limit){NAN, 2, profiles, values};
    refuses(rule, "above: there is no limit");
}

static void the_rest_is_checked(void **state)
{
    struct md_alert_rule rule = plain();
    rule.for_ms = -1;
    refuses(rule, "for_min");
    rule = plain();
    rule.keep_firing_ms = INT64_MAX;
    refuses(rule, "keep_firing_min");
    rule = plain();
    rule.instances_max = -1;
    refuses(rule, "limit");
    rule = plain();
    rule.no_data = (enum md_alert_no_data)3;
    refuses(rule, "no_data");
    rule = plain();
    rule.on_error = (enum md_alert_no_data) - 1;
    refuses(rule, "on_error");

    static const struct {
        struct md_alert_label labels[2];
        int count;
        const char *says;
    } bad[] = {
        {{{"a-b", "x"}}, 1, "'a-b' is no label name"},
        {{{"__name", "x"}}, 1, "'__name' is no label name"},
        {{{"", "x"}}, 1, "is no label name"},
        {{{NULL, "x"}}, 1, "is no label name"},
        {{{"alertname", "x"}}, 1, "alertname is given by the alert itself"},
        {{{"team", NULL}}, 1, "team is no proper text"},
        {{{"team", "a"}, {"team", "b"}}, 2, "team is there twice"},
        {{{"team", "a"}}, MD_ALERT_LABELS_MAX + 1, "at most"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rule = plain();
        rule.labels = bad[i].labels;
        rule.label_count = bad[i].count;
        refuses(rule, bad[i].says);
    }
    struct md_alert_label summary = {"summary", "{server"};
    rule = plain();
    rule.annotations = &summary;
    rule.annotation_count = 1;
    refuses(rule, "rule high: summary: '{server'");
}

static void a_set_owns_what_it_holds(void **state)
{
    char name[] = "zebra", column[] = "cpu", profile[] = "web", label[] = "infra";
    const char *column_list[] = {column}, *profile_list[] = {profile};
    float values[] = {70};
    struct md_alert_label labels[] = {{"team", label}};
    struct md_alert_rule rules[] = {alerts_rule(name, column_list, 1, 90), plain()};
    struct md_alert_rules *set;
    struct md_error err;
    rules[0].limit = (struct md_alert_limit){90, 1, profile_list, values};
    rules[0].labels = labels;
    rules[0].label_count = 1;
    assert_ok(md_alert_rules_new(rules, 2, &set, &err));
    name[0] = column[0] = profile[0] = label[0] = '!';
    values[0] = -1;
    memset(rules, 0, sizeof rules);

    assert_int_equal(md_alert_rules_count(set), 2);
    assert_int_equal(md_alert_rules_find(set, "zebra"), 0);
    assert_int_equal(md_alert_rules_find(set, "high"), 1);
    assert_int_equal(md_alert_rules_find(set, "low"), -1);
    const struct md_alert_rule *rule = md_alert_rules_get(set, 0);
    assert_string_equal(rule->columns[0], "cpu");
    assert_string_equal(rule->limit.profiles[0], "web");
    assert_true(rule->limit.values[0] == 70);
    assert_string_equal(rule->labels[0].value, "infra");
    assert_ptr_equal(md_alert_rules_ref(set), set);
    md_alert_rules_unref(set);
    assert_string_equal(md_alert_rules_get(set, 0)->name, "zebra");
    md_alert_rules_unref(set);
    md_alert_rules_unref(NULL);
}

/* ---- templates ------------------------------------------------------------------------------- */

static const struct md_alert_label alert_labels[] = {
    {"alertname", "high"}, {"metric", "cpu"}, {"server", "web1"}, {"team", "{infra}"}};
static const struct md_alert alert = {.name = "high",
                                      .severity = "",
                                      .key = "web1",
                                      .column = "cpu",
                                      .profile = "",
                                      .value = 96.3f,
                                      .limit = 95,
                                      .active_ms = 1000000,
                                      .lead_steps = 7,
                                      .step_ms = 300000,
                                      .label_count = 4,
                                      .labels = alert_labels};

static void writes(const char *template, const char *wanted)
{
    struct md_buffer text;
    struct md_error err;
    md_buffer_init(&text, 0);
    md_buffer_text(&text, "");
    assert_ok(md_alert_template_check(template, &err));
    md_alert_annotate(&alert, template, 1000000 + 90000, &text);
    assert_string_equal(text.data ? text.data : "", wanted);
    md_buffer_fini(&text);
}

static void templates_name_labels_and_numbers(void **state)
{
    writes("{server} reaches {value:.0f} % CPU in {lead_min} min",
           "web1 reaches 96 % CPU in 35 min");
    writes("{metric} of {team} [{profile}{severity}] on {rack}", "cpu of {infra} [] on {rack}");
    writes("{value} over {limit} for {active_min}", "96.3 over 95 for 1.5");
    writes("{value:8.2f}|{value:-8.1f}|{value:+.0e}|{limit:#.3g}|{limit:05g}",
           "   96.30|96.3    |+1e+02|95.0|00095");
    writes("{{server}} %s %d {{ {value:g}}}", "{server} %s %d { 96.3}");
    writes("", "");
    writes("}", "}");
}

static void templates_without_a_value_say_so(void **state)
{
    struct md_alert silent = alert;
    struct md_buffer text;
    silent.value = NAN;
    md_buffer_init(&text, 0);
    md_alert_annotate(&silent, "{value} {value:.1f}", 0, &text);
    assert_string_equal(text.data, "nan nan");
    md_buffer_fini(&text);
}

static void wrong_templates_are_named(void **state)
{
    static const struct {
        const char *template, *says;
    } bad[] = {
        {"{server", "there is no }"},
        {"{", "a name must follow {"},
        {"{ server}", "a name must follow {"},
        {"{}", "a name must follow {"},
        {"{server:.1f}", "only value, limit, lead_min and active_min are numbers"},
        {"{value:}", "a format is like"},
        {"{value:s}", "a format is like"},
        {"{value:.f", "there is no }"},
        {"{value:n}", "a format is like"},
        {"{value:*f}", "a format is like"},
        {"{value:100f}", "a format is like"},
        {"{value:.100f}", "a format is like"},
        {"{value:------f}", "a format is like"},
        {"{value:.1f %}", "there is no }"},
        {"{value:1f}{value:Lf}", "a format is like"},
    };
    struct md_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_fails(MD_ERR_INVALID, md_alert_template_check(bad[i].template, &err));
        assert_says(bad[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(what_is_watched_is_checked),
        cmocka_unit_test(limits_are_checked),
        cmocka_unit_test(the_rest_is_checked),
        cmocka_unit_test(a_set_owns_what_it_holds),
        cmocka_unit_test(templates_name_labels_and_numbers),
        cmocka_unit_test(templates_without_a_value_say_so),
        cmocka_unit_test(wrong_templates_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
