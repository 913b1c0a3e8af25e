/*
 * Grades of forecast alerts: one server, one column, a minute a tick, limit 50, horizon 5 minutes.
 *
 * Each tick is "value>lead": what the server sends, and how many minutes ahead the forecast crosses
 * (no lead: it does not); "_" nothing sent, "+9" nine minutes without ticks. Grades are written as
 * they come, "outcome fired-predicted-crossed@graded", in minutes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/grade.h"
#include "alerts.h"
#include "base/buffer.h"
#include "unit.h"

struct story {
    const char *name, *ticks, *grades;
    const char *totals;                 /* hit early late false missed ungraded, caught, open */
    double precision, recall, lead_min; /* -1: none */
};

static const struct story stories[] = {
    {"a hit", "10>3 10 10 60 60 60 60", "hit 0-3-3@5", "1 0 0 0 0 0, 1, 0", 1, 1, 3},
    {"a step off is a hit", "10>3 10 60 60 60 60", "hit 0-3-2@5", "1 0 0 0 0 0, 1, 0", 1, 1, 2},
    {"the alert was early", "10>2 10 10 10 60 60", "early 0-2-4@5", "0 1 0 0 0 0, 1, 0", 1, 1, 4},
    {"at the end of the horizon is within it", "10>3 10 10 10 10 50", "early 0-3-5@5",
     "0 1 0 0 0 0, 1, 0", 1, 1, 5},
    {"the alert was late", "10>4 60 60 60 60 60", "late 0-4-1@5", "0 0 1 0 0 0, 1, 0", 1, 1, 1},
    {"in the tick of the alert it is late, with no lead", "10 60>3 60 60 60 60 60", "late 1-4-1@6",
     "0 0 1 0 0 0, 1, 0", 1, 1, 0},
    {"a false one", "10>3 10 10 10 10 10 60", "false 0-3-_@5 missed _-_-6@6", "0 0 0 1 1 0, 0, 0",
     0, 0, -1},
    {"no alert", "10 49 50 60 10 50", "missed _-_-2@2 missed _-_-5@5", "0 0 0 0 2 0, 0, 0", -1, 0,
     -1},
    {"over the limit from the start is no crossing", "60 60 60", "", "0 0 0 0 0 0, 0, 0", -1, -1,
     -1},
    {"silence does not hide a crossing", "10 _ 60", "missed _-_-2@2", "0 0 0 0 1 0, 0, 0", -1, 0,
     -1},
    {"two alerts before one crossing catch it once", "10>3 10 10>1 60 60 60 60 60",
     "hit 0-3-3@5 hit 2-3-3@7", "2 0 0 0 0 0, 1, 0", 1, 1, 2},
    {"an alert that goes on catches later crossings", "10>5 10>5 10>5 10>5 10>5 10>5 10>5 60",
     "false 0-5-_@5", "0 0 0 1 0 0, 1, 0", 0, 1, -1},
    {"an open one", "10>3 10", "", "0 0 0 0 0 0, 0, 1", -1, -1, -1},
    {"an outage grades nothing", "10>3 10 +3 10 60", "ungraded 0-3-_@5 missed _-_-6@6",
     "0 0 0 0 1 1, 0, 0", -1, 0, -1},
    {"... but what was crossed before", "10>1 60 +9 60", "hit 0-1-1@11", "1 0 0 0 0 0, 1, 0", 1, 1,
     1},
    {"... and what comes right after it is no crossing", "10 +2 60", "", "0 0 0 0 0 0, 0, 0", -1,
     -1, -1},
    {"a tick that was skipped is no outage", "10>3 10 +1 60 60 60", "hit 0-3-3@5",
     "1 0 0 0 0 0, 1, 0", 1, 1, 3},
    {"a value that is missing twice grades nothing", "10>3 _ _ 10 10 10", "ungraded 0-3-_@5",
     "0 0 0 0 0 1, 0, 0", -1, -1, -1},
    {"once, it does", "10>3 _ 10 10 10 10", "false 0-3-_@5", "0 0 0 1 0 0, 0, 0", 0, -1, -1},
};

static const char *const keys[] = {"web1", NULL};
static const char *const columns[] = {"cpu", "mem", NULL};

struct night {
    struct md_alert_engine *engine;
    struct md_alert_rules *rules;
    struct alerts_frame frame;
    float *forecast;
    struct md_buffer grades;
    int minute;
};

static void begin_within(struct night *night, int within_min)
{
    struct md_error err;
    struct md_alert_rule rule = alerts_rule("soon", columns, 2, 50);
    rule.watch = MD_ALERT_FORECAST;
    rule.quantile = 0.5f;
    rule.within_ms = within_min * 60000;
    assert_ok(md_alert_rules_new(&rule, 1, &night->rules, &err));
    assert_ok(md_alert_engine_new("server", &night->engine, &err));
    md_alert_engine_set_rules(night->engine, night->rules);
    alerts_frame_init(&night->frame, keys, columns);
    night->forecast = alerts_frame_forecast(&night->frame, "cpu", 0.5f);
    md_buffer_init(&night->grades, 0);
    md_buffer_text(&night->grades, "");
    night->minute = -1;
}

static void begin(struct night *night)
{
    begin_within(night, 5);
}

static void end(struct night *night)
{
    md_alert_engine_delete(night->engine);
    md_alert_rules_unref(night->rules);
    md_buffer_fini(&night->grades);
}

static void put_minute(struct md_buffer *text, int64_t time_ms)
{
    if (time_ms == 0)
        md_buffer_text(text, "_");
    else
        md_buffer_printf(text, "%d", (int)((time_ms - ALERTS_START_MS) / 60000));
}

static void write_grade(void *context, const struct md_alert_grade *grade)
{
    struct md_buffer *text = context;
    assert_string_equal(grade->rule, "soon");
    assert_string_equal(grade->key, "web1");
    assert_string_equal(grade->column, "cpu");
    bool has_lead = grade->fired_ms && grade->crossed_ms;
    assert_true(grade->lead_ms == (has_lead ? grade->crossed_ms - grade->fired_ms : 0));
    md_buffer_printf(text, "%s%s ", text->length ? " " : "", md_alert_outcome_name(grade->outcome));
    put_minute(text, grade->fired_ms);
    md_buffer_text(text, "-");
    put_minute(text, grade->predicted_ms);
    md_buffer_text(text, "-");
    put_minute(text, grade->crossed_ms);
    md_buffer_text(text, "@");
    put_minute(text, grade->graded_ms);
}

static void restart(struct night *night)
{
    struct md_buffer bytes;
    struct md_error err;
    struct md_alert_engine *later;
    md_buffer_init(&bytes, 0);
    assert_ok(md_alert_engine_save(night->engine, &bytes, &err));
    assert_ok(md_alert_engine_new("server", &later, &err));
    md_alert_engine_set_rules(later, night->rules);
    assert_ok(md_alert_engine_restore(later, bytes.data, bytes.length, &err));
    md_alert_engine_delete(night->engine);
    night->engine = later;
    md_buffer_fini(&bytes);
}

static void tick(struct night *night, const char *word)
{
    struct md_error err;
    struct md_alert_sink sink = {.context = &night->grades, .grade = write_grade};
    const char *lead = strchr(word, '>');
    bool has_lead = lead && lead < word + strcspn(word, " ");
    for (int s = 0; s < ALERTS_STEPS; s++)
        night->forecast[s] = has_lead && s + 1 >= atoi(lead + 1) ? 55 : 20;
    alerts_frame_at(&night->frame, ++night->minute);
    alerts_frame_set(&night->frame, "web1", "cpu", *word == '_' ? NAN : strtof(word, NULL));
    assert_ok(md_alert_engine_tick(night->engine, &night->frame.frame, NULL, &sink, &err));
}

static void assert_number(const struct story *story, const char *what, double got, double wanted)
{
    if (wanted < 0 ? !isnan(got) : !(fabs(got - wanted) < 1e-9))
        fail_msg("%s: %s is %g, not %g", story->name, what, got, wanted);
}

static void check_quality(const struct night *night, const struct story *story)
{
    struct md_alert_quality quality;
    char totals[120];
    md_alert_quality_get(night->engine, "soon", &quality);
    const int64_t *sums = quality.outcomes;
    snprintf(totals, sizeof totals, "%d %d %d %d %d %d, %d, %d", (int)sums[MD_ALERT_HIT],
             (int)sums[MD_ALERT_EARLY], (int)sums[MD_ALERT_LATE], (int)sums[MD_ALERT_FALSE],
             (int)sums[MD_ALERT_MISSED], (int)sums[MD_ALERT_UNGRADED], (int)quality.caught,
             (int)quality.open);
    if (strcmp(totals, story->totals) != 0)
        fail_msg("%s: %s, not %s", story->name, totals, story->totals);
    assert_number(story, "precision", quality.precision, story->precision);
    assert_number(story, "recall", quality.recall, story->recall);
    assert_number(story, "the lead", quality.lead_min_median, story->lead_min);
}

static void play(const struct story *story, bool restarts)
{
    struct night night;
    begin(&night);
    for (const char *word = story->ticks; *word;) {
        if (*word == '+')
            night.minute += atoi(word + 1);
        else
            tick(&night, word);
        if (restarts)
            restart(&night);
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    const char *grades = night.grades.data ? night.grades.data : "";
    if (strcmp(grades, story->grades) != 0)
        fail_msg("%s: \"%s\", not \"%s\"", story->name, grades, story->grades);
    check_quality(&night, story);
    end(&night);
}

static void every_story_is_graded_as_it_says(void **state)
{
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        play(&stories[i], false);
}

static void restarts_change_no_grade(void **state)
{
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        play(&stories[i], true);
}

/* Alerts every second minute, each crossed one minute later: the median is of the newest leads. */
static void the_median_lead_is_of_the_newest(void **state)
{
    struct md_alert_quality quality;
    struct night night;
    begin(&night);
    for (int i = 0; i < 250; i++) {
        tick(&night, i < 150 ? "10>1" : "10>3");
        if (i >= 150) {
            tick(&night, "10");
            tick(&night, "10");
        }
        tick(&night, "60");
        for (int calm = 0; calm < 5; calm++)
            tick(&night, "10");
    }
    md_alert_quality_get(night.engine, "soon", &quality);
    assert_true(quality.outcomes[MD_ALERT_HIT] == 250);
    assert_true(quality.lead_min_median == 2); /* 100 of 1 minute, 100 of 3 */
    restart(&night);
    md_alert_quality_get(night.engine, "soon", &quality);
    assert_true(quality.outcomes[MD_ALERT_HIT] == 250 && quality.lead_min_median == 2);
    end(&night);
}

/* Resolved, and shown no more: but it was said, and within the horizon. */
static void an_alert_long_resolved_still_caught_its_crossing(void **state)
{
    struct md_alert_quality quality;
    for (int calm = 29; calm <= 30; calm++) {
        struct night night;
        begin_within(&night, 30);
        tick(&night, "10>3");
        for (int t = 0; t < calm; t++) {
            tick(&night, "10");
            restart(&night);
        }
        tick(&night, "60");
        md_alert_quality_get(night.engine, "soon", &quality);
        assert_true(quality.caught == (calm == 29));
        assert_true(quality.outcomes[MD_ALERT_MISSED] == (calm == 30));
        end(&night);
    }
}

static void a_rule_nobody_knows_has_no_quality(void **state)
{
    struct md_alert_quality quality;
    struct night night;
    begin(&night);
    md_alert_quality_get(night.engine, "nobody", &quality);
    assert_true(isnan(quality.precision) && isnan(quality.recall) && quality.open == 0);
    assert_string_equal(md_alert_outcome_name(MD_ALERT_UNGRADED), "ungraded");
    assert_string_equal(md_alert_outcome_name((enum md_alert_outcome)99), "");
    end(&night);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_story_is_graded_as_it_says),
        cmocka_unit_test(restarts_change_no_grade),
        cmocka_unit_test(the_median_lead_is_of_the_newest),
        cmocka_unit_test(an_alert_long_resolved_still_caught_its_crossing),
        cmocka_unit_test(a_rule_nobody_knows_has_no_quality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
