/*
 * Feed bodies as feeders write them: {"records": [{"server": "a", "cpu": 1.5, ...}, ...]}, plain
 * ASCII strings without escapes, numbers, nulls. A tree of such a body costs ten times what its
 * records do, so they are read straight from a copy of the text, whose closing quotes become the
 * ends of strings.
 *
 * Everything else is left to feed.c: other shapes and spellings, records that cannot be read,
 * texts that are not JSON. So there is one place that says what is wrong with a body, and this one
 * may give up wherever it is in doubt. Records of a feeder have the same fields in the same order,
 * so what a name means is looked for where it was found in the record before.
 */
#include <stdlib.h>
#include <string.h>

#include "base/timestamp.h"
#include "series/feed.h"

enum { RECORDS_MAX = 16384, FIELDS_MAX = 96, UNKNOWN_MAX = 8, DIGITS_MAX = 15 };

enum meaning { KEY, TIME, LABEL, COLUMN, UNKNOWN };

struct name {
    const char *text;
    size_t length;
    enum meaning meaning;
    int index; /* of the label or column */
};

struct reader {
    const struct md_series *series;
    char *at, *end;
    struct md__records *records;
    size_t capacity;
    struct name fields[FIELDS_MAX]; /* of the record before, by their place */
    const char *time_text;          /* of the record before */
    int64_t time_ms;
};

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n' ||
                                        *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

/* Takes the character, with blanks around it. */
static bool take(struct reader *reader, char c)
{
    skip_space(reader);
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    skip_space(reader);
    return true;
}

/* A string of plain ASCII; its closing quote becomes its end. */
static char *take_string(struct reader *reader, size_t *length)
{
    char *begin = reader->at + 1, *at = begin;
    if (reader->at == reader->end || *reader->at != '"')
        return NULL;
    while (at < reader->end && *at >= ' ' && *at != '"' && *at != '\\') /* char is signed */
        at++;
    if (at == reader->end || *at != '"')
        return NULL;
    *at = '\0';
    *length = (size_t)(at - begin);
    reader->at = at + 1;
    return begin;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int take_digits(struct reader *reader, uint64_t *number)
{
    char *begin = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        *number = *number * 10 + (uint64_t)(*reader->at++ - '0');
    return (int)(reader->at - begin);
}

/*
 * A number of so few digits that they, and the power of ten that they are divided by, are exact in
 * a double: so the quotient is the nearest, as strtod's. Others are left to strtod.
 */
static bool take_number(struct reader *reader, double *number)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    char *begin = reader->at;
    uint64_t digits = 0;
    int decimals = 0;
    bool negative = reader->at < reader->end && *reader->at == '-';
    reader->at += negative;
    char *first = reader->at;
    int whole = take_digits(reader, &digits);
    if (whole == 0 || (whole > 1 && *first == '0'))
        return false;
    if (reader->at < reader->end && *reader->at == '.') {
        reader->at++;
        decimals = take_digits(reader, &digits);
        if (decimals == 0)
            return false;
    }
    if (reader->at == reader->end || *reader->at == 'e' || *reader->at == 'E')
        return false;
    if (whole + decimals <= DIGITS_MAX) {
        *number = (double)digits / powers[decimals];
        *number =
            negative && (digits > 0 || decimals > 0) ? -*number : *number; /* -0 is an integer */
        return true;
    }
    if (decimals == 0 || whole > DIGITS_MAX)
        return false;
    char *end;
    *number = strtod(begin, &end);
    return end == reader->at; /* not so where the locale has another point */
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* What a name means; false: in this table it means more than one thing. */
static bool look_up(const struct md_series *series, struct name *name)
{
    const struct md_series_options *options = &series->options;
    int meanings = 0;
    name->meaning = UNKNOWN;
    name->index = md_series_column(series, name->text);
    if (name->index >= 0) {
        name->meaning = COLUMN;
        meanings++;
    }
    for (int i = 0; i < options->label_count; i++)
        if (strcmp(options->label_fields[i], name->text) == 0) {
            name->meaning = LABEL;
            name->index = i;
            meanings++;
        }
    if (strcmp(name->text, options->key_field) == 0) {
        name->meaning = KEY;
        meanings++;
    }
    if (strcmp(name->text, options->time_field) == 0) {
        name->meaning = TIME;
        meanings++;
    }
    return meanings <= 1;
}

static bool take_name(struct reader *reader, int place, struct name *name)
{
    struct name *before = &reader->fields[place];
    name->text = take_string(reader, &name->length);
    if (name->text == NULL || place == FIELDS_MAX - 1)
        return false;
    if (before->text == NULL || before->length != name->length ||
        memcmp(before->text, name->text, name->length) != 0) {
        if (!look_up(reader->series, name))
            return false;
        *before = *name;
    }
    name->meaning = before->meaning;
    name->index = before->index;
    return true;
}

static bool take_category(struct reader *reader, const struct md_column *column, float *value)
{
    size_t length;
    const char *text = take_string(reader, &length);
    for (int i = 0; text != NULL && i < column->value_count; i++)
        if (strcmp(column->values[i], text) == 0) {
            *value = (float)i;
            return true;
        }
    return false;
}

static bool take_null(struct reader *reader)
{
    if (reader->end - reader->at < 4 || memcmp(reader->at, "null", 4) != 0)
        return false;
    reader->at += 4;
    return true;
}

static bool take_column(struct reader *reader, int index, struct md__record *record)
{
    const struct md_column *column = &reader->series->options.columns[index];
    double number;
    if (take_null(reader))
        return true;
    if (column->values)
        return take_category(reader, column, &record->values[index]);
    if (!take_number(reader, &number))
        return false;
    record->values[index] = (float)number;
    return true;
}

/* Feeders stamp all records of a body alike. */
static bool take_time(struct reader *reader, struct md__record *record)
{
    size_t length;
    struct md_error err;
    const char *text = take_string(reader, &length);
    if (text == NULL)
        return false;
    if (reader->time_text == NULL || strcmp(text, reader->time_text) != 0) {
        const struct md_timezone *timezone = reader->series->options.timezone;
        if (md_timestamp_parse(text, timezone, &reader->time_ms, &err) != MD_OK)
            return false;
        reader->time_text = text;
    }
    record->time_ms = reader->time_ms;
    return true;
}

static bool take_label(struct reader *reader, int index, struct md__record *record)
{
    size_t length;
    if (take_null(reader))
        return true;
    record->labels[index] = take_string(reader, &length);
    return record->labels[index] != NULL && length < MD_SERIES_KEY_BYTES &&
           !md__has_control(record->labels[index]);
}

/* Of a field that the table does not know: any of the plain values. */
static bool take_anything(struct reader *reader)
{
    size_t length;
    double number;
    if (reader->at < reader->end && *reader->at == '"')
        return take_string(reader, &length) != NULL;
    return take_null(reader) || take_number(reader, &number);
}

/* ---- records --------------------------------------------------------------------------------- */

/* Which fields a record had, since none may come twice. */
struct seen {
    uint64_t columns;
    unsigned others; /* labels from bit 2 on, the time, the key */
    const char *unknown[UNKNOWN_MAX];
    int unknown_count;
};

static bool is_new(struct seen *seen, const struct name *name)
{
    uint64_t column = name->meaning == COLUMN ? (uint64_t)1 << name->index : 0;
    unsigned other = name->meaning == KEY     ? 1
                     : name->meaning == TIME  ? 2
                     : name->meaning == LABEL ? 4u << name->index
                                              : 0;
    if (name->meaning == UNKNOWN) {
        for (int i = 0; i < seen->unknown_count; i++)
            if (strcmp(seen->unknown[i], name->text) == 0)
                return false;
        if (seen->unknown_count == UNKNOWN_MAX)
            return false;
        seen->unknown[seen->unknown_count++] = name->text;
    }
    bool is_new = (seen->columns & column) == 0 && (seen->others & other) == 0;
    seen->columns |= column;
    seen->others |= other;
    return is_new;
}

static bool take_value(struct reader *reader, const struct name *name, struct md__record *record)
{
    size_t length;
    switch (name->meaning) {
    case KEY:
        return (record->key = take_string(reader, &length)) != NULL;
    case TIME:
        return take_time(reader, record);
    case LABEL:
        return take_label(reader, name->index, record);
    case COLUMN:
        return take_column(reader, name->index, record);
    case UNKNOWN:
        break;
    }
    record->unknown_fields++;
    return take_anything(reader);
}

static bool take_record(struct reader *reader, struct md__record *record)
{
    struct seen seen = {0};
    int place = 0;
    md__record_clear(reader->series, record);
    if (!take(reader, '{'))
        return false;
    do {
        struct name name;
        if (!take_name(reader, place++, &name) || !is_new(&seen, &name) || !take(reader, ':') ||
            !take_value(reader, &name, record))
            return false;
    } while (take(reader, ','));
    return take(reader, '}') && (seen.others & 3) == 3;
}

static struct md__record *next_record(struct reader *reader)
{
    struct md__records *records = reader->records;
    if (records->count == reader->capacity) {
        size_t capacity = reader->capacity ? reader->capacity * 2 : 64;
        struct md__record *list =
            capacity <= RECORDS_MAX ? realloc(records->list, capacity * sizeof *list) : NULL;
        if (list == NULL)
            return NULL;
        records->list = list;
        reader->capacity = capacity;
    }
    return &records->list[records->count++];
}

static bool take_body(struct reader *reader)
{
    size_t length;
    if (!take(reader, '{'))
        return false;
    const char *name = take_string(reader, &length);
    if (name == NULL || strcmp(name, "records") != 0 || !take(reader, ':') || !take(reader, '['))
        return false;
    do {
        struct md__record *record = next_record(reader);
        if (record == NULL || !take_record(reader, record))
            return false;
    } while (take(reader, ','));
    return take(reader, ']') && take(reader, '}') && reader->at == reader->end;
}

bool md__feed_read_plain(const struct md_series *series, const char *body, size_t length,
                         struct md__records *records)
{
    *records = (struct md__records){.text = malloc(length + 1)};
    if (records->text == NULL)
        return false;
    memcpy(records->text, body, length);
    records->text[length] = '\0';
    struct reader reader = {
        .series = series, .at = records->text, .end = records->text + length, .records = records};
    if (take_body(&reader))
        return true;
    md__records_fini(records);
    return false;
}

void md__records_fini(struct md__records *records)
{
    free(records->list);
    free(records->text);
    *records = (struct md__records){0};
}
