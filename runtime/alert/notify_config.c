/*
 * Settings of notifications: copied into an arena, checked, their matchers and zones made ready.
 * Also when a maintenance window is open, which takes nothing else.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"

#define DAY_MS ((int64_t)86400000)

enum { LIST_MAX = 200 };

static const size_t arena_bytes_max = (size_t)16 << 20;

/* ---- copying --------------------------------------------------------------------------------- */

/* Copies of texts; *failed stays true once memory has run out. */
static const char *copy_text(struct md_arena *arena, const char *text, bool *failed)
{
    const char *copy = text ? md_arena_strdup(arena, text) : NULL;
    *failed |= text && !copy;
    return copy;
}

static const void *copy_array(struct md_arena *arena, const void *array, int count, size_t size,
                              bool *failed)
{
    void *copy = md_arena_array(arena, count > 0 ? (size_t)count : 1, size);
    *failed |= !copy;
    if (copy && count > 0)
        memcpy(copy, array, (size_t)count * size);
    return copy;
}

static const char *const *copy_texts(struct md_arena *arena, const char *const *texts, int count,
                                     bool *failed)
{
    const char **copy = (const char **)copy_array(arena, texts, count, sizeof *texts, failed);
    for (int i = 0; copy && i < count; i++)
        copy[i] = copy_text(arena, texts[i], failed);
    return copy;
}

static void copy_match(struct md_arena *arena, struct md_notify_match *match, bool *failed)
{
    struct md_alert_label *texts = (struct md_alert_label *)copy_array(
        arena, match->texts, match->count, sizeof *match->texts, failed);
    for (int i = 0; texts && i < match->count; i++) {
        texts[i].name = copy_text(arena, texts[i].name, failed);
        texts[i].value = copy_text(arena, texts[i].value, failed);
    }
    match->texts = texts;
}

static void copy_receiver(struct md_arena *arena, struct md_notify_receiver *receiver, bool *failed)
{
    receiver->name = copy_text(arena, receiver->name, failed);
    receiver->target = copy_text(arena, receiver->target, failed);
    receiver->url = copy_text(arena, receiver->url, failed);
    receiver->headers = copy_texts(arena, receiver->headers, receiver->header_count, failed);
    receiver->group_by = copy_texts(arena, receiver->group_by, receiver->group_by_count, failed);
    copy_match(arena, &receiver->match, failed);
}

static bool copy_settings(struct md_notify_config *config, const struct md_notify_settings *given)
{
    struct md_arena *arena = &config->arena;
    struct md_notify_settings *own = &config->settings;
    bool failed = false;
    *own = *given;
    own->external_url = copy_text(arena, given->external_url, &failed);
    own->receivers =
        copy_array(arena, given->receivers, given->receiver_count, sizeof *own->receivers, &failed);
    own->inhibitions = copy_array(arena, given->inhibitions, given->inhibition_count,
                                  sizeof *own->inhibitions, &failed);
    own->windows =
        copy_array(arena, given->windows, given->window_count, sizeof *own->windows, &failed);
    for (int i = 0; !failed && i < own->receiver_count; i++)
        copy_receiver(arena, (struct md_notify_receiver *)&own->receivers[i], &failed);
    for (int i = 0; !failed && i < own->inhibition_count; i++) {
        struct md_notify_inhibition *rule = (struct md_notify_inhibition *)&own->inhibitions[i];
        copy_match(arena, &rule->source, &failed);
        copy_match(arena, &rule->target, &failed);
        rule->equal = copy_texts(arena, rule->equal, rule->equal_count, &failed);
    }
    for (int i = 0; !failed && i < own->window_count; i++) {
        struct md_notify_window *window = (struct md_notify_window *)&own->windows[i];
        window->name = copy_text(arena, window->name, &failed);
        window->timezone = copy_text(arena, window->timezone, &failed);
        copy_match(arena, &window->match, &failed);
    }
    return !failed;
}

/* ---- checking -------------------------------------------------------------------------------- */

static enum md_status check_receiver(const struct md_notify_settings *settings, int index,
                                     struct md_error *err)
{
    const struct md_notify_receiver *receiver = &settings->receivers[index];
    if (!receiver->name || !*receiver->name || !receiver->target || !*receiver->target)
        return md_fail(err, MD_ERR_INVALID, "a receiver needs a name");
    for (int i = 0; i < index; i++)
        if (strcmp(settings->receivers[i].target, receiver->target) == 0)
            return md_fail(err, MD_ERR_INVALID, "another receiver is named \"%.64s\"",
                           receiver->target);
    if (receiver->kind != MD_NOTIFY_STDOUT && (!receiver->url || !*receiver->url))
        return md_fail(err, MD_ERR_INVALID, "it needs a %s",
                       receiver->kind == MD_NOTIFY_FILE ? "path" : "URL");
    if (receiver->kind == MD_NOTIFY_ALERTMANAGER && receiver->resend_ms < 1)
        return md_fail(err, MD_ERR_INVALID, "resend must be positive");
    if (receiver->kind == MD_NOTIFY_WEBHOOK &&
        (receiver->group_wait_ms < 0 || receiver->group_interval_ms < 1 || receiver->repeat_ms < 1))
        return md_fail(err, MD_ERR_INVALID, "group and repeat intervals must be positive");
    if (receiver->timeout_ms < 1)
        return md_fail(err, MD_ERR_INVALID, "timeout must be positive");
    return MD_OK;
}

static enum md_status check_window(const struct md_notify_window *window, struct md_error *err)
{
    if (!window->name || !*window->name)
        return md_fail(err, MD_ERR_INVALID, "it needs a name");
    if (window->days == 0 || window->days >= 128)
        return md_fail(err, MD_ERR_INVALID, "it needs days of the week");
    if (window->from_min < 0 || window->from_min >= 1440 || window->to_min < 0 ||
        window->to_min > 1440)
        return md_fail(err, MD_ERR_INVALID, "from is 00:00 to 23:59, to 00:00 to 24:00");
    return MD_OK;
}

static enum md_status make_match(const struct md_notify_match *match,
                                 struct md_notify_matchers **matchers, struct md_error *err)
{
    return md_notify_matchers_new(match->texts, match->count, matchers, err);
}

static enum md_status compile_receivers(struct md_notify_config *config, struct md_error *err)
{
    for (int i = 0; i < config->settings.receiver_count; i++) {
        enum md_status status = check_receiver(&config->settings, i, err);
        if (status == MD_OK)
            status = make_match(&config->settings.receivers[i].match, &config->match[i], err);
        if (status != MD_OK)
            return md_error_context(err, "receivers[%d]", i + 1);
    }
    return MD_OK;
}

static enum md_status compile_inhibitions(struct md_notify_config *config, struct md_error *err)
{
    for (int i = 0; i < config->settings.inhibition_count; i++) {
        const struct md_notify_inhibition *rule = &config->settings.inhibitions[i];
        enum md_status status = make_match(&rule->source, &config->source[i], err);
        if (status == MD_OK)
            status = make_match(&rule->target, &config->target[i], err);
        if (status != MD_OK)
            return md_error_context(err, "inhibition[%d]", i + 1);
    }
    return MD_OK;
}

static enum md_status compile_windows(struct md_notify_config *config, struct md_error *err)
{
    for (int i = 0; i < config->settings.window_count; i++) {
        const struct md_notify_window *window = &config->settings.windows[i];
        enum md_status status = check_window(window, err);
        if (status == MD_OK)
            status = make_match(&window->match, &config->window[i], err);
        if (status == MD_OK)
            status = md_timezone_new(window->timezone, &config->zones[i], err);
        if (status != MD_OK)
            return md_error_context(err, "maintenance[%d]", i + 1);
    }
    return MD_OK;
}

static enum md_status compile(struct md_notify_config *config, struct md_error *err)
{
    size_t pointer = sizeof(void *);
    const struct md_notify_settings *settings = &config->settings;
    config->match = md_arena_array(&config->arena, (size_t)settings->receiver_count + 1, pointer);
    config->source =
        md_arena_array(&config->arena, (size_t)settings->inhibition_count + 1, pointer);
    config->target =
        md_arena_array(&config->arena, (size_t)settings->inhibition_count + 1, pointer);
    config->window = md_arena_array(&config->arena, (size_t)settings->window_count + 1, pointer);
    config->zones = md_arena_array(&config->arena, (size_t)settings->window_count + 1, pointer);
    if (!config->match || !config->source || !config->target || !config->window || !config->zones)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the settings of notifications");
    enum md_status status = compile_receivers(config, err);
    if (status == MD_OK)
        status = compile_inhibitions(config, err);
    return status == MD_OK ? compile_windows(config, err) : status;
}

/* ---- life ------------------------------------------------------------------------------------ */

enum md_status md_notify_config_new(const struct md_notify_settings *settings,
                                    struct md_notify_config **result, struct md_error *err)
{
    if (settings->receiver_count > MD_NOTIFY_RECEIVERS_MAX ||
        settings->inhibition_count > LIST_MAX || settings->window_count > LIST_MAX)
        return md_fail(err, MD_ERR_INVALID, "at most %d receivers, %d inhibitions and windows",
                       MD_NOTIFY_RECEIVERS_MAX, LIST_MAX);
    struct md_notify_config *config = calloc(1, sizeof *config);
    if (!config)
        return md_fail(err, MD_ERR_MEMORY, "no memory for the settings of notifications");
    atomic_init(&config->refs, 1);
    md_arena_init(&config->arena, arena_bytes_max);
    enum md_status status = MD_OK;
    if (!copy_settings(config, settings)) {
        config->settings = (struct md_notify_settings){0};
        status = md_fail(err, MD_ERR_MEMORY, "no memory for the settings of notifications");
    }
    if (status == MD_OK)
        status = compile(config, err);
    if (status != MD_OK) {
        md_notify_config_unref(config);
        return status;
    }
    *result = config;
    return MD_OK;
}

struct md_notify_config *md_notify_config_ref(struct md_notify_config *config)
{
    atomic_fetch_add(&config->refs, 1);
    return config;
}

static void delete_all(struct md_notify_matchers **matchers, int count)
{
    for (int i = 0; matchers && i < count; i++)
        md_notify_matchers_delete(matchers[i]);
}

void md_notify_config_unref(struct md_notify_config *config)
{
    if (!config || atomic_fetch_sub(&config->refs, 1) != 1)
        return;
    const struct md_notify_settings *settings = &config->settings;
    delete_all(config->match, settings->receiver_count);
    delete_all(config->source, settings->inhibition_count);
    delete_all(config->target, settings->inhibition_count);
    delete_all(config->window, settings->window_count);
    for (int i = 0; config->zones && i < settings->window_count; i++)
        md_timezone_delete(config->zones[i]);
    md_arena_fini(&config->arena);
    free(config);
}

const struct md_notify_settings *md_notify_config_settings(const struct md_notify_config *config)
{
    return &config->settings;
}

/* ---- maintenance windows --------------------------------------------------------------------- */

static int64_t to_local(const struct md_timezone *zone, int64_t utc_ms)
{
    return utc_ms + (int64_t)md_timezone_offset_s(zone, utc_ms) * 1000;
}

/* The first moment at which the wall clock shows local_ms or later. */
static int64_t reaches(const struct md_timezone *zone, int64_t local_ms)
{
    int64_t late_ms = md_timezone_to_utc_ms(zone, local_ms);
    int64_t skipped_ms = to_local(zone, late_ms) - local_ms;
    if (skipped_ms <= 0)
        return late_ms;
    int64_t early_ms = late_ms - skipped_ms; /* the change lies in between */
    while (late_ms - early_ms > 1) {
        int64_t middle_ms = early_ms + (late_ms - early_ms) / 2;
        if (to_local(zone, middle_ms) >= local_ms)
            late_ms = middle_ms;
        else
            early_ms = middle_ms;
    }
    return late_ms;
}

static int64_t floor_day(int64_t ms)
{
    return ms / DAY_MS - (ms % DAY_MS < 0);
}

bool md_notify_window_open(const struct md_notify_config *config, int index, int64_t at_ms,
                           int64_t *begin_ms, int64_t *end_ms)
{
    const struct md_notify_window *window = &config->settings.windows[index];
    const struct md_timezone *zone = config->zones[index];
    int64_t today = floor_day(to_local(zone, at_ms));
    int64_t next = window->to_min <= window->from_min ? 1 : 0;
    for (int64_t day = today; day >= today - 1; day--) {
        int weekday = (int)(((day + 3) % 7 + 7) % 7); /* 1970 began on a Thursday */
        if (!(window->days >> weekday & 1))
            continue;
        *begin_ms = reaches(zone, day * DAY_MS + (int64_t)window->from_min * 60000);
        *end_ms = reaches(zone, (day + next) * DAY_MS + (int64_t)window->to_min * 60000);
        if (at_ms >= *begin_ms && at_ms < *end_ms)
            return true;
    }
    return false;
}
