/*
 * How fast frames of alerts are kept and read:
 *
 *     build/release/bench_alert_history [--frames 8640] [--servers 100]
 *
 * Frames are those of a fleet: 14 columns and an hour of one quantile of each, every 5 minutes (the
 * default is 30 days of them). Prints what rounding and keeping one takes, bytes on disk, and what
 * reading all of them takes, decoded, through a second connection that only reads; the first read
 * follows the writing, so files are in the page cache.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "alert/history.h"
#include "scratch.h"
#include "store/store.h"

enum { COLUMNS = 14, STEPS = 12, STEP_MS = 300000 };
#define START_MS 1767225600000LL

struct fleet {
    int servers;
    char (*names)[24];
    const char **keys, **profiles, *columns[COLUMNS];
    float *values, *forecasts;
    unsigned char *known;
    struct md_alert_channel channels[COLUMNS];
    struct md_alert_frame frame;
};

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void check(enum md_status status, const struct md_error *err)
{
    if (status == MD_OK)
        return;
    fprintf(stderr, "bench_alert_history: %s\n", err->text);
    exit(1);
}

static void *make(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory)
        exit(1);
    return memory;
}

static void new_fleet(struct fleet *fleet, int servers)
{
    static const char *const profiles[] = {"database", "web_api", "ml_compute"};
    static char columns[COLUMNS][32];
    size_t cells = (size_t)servers * COLUMNS;
    *fleet = (struct fleet){.servers = servers,
                            .names = make((size_t)servers, sizeof *fleet->names),
                            .keys = make((size_t)servers, sizeof *fleet->keys),
                            .profiles = make((size_t)servers, sizeof *fleet->profiles),
                            .values = make(cells, sizeof(float)),
                            .forecasts = make(cells * STEPS, sizeof(float)),
                            .known = make(cells, 1)};
    memset(fleet->known, 1, cells);
    for (int i = 0; i < servers; i++) {
        snprintf(fleet->names[i], sizeof fleet->names[i], "ppserver%04d", i);
        fleet->keys[i] = fleet->names[i];
        fleet->profiles[i] = profiles[i % 3];
    }
    for (int c = 0; c < COLUMNS; c++) {
        snprintf(columns[c], sizeof columns[c], "metric_%d_pct", c);
        fleet->columns[c] = columns[c];
        fleet->channels[c] = (struct md_alert_channel){
            columns[c], 0.5f, STEP_MS, STEPS, fleet->forecasts + (size_t)c * servers * STEPS};
    }
    fleet->frame = (struct md_alert_frame){.step_ms = STEP_MS,
                                           .key_count = servers,
                                           .keys = fleet->keys,
                                           .profiles = fleet->profiles,
                                           .column_count = COLUMNS,
                                           .columns = fleet->columns,
                                           .values = fleet->values,
                                           .known = fleet->known,
                                           .channel_count = COLUMNS,
                                           .channels = fleet->channels};
}

static void fill(struct fleet *fleet, int tick)
{
    int cells = fleet->servers * COLUMNS;
    fleet->frame.time_ms = START_MS + (int64_t)tick * STEP_MS;
    for (int i = 0; i < cells; i++)
        fleet->values[i] = 50 + 40 * sinf((float)(tick + i) * 0.07f);
    for (int i = 0; i < cells * STEPS; i++)
        fleet->forecasts[i] = fleet->values[i / STEPS % cells] + (float)(i % STEPS) * 0.37f;
}

/* Keeps all frames, with a state of 64 KiB each as of a few hundred alerts. */
static void keep_all(struct md_store *store, struct fleet *fleet, int frames)
{
    struct md_buffer bytes, state;
    struct md_error err;
    double encoding_ms = 0, keeping_ms = 0;
    size_t total = 0;
    md_buffer_init(&bytes, 0);
    md_buffer_init(&state, 0);
    md_buffer_reserve(&state, 65536);
    memset(state.data, 7, state.length = 65536);
    for (int i = 0; i < frames; i++) {
        fill(fleet, i);
        double begin_ms = now_ms();
        check(md_alert_frame_encode(&fleet->frame, &bytes, &err), &err);
        const struct md_alert_tick tick = {fleet->frame.time_ms, &bytes, 0, NULL};
        double middle_ms = now_ms();
        check(md_alert_history_put(store, &tick, 1, &state, &err), &err);
        encoding_ms += middle_ms - begin_ms;
        keeping_ms += now_ms() - middle_ms;
        total += bytes.length;
    }
    printf("frame %.1f KB, encoded in %.3f ms, kept in %.3f ms; %d frames take %.0f MB of disk\n",
           (double)total / frames / 1e3, encoding_ms / frames, keeping_ms / frames, frames,
           (double)md_store_bytes(store) / 1e6);
    md_buffer_fini(&bytes);
    md_buffer_fini(&state);
}

static enum md_status add_up(void *context, const struct md_alert_frame *frame,
                             struct md_error *err)
{
    double *sum = context;
    (void)err;
    for (int i = 0; i < frame->channel_count; i++)
        sum[0] += (double)frame->channels[i].values[STEPS - 1];
    sum[1]++;
    return MD_OK;
}

static void read_all(const char *folder, int frames)
{
    struct md_store *reader;
    struct md_error err;
    double best_ms = INFINITY, sum[2] = {0};
    check(md_store_open_read(folder, &reader, &err), &err);
    for (int turn = 0; turn < 3; turn++) {
        double begin_ms = now_ms();
        memset(sum, 0, sizeof sum);
        check(md_alert_history_frames(reader, 0, INT64_MAX, add_up, sum, &err), &err);
        best_ms = fmin(best_ms, now_ms() - begin_ms);
    }
    md_store_close(reader);
    printf("read %.0f frames in %.0f ms (best of 3), %.3f ms each\n", sum[1], best_ms,
           best_ms / frames);
}

int main(int argc, char **argv)
{
    int frames = 8640, servers = 100;
    struct fleet fleet;
    struct md_store *store;
    struct md_error err;
    struct md_clock_manual clock;
    for (int i = 1; i + 1 < argc; i += 2) {
        int *number = strcmp(argv[i], "--frames") == 0 ? &frames : &servers;
        *number = atoi(argv[i + 1]) > 0 ? atoi(argv[i + 1]) : 1;
    }
    char *folder = scratch_new();
    md_clock_manual_init(&clock, START_MS);
    struct md_store_options options = {.clock = &clock.base};
    check(md_store_open(folder, &options, &store, &err), &err);
    new_fleet(&fleet, servers);
    printf("%d servers, %d columns, a forecast of %d steps of each\n", servers, COLUMNS, STEPS);
    keep_all(store, &fleet, frames);
    read_all(folder, frames);
    md_store_close(store);
    scratch_delete(folder);
    free(fleet.names);
    free(fleet.keys);
    free(fleet.profiles);
    free(fleet.values);
    free(fleet.forecasts);
    free(fleet.known);
    return 0;
}
