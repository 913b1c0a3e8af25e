/*
 * Frames from bytes: frame.h has the layout. Bytes come from a disk: nothing in them is believed
 * before it has been compared with their length.
 */
#include "alert/frame.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

static enum md_status corrupt(const char *what, struct md_error *err)
{
    return md_fail(err, MD_ERR_CORRUPT, "a kept frame of alerts is damaged: %s", what);
}

enum md_status md__frame_split(const void *bytes, size_t length, struct md__frame_parts *parts,
                               struct md_error *err)
{
    uint32_t names_bytes;
    if (length < sizeof names_bytes)
        return corrupt("it is too short", err);
    memcpy(&names_bytes, bytes, sizeof names_bytes);
    length -= sizeof names_bytes;
    if (names_bytes > length)
        return corrupt("it ends within its names", err);
    parts->names = (const char *)bytes + sizeof names_bytes;
    parts->names_bytes = names_bytes;
    parts->cells = (const char *)parts->names + names_bytes;
    parts->cells_bytes = length - names_bytes;
    return MD_OK;
}

/* Names that have been looked at: texts are as many as they have to be, numbers fit into memory. */
struct names {
    struct md__frame_head head;
    const char *channels; /* struct md__frame_channel each, not aligned */
    const char *texts;
    size_t texts_bytes;
    size_t floats; /* of values and of all channels */
};

static struct md__frame_channel channel_head(const struct names *names, uint32_t index)
{
    struct md__frame_channel head;
    memcpy(&head, names->channels + (size_t)index * sizeof head, sizeof head);
    return head;
}

static enum md_status count_texts(const struct names *names, struct md_error *err)
{
    const struct md__frame_head *head = &names->head;
    size_t wanted = 2 * (size_t)head->keys + head->columns + head->channels + head->gauges;
    size_t found = 0;
    for (size_t i = 0; i < names->texts_bytes; i++)
        found += names->texts[i] == '\0';
    if (found != wanted || (wanted > 0 && names->texts[names->texts_bytes - 1] != '\0') ||
        (wanted == 0 && names->texts_bytes > 0))
        return corrupt("its names are not as many as they should be", err);
    return MD_OK;
}

static enum md_status count_floats(struct names *names, struct md_error *err)
{
    const size_t floats_max = MD_ALERT_FRAME_BYTES_MAX / sizeof(float);
    const struct md__frame_head *head = &names->head; /* every count is below 2^28: no overflow */
    names->floats = (size_t)head->keys * head->columns;
    for (uint32_t i = 0; names->floats <= floats_max && i < head->channels; i++) {
        struct md__frame_channel channel = channel_head(names, i);
        if (channel.steps > MD_ALERT_STEPS_MAX)
            return corrupt("a forecast has too many steps", err);
        names->floats += (size_t)head->keys * channel.steps;
    }
    return names->floats <= floats_max ? MD_OK : corrupt("it is larger than frames are", err);
}

static enum md_status read_names(const char *bytes, size_t length, struct names *names,
                                 struct md_error *err)
{
    struct md__frame_head *head = &names->head;
    if (length < sizeof *head || length > MD_ALERT_FRAME_BYTES_MAX)
        return corrupt("its names have a wrong size", err);
    memcpy(head, bytes, sizeof *head);
    if (head->format != MD__FRAME_FORMAT)
        return corrupt("it has an unknown format", err);
    length -= sizeof *head;
    if (head->keys > length || head->columns > length || head->gauges > length ||
        head->channels > length / sizeof(struct md__frame_channel))
        return corrupt("it ends within its names", err);
    names->channels = bytes + sizeof *head;
    names->texts = names->channels + head->channels * sizeof(struct md__frame_channel);
    names->texts_bytes = length - head->channels * sizeof(struct md__frame_channel);
    enum md_status status = count_texts(names, err);
    return status == MD_OK ? count_floats(names, err) : status;
}

/* Takes pieces of one block; without memory it only counts. */
struct carver {
    char *memory;
    size_t used;
};

static void *carve(struct carver *carver, size_t bytes)
{
    size_t at = carver->used;
    carver->used += (bytes + 7) & ~(size_t)7;
    return carver->memory ? carver->memory + at : NULL;
}

struct pieces {
    const char **keys, **profiles, **columns;
    struct md_alert_channel *channels;
    struct md_alert_gauge *gauges;
    float *floats;
    unsigned char *known;
    char *texts;
};

static struct pieces lay_out(const struct names *names, struct carver *carver)
{
    const struct md__frame_head *head = &names->head;
    return (struct pieces){
        .keys = carve(carver, head->keys * sizeof(char *)),
        .profiles = carve(carver, head->keys * sizeof(char *)),
        .columns = carve(carver, head->columns * sizeof(char *)),
        .channels = carve(carver, head->channels * sizeof(struct md_alert_channel)),
        .gauges = carve(carver, head->gauges * sizeof(struct md_alert_gauge)),
        .floats = carve(carver, names->floats * sizeof(float)),
        .known = carve(carver, (size_t)head->keys * head->columns),
        .texts = carve(carver, names->texts_bytes),
    };
}

static char *take_text(char **at)
{
    char *text = *at;
    *at += strlen(text) + 1;
    return text;
}

static void fill_pieces(const struct names *names, const struct pieces *pieces)
{
    const struct md__frame_head *head = &names->head;
    char *text = pieces->texts;
    float *floats = pieces->floats + (size_t)head->keys * head->columns;
    memcpy(pieces->texts, names->texts, names->texts_bytes);
    for (uint32_t i = 0; i < head->keys; i++)
        pieces->keys[i] = take_text(&text);
    for (uint32_t i = 0; i < head->keys; i++)
        pieces->profiles[i] = take_text(&text);
    for (uint32_t i = 0; i < head->columns; i++)
        pieces->columns[i] = take_text(&text);
    for (uint32_t i = 0; i < head->channels; i++) {
        struct md__frame_channel shape = channel_head(names, i);
        pieces->channels[i] = (struct md_alert_channel){
            .column = take_text(&text),
            .quantile = shape.quantile,
            .step_ms = shape.step_ms,
            .steps = (int)shape.steps,
            .values = floats,
        };
        floats += (size_t)head->keys * shape.steps;
    }
    for (uint32_t i = 0; i < head->gauges; i++)
        pieces->gauges[i] = (struct md_alert_gauge){take_text(&text), NAN};
}

static enum md_status grow(struct md_alert_record *record, size_t bytes, struct md_error *err)
{
    if (record->memory && bytes <= record->bytes)
        return MD_OK;
    md_alert_record_fini(record);
    record->memory = malloc(bytes + 1);
    if (!record->memory)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a frame of %zu bytes", bytes);
    record->bytes = bytes;
    return MD_OK;
}

enum md_status md__frame_names(struct md_alert_record *record, const void *bytes, size_t length,
                               struct md_error *err)
{
    struct names names;
    struct carver carver = {0};
    enum md_status status = read_names(bytes, length, &names, err);
    if (status != MD_OK)
        return status;
    lay_out(&names, &carver);
    if ((status = grow(record, carver.used, err)) != MD_OK)
        return status;
    carver = (struct carver){.memory = record->memory};
    struct pieces pieces = lay_out(&names, &carver);
    fill_pieces(&names, &pieces);
    record->frame = (struct md_alert_frame){
        .step_ms = names.head.step_ms,
        .key_count = (int)names.head.keys,
        .keys = pieces.keys,
        .profiles = pieces.profiles,
        .column_count = (int)names.head.columns,
        .columns = pieces.columns,
        .values = pieces.floats,
        .known = pieces.known,
        .channel_count = (int)names.head.channels,
        .channels = pieces.channels,
        .gauge_count = (int)names.head.gauges,
        .gauges = pieces.gauges,
    };
    for (int i = 1; i < record->frame.key_count; i++)
        if (strcmp(pieces.keys[i - 1], pieces.keys[i]) >= 0)
            return corrupt("its keys are in disorder", err);
    return MD_OK;
}

void md_alert_record_fini(struct md_alert_record *record)
{
    free(record->memory);
    *record = (struct md_alert_record){0};
}

/* ---- cells ----------------------------------------------------------------------------------- */

struct cells {
    const char *at;
    size_t left;
};

/* The next bytes; NULL: there are fewer. */
static const char *take(struct cells *cells, size_t bytes)
{
    const char *at = cells->at;
    if (cells->left < bytes)
        return NULL;
    cells->at += bytes;
    cells->left -= bytes;
    return at;
}

static bool take_into(struct cells *cells, void *to, size_t bytes)
{
    const char *at = take(cells, bytes);
    if (at)
        memcpy(to, at, bytes);
    return at != NULL;
}

static bool get_known(struct cells *cells, unsigned char *known, size_t count)
{
    const char *kind = take(cells, 1);
    if (!kind || (unsigned char)*kind > MD__FRAME_BITS)
        return false;
    if (*kind != MD__FRAME_BITS) {
        memset(known, *kind == MD__FRAME_ALL_KNOWN, count);
        return true;
    }
    const char *bits = take(cells, (count + 7) / 8);
    for (size_t i = 0; bits && i < count; i++)
        known[i] = (unsigned char)bits[i / 8] >> i % 8 & 1;
    return bits != NULL;
}

/* A run of values of one column, `stride` apart. */
static bool get_column(struct cells *cells, float *to, int count, int stride)
{
    const char *kind = take(cells, 1);
    if (!kind || (*kind != MD__FRAME_CONSTANT && *kind != MD__FRAME_EXACT))
        return false;
    const size_t step = *kind == MD__FRAME_CONSTANT ? 0 : sizeof *to;
    const char *from = take(cells, step ? (size_t)count * step : sizeof *to);
    for (int i = 0; from && i < count; i++)
        memcpy(&to[(size_t)i * (size_t)stride], from + (size_t)i * step, sizeof *to);
    return from != NULL;
}

static bool get_rounded(struct cells *cells, float *row, int count)
{
    float ends[2];
    uint16_t q;
    const char *from;
    if (!take_into(cells, ends, sizeof ends) || !(from = take(cells, (size_t)count * sizeof q)) ||
        !isfinite(ends[0]) || !isfinite(ends[1]))
        return false;
    for (int i = 0; i < count; i++) {
        memcpy(&q, from + (size_t)i * sizeof q, sizeof q);
        row[i] = md__frame_unrounded(ends[0], ends[1], q);
    }
    return true;
}

static bool get_row(struct cells *cells, float *row, int count)
{
    if (cells->left == 0 || *cells->at != MD__FRAME_ROUNDED)
        return get_column(cells, row, count, 1);
    take(cells, 1);
    return get_rounded(cells, row, count);
}

/* The record's arrays are ours to write: they lie in its memory. */
static bool get_all(struct cells *cells, struct md_alert_frame *frame)
{
    float *values = (float *)frame->values;
    if (!take_into(cells, &frame->time_ms, sizeof frame->time_ms) ||
        !get_known(cells, (unsigned char *)frame->known,
                   (size_t)frame->key_count * (size_t)frame->column_count))
        return false;
    for (int c = 0; frame->key_count > 0 && c < frame->column_count; c++)
        if (!get_column(cells, values + c, frame->key_count, frame->column_count))
            return false;
    for (int i = 0; i < frame->channel_count; i++) {
        float *row = (float *)frame->channels[i].values;
        int steps = frame->channels[i].steps;
        for (int k = 0; steps > 0 && k < frame->key_count; k++, row += steps)
            if (!get_row(cells, row, steps))
                return false;
    }
    for (int i = 0; i < frame->gauge_count; i++)
        if (!take_into(cells, (double *)&frame->gauges[i].value, sizeof(double)))
            return false;
    return true;
}

enum md_status md__frame_cells(struct md_alert_record *record, const void *bytes, size_t length,
                               struct md_error *err)
{
    struct cells cells = {bytes, length};
    if (!get_all(&cells, &record->frame))
        return corrupt("its numbers end too early, or are none", err);
    return cells.left == 0 ? MD_OK : corrupt("something follows its numbers", err);
}

enum md_status md_alert_frame_decode(const void *bytes, size_t length,
                                     struct md_alert_record *record, struct md_error *err)
{
    struct md__frame_parts parts;
    enum md_status status = md__frame_split(bytes, length, &parts, err);
    if (status == MD_OK)
        status = md__frame_names(record, parts.names, parts.names_bytes, err);
    return status == MD_OK ? md__frame_cells(record, parts.cells, parts.cells_bytes, err) : status;
}
