/*
 * The live alerts: rounding, evaluating, keeping, telling.
 *
 * `lock` guards all that is in memory and is never held over the disk, so that routes which show
 * alerts wait for an evaluation at most. `ticking` is held through a whole tick: one at a time.
 *
 * What could not be kept waits in a backlog (backlog.h) and goes into the next transaction.
 */
#include "alert/live.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/backlog.h"
#include "alert/event_json.h"
#include "alert/history.h"
#include "alert/internal.h"
#include "base/log.h"

struct md_alert_live {
    char *entity_label;
    struct md_store *store;
    int64_t keep_within_ms;
    float *keep_quantiles;
    int keep_quantile_count;

    pthread_mutex_t ticking;
    struct md__alert_backlog backlog; /* `ticking`; the newest is the present tick's */
    struct md_alert_record record;    /* the rounded frame */
    struct md_buffer state;
    struct md_alert_channel *chosen; /* channels that are wanted, and their steps that are */
    float *cut;

    pthread_mutex_t lock;
    struct md_alert_engine *engine;
    struct md_alert_rules *rules;
    struct md_alert_listener listener;
    char trouble[256];
};

/* ---- life ------------------------------------------------------------------------------------ */

enum md_status md_alert_live_set_keep(struct md_alert_live *live, int64_t within_ms,
                                      const float *quantiles, int quantile_count,
                                      struct md_error *err)
{
    size_t bytes = (size_t)quantile_count * sizeof *quantiles;
    float *copy = malloc(bytes + 1);
    if (!copy)
        return md_fail(err, MD_ERR_MEMORY, "no memory for alerts");
    if (bytes > 0)
        memcpy(copy, quantiles, bytes);
    pthread_mutex_lock(&live->lock);
    float *before = live->keep_quantiles;
    live->keep_within_ms = within_ms;
    live->keep_quantiles = copy;
    live->keep_quantile_count = quantile_count;
    pthread_mutex_unlock(&live->lock);
    free(before);
    return MD_OK;
}

static enum md_status copy_options(struct md_alert_live *live,
                                   const struct md_alert_live_options *options,
                                   struct md_error *err)
{
    live->store = options->store;
    live->entity_label = strdup(options->entity_label);
    if (!live->entity_label)
        return md_fail(err, MD_ERR_MEMORY, "no memory for alerts");
    return md_alert_live_set_keep(live, options->keep_within_ms, options->keep_quantiles,
                                  options->keep_quantile_count, err);
}

/* A daemon that cannot take up its alerts begins without any, and says so. */
static void take_up(struct md_alert_live *live)
{
    struct md_error err;
    void *state = NULL;
    size_t bytes;
    enum md_status status = md_alert_history_state(live->store, &state, &bytes, &err);
    if (status == MD_OK)
        status = md_alert_engine_restore(live->engine, state, bytes, &err);
    if (status != MD_OK && status != MD_ERR_NOT_FOUND)
        md_log(MD_LOG_ERROR, "alert", "begins without the alerts that were: %s", err.text);
    free(state);
}

enum md_status md_alert_live_new(const struct md_alert_live_options *options,
                                 struct md_alert_live **live, struct md_error *err)
{
    *live = NULL;
    struct md_alert_live *made = calloc(1, sizeof *made);
    if (!made)
        return md_fail(err, MD_ERR_MEMORY, "no memory for alerts");
    pthread_mutex_init(&made->ticking, NULL);
    pthread_mutex_init(&made->lock, NULL);
    md_buffer_init(&made->state, 0);
    enum md_status status = copy_options(made, options, err);
    if (status == MD_OK)
        status = md_alert_engine_new(options->entity_label, &made->engine, err);
    if (status != MD_OK) {
        md_alert_live_delete(made);
        return status;
    }
    if (made->store)
        take_up(made);
    *live = made;
    return MD_OK;
}

/* ---- what is set and asked ------------------------------------------------------------------- */

void md_alert_live_listen(struct md_alert_live *live, const struct md_alert_listener *listener)
{
    pthread_mutex_lock(&live->lock);
    live->listener = listener ? *listener : (struct md_alert_listener){0};
    pthread_mutex_unlock(&live->lock);
}

void md_alert_live_set_rules(struct md_alert_live *live, struct md_alert_rules *rules)
{
    pthread_mutex_lock(&live->lock);
    struct md_alert_rules *old = live->rules;
    live->rules = rules ? md_alert_rules_ref(rules) : NULL;
    md_alert_engine_set_rules(live->engine, rules);
    pthread_mutex_unlock(&live->lock);
    md_alert_rules_unref(old);
}

struct md_alert_rules *md_alert_live_rules(struct md_alert_live *live)
{
    pthread_mutex_lock(&live->lock);
    struct md_alert_rules *rules = live->rules ? md_alert_rules_ref(live->rules) : NULL;
    pthread_mutex_unlock(&live->lock);
    return rules;
}

static bool watches(const struct md_alert_rule *rule, const char *column, float quantile)
{
    if (rule->watch != MD_ALERT_FORECAST || !md__alert_is_same_quantile(rule->quantile, quantile))
        return false;
    for (int i = 0; i < rule->column_count; i++)
        if (strcmp(rule->columns[i], column) == 0)
            return true;
    return false;
}

/* Within the lock. */
static bool wants(const struct md_alert_live *live, const char *column, float quantile,
                  int64_t *within_ms)
{
    bool any = false;
    *within_ms = 0;
    for (int i = 0; i < live->keep_quantile_count; i++)
        if (live->keep_within_ms > 0 &&
            md__alert_is_same_quantile(live->keep_quantiles[i], quantile)) {
            *within_ms = live->keep_within_ms;
            any = true;
        }
    for (int i = 0; live->rules && i < md_alert_rules_count(live->rules); i++) {
        const struct md_alert_rule *rule = md_alert_rules_get(live->rules, i);
        if (watches(rule, column, quantile)) {
            *within_ms = rule->within_ms > *within_ms ? rule->within_ms : *within_ms;
            any = true;
        }
    }
    return any;
}

bool md_alert_live_wants(struct md_alert_live *live, const char *column, float quantile,
                         int64_t *within_ms)
{
    pthread_mutex_lock(&live->lock);
    bool any = wants(live, column, quantile, within_ms);
    pthread_mutex_unlock(&live->lock);
    return any;
}

int64_t md_alert_live_time_ms(struct md_alert_live *live)
{
    pthread_mutex_lock(&live->lock);
    int64_t time_ms = md_alert_engine_time_ms(live->engine);
    pthread_mutex_unlock(&live->lock);
    return time_ms;
}

void md_alert_live_visit(struct md_alert_live *live,
                         bool (*visit)(void *context, const struct md_alert *alert), void *context)
{
    pthread_mutex_lock(&live->lock);
    md_alert_engine_visit(live->engine, visit, context);
    pthread_mutex_unlock(&live->lock);
}

void md_alert_live_health(struct md_alert_live *live, int rule, struct md_alert_rule_health *health)
{
    pthread_mutex_lock(&live->lock);
    md_alert_rule_health(live->engine, rule, health);
    pthread_mutex_unlock(&live->lock);
}

void md_alert_live_quality(struct md_alert_live *live, const char *rule,
                           struct md_alert_quality *quality)
{
    pthread_mutex_lock(&live->lock);
    md_alert_quality_get(live->engine, rule, quality);
    pthread_mutex_unlock(&live->lock);
}

bool md_alert_live_trouble(struct md_alert_live *live, char *text, size_t size)
{
    pthread_mutex_lock(&live->lock);
    bool trouble = live->trouble[0] != '\0';
    if (trouble)
        snprintf(text, size, "%s", live->trouble);
    pthread_mutex_unlock(&live->lock);
    return trouble;
}

/* ---- a tick: rounding ------------------------------------------------------------------------ */

/* Room for the channels that are chosen, and for all their floats. */
static enum md_status make_room(struct md_alert_live *live, const struct md_alert_frame *frame,
                                struct md_error *err)
{
    size_t floats = 0;
    for (int i = 0; i < frame->channel_count; i++)
        floats += (size_t)frame->key_count * (size_t)frame->channels[i].steps;
    if (floats > MD_ALERT_FRAME_BYTES_MAX / sizeof *live->cut)
        return md_fail(err, MD_ERR_TOO_LARGE, "forecasts for alerts have %zu numbers", floats);
    free(live->cut);
    free(live->chosen);
    live->cut = malloc(floats * sizeof *live->cut + 1);
    live->chosen = calloc((size_t)frame->channel_count + 1, sizeof *live->chosen);
    if (!live->cut || !live->chosen)
        return md_fail(err, MD_ERR_MEMORY, "no memory for forecasts");
    return MD_OK;
}

/* The channels that are wanted, without the steps that are not. Returns how many. */
static int choose_channels(struct md_alert_live *live, const struct md_alert_frame *frame)
{
    float *to = live->cut;
    int count = 0;
    for (int i = 0; i < frame->channel_count; i++) {
        struct md_alert_channel channel = frame->channels[i];
        int64_t within_ms;
        if (channel.step_ms <= 0 || !wants(live, channel.column, channel.quantile, &within_ms))
            continue;
        if (channel.steps > within_ms / channel.step_ms)
            channel.steps = (int)(within_ms / channel.step_ms);
        size_t stride = (size_t)frame->channels[i].steps, steps = (size_t)channel.steps;
        channel.values = to;
        for (int k = 0; k < frame->key_count; k++, to += steps)
            memcpy(to, frame->channels[i].values + (size_t)k * stride, steps * sizeof *to);
        live->chosen[count++] = channel;
    }
    return count;
}

/* Makes live->record the frame as rules see it, and entry->frame its bytes. */
static enum md_status round_frame(struct md_alert_live *live, const struct md_alert_frame *frame,
                                  struct md__alert_unkept *entry, struct md_error *err)
{
    struct md_alert_frame cut = *frame;
    enum md_status status = make_room(live, frame, err);
    if (status != MD_OK)
        return status;
    cut.channels = live->chosen;
    cut.channel_count = choose_channels(live, frame);
    status = md_alert_frame_encode(&cut, &entry->frame, err);
    if (status == MD_OK)
        status = md_alert_frame_decode(entry->frame.data, entry->frame.length, &live->record, err);
    return status;
}

/* ---- a tick: evaluating ---------------------------------------------------------------------- */

struct recorder {
    const char *entity_label;
    struct md__alert_unkept *entry;
};

static void record_end(struct recorder *recorder)
{
    md_buffer_append(&recorder->entry->events, "", 1);
    recorder->entry->event_count++;
}

static void record_event(void *context, const struct md_alert_event *event)
{
    struct recorder *recorder = context;
    md__alert_event_json(event, recorder->entity_label, &recorder->entry->events);
    record_end(recorder);
}

static void record_grade(void *context, const struct md_alert_grade *grade)
{
    struct recorder *recorder = context;
    md__alert_grade_json(grade, recorder->entity_label, &recorder->entry->events);
    record_end(recorder);
}

/* Within the lock. */
static enum md_status evaluate(struct md_alert_live *live, const struct md_alert_frame *frame,
                               const struct md_alert_predicate *predicate,
                               struct md__alert_unkept *entry, struct md_error *err)
{
    struct recorder recorder = {live->entity_label, entry};
    const struct md_alert_sink sink = {&recorder, record_event, record_grade};
    enum md_status status = round_frame(live, frame, entry, err);
    if (status == MD_OK)
        status = md_alert_engine_tick(live->engine, &live->record.frame, predicate, &sink, err);
    return status;
}

/* ---- a tick: keeping ------------------------------------------------------------------------- */

static void note_trouble(struct md_alert_live *live, const char *text)
{
    pthread_mutex_lock(&live->lock);
    bool had = live->trouble[0] != '\0';
    snprintf(live->trouble, sizeof live->trouble, "%s", text);
    pthread_mutex_unlock(&live->lock);
    if (*text && !had)
        md_log(MD_LOG_ERROR, "alert", "ticks are not kept, alerts go on in memory: %s", text);
    if (!*text && had)
        md_log(MD_LOG_INFO, "alert", "ticks are kept again");
}

/* `saved`: whether live->state is the engine's; otherwise err says why not. */
static void settle(struct md_alert_live *live, enum md_status saved, struct md_error *err)
{
    struct md__alert_unkept *entry = md__alert_backlog_newest(&live->backlog);
    if (entry->events.failed) { /* of memory: better a tick without them than none */
        md_log(MD_LOG_ERROR, "alert", "no memory for %d events of alerts", entry->event_count);
        entry->event_count = 0;
    }
    if (saved == MD_OK)
        saved = md__alert_backlog_keep(&live->backlog, live->store, &live->state, err);
    note_trouble(live, saved == MD_OK ? "" : err->text);
}

/* What waits is tried once more before it is lost. */
static void keep_at_last(struct md_alert_live *live)
{
    struct md_error err = {.text = "it could not be saved"};
    if (live->backlog.count > 0 &&
        (live->state.length == 0 ||
         md__alert_backlog_keep(&live->backlog, live->store, &live->state, &err) != MD_OK))
        md_log(MD_LOG_ERROR, "alert", "ticks lost at the end: %d: %s", live->backlog.count,
               err.text);
    md__alert_backlog_fini(&live->backlog);
}

void md_alert_live_delete(struct md_alert_live *live)
{
    if (!live)
        return;
    keep_at_last(live);
    md_alert_record_fini(&live->record);
    md_buffer_fini(&live->state);
    free(live->cut);
    free(live->chosen);
    md_alert_engine_delete(live->engine);
    md_alert_rules_unref(live->rules);
    free(live->entity_label);
    free(live->keep_quantiles);
    pthread_mutex_destroy(&live->ticking);
    pthread_mutex_destroy(&live->lock);
    free(live);
}

/* ---- a tick ---------------------------------------------------------------------------------- */

enum md_status md_alert_live_tick(struct md_alert_live *live, const struct md_alert_frame *frame,
                                  const struct md_alert_predicate *predicate, struct md_error *err)
{
    struct md_error trouble;
    struct md_alert_listener listener = {0};
    enum md_status saved = MD_OK;
    pthread_mutex_lock(&live->ticking);
    enum md_status status = md__alert_backlog_add(&live->backlog, frame->time_ms, err);
    if (status != MD_OK)
        goto out;
    struct md__alert_unkept *entry = md__alert_backlog_newest(&live->backlog);
    pthread_mutex_lock(&live->lock);
    status = evaluate(live, frame, predicate, entry, err);
    listener = live->listener;
    if (status == MD_OK && live->store) {
        md_buffer_clear(&live->state);
        saved = md_alert_engine_save(live->engine, &live->state, &trouble);
        if (saved != MD_OK)
            md_buffer_clear(&live->state); /* no piece of one may be kept */
    }
    pthread_mutex_unlock(&live->lock);
    if (status == MD_OK && live->store) {
        settle(live, saved, &trouble);
    } else { /* it was no tick, or there is nowhere to keep it */
        md__alert_backlog_take_back(&live->backlog);
    }
out:
    pthread_mutex_unlock(&live->ticking);
    if (status == MD_OK && listener.ticked)
        listener.ticked(listener.context, frame->time_ms);
    return status;
}
