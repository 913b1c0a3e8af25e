/*
 * Inside a series table: entities, their window of steps, and their raw recent samples.
 *
 * An entity's window is a ring of `steps` rows indexed by absolute step number modulo steps; rows
 * in (newest_step - steps, newest_step] are valid. Raw samples are a sorted array: every sample of
 * the steps >= raw_from_step is in it, and none older. All of it is guarded by the table's lock.
 */
#ifndef MD_SERIES_INTERNAL_H
#define MD_SERIES_INTERNAL_H

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "series/series.h"

#define MD__NO_STEP         INT64_MIN
#define MD__RAW_SAMPLES_MAX 2048

struct md__entity {
    char *key;
    char *labels[MD_SERIES_LABELS_MAX];
    int64_t newest_ms;     /* the newest sample's time */
    int64_t newest_step;   /* MD__NO_STEP before the first sample */
    int64_t raw_from_step; /* MD__NO_STEP: everything that ever came is raw */
    float *cells;          /* [steps][columns], NaN where nothing came */
    uint16_t *counts;      /* [steps][columns] values behind each cell, saturating */
    int32_t *last_ms;      /* [steps] offset of a step's newest sample; -1: the step is empty */
    bool *dirty;           /* [steps] not saved yet */
    bool any_dirty;        /* some step, or a label, is not saved yet */
    float *latest;         /* [columns] the newest value of each column */
    int64_t *raw_ms;       /* [raw_capacity] */
    float *raw;            /* [raw_capacity][columns] */
    int raw_count, raw_capacity;
};

struct md_series {
    struct md_series_options options; /* strings and arrays live in `arena` */
    struct md_arena arena;
    pthread_rwlock_t lock;
    struct md__entity **entities; /* [entities_max], the first `count` are live, in no order */
    int count;
    int *index;     /* hash table: entity number + 1, 0 = free */
    int index_size; /* a power of two, at least twice entities_max */
    _Atomic uint64_t version;
    uint16_t layout; /* the number under which steps are saved, see persist.c */
    struct md_series_stats stats;
};

/* One accepted observation on its way in. */
struct md__sample {
    int64_t time_ms;
    const float *values; /* [columns] */
};

static inline int64_t md__step_of(const struct md_series *series, int64_t time_ms)
{
    int64_t step_ms = series->options.step_ms;
    return time_ms >= 0 ? time_ms / step_ms : -((-time_ms + step_ms - 1) / step_ms);
}

static inline int md__slot(const struct md_series *series, int64_t step)
{
    int64_t slot = step % series->options.steps;
    return (int)(slot < 0 ? slot + series->options.steps : slot);
}

static inline float *md__cells(const struct md_series *series, const struct md__entity *entity,
                               int64_t step)
{
    return entity->cells + (size_t)md__slot(series, step) * (size_t)series->options.column_count;
}

static inline bool md__step_kept(const struct md_series *series, const struct md__entity *entity,
                                 int64_t step)
{
    return entity->newest_step != MD__NO_STEP && step <= entity->newest_step &&
           step > entity->newest_step - series->options.steps &&
           entity->last_ms[md__slot(series, step)] >= 0;
}

/* ---- series.c: the set of entities; callers hold the lock ---- */

struct md__entity *md__entity_find(const struct md_series *series, const char *key);
/* Finds or makes it; NULL with err when the table is full or memory is out. */
struct md__entity *md__entity_get(struct md_series *series, const char *key, struct md_error *err);
bool md__entity_set_label(struct md__entity *entity, int label, const char *text);

/* ---- window.c: one entity's steps; callers hold the lock for writing ---- */

enum md_status md__entity_init(const struct md_series *series, struct md__entity *entity,
                               struct md_error *err);
void md__entity_fini(struct md__entity *entity);
size_t md__entity_bytes(const struct md_series *series, const struct md__entity *entity);

/* Takes one sample in. *changed_step tells a step whose values changed (MD__NO_STEP: none). */
enum md_status md__entity_add(const struct md_series *series, struct md__entity *entity,
                              const struct md__sample *sample, int64_t *changed_step,
                              struct md_error *err);
/* Moves the window on so that `step` is its newest (no-op when it is newer already). */
void md__entity_advance(const struct md_series *series, struct md__entity *entity, int64_t step);

/* ---- feed checks shared by upsert and feed; in series.c ---- */

/* A refused record: the field is "" when no single one is to blame. */
enum md_status md__series_check_time(const struct md_series *series, int64_t time_ms,
                                     int64_t now_ms, struct md_error *err);
/* Names and labels hold no control characters: they are kept one a line, and shown in logs. */
bool md__has_control(const char *text);
/* The first column whose value is out of its range, or -1. */
int md__series_check_values(const struct md_series *series, const float *values,
                            struct md_error *err);
enum md_status md__series_add(struct md_series *series, const char *key, int64_t time_ms,
                              const float *values, const char *const *labels, int64_t now_ms,
                              struct md_error *err);

#endif
