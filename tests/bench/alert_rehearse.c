/*
 * How long a rehearsal takes: 20 rules and 20 others over a month of a fleet, in one pass.
 *
 *     build/release/bench_alert_rehearse FOLDER [--frames 8640] [--servers 100] [--text FILE]
 *
 * Makes a history in FOLDER (14 columns, an hour of one quantile of four of them, every 5 minutes),
 * then rehearses from the store as `moondial rehearse` does: frames decoded, both sets evaluated,
 * spans compared, the report written. Prints one JSON object. --text writes what the rules watch in
 * OpenMetrics' format, for Prometheus to do the same with; see alerts/rehearse.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alert/history.h"
#include "alert/rehearse.h"
#include "store/store.h"

enum { COLUMNS = 14, CHANNELS = 4, STEPS = 12, STEP_MS = 300000, WATCHED = 6, RULES = 20 };
#define START_MS 1767225600000LL

struct fleet {
    int servers, frames;
    char (*names)[32];
    const char **keys, **profiles;
    const char *columns[COLUMNS];
    float *values, *forecasts;
    unsigned char *known;
    struct md_alert_channel channels[CHANNELS];
    struct md_alert_frame frame;
};

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void check(enum md_status status, const struct md_error *err)
{
    if (status != MD_OK) {
        fprintf(stderr, "bench_alert_rehearse: %s\n", err->text);
        exit(1);
    }
}

static void *make(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);

    if (memory == NULL) {
        exit(1);
    }
    return memory;
}

static void new_fleet(struct fleet *fleet)
{
    static char columns[COLUMNS][32];
    size_t servers = (size_t)fleet->servers, cells = servers * COLUMNS;

    fleet->names = make(servers, sizeof *fleet->names);
    fleet->keys = make(servers, sizeof *fleet->keys);
    fleet->profiles = make(servers, sizeof *fleet->profiles);
    fleet->values = make(cells, sizeof(float));
    fleet->forecasts = make(CHANNELS * servers * STEPS, sizeof(float));
    fleet->known = make(cells, 1);
    memset(fleet->known, 1, cells);
    for (size_t i = 0; i < servers; i++) {
        snprintf(fleet->names[i], sizeof fleet->names[i], "ppserver%04zu", i);
        fleet->keys[i] = fleet->names[i];
        fleet->profiles[i] = i % 3 == 0 ? "database" : "web_api";
    }
    for (int c = 0; c < COLUMNS; c++) {
        snprintf(columns[c], sizeof columns[c], "metric_%d_pct", c);
        fleet->columns[c] = columns[c];
    }
    for (size_t c = 0; c < CHANNELS; c++) {
        fleet->channels[c] = (struct md_alert_channel){fleet->columns[c], 0.5f, STEP_MS, STEPS,
                                                       fleet->forecasts + c * servers * STEPS};
    }
    fleet->frame = (struct md_alert_frame){.step_ms = STEP_MS,
                                           .key_count = fleet->servers,
                                           .keys = fleet->keys,
                                           .profiles = fleet->profiles,
                                           .column_count = COLUMNS,
                                           .columns = fleet->columns,
                                           .values = fleet->values,
                                           .known = fleet->known,
                                           .channel_count = CHANNELS,
                                           .channels = fleet->channels};
}

/* A day's wave with noise, and an incident of an hour now and then. */
static float value_at(int server, int column, int step)
{
    uint32_t noise = (uint32_t)(server * 7919 + column * 104729 + step) * 2654435761u;
    uint32_t hour = (uint32_t)(server * 31 + column * 17 + step / 12) * 2246822519u;
    float wave = 45 + 20 * sinf((float)(step % 288) * 0.0218166f + (float)(server + column));
    float incident = (hour >> 12) % 400 == 0 ? 40 : 0;

    return fminf(fmaxf(wave + incident + (float)(noise >> 24) / 32 - 4, 0), 100);
}

static void fill(struct fleet *fleet, int step)
{
    fleet->frame.time_ms = START_MS + (int64_t)(step + 1) * STEP_MS;
    for (int k = 0; k < fleet->servers; k++) {
        for (int c = 0; c < COLUMNS; c++) {
            fleet->values[k * COLUMNS + c] = value_at(k, c, step);
        }
        for (int c = 0; c < CHANNELS; c++) {
            float *ahead =
                fleet->forecasts + ((size_t)c * (size_t)fleet->servers + (size_t)k) * STEPS;
            for (int i = 0; i < STEPS; i++) {
                ahead[i] = value_at(k, c, step + i + 1);
            }
        }
    }
}

static void keep(struct fleet *fleet, const char *folder)
{
    struct md_store_options options = {.clock = md_clock_system(),
                                       .bytes_max = INT64_C(8) << 30,
                                       .retention_ms = INT64_C(400) * 86400000};
    struct md_buffer bytes, state;
    struct md_store *store;
    struct md_error err;

    md_buffer_init(&bytes, 0);
    md_buffer_init(&state, 0);
    md_buffer_text(&state, "none");
    check(md_store_open(folder, &options, &store, &err), &err);
    for (int step = 0; step < fleet->frames; step++) {
        struct md_alert_tick tick = {.frame = &bytes};
        fill(fleet, step);
        tick.time_ms = fleet->frame.time_ms;
        md_buffer_clear(&bytes);
        check(md_alert_frame_encode(&fleet->frame, &bytes, &err), &err);
        check(md_alert_history_put(store, &tick, 1, &state, &err), &err);
    }
    md_store_close(store);
    md_buffer_fini(&bytes);
    md_buffer_fini(&state);
}

/* Six columns with three tiers each, and two on forecasts. */
static struct md_alert_rules *make_rules(const struct fleet *fleet, float shift)
{
    static const char *const tiers[] = {"warning", "critical", "emergency"};
    static char names[RULES][40];
    struct md_alert_rule rules[RULES];
    struct md_alert_rules *set;
    struct md_error err;

    for (int i = 0; i < RULES; i++) {
        bool ahead = i >= 3 * WATCHED;
        int column = ahead ? i - 3 * WATCHED : i / 3;
        snprintf(names[i], sizeof names[i], "%s_%d_%s", ahead ? "forecast" : "metric", column,
                 ahead ? "soon" : tiers[i % 3]);
        rules[i] = (struct md_alert_rule){
            .name = names[i],
            .severity = ahead ? "warning" : tiers[i % 3],
            .watch = ahead ? MD_ALERT_FORECAST : MD_ALERT_CURRENT,
            .column_count = 1,
            .columns = &fleet->columns[column],
            .quantile = 0.5f,
            .within_ms = ahead ? 3600000 : 0,
            .limit = {.fallback = (ahead ? 95 : 85 + 5 * (float)(i % 3)) + shift},
            .clear = {.fallback = NAN},
            .for_ms = i % 3 == 1 ? 600000 : 0,
            .keep_firing_ms = i % 3 == 0 ? 900000 : 0};
    }
    check(md_alert_rules_new(rules, RULES, &set, &err), &err);
    return set;
}

static enum md_status take_frame(void *context, const struct md_alert_frame *frame,
                                 struct md_error *err)
{
    return md_alert_rehearsal_frame(context, frame, err);
}

static void rehearse(const struct fleet *fleet, const char *folder)
{
    struct md_alert_rules *fresh = make_rules(fleet, 2), *old = make_rules(fleet, 0);
    struct md_alert_rehearsal_options options = {.entity_label = "server",
                                                 .since_ms = START_MS,
                                                 .until_ms = START_MS +
                                                             (int64_t)(fleet->frames + 1) * STEP_MS,
                                                 .bins = 600,
                                                 .fresh = {.rules = fresh},
                                                 .old = {.rules = old}};
    struct md_alert_report_options told = {.differences_max = 1000};
    struct md_alert_rehearsal_result result;
    struct md_alert_rehearsal *rehearsal;
    struct md_store *store;
    struct md_buffer report;
    struct md_error err;
    double begun_s = now_s();

    md_buffer_init(&report, 0);
    check(md_store_open_read(folder, &store, &err), &err);
    check(md_alert_rehearsal_new(&options, &rehearsal, &err), &err);
    check(md_alert_history_frames(store, md_alert_rehearsal_begin_ms(rehearsal), options.until_ms,
                                  take_frame, rehearsal, &err),
          &err);
    check(md_alert_rehearsal_finish(rehearsal, NULL, &err), &err);
    check(md_alert_rehearsal_report(rehearsal, &told, &report, &err), &err);
    md_alert_rehearsal_result(rehearsal, &result);
    printf("{\"seconds\":%.3f,\"frames\":%lld,\"servers\":%d,\"rules\":%d,\"alerts_new\":%d,"
           "\"alerts_old\":%d,\"store_mb\":%.1f}\n",
           now_s() - begun_s, (long long)result.frames, fleet->servers, 2 * RULES,
           result.fresh->count, result.old->count, (double)md_store_bytes(store) / 1e6);
    md_alert_rehearsal_delete(rehearsal);
    md_store_close(store);
    md_buffer_fini(&report);
    md_alert_rules_unref(fresh);
    md_alert_rules_unref(old);
}

/* What the rules watch; of a forecast, its largest value, made ready for Prometheus. */
static void write_text(struct fleet *fleet, const char *path)
{
    FILE *file = fopen(path, "w");

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    for (int c = 0; c < WATCHED + 2; c++) {
        fprintf(file, "# TYPE %s%s gauge\n", c < WATCHED ? "" : "forecast_",
                fleet->columns[c < WATCHED ? c : c - WATCHED]);
        for (int k = 0; k < fleet->servers; k++) {
            for (int step = 0; step < fleet->frames; step++) {
                float value = c < WATCHED ? value_at(k, c, step) : 0;
                for (int i = 1; c >= WATCHED && i <= STEPS; i++) {
                    value = fmaxf(value, value_at(k, c - WATCHED, step + i));
                }
                fprintf(file, "%s%s{server=\"%s\"} %.6g %lld\n", c < WATCHED ? "" : "forecast_",
                        fleet->columns[c < WATCHED ? c : c - WATCHED], fleet->keys[k],
                        (double)value, (START_MS + (long long)(step + 1) * STEP_MS) / 1000);
            }
        }
    }
    fputs("# EOF\n", file);
    if (fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct fleet fleet = {.servers = 100, .frames = 8640};
    const char *text = NULL;

    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--frames") == 0) {
            fleet.frames = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--servers") == 0) {
            fleet.servers = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--text") == 0) {
            text = argv[i + 1];
        }
    }
    if (argc < 2 || argc % 2 != 0 || fleet.frames < 1 || fleet.servers < 1) {
        fputs("usage: bench_alert_rehearse FOLDER [--frames N] [--servers N] [--text FILE]\n",
              stderr);
        return 2;
    }
    new_fleet(&fleet);
    keep(&fleet, argv[1]);
    rehearse(&fleet, argv[1]);
    if (text != NULL) {
        write_text(&fleet, text);
    }
    return 0;
}
