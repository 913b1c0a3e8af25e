/*
 * How a table's steps look in the store, and the way there and back.
 *
 * A step is saved as: uint16 layout number, int32 offset of its newest sample, then per column
 * float32 value, then per column uint16 count, all little-endian. A *layout* is one line that
 * describes every column; the table's layouts are saved, in the order in which they came up, under
 * "series.NAME.layouts". Restoring maps a layout's columns to ours where the descriptions are
 * equal, so a service may add, drop or change columns between runs, and years of rows stay
 * readable. Labels are saved as one line each, in the order of label_fields.
 */
#include "series/persist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/log.h"
#include "series/internal.h"

#define STEPS_PER_SAVE 20000 /* bounds the memory of one transaction */
#define LAYOUTS_MAX    1000

static size_t cell_bytes(int columns)
{
    return 6 + (size_t)columns * 6;
}

static void layouts_name(const struct md_series *series, char name[160])
{
    snprintf(name, 160, "series.%.128s.layouts", series->options.name);
}

/* "cpu_user_pct" or "status=healthy|idle", each followed by a tab. */
static void describe_column(const struct md_column *column, struct md_buffer *out)
{
    md_buffer_text(out, column->name);
    for (int i = 0; i < column->value_count; i++)
        md_buffer_printf(out, "%c%s", i ? '|' : '=', column->values[i]);
    md_buffer_text(out, "\t");
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* What one transaction takes along; entities point into `text` once it stops growing. */
struct batch {
    struct md_buffer text; /* keys and labels, NUL-terminated */
    struct md_buffer cells;
    struct md_store_entity *entities;
    size_t *text_at; /* of each entity's key; its labels follow */
    struct md_store_step *steps;
    int entity_count, step_count;
};

static void batch_fini(struct batch *batch)
{
    md_buffer_fini(&batch->text);
    md_buffer_fini(&batch->cells);
    free(batch->entities);
    free(batch->text_at);
    free(batch->steps);
}

static enum md_status batch_init(struct batch *batch, int entities, struct md_error *err)
{
    memset(batch, 0, sizeof *batch);
    md_buffer_init(&batch->text, 0);
    md_buffer_init(&batch->cells, 0);
    batch->entities = calloc((size_t)entities + 1, sizeof *batch->entities);
    batch->text_at = calloc((size_t)entities + 1, sizeof *batch->text_at);
    batch->steps = calloc(STEPS_PER_SAVE, sizeof *batch->steps);
    if (batch->entities && batch->text_at && batch->steps)
        return MD_OK;
    return md_fail(err, MD_ERR_MEMORY, "no memory to save a series");
}

static void append_cells(struct md_buffer *out, const struct md_series *series,
                         const struct md__entity *entity, int slot)
{
    size_t columns = (size_t)series->options.column_count;
    md_buffer_append(out, &series->layout, 2);
    md_buffer_append(out, &entity->last_ms[slot], 4);
    md_buffer_append(out, entity->cells + (size_t)slot * columns, columns * sizeof(float));
    md_buffer_append(out, entity->counts + (size_t)slot * columns, columns * sizeof(uint16_t));
}

static void append_entity(struct batch *batch, const struct md_series *series,
                          const struct md__entity *entity)
{
    batch->text_at[batch->entity_count++] = batch->text.length;
    md_buffer_append(&batch->text, entity->key, strlen(entity->key) + 1);
    for (int i = 0; i < series->options.label_count; i++)
        md_buffer_printf(&batch->text, "%s\n", entity->labels[i] ? entity->labels[i] : "");
    md_buffer_append(&batch->text, "", 1);
}

/* Moves the entity's unsaved steps into the batch, as far as there is room. */
static void collect_entity(struct batch *batch, const struct md_series *series,
                           struct md__entity *entity)
{
    int number = batch->entity_count;
    int64_t first = entity->newest_step - series->options.steps + 1;
    append_entity(batch, series, entity);
    for (int64_t step = first; step <= entity->newest_step; step++) {
        int slot = md__slot(series, step);
        if (!entity->dirty[slot])
            continue;
        if (batch->step_count == STEPS_PER_SAVE)
            return;
        struct md_store_step *out = &batch->steps[batch->step_count++];
        out->entity = number;
        out->step = step;
        out->end_ms = (step + 1) * series->options.step_ms;
        out->bytes = cell_bytes(series->options.column_count);
        append_cells(&batch->cells, series, entity, slot);
        entity->dirty[slot] = false;
    }
    entity->any_dirty = false;
}

static enum md_status collect(struct md_series *series, struct batch *batch, struct md_error *err)
{
    pthread_rwlock_wrlock(&series->lock);
    enum md_status status = batch_init(batch, series->count, err);
    for (int i = 0; status == MD_OK && i < series->count; i++)
        if (series->entities[i]->any_dirty && batch->step_count < STEPS_PER_SAVE)
            collect_entity(batch, series, series->entities[i]);
    pthread_rwlock_unlock(&series->lock);
    if (status == MD_OK)
        status = md_buffer_check(&batch->text, err);
    if (status == MD_OK)
        status = md_buffer_check(&batch->cells, err);
    for (int i = 0; status == MD_OK && i < batch->entity_count; i++) {
        batch->entities[i].key = batch->text.data + batch->text_at[i];
        batch->entities[i].labels = batch->entities[i].key + strlen(batch->entities[i].key) + 1;
    }
    size_t bytes = cell_bytes(series->options.column_count);
    for (int i = 0; status == MD_OK && i < batch->step_count; i++)
        batch->steps[i].cells = batch->cells.data + (size_t)i * bytes;
    return status;
}

/* A failed save: everything in the batch is unsaved again. */
static void mark_dirty(struct md_series *series, const struct batch *batch)
{
    pthread_rwlock_wrlock(&series->lock);
    for (int i = 0; i < batch->entity_count; i++) {
        struct md__entity *entity = md__entity_find(series, batch->text.data + batch->text_at[i]);
        if (entity)
            entity->any_dirty = true;
    }
    for (int i = 0; i < batch->step_count; i++) {
        size_t at = batch->text_at[batch->steps[i].entity];
        struct md__entity *entity = md__entity_find(series, batch->text.data + at);
        if (entity && md__step_kept(series, entity, batch->steps[i].step))
            entity->dirty[md__slot(series, batch->steps[i].step)] = true;
    }
    pthread_rwlock_unlock(&series->lock);
}

enum md_status md_series_save(struct md_series *series, struct md_store *store,
                              struct md_error *err)
{
    for (;;) {
        struct batch batch;
        enum md_status status = collect(series, &batch, err);
        bool full = batch.step_count == STEPS_PER_SAVE, empty = batch.entity_count == 0;
        if (status == MD_OK && !empty)
            status = md_store_put_steps(store, series->options.name, batch.entities,
                                        batch.entity_count, batch.steps, batch.step_count, err);
        if (status != MD_OK && batch.text.data)
            mark_dirty(series, &batch);
        batch_fini(&batch);
        if (status != MD_OK || !full)
            return status;
    }
}

/* ---- layouts --------------------------------------------------------------------------------- */

struct layout {
    int columns;
    int map[MD_SERIES_COLUMNS_MAX]; /* its column -> ours, or -1 */
};

/* Our column with this description, or -1. */
static int find_description(const struct md_series *series, const char *text, size_t length)
{
    int found = -1;
    struct md_buffer own;
    md_buffer_init(&own, 0);
    for (int c = 0; found < 0 && c < series->options.column_count; c++) {
        md_buffer_clear(&own);
        describe_column(&series->options.columns[c], &own);
        if (!own.failed && own.length == length + 1 && memcmp(own.data, text, length) == 0)
            found = c;
    }
    md_buffer_fini(&own);
    return found;
}

static void parse_layout(const struct md_series *series, const char *line, size_t length,
                         struct layout *layout)
{
    layout->columns = 0;
    while (length > 0 && layout->columns < MD_SERIES_COLUMNS_MAX) {
        const char *tab = memchr(line, '\t', length);
        size_t part = tab ? (size_t)(tab - line) : length;
        layout->map[layout->columns++] = find_description(series, line, part);
        length -= part + (tab != NULL);
        line += part + (tab != NULL);
    }
}

/* Reads the stored layouts into layouts[]. Finds ours among them, or adds it to the store. */
static enum md_status settle_layouts(struct md_series *series, struct md_store *store,
                                     struct layout *layouts, int *count, struct md_error *err)
{
    char name[160], *text = NULL;
    size_t bytes;
    struct md_buffer own;
    layouts_name(series, name);
    md_buffer_init(&own, 0);
    enum md_status status = md_store_get_value(store, name, &text, &bytes, err);
    if (status != MD_OK && status != MD_ERR_NOT_FOUND)
        goto out;
    for (int c = 0; c < series->options.column_count; c++)
        describe_column(&series->options.columns[c], &own);
    md_buffer_text(&own, "\n");
    int found = -1;
    *count = 0;
    for (char *line = text; line && *line && *count < LAYOUTS_MAX; (*count)++) {
        size_t length = strcspn(line, "\n");
        parse_layout(series, line, length, &layouts[*count]);
        if (length + 1 == own.length && memcmp(line, own.data, length) == 0)
            found = *count;
        line += length + (line[length] == '\n');
    }
    series->layout = (uint16_t)(found >= 0 ? found : *count);
    status = md_buffer_check(&own, err);
    if (status == MD_OK && found < 0) {
        if (*count == LAYOUTS_MAX) {
            status = md_fail(err, MD_ERR_TOO_LARGE, "series '%s' had too many column layouts",
                             series->options.name);
            goto out;
        }
        struct md_buffer all;
        md_buffer_init(&all, 0);
        md_buffer_text(&all, text ? text : "");
        md_buffer_append(&all, own.data, own.length);
        status = md_store_put_value(store, name, all.data, all.length, err);
        md_buffer_fini(&all);
    }
out:
    md_buffer_fini(&own);
    free(text);
    return status;
}

/* ---- restoring ------------------------------------------------------------------------------- */

struct restore {
    struct md_series *series;
    struct md__entity *entity; /* NULL: there is no room for it */
    struct layout *layouts;
    int layout_count;
    int64_t last_step; /* later ones are of a clock that ran ahead: the present would be too old */
    int64_t steps_read, steps_bad;
    int entities_skipped;
};

static void end_entity(struct restore *restore)
{
    struct md__entity *entity = restore->entity;
    if (!entity || entity->newest_step == MD__NO_STEP)
        return;
    int slot = md__slot(restore->series, entity->newest_step);
    entity->newest_ms =
        entity->newest_step * restore->series->options.step_ms + entity->last_ms[slot];
    entity->raw_from_step = entity->newest_step + 1; /* raw samples are not saved */
    entity->any_dirty = false;
}

static enum md_status restore_entity(void *context, const char *key, const char *labels,
                                     struct md_error *err)
{
    struct restore *restore = context;
    (void)err;
    end_entity(restore);
    restore->entity = md__entity_get(restore->series, key, NULL);
    restore->entities_skipped += restore->entity == NULL;
    for (int i = 0; restore->entity && i < restore->series->options.label_count && *labels; i++) {
        char text[MD_SERIES_KEY_BYTES];
        size_t length = strcspn(labels, "\n");
        snprintf(text, sizeof text, "%.*s", (int)length, labels);
        if (*text)
            md__entity_set_label(restore->entity, i, text);
        labels += length + (labels[length] == '\n');
    }
    return MD_OK;
}

static void copy_cells(struct restore *restore, const struct layout *layout, int64_t step,
                       const char *values)
{
    struct md_series *series = restore->series;
    struct md__entity *entity = restore->entity;
    float *cells = md__cells(series, entity, step);
    uint16_t *counts = entity->counts + (cells - entity->cells);
    const char *stored_counts = values + 4 * (size_t)layout->columns;
    for (int i = 0; i < layout->columns; i++) {
        int own = layout->map[i];
        if (own < 0)
            continue;
        memcpy(&cells[own], values + 4 * (size_t)i, 4);
        memcpy(&counts[own], stored_counts + 2 * (size_t)i, 2);
        if (counts[own])
            entity->latest[own] = cells[own];
    }
}

static enum md_status restore_step(void *context, int64_t step, const void *cells, size_t bytes,
                                   struct md_error *err)
{
    struct restore *restore = context;
    const char *p = cells;
    uint16_t number;
    int32_t last_ms;
    (void)err;
    if (!restore->entity)
        return MD_OK;
    if (bytes >= 6) {
        memcpy(&number, p, 2);
        memcpy(&last_ms, p + 2, 4);
    }
    if (step > restore->last_step || bytes < 6 || number >= restore->layout_count || last_ms < 0 ||
        last_ms >= restore->series->options.step_ms ||
        bytes != cell_bytes(restore->layouts[number].columns)) {
        restore->steps_bad++;
        return MD_OK;
    }
    md__entity_advance(restore->series, restore->entity, step);
    restore->entity->last_ms[md__slot(restore->series, step)] = last_ms;
    copy_cells(restore, &restore->layouts[number], step, p + 6);
    restore->steps_read++;
    restore->series->stats.samples++;
    return MD_OK;
}

static void report(const struct restore *restore)
{
    const char *name = restore->series->options.name;
    if (restore->steps_read)
        md_log(MD_LOG_INFO, "series", "%s: restored %lld steps of %d entities", name,
               (long long)restore->steps_read, restore->series->count);
    if (restore->steps_bad)
        md_log(MD_LOG_WARN, "series", "%s: left out %lld damaged or future steps", name,
               (long long)restore->steps_bad);
    if (restore->entities_skipped)
        md_log(MD_LOG_WARN, "series", "%s: left out %d entities over the limit of %d", name,
               restore->entities_skipped, restore->series->options.entities_max);
}

enum md_status md_series_restore(struct md_series *series, struct md_store *store, int64_t now_ms,
                                 struct md_error *err)
{
    struct restore restore = {.series = series};
    const struct md_store_reader reader = {&restore, restore_entity, restore_step};
    int64_t first_step = md__step_of(series, now_ms) - series->options.steps + 1;
    restore.last_step = md__step_of(series, now_ms + series->options.future_max_ms);
    restore.layouts = calloc(LAYOUTS_MAX, sizeof *restore.layouts);
    if (!restore.layouts)
        return md_fail(err, MD_ERR_MEMORY, "no memory to restore '%s'", series->options.name);
    enum md_status status =
        settle_layouts(series, store, restore.layouts, &restore.layout_count, err);
    if (status == MD_OK) {
        pthread_rwlock_wrlock(&series->lock);
        status = md_store_read_steps(store, series->options.name, first_step, &reader, err);
        end_entity(&restore);
        pthread_rwlock_unlock(&series->lock);
    }
    free(restore.layouts);
    if (status == MD_OK)
        report(&restore);
    return status;
}
