/*
 * The engine as bytes (base/bytes.h: little-endian, texts with their length):
 *
 *     magic "MDAE", u32 version, text entity label, i64 time
 *     u32 n, n instances: what they are made of, their life, what was last compared
 *     u32 n, n scores: a rule's name, outcomes, caught, leads (oldest first)
 *     u32 n, n open grades
 *     u32 columns, u32 keys, their texts, f32 values [column][key]: the values before
 *
 * Rules are not in there: they come from scripts. What is read is checked as if it came from a
 * stranger (a state that the machine cannot be in would be kept for good), and nothing of it is
 * taken over unless all of it is right.
 */
#include "alert/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC   0x4541444du /* "MDAE" */
#define VERSION 1

/* ---- writing --------------------------------------------------------------------------------- */

static bool is_own_label(const struct md_alert_label *label, const char *entity_label)
{
    return !md__alert_label_is_reserved(label->name) && strcmp(label->name, entity_label) != 0;
}

static void put_instance(const struct md_alert_engine *engine,
                         const struct md__alert_instance *instance, struct md_buffer *bytes)
{
    const struct md_alert *alert = &instance->alert;
    const struct md__alert_life *life = &instance->life;
    uint32_t own = 0;
    md_bytes_put_text(bytes, alert->name);
    md_bytes_put_text(bytes, alert->severity);
    md_bytes_put_text(bytes, alert->key);
    md_bytes_put_text(bytes, alert->column);
    md_bytes_put_text(bytes, alert->profile);
    md_bytes_put_u64(bytes, instance->rule_identity);
    for (int i = 0; i < alert->label_count; i++)
        own += is_own_label(&alert->labels[i], engine->entity_label);
    md_bytes_put_u32(bytes, own);
    for (int i = 0; i < alert->label_count; i++)
        if (is_own_label(&alert->labels[i], engine->entity_label)) {
            md_bytes_put_text(bytes, alert->labels[i].name);
            md_bytes_put_text(bytes, alert->labels[i].value);
        }
    md_bytes_put_u8(bytes, life->state);
    md_bytes_put_i64(bytes, life->active_ms);
    md_bytes_put_i64(bytes, life->fired_ms);
    md_bytes_put_i64(bytes, life->resolved_ms);
    md_bytes_put_i64(bytes, life->keep_since_ms);
    md_bytes_put_u8(bytes, life->away_state);
    md_bytes_put_i64(bytes, life->away_ms);
    md_bytes_put_i64(bytes, instance->firing_ms);
    md_bytes_put_f32(bytes, alert->value);
    md_bytes_put_f32(bytes, alert->limit);
    md_bytes_put_u32(bytes, (uint32_t)alert->lead_steps);
    md_bytes_put_i64(bytes, alert->step_ms);
}

static void put_scores(const struct md__alert_grades *grades, struct md_buffer *bytes)
{
    md_bytes_put_u32(bytes, (uint32_t)grades->score_count);
    for (int i = 0; i < grades->score_count; i++) {
        const struct md__alert_score *score = grades->scores[i];
        md_bytes_put_text(bytes, score->rule);
        for (int o = 0; o < MD_ALERT_OUTCOMES; o++)
            md_bytes_put_i64(bytes, score->outcomes[o]);
        md_bytes_put_i64(bytes, score->caught);
        md_bytes_put_u32(bytes, (uint32_t)score->lead_count);
        int oldest = score->lead_count < MD__LEADS_MAX ? 0 : score->lead_next;
        for (int l = 0; l < score->lead_count; l++)
            md_bytes_put_i64(bytes, score->leads_ms[(oldest + l) % MD__LEADS_MAX]);
    }
}

static void put_open(const struct md__alert_grades *grades, struct md_buffer *bytes)
{
    uint32_t count = 0;
    for (const struct md__alert_open *open = grades->open; open; open = open->next)
        count++;
    md_bytes_put_u32(bytes, count);
    for (const struct md__alert_open *open = grades->open; open; open = open->next) {
        md_bytes_put_text(bytes, open->rule);
        md_bytes_put_text(bytes, open->key);
        md_bytes_put_text(bytes, open->column);
        md_bytes_put_i64(bytes, open->fired_ms);
        md_bytes_put_i64(bytes, open->predicted_ms);
        md_bytes_put_i64(bytes, open->within_ms);
        md_bytes_put_i64(bytes, open->step_ms);
        md_bytes_put_i64(bytes, open->crossed_ms);
        md_bytes_put_u32(bytes, (uint32_t)open->missing);
        md_bytes_put_f32(bytes, open->limit);
        md_bytes_put_u8(bytes, open->is_below);
    }
}

static void put_past(const struct md__alert_past *past, struct md_buffer *bytes)
{
    md_bytes_put_u32(bytes, (uint32_t)past->column_count);
    md_bytes_put_u32(bytes, (uint32_t)past->key_count);
    for (int c = 0; c < past->column_count; c++)
        md_bytes_put_text(bytes, past->columns[c]);
    for (int k = 0; k < past->key_count; k++)
        md_bytes_put_text(bytes, past->keys[k]);
    for (size_t i = 0; i < (size_t)past->column_count * (size_t)past->key_count; i++)
        md_bytes_put_f32(bytes, past->values[i]);
}

enum md_status md_alert_engine_save(const struct md_alert_engine *engine, struct md_buffer *bytes,
                                    struct md_error *err)
{
    md_bytes_put_u32(bytes, MAGIC);
    md_bytes_put_u32(bytes, VERSION);
    md_bytes_put_text(bytes, engine->entity_label);
    md_bytes_put_i64(bytes, engine->time_ms);
    md_bytes_put_u32(bytes, (uint32_t)engine->table.count);
    for (int i = 0; i < engine->table.count; i++)
        put_instance(engine, engine->table.ordered[i], bytes);
    put_scores(&engine->grades, bytes);
    put_open(&engine->grades, bytes);
    put_past(&engine->grades.past, bytes);
    return md_buffer_check(bytes, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

#define CORRUPT "alert state: "

static bool is_time(int64_t time_ms, int64_t now_ms)
{
    return time_ms >= 0 && time_ms <= now_ms;
}

/* Whether the machine of life.c can be there. */
static bool is_life(const struct md__alert_life *life, int64_t now_ms)
{
    if (!is_time(life->active_ms, now_ms) || !is_time(life->fired_ms, now_ms) ||
        !is_time(life->resolved_ms, now_ms) || !is_time(life->keep_since_ms, now_ms) ||
        !is_time(life->away_ms, now_ms))
        return false;
    if ((unsigned)life->state > MD_ALERT_FIRING || (unsigned)life->away_state > MD_ALERT_FIRING)
        return false;
    bool is_away = life->away_state != MD_ALERT_INACTIVE;
    if (is_away != (life->away_ms != 0) || (is_away && life->state != MD_ALERT_INACTIVE))
        return false;
    enum md_alert_state last = is_away ? life->away_state : life->state;
    if (life->keep_since_ms != 0 && life->state != MD_ALERT_FIRING)
        return false;
    if (last == MD_ALERT_PENDING)
        return life->active_ms > 0 && life->fired_ms == 0 && life->resolved_ms == 0;
    if (last == MD_ALERT_FIRING)
        return life->active_ms > 0 && life->fired_ms > 0 && (life->resolved_ms != 0) == is_away;
    return (life->fired_ms != 0) == (life->resolved_ms != 0);
}

static enum md_status get_identity(struct md_bytes_reader *reader, const char *entity_label,
                                   struct md__alert_identity *identity,
                                   struct md_alert_label *labels, struct md_error *err)
{
    *identity = (struct md__alert_identity){.labels = labels};
    identity->name = md_bytes_get_text(reader);
    identity->severity = md_bytes_get_text(reader);
    identity->key = md_bytes_get_text(reader);
    identity->column = md_bytes_get_text(reader);
    identity->profile = md_bytes_get_text(reader);
    identity->rule = md_bytes_get_u64(reader);
    identity->label_count = md_bytes_get_count(reader, 10);
    if (identity->label_count > MD_ALERT_LABELS_MAX || !*identity->name)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "an instance has no name or too many labels");
    for (int i = 0; i < identity->label_count; i++) {
        labels[i].name = md_bytes_get_text(reader);
        labels[i].value = md_bytes_get_text(reader);
        if (!md__alert_label_is_valid(labels[i].name) || !is_own_label(&labels[i], entity_label) ||
            (i > 0 && strcmp(labels[i - 1].name, labels[i].name) >= 0))
            return md_fail(err, MD_ERR_CORRUPT, CORRUPT "a label of %.80s is wrong",
                           identity->name);
    }
    return MD_OK;
}

static enum md_status get_life(struct md_bytes_reader *reader, int64_t now_ms,
                               struct md__alert_instance *instance, struct md_error *err)
{
    struct md__alert_life *life = &instance->life;
    struct md_alert *alert = &instance->alert;
    life->state = md_bytes_get_u8(reader);
    life->active_ms = md_bytes_get_i64(reader);
    life->fired_ms = md_bytes_get_i64(reader);
    life->resolved_ms = md_bytes_get_i64(reader);
    life->keep_since_ms = md_bytes_get_i64(reader);
    life->away_state = md_bytes_get_u8(reader);
    life->away_ms = md_bytes_get_i64(reader);
    instance->firing_ms = md_bytes_get_i64(reader);
    alert->value = md_bytes_get_f32(reader);
    alert->limit = md_bytes_get_f32(reader);
    alert->lead_steps = (int32_t)md_bytes_get_u32(reader);
    alert->step_ms = md_bytes_get_i64(reader);
    if (reader->has_failed || !is_life(life, now_ms) || !is_time(instance->firing_ms, now_ms) ||
        alert->lead_steps < 0 || alert->step_ms < 0 || alert->step_ms > MD__SPAN_MS_MAX)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "what %.80s is in is no state", alert->name);
    md__alert_instance_show(instance);
    return MD_OK;
}

static enum md_status get_instance(struct md_bytes_reader *reader, struct md_alert_engine *engine,
                                   struct md_error *err)
{
    struct md_alert_label labels[MD_ALERT_LABELS_MAX];
    struct md__alert_identity identity;
    enum md_status status = get_identity(reader, engine->entity_label, &identity, labels, err);
    if (status != MD_OK)
        return status;
    struct md__alert_instance *instance = md__alert_instance_new(&identity, engine->entity_label);
    if (!instance)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    status = get_life(reader, engine->time_ms, instance, err);
    if (status == MD_OK && md__alert_table_find(&engine->table, instance->identity, &identity))
        status = md_fail(err, MD_ERR_CORRUPT, CORRUPT "%.80s is there twice", identity.name);
    if (status == MD_OK && !md__alert_table_reserve(&engine->table, 1))
        status = md_fail(err, MD_ERR_MEMORY, "out of memory");
    if (status == MD_OK)
        md__alert_table_append(&engine->table, instance);
    else
        free(instance);
    return status;
}

static enum md_status get_score(struct md_bytes_reader *reader, struct md__alert_grades *grades,
                                struct md_error *err)
{
    const char *rule = md_bytes_get_text(reader);
    int known = grades->score_count;
    struct md__alert_score *score = md__alert_score_of(grades, rule);
    if (!score)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    bool is_wrong = grades->score_count == known; /* there twice */
    for (int o = 0; o < MD_ALERT_OUTCOMES; o++) {
        score->outcomes[o] = md_bytes_get_i64(reader);
        is_wrong |= !is_time(score->outcomes[o], MD__COUNT_MAX);
    }
    score->caught = md_bytes_get_i64(reader);
    is_wrong |= !is_time(score->caught, MD__COUNT_MAX);
    score->lead_count = md_bytes_get_count(reader, 8);
    if (score->lead_count > MD__LEADS_MAX) {
        is_wrong = true;
        score->lead_count = 0;
    }
    for (int l = 0; l < score->lead_count; l++) {
        score->leads_ms[l] = md_bytes_get_i64(reader);
        is_wrong |= !is_time(score->leads_ms[l], MD__SPAN_MS_MAX);
    }
    score->lead_next = score->lead_count % MD__LEADS_MAX;
    if (is_wrong || reader->has_failed)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "the grades of %.80s are wrong", rule);
    return MD_OK;
}

/* end: where the list goes on. */
static enum md_status get_open(struct md_bytes_reader *reader, int64_t now_ms,
                               struct md__alert_open ***end, struct md_error *err)
{
    const char *rule = md_bytes_get_text(reader);
    const char *key = md_bytes_get_text(reader);
    const char *column = md_bytes_get_text(reader);
    struct md__alert_open *open = md__alert_open_new(rule, key, column);
    if (!open)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    **end = open;
    *end = &open->next;
    open->fired_ms = md_bytes_get_i64(reader);
    open->predicted_ms = md_bytes_get_i64(reader);
    open->within_ms = md_bytes_get_i64(reader);
    open->step_ms = md_bytes_get_i64(reader);
    open->crossed_ms = md_bytes_get_i64(reader);
    open->missing = (int)md_bytes_get_u32(reader);
    open->limit = md_bytes_get_f32(reader);
    open->is_below = md_bytes_get_u8(reader) != 0;
    bool is_right =
        is_time(open->fired_ms, now_ms) && is_time(open->crossed_ms, now_ms) &&
        (open->crossed_ms == 0 || is_time(open->crossed_ms - open->fired_ms, open->within_ms)) &&
        open->predicted_ms >= open->fired_ms && is_time(open->within_ms, MD__SPAN_MS_MAX) &&
        open->predicted_ms - open->fired_ms <= open->within_ms &&
        is_time(open->step_ms, MD__SPAN_MS_MAX) && open->missing >= 0;
    if (!is_right || reader->has_failed)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "an open grade of %.80s is wrong", rule);
    return MD_OK;
}

static const char **get_texts(struct md_bytes_reader *reader, struct md_arena *arena, int count)
{
    const char **texts = md_arena_array(arena, (size_t)count + 1, sizeof *texts);
    for (int i = 0; texts && i < count; i++) {
        texts[i] = md_arena_strdup(arena, md_bytes_get_text(reader));
        if (!texts[i])
            return NULL;
    }
    return texts;
}

static enum md_status get_past(struct md_bytes_reader *reader, struct md__alert_past *past,
                               struct md_error *err)
{
    int columns = md_bytes_get_count(reader, 5), keys = md_bytes_get_count(reader, 5);
    past->columns = get_texts(reader, &past->arena, columns);
    past->keys = get_texts(reader, &past->arena, keys);
    size_t cells = (size_t)columns * (size_t)keys;
    if (reader->has_failed || md_bytes_left(reader) / sizeof(float) < cells)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "the values before are cut off");
    past->values = md_arena_array(&past->arena, cells + 1, sizeof *past->values);
    if (!past->columns || !past->keys || !past->values)
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    for (size_t i = 0; i < cells; i++)
        past->values[i] = md_bytes_get_f32(reader);
    for (int k = 1; k < keys; k++)
        if (strcmp(past->keys[k - 1], past->keys[k]) >= 0)
            return md_fail(err, MD_ERR_CORRUPT, CORRUPT "entities are out of order");
    past->column_count = columns;
    past->key_count = keys;
    return MD_OK;
}

static enum md_status get_head(struct md_bytes_reader *reader, struct md_alert_engine *engine,
                               struct md_error *err)
{
    uint32_t magic = md_bytes_get_u32(reader), version = md_bytes_get_u32(reader);
    if (magic != MAGIC || reader->has_failed)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "it is none");
    if (version != VERSION)
        return md_fail(err, MD_ERR_UNSUPPORTED, CORRUPT "version %u; this program reads version %d",
                       version, VERSION);
    const char *label = md_bytes_get_text(reader);
    if (!reader->has_failed && strcmp(label, engine->entity_label) != 0)
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "of entities labelled %.60s, not %.60s", label,
                       engine->entity_label);
    engine->time_ms = md_bytes_get_i64(reader);
    if (!is_time(engine->time_ms, MD__TIME_MS_MAX))
        return md_fail(err, MD_ERR_CORRUPT, CORRUPT "its time is out of range");
    return MD_OK;
}

static enum md_status get_all(struct md_bytes_reader *reader, struct md_alert_engine *engine,
                              struct md_error *err)
{
    enum md_status status = get_head(reader, engine, err);
    int count = md_bytes_get_count(reader, 60);
    for (int i = 0; status == MD_OK && i < count; i++)
        status = get_instance(reader, engine, err);
    count = status == MD_OK ? md_bytes_get_count(reader, 60) : 0;
    for (int i = 0; status == MD_OK && i < count; i++)
        status = get_score(reader, &engine->grades, err);
    count = status == MD_OK ? md_bytes_get_count(reader, 60) : 0;
    struct md__alert_open **end = &engine->grades.open;
    for (int i = 0; status == MD_OK && i < count; i++)
        status = get_open(reader, engine->time_ms, &end, err);
    if (status == MD_OK)
        status = get_past(reader, &engine->grades.past, err);
    if (status == MD_OK && (reader->has_failed || md_bytes_left(reader) != 0))
        status = md_fail(err, MD_ERR_CORRUPT, CORRUPT "it is cut off, or goes on");
    return status;
}

enum md_status md_alert_engine_restore(struct md_alert_engine *engine, const void *bytes,
                                       size_t length, struct md_error *err)
{
    struct md_bytes_reader reader;
    struct md_alert_engine read = {.entity_label = engine->entity_label};
    md_bytes_reader_init(&reader, bytes, length);
    enum md_status status = get_all(&reader, &read, err);
    if (status != MD_OK) {
        md__alert_table_fini(&read.table);
        md__alert_grades_fini(&read.grades);
        return status;
    }
    md__alert_table_fini(&engine->table);
    md__alert_grades_fini(&engine->grades);
    engine->table = read.table;
    engine->grades = read.grades;
    engine->time_ms = read.time_ms;
    engine->health_count = 0;
    md__alert_engine_match(engine);
    return MD_OK;
}
