/* What keeps an alert from being sent: silences, maintenance windows, inhibition; see notify.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"

/* ---- silences -------------------------------------------------------------------------------- */

static bool matches_nothing_only(const struct md_notify_matchers *matchers)
{
    return md_notify_matchers_count(matchers) == 0 ||
           md_notify_matchers_match(matchers, NULL, 0); /* as if every label were "" */
}

static enum md_status check_silence(const struct md_notify *notify,
                                    const struct md_notify_silence *silence, int64_t now_ms,
                                    struct md_error *err)
{
    if (notify->silence_count >= MD_NOTIFY_SILENCES_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "there are %d silences already",
                       notify->silence_count);
    if (matches_nothing_only(silence->matchers))
        return md_fail(err, MD_ERR_UNPROCESSABLE,
                       "a silence needs a matcher that does not match the empty string");
    if (silence->ends_ms <= silence->starts_ms || silence->ends_ms <= now_ms)
        return md_fail(err, MD_ERR_UNPROCESSABLE,
                       "a silence must end after it starts, and later "
                       "than now");
    return MD_OK;
}

void md__notify_silenced_fini(struct md__notify_silenced *silenced)
{
    md_notify_matchers_delete(silenced->matchers);
    free(silenced->author);
    free(silenced->comment);
}

enum md_status md_notify_silence_add(struct md_notify *notify, struct md_notify_silence *silence,
                                     int64_t now_ms, struct md_error *err)
{
    enum md_status status = check_silence(notify, silence, now_ms, err);
    if (status != MD_OK)
        return status;
    struct md__notify_silenced made = {
        .author = strdup(silence->author ? silence->author : ""),
        .comment = strdup(silence->comment ? silence->comment : ""),
    };
    if (!made.author || !made.comment ||
        !md__notify_grow((void **)&notify->silences, notify->silence_count,
                         &notify->silence_capacity, sizeof *notify->silences)) {
        free(made.author);
        free(made.comment);
        return md_fail(err, MD_ERR_MEMORY, "no memory for a silence");
    }
    char seed[64];
    snprintf(seed, sizeof seed, "%lld %lld", (long long)now_ms, (long long)++notify->sequence);
    snprintf(silence->id, sizeof silence->id, "%016llx",
             (unsigned long long)md__notify_hash(MD__NOTIFY_HASH, seed));
    silence->updated_ms = now_ms;
    made.matchers = (struct md_notify_matchers *)silence->matchers;
    made.silence = *silence;
    made.silence.author = made.author;
    made.silence.comment = made.comment;
    notify->silences[notify->silence_count++] = made;
    return MD_OK;
}

enum md_status md_notify_silence_expire(struct md_notify *notify, const char *id, int64_t now_ms,
                                        struct md_error *err)
{
    for (int i = 0; i < notify->silence_count; i++) {
        struct md_notify_silence *silence = &notify->silences[i].silence;
        if (strcmp(silence->id, id) != 0)
            continue;
        if (silence->ends_ms <= now_ms)
            return md_fail(err, MD_ERR_CONFLICT, "silence %s has ended already", id);
        silence->ends_ms = silence->updated_ms = now_ms;
        if (silence->starts_ms > now_ms)
            silence->starts_ms = now_ms;
        return MD_OK;
    }
    return md_fail(err, MD_ERR_NOT_FOUND, "there is no silence \"%.32s\"", id);
}

void md_notify_silence_visit(const struct md_notify *notify,
                             bool (*visit)(void *context, const struct md_notify_silence *silence),
                             void *context)
{
    for (int i = notify->silence_count; i-- > 0;)
        if (!visit(context, &notify->silences[i].silence))
            return;
}

static void forget_silences(struct md_notify *notify, int64_t now_ms)
{
    int kept = 0;
    for (int i = 0; i < notify->silence_count; i++) {
        struct md__notify_silenced *silenced = &notify->silences[i];
        if (now_ms - silenced->silence.ends_ms < MD_NOTIFY_SILENCE_KEEP_MS)
            notify->silences[kept++] = *silenced;
        else
            md__notify_silenced_fini(silenced);
    }
    notify->dirty |= kept < notify->silence_count;
    notify->silence_count = kept;
}

static void apply_silences(struct md_notify *notify, int64_t now_ms)
{
    forget_silences(notify, now_ms);
    for (int i = 0; i < notify->silence_count; i++) {
        const struct md_notify_silence *silence = &notify->silences[i].silence;
        if (now_ms < silence->starts_ms || now_ms >= silence->ends_ms)
            continue;
        for (int k = 0; k < notify->record_count; k++) {
            struct md__notify_record *record = &notify->records[k];
            if (record->why.silenced_by[0] == '\0' &&
                md_notify_matchers_match(silence->matchers, record->alert.labels,
                                         record->alert.label_count))
                memcpy(record->why.silenced_by, silence->id, sizeof silence->id);
        }
    }
}

/* ---- maintenance ----------------------------------------------------------------------------- */

static void apply_windows(struct md_notify *notify, int64_t now_ms)
{
    const struct md_notify_config *config = notify->config;
    int64_t begin_ms, end_ms;
    for (int i = 0; i < config->settings.window_count; i++) {
        if (!md_notify_window_open(config, i, now_ms, &begin_ms, &end_ms))
            continue;
        for (int k = 0; k < notify->record_count; k++) {
            struct md__notify_record *record = &notify->records[k];
            if (record->why.maintenance[0] == '\0' &&
                md_notify_matchers_match(config->window[i], record->alert.labels,
                                         record->alert.label_count))
                snprintf(record->why.maintenance, sizeof record->why.maintenance, "%s",
                         config->settings.windows[i].name);
        }
    }
}

/* ---- inhibition ------------------------------------------------------------------------------ */

static bool agrees(const struct md_notify_inhibition *rule, const struct md_notify_alert *a,
                   const struct md_notify_alert *b)
{
    for (int i = 0; i < rule->equal_count; i++)
        if (strcmp(md__notify_label(a->labels, a->label_count, rule->equal[i]),
                   md__notify_label(b->labels, b->label_count, rule->equal[i])) != 0)
            return false;
    return true;
}

/* Of the labels that must agree: most pairs do not, and need no look at their texts. */
static uint64_t hash_equal(const struct md_notify_inhibition *rule,
                           const struct md_notify_alert *alert)
{
    uint64_t hash = MD__NOTIFY_HASH;
    for (int i = 0; i < rule->equal_count; i++)
        hash = md__notify_hash(hash,
                               md__notify_label(alert->labels, alert->label_count, rule->equal[i]));
    return hash;
}

struct source {
    const struct md_notify_alert *alert;
    uint64_t hash;
    bool is_target; /* as well */
};

/* The rule's firing sources; their count. */
static int find_sources(const struct md_notify *notify, int rule, struct source *sources)
{
    const struct md_notify_config *config = notify->config;
    int count = 0;
    for (int i = 0; i < notify->record_count; i++) {
        const struct md_notify_alert *alert = &notify->records[i].alert;
        if (alert->resolved_ms != 0 ||
            !md_notify_matchers_match(config->source[rule], alert->labels, alert->label_count))
            continue;
        sources[count++] =
            (struct source){.alert = alert,
                            .hash = hash_equal(&config->settings.inhibitions[rule], alert),
                            .is_target = md_notify_matchers_match(
                                config->target[rule], alert->labels, alert->label_count)};
    }
    return count;
}

static void apply_rule(struct md_notify *notify, int rule, struct source *sources)
{
    const struct md_notify_config *config = notify->config;
    const struct md_notify_inhibition *spec = &config->settings.inhibitions[rule];
    int count = find_sources(notify, rule, sources);
    for (int i = 0; i < notify->record_count && count > 0; i++) {
        struct md__notify_record *record = &notify->records[i];
        const struct md_notify_alert *alert = &record->alert;
        if (record->why.inhibited_by != 0 ||
            !md_notify_matchers_match(config->target[rule], alert->labels, alert->label_count))
            continue;
        bool is_source =
            md_notify_matchers_match(config->source[rule], alert->labels, alert->label_count);
        uint64_t hash = hash_equal(spec, alert);
        for (int k = 0; k < count; k++) {
            if (sources[k].hash != hash || (is_source && sources[k].is_target) ||
                !agrees(spec, sources[k].alert, alert))
                continue;
            record->why.inhibited_by = sources[k].alert->fingerprint;
            break;
        }
    }
}

bool md__notify_suppress(struct md_notify *notify, int64_t now_ms)
{
    for (int i = 0; i < notify->record_count; i++)
        notify->records[i].why = (struct md_notify_suppression){0};
    apply_silences(notify, now_ms);
    apply_windows(notify, now_ms);
    int rules = notify->config->settings.inhibition_count;
    struct source *sources = calloc((size_t)notify->record_count + 1, sizeof *sources);
    if (!sources)
        return false;
    for (int i = 0; i < rules; i++)
        apply_rule(notify, i, sources);
    free(sources);
    for (int i = 0; i < notify->record_count; i++) {
        const struct md_notify_suppression *why = &notify->records[i].why;
        notify->records[i].is_suppressed =
            why->silenced_by[0] != '\0' || why->inhibited_by != 0 || why->maintenance[0] != '\0';
    }
    return true;
}
