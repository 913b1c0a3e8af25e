/*
 * Feed bodies: {"records": [{...}, ...]} into a table. Each record stands alone: a bad one is
 * listed with its index, its field and a reason, and costs the others nothing.
 *
 * The table is locked once per body, so that readers see a batch whole.
 */
#include "series/feed.h"

#include <stdio.h>
#include <string.h>

#include "base/json_in.h"
#include "base/timestamp.h"

void md__record_clear(const struct md_series *series, struct md__record *record)
{
    memset(record, 0, sizeof *record);
    record->field = "";
    for (int c = 0; c < series->options.column_count; c++)
        record->values[c] = NAN;
}

static enum md_status read_category(const struct md_column *column, const json_t *json,
                                    float *value, struct md_error *err)
{
    const char *text = json_string_value(json);
    if (!text)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "must be a string");
    for (int i = 0; i < column->value_count; i++)
        if (strcmp(column->values[i], text) == 0) {
            *value = (float)i;
            return MD_OK;
        }
    return md_fail(err, MD_ERR_UNPROCESSABLE, "'%.40s' is not one of its %d values", text,
                   column->value_count);
}

static enum md_status read_column(const struct md_column *column, const json_t *json, float *value,
                                  struct md_error *err)
{
    if (json_is_null(json))
        return MD_OK; /* absent */
    if (column->values)
        return read_category(column, json, value, err);
    if (!json_is_number(json))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "must be a number");
    *value = (float)json_number_value(json);
    return MD_OK;
}

static int find_label(const struct md_series_options *options, const char *name)
{
    for (int i = 0; i < options->label_count; i++)
        if (strcmp(options->label_fields[i], name) == 0)
            return i;
    return -1;
}

static enum md_status read_label(const json_t *json, const char **label, struct md_error *err)
{
    if (json_is_null(json))
        return MD_OK;
    *label = json_string_value(json);
    if (!*label || json_string_length(json) >= MD_SERIES_KEY_BYTES)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "must be a string of at most %d bytes",
                       MD_SERIES_KEY_BYTES - 1);
    if (md__has_control(*label))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "holds a control character");
    return MD_OK;
}

/* Fields other than key and time. */
static enum md_status read_fields(const struct md_series *series, const json_t *json,
                                  struct md__record *record, struct md_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)json, name, value)
    {
        int column = md_series_column(series, name), label = find_label(&series->options, name);
        enum md_status status = MD_OK;
        record->field = name;
        if (column >= 0)
            status =
                read_column(&series->options.columns[column], value, &record->values[column], err);
        else if (label >= 0)
            status = read_label(value, &record->labels[label], err);
        else if (strcmp(name, series->options.key_field) &&
                 strcmp(name, series->options.time_field))
            record->unknown_fields++;
        if (status != MD_OK)
            return status;
    }
    return MD_OK;
}

/* ISO 8601 text, or a number of seconds since 1970. */
static enum md_status read_time(const struct md_series *series, const json_t *json,
                                int64_t *time_ms, struct md_error *err)
{
    const char *text = json_string_value(json);
    if (text)
        return md_timestamp_parse(text, series->options.timezone, time_ms, err);
    double seconds = json_number_value(json);
    if (!json_is_number(json) || !(seconds > -1e11 && seconds < 1e11))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "must be an ISO 8601 time");
    *time_ms = (int64_t)(seconds * 1000.0);
    return MD_OK;
}

static enum md_status read_record(const struct md_series *series, const json_t *json,
                                  struct md__record *record, struct md_error *err)
{
    md__record_clear(series, record);
    if (!json_is_object(json))
        return md_fail(err, MD_ERR_UNPROCESSABLE, "must be an object");
    record->field = series->options.key_field;
    record->key = json_string_value(json_object_get(json, record->field));
    if (!record->key)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "must be a string");
    record->field = series->options.time_field;
    const json_t *time = json_object_get(json, record->field);
    if (!time)
        return md_fail(err, MD_ERR_UNPROCESSABLE, "is missing");
    enum md_status status = read_time(series, time, &record->time_ms, err);
    return status == MD_OK ? read_fields(series, json, record, err) : status;
}

/* The table must be locked: limits change while it serves. */
static enum md_status add_record(struct md_series *series, int64_t now_ms,
                                 struct md__record *record, struct md_error *err)
{
    int bad = md__series_check_values(series, record->values, err);
    if (bad >= 0) {
        record->field = series->options.columns[bad].name;
        return MD_ERR_UNPROCESSABLE;
    }
    record->field = series->options.time_field;
    enum md_status status = md__series_check_time(series, record->time_ms, now_ms, err);
    if (status != MD_OK)
        return status;
    status = md__series_add(series, record->key, record->time_ms, record->values, record->labels,
                            now_ms, err);
    if (status != MD_OK && !md__entity_find(series, record->key))
        record->field = series->options.key_field; /* it could not even be made */
    return status;
}

static void note_rejection(struct md_feed_result *result, size_t index, const char *field,
                           const struct md_error *err)
{
    result->rejected++;
    if (result->error_count == MD_FEED_ERRORS_MAX)
        return;
    struct md_feed_error *error = &result->errors[result->error_count++];
    error->index = (int64_t)index;
    snprintf(error->field, sizeof error->field, "%.47s", field);
    snprintf(error->reason, sizeof error->reason, "%.127s", err->text);
}

/* What became of record `index`. */
static void note(struct md_feed_result *result, size_t index, enum md_status status,
                 const struct md__record *record, const struct md_error *err)
{
    if (status != MD_OK) {
        note_rejection(result, index, record->field, err);
        return;
    }
    result->accepted++;
    result->unknown_fields += record->unknown_fields;
}

/* The table must be locked. */
static void add_json(struct md_series *series, const json_t *records, struct md_feed_result *result)
{
    int64_t now_ms = md_now_ms(series->options.clock);
    size_t index;
    json_t *json;
    json_array_foreach(records, index, json)
    {
        struct md__record record;
        struct md_error err = {0};
        enum md_status status = read_record(series, json, &record, &err);
        if (status == MD_OK)
            status = add_record(series, now_ms, &record, &err);
        note(result, index, status, &record, &err);
    }
}

static void add_plain(struct md_series *series, const struct md__records *records,
                      struct md_feed_result *result)
{
    int64_t now_ms = md_now_ms(series->options.clock);
    for (size_t i = 0; i < records->count; i++) {
        struct md_error err = {0};
        enum md_status status = add_record(series, now_ms, &records->list[i], &err);
        note(result, i, status, &records->list[i], &err);
    }
}

static void count(struct md_series *series, const struct md_feed_result *result)
{
    series->stats.accepted += result->accepted;
    series->stats.samples += result->accepted;
    series->stats.rejected += result->rejected;
    series->stats.unknown_fields += result->unknown_fields;
}

static enum md_status feed_json(struct md_series *series, const char *body, size_t length,
                                struct md_feed_result *result, struct md_error *err)
{
    json_t *root = NULL;
    enum md_status status = md_json_parse(body, length, &root, err);
    if (status != MD_OK)
        return status;
    const json_t *records = json_object_get(root, "records");
    if (!json_is_array(records)) {
        status = md_fail(err, MD_ERR_UNPROCESSABLE, "the body must be {\"records\": [...]}");
        goto out;
    }
    pthread_rwlock_wrlock(&series->lock);
    add_json(series, records, result);
    count(series, result);
    pthread_rwlock_unlock(&series->lock);
out:
    json_decref(root);
    return status;
}

enum md_status md_series_feed(struct md_series *series, const char *body, size_t length,
                              struct md_feed_result *result, struct md_error *err)
{
    struct md__records records;
    enum md_status status = MD_OK;
    memset(result, 0, sizeof *result);
    if (md__feed_read_plain(series, body, length, &records)) {
        pthread_rwlock_wrlock(&series->lock);
        add_plain(series, &records, result);
        count(series, result);
        pthread_rwlock_unlock(&series->lock);
        md__records_fini(&records);
    } else {
        status = feed_json(series, body, length, result, err);
    }
    if (status == MD_OK && result->rejected && !result->accepted)
        status = md_fail(err, MD_ERR_UNPROCESSABLE, "none of the %lld records is usable",
                         (long long)result->rejected);
    return status;
}
