/* A night of alerts: see alert_night.h. */
#include "alert_night.h"

#include <math.h>
#include <stdlib.h>

#include "alert/history.h"
#include "scratch.h"
#include "unit.h"

static const char *const keys[] = {"db1", "db2", "web1", "web2", NULL};
static const char *const columns[] = {"cpu", "mem", NULL};

static struct md_alert_rules *new_rules(void)
{
    struct md_alert_rules *rules;
    struct md_error err;
    static const struct md_alert_label notes[] = {{"summary", "{server} is at {value:.1f}"}};
    struct md_alert_rule list[] = {alerts_rule("high", columns, 2, 80),
                                   alerts_rule("soon", columns, 1, 90)};
    list[0].for_ms = 2 * ALERTS_STEP_MS;
    list[0].keep_firing_ms = 3 * ALERTS_STEP_MS;
    list[0].annotations = notes;
    list[0].annotation_count = 1;
    list[1].watch = MD_ALERT_FORECAST;
    list[1].quantile = 0.5f;
    list[1].within_ms = 5 * ALERTS_STEP_MS;
    assert_ok(md_alert_rules_new(list, 2, &rules, &err));
    return rules;
}

int night_begin(void **state)
{
    struct night *night = calloc(1, sizeof *night);
    assert_non_null(night);
    *night = (struct night){scratch_new(), new_rules()};
    *state = night;
    return 0;
}

int night_end(void **state)
{
    struct night *night = *state;
    md_alert_rules_unref(night->rules);
    scratch_delete(night->folder);
    free(night);
    return 0;
}

void night_fill(struct alerts_frame *frame, int minute)
{
    alerts_frame_init(frame, keys, columns);
    alerts_frame_at(frame, minute);
    float *forecast = alerts_frame_forecast(frame, "cpu", 0.5f);
    float *unwatched = alerts_frame_forecast(frame, "mem", 0.9f);
    for (int k = 0; k < 4; k++) {
        float phase = (float)minute * (0.3f + 0.05f * (float)k) + (float)k;
        alerts_frame_set(frame, keys[k], "cpu", 60 + 40 * sinf(phase));
        alerts_frame_set(frame, keys[k], "mem",
                         (minute + k) % 11 == 3 ? NAN : 70 + 20 * cosf(phase * 0.7f));
        for (int i = 0; i < ALERTS_STEPS; i++) {
            forecast[k * ALERTS_STEPS + i] = 60 + 40 * sinf(phase + 0.31f * (float)(i + 1));
            unwatched[k * ALERTS_STEPS + i] = (float)i;
        }
    }
}

struct md_store *night_store(const struct night *night)
{
    static struct md_clock_manual time_now;
    struct md_store *store;
    struct md_error err;
    md_clock_manual_init(&time_now, ALERTS_START_MS);
    struct md_store_options options = {.clock = &time_now.base};
    assert_ok(md_store_open(night->folder, &options, &store, &err));
    return store;
}

struct md_alert_live *night_live(const struct night *night, struct md_store *store)
{
    struct md_alert_live *live;
    struct md_error err;
    const struct md_alert_live_options options = {.entity_label = "server", .store = store};
    assert_ok(md_alert_live_new(&options, &live, &err));
    md_alert_live_set_rules(live, night->rules);
    return live;
}

enum md_status night_tick(struct md_alert_live *live, int minute, struct md_error *err)
{
    static struct alerts_frame frame;
    night_fill(&frame, minute);
    return md_alert_live_tick(live, &frame.frame, NULL, err);
}

int night_next(struct md_alert_live *live)
{
    int64_t time_ms = md_alert_live_time_ms(live);
    return time_ms == 0 ? 0 : (int)((time_ms - ALERTS_START_MS) / ALERTS_STEP_MS) + 1;
}

static enum md_status count_frame(void *context, const struct md_alert_frame *frame,
                                  struct md_error *err)
{
    int *next = context;
    (void)err;
    assert_int_equal((frame->time_ms - ALERTS_START_MS) / ALERTS_STEP_MS, *next);
    ++*next;
    return MD_OK;
}

int night_frames(struct md_store *store)
{
    int next = 0;
    struct md_error err;
    assert_ok(md_alert_history_frames(store, 0, INT64_MAX, count_frame, &next, &err));
    return next;
}

static enum md_status add_line(void *context, int64_t time_ms, const char *json,
                               struct md_error *err)
{
    (void)time_ms, (void)err;
    md_buffer_text(context, json);
    md_buffer_text(context, "\n");
    return MD_OK;
}

struct md_buffer night_events(struct md_store *store, int minutes)
{
    struct md_buffer lines;
    struct md_error err;
    md_buffer_init(&lines, 0);
    md_buffer_text(&lines, "");
    assert_ok(md_alert_history_events(store, 0, ALERTS_START_MS + minutes * ALERTS_STEP_MS,
                                      add_line, &lines, &err));
    assert_ok(md_buffer_check(&lines, &err));
    return lines;
}
