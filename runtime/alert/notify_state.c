/*
 * The notifier's memory as bytes: a version, then numbers of eight bytes (little-endian) and texts
 * (length, bytes), list by list in the order of md_notify_save. Reading checks every length and
 * count; anything wrong, also what follows the end, is MD_ERR_CORRUPT.
 */
#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"

#define STATE_VERSION 1
#define MS_MAX        ((int64_t)1000000000000000) /* within 30,000 years of 1970 */

enum { TEXT_BYTES_MAX = 1 << 20, LABELS_MAX = 1000 };

/* ---- writing --------------------------------------------------------------------------------- */

static void put(struct md_buffer *out, int64_t number)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)number >> (8 * i));
    md_buffer_append(out, bytes, sizeof bytes);
}

static void put_text(struct md_buffer *out, const char *text)
{
    put(out, (int64_t)strlen(text));
    md_buffer_append(out, text, strlen(text));
}

static void put_labels(struct md_buffer *out, const struct md_alert_label *labels, int count)
{
    put(out, count);
    for (int i = 0; i < count; i++) {
        put_text(out, labels[i].name);
        put_text(out, labels[i].value);
    }
}

static void put_record(struct md_buffer *out, const struct md_notify_alert *alert)
{
    put(out, (int64_t)alert->fingerprint);
    put(out, alert->fired_ms);
    put(out, alert->resolved_ms);
    put(out, alert->step_ms);
    put_labels(out, alert->labels, alert->label_count);
    put_labels(out, alert->annotations, alert->annotation_count);
}

static void put_group(struct md_buffer *out, const struct md__notify_group *group)
{
    put_text(out, group->key);
    put(out, group->next_ms);
    put(out, group->notified_ms);
    put(out, group->has_flushed);
    put(out, group->count);
    for (int i = 0; i < group->count; i++) {
        put(out, (int64_t)group->members[i].fingerprint);
        put(out, group->members[i].told);
        put(out, group->members[i].noted);
    }
}

static void put_target(struct md_buffer *out, const struct md__notify_target *target)
{
    put_text(out, target->name);
    put(out, target->kind);
    put(out, target->mark_count);
    for (int i = 0; i < target->mark_count; i++) {
        put(out, (int64_t)target->marks[i].fingerprint);
        put(out, target->marks[i].fired_ms);
        put(out, target->marks[i].sent_ms);
        put(out, target->marks[i].resolved);
    }
    put(out, target->group_count);
    for (int i = 0; i < target->group_count; i++)
        put_group(out, &target->groups[i]);
}

static void put_silence(struct md_buffer *out, const struct md_notify_silence *silence)
{
    put_text(out, silence->id);
    put(out, silence->starts_ms);
    put(out, silence->ends_ms);
    put(out, silence->updated_ms);
    put_text(out, silence->author);
    put_text(out, silence->comment);
    put(out, md_notify_matchers_count(silence->matchers));
    for (int i = 0; i < md_notify_matchers_count(silence->matchers); i++) {
        struct md_alert_label text = md_notify_matchers_text(silence->matchers, i);
        put_text(out, text.name);
        put_text(out, text.value);
    }
}

enum md_status md_notify_save(const struct md_notify *notify, struct md_buffer *bytes,
                              struct md_error *err)
{
    put(bytes, STATE_VERSION);
    put(bytes, notify->sequence);
    put(bytes, notify->record_count);
    for (int i = 0; i < notify->record_count; i++)
        put_record(bytes, &notify->records[i].alert);
    put(bytes, notify->target_count);
    for (int i = 0; i < notify->target_count; i++)
        put_target(bytes, &notify->targets[i]);
    put(bytes, notify->silence_count);
    for (int i = 0; i < notify->silence_count; i++)
        put_silence(bytes, &notify->silences[i].silence);
    return md_buffer_check(bytes, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Past the first mistake every read gives 0 or "". Texts live in the arena. */
struct reader {
    const unsigned char *at;
    size_t left;
    struct md_arena texts;
    bool corrupt, no_memory;
};

static bool failed(const struct reader *reader)
{
    return reader->corrupt || reader->no_memory;
}

static int64_t get(struct reader *reader)
{
    uint64_t number = 0;
    reader->corrupt |= !reader->no_memory && reader->left < 8;
    if (failed(reader))
        return 0;
    for (int i = 0; i < 8; i++)
        number |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += 8;
    reader->left -= 8;
    return (int64_t)number;
}

static bool get_bool(struct reader *reader)
{
    int64_t number = get(reader);
    reader->corrupt |= number < 0 || number > 1;
    return number == 1;
}

/* A moment or a duration, far from where sums overflow. */
static int64_t get_ms(struct reader *reader)
{
    int64_t ms = get(reader);
    if (ms < -MS_MAX || ms > MS_MAX)
        reader->corrupt = true;
    return reader->corrupt ? 0 : ms;
}

/* A count of things that take at least `bytes` each. */
static int get_count(struct reader *reader, size_t bytes)
{
    int64_t count = get(reader);
    if (count < 0 || (uint64_t)count > reader->left / bytes)
        reader->corrupt = true;
    return failed(reader) ? 0 : (int)count;
}

static const char *get_text(struct reader *reader)
{
    int length = get_count(reader, 1);
    if (length > TEXT_BYTES_MAX || memchr(reader->at, '\0', (size_t)length))
        reader->corrupt = true;
    if (failed(reader))
        return "";
    char *text = md_arena_alloc(&reader->texts, (size_t)length + 1);
    if (!text) {
        reader->no_memory = true;
        return "";
    }
    memcpy(text, reader->at, (size_t)length);
    reader->at += length;
    reader->left -= (size_t)length;
    return text;
}

static struct md_alert_label *get_labels(struct reader *reader, int *count)
{
    *count = get_count(reader, 16);
    if (*count > LABELS_MAX)
        reader->corrupt = true;
    struct md_alert_label *labels =
        failed(reader) ? NULL : md_arena_array(&reader->texts, (size_t)*count + 1, sizeof *labels);
    if (!labels) {
        reader->no_memory |= !reader->corrupt;
        *count = 0;
    }
    for (int i = 0; i < *count; i++) {
        labels[i].name = get_text(reader);
        labels[i].value = get_text(reader);
    }
    return labels;
}

static void get_record(struct reader *reader, struct md_notify *notify)
{
    struct md__notify_record made = {0};
    struct md_notify_alert alert = {.fingerprint = (uint64_t)get(reader)};
    alert.fired_ms = get_ms(reader);
    alert.resolved_ms = get_ms(reader);
    alert.step_ms = get_ms(reader);
    alert.labels = get_labels(reader, &alert.label_count);
    alert.annotations = get_labels(reader, &alert.annotation_count);
    int count = notify->record_count;
    if (count > 0 && notify->records[count - 1].alert.fingerprint >= alert.fingerprint)
        reader->corrupt = true;
    if (failed(reader))
        return;
    reader->no_memory = !md__notify_grow((void **)&notify->records, count, &notify->record_capacity,
                                         sizeof *notify->records) ||
                        !md__notify_copy(&alert, &made);
    if (!reader->no_memory)
        notify->records[notify->record_count++] = made;
}

static void get_group(struct reader *reader, struct md__notify_target *target)
{
    struct md__notify_group *group = &target->groups[target->group_count];
    group->key = strdup(get_text(reader));
    reader->no_memory |= !group->key;
    if (!group->key)
        return;
    target->group_count++;
    group->hash = md__notify_hash(MD__NOTIFY_HASH, group->key);
    group->next_ms = get_ms(reader);
    group->notified_ms = get_ms(reader);
    group->has_flushed = get_bool(reader);
    group->count = group->capacity = get_count(reader, 24);
    group->members = calloc((size_t)group->count + 1, sizeof *group->members);
    if (!group->members) {
        group->count = 0;
        reader->no_memory = true;
    }
    for (int i = 0; i < group->count; i++) {
        group->members[i].fingerprint = (uint64_t)get(reader);
        group->members[i].told = get_bool(reader);
        group->members[i].noted = get_bool(reader);
    }
}

static void get_marks(struct reader *reader, struct md__notify_target *target)
{
    target->mark_count = target->mark_capacity = get_count(reader, 32);
    target->marks = calloc((size_t)target->mark_count + 1, sizeof *target->marks);
    if (!target->marks) {
        target->mark_count = 0;
        reader->no_memory = true;
    }
    for (int i = 0; i < target->mark_count; i++) {
        struct md__notify_mark *mark = &target->marks[i];
        mark->fingerprint = (uint64_t)get(reader);
        mark->fired_ms = get_ms(reader);
        mark->sent_ms = get_ms(reader);
        mark->resolved = get_bool(reader);
        if (i > 0 && mark->fingerprint <= target->marks[i - 1].fingerprint)
            reader->corrupt = true;
    }
}

static void get_target(struct reader *reader, struct md_notify *notify)
{
    struct md__notify_target *target = &notify->targets[notify->target_count++];
    target->name = strdup(get_text(reader));
    reader->no_memory |= !target->name;
    int64_t kind = get(reader);
    reader->corrupt |= kind < 0 || kind > MD_NOTIFY_STDOUT;
    target->kind = (enum md_notify_kind)kind;
    get_marks(reader, target);
    int groups = get_count(reader, 40);
    target->group_capacity = groups;
    target->groups = calloc((size_t)groups + 1, sizeof *target->groups);
    reader->no_memory |= !target->groups;
    for (int i = 0; i < groups && !failed(reader); i++)
        get_group(reader, target);
}

static void get_silence(struct reader *reader, struct md_notify *notify)
{
    struct md__notify_silenced made = {0};
    struct md_error ignored;
    int count;
    const char *id = get_text(reader);
    size_t length = strlen(id);
    if (length >= sizeof made.silence.id)
        reader->corrupt = true;
    else
        memcpy(made.silence.id, id, length + 1);
    made.silence.starts_ms = get_ms(reader);
    made.silence.ends_ms = get_ms(reader);
    made.silence.updated_ms = get_ms(reader);
    const char *author = get_text(reader), *comment = get_text(reader);
    struct md_alert_label *texts = get_labels(reader, &count);
    if (failed(reader))
        return;
    enum md_status status = md_notify_matchers_new(texts, count, &made.matchers, &ignored);
    reader->corrupt = status != MD_OK && status != MD_ERR_MEMORY;
    made.author = strdup(author);
    made.comment = strdup(comment);
    if (status != MD_OK || !made.author || !made.comment ||
        !md__notify_grow((void **)&notify->silences, notify->silence_count,
                         &notify->silence_capacity, sizeof *notify->silences)) {
        reader->no_memory = !reader->corrupt;
        md__notify_silenced_fini(&made);
        return;
    }
    made.silence.matchers = made.matchers;
    made.silence.author = made.author;
    made.silence.comment = made.comment;
    notify->silences[notify->silence_count++] = made;
}

static void get_all(struct reader *reader, struct md_notify *notify)
{
    if (get(reader) != STATE_VERSION)
        reader->corrupt = true;
    notify->sequence = get(reader);
    int records = get_count(reader, 48);
    for (int i = 0; i < records && !failed(reader); i++)
        get_record(reader, notify);
    int targets = get_count(reader, 32);
    if (targets > MD_NOTIFY_RECEIVERS_MAX)
        reader->corrupt = true;
    notify->targets = calloc((size_t)targets + 1, sizeof *notify->targets);
    reader->no_memory |= !notify->targets;
    for (int i = 0; i < targets && !failed(reader); i++)
        get_target(reader, notify);
    int silences = get_count(reader, 56);
    if (silences > MD_NOTIFY_SILENCES_MAX)
        reader->corrupt = true;
    for (int i = 0; i < silences && !failed(reader); i++)
        get_silence(reader, notify);
    if (reader->left > 0)
        reader->corrupt = true;
}

enum md_status md_notify_restore(struct md_notify *notify, const void *bytes, size_t length,
                                 struct md_error *err)
{
    struct reader reader = {.at = bytes, .left = length};
    struct md_notify *made;
    enum md_status status = md_notify_new(&made, err);
    if (status != MD_OK)
        return status;
    md_arena_init(&reader.texts, 0);
    get_all(&reader, made);
    md_arena_fini(&reader.texts);
    if (failed(&reader)) {
        md_notify_delete(made);
        return reader.no_memory
                   ? md_fail(err, MD_ERR_MEMORY, "no memory for notifications")
                   : md_fail(err, MD_ERR_CORRUPT, "the state of notifications is damaged");
    }
    struct md_notify swap = *notify;
    *notify = *made;
    *made = swap;
    md_notify_delete(made);
    return MD_OK;
}
