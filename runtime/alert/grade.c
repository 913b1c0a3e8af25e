/*
 * Grading, inside the tick. A forecast alert that begins to fire leaves an *open* grade, which
 * watches the column's closed values until the rule's horizon has passed. Apart from that every
 * forecast rule looks for *crossings*: a value at or over the limit where the one before was not.
 * A crossing that an alert preceded is caught, another is missed.
 *
 * The value before is the last one known, so that a missing sample at the moment of an incident
 * does not hide its crossing; after an outage nothing is known.
 *
 * Like the tick, it plans (memory, crossings) and then commits.
 */
#include "alert/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *md_alert_outcome_name(enum md_alert_outcome outcome)
{
    static const char *const names[MD_ALERT_OUTCOMES] = {
        [MD_ALERT_HIT] = "hit",     [MD_ALERT_EARLY] = "early",   [MD_ALERT_LATE] = "late",
        [MD_ALERT_FALSE] = "false", [MD_ALERT_MISSED] = "missed", [MD_ALERT_UNGRADED] = "ungraded",
    };
    return (unsigned)outcome < MD_ALERT_OUTCOMES ? names[outcome] : "";
}

/* ---- scores ---------------------------------------------------------------------------------- */

static struct md__alert_score *find_score(const struct md__alert_grades *grades, const char *rule)
{
    for (int i = 0; i < grades->score_count; i++)
        if (strcmp(grades->scores[i]->rule, rule) == 0)
            return grades->scores[i];
    return NULL;
}

struct md__alert_score *md__alert_score_of(struct md__alert_grades *grades, const char *rule)
{
    struct md__alert_score *score = find_score(grades, rule);
    if (score)
        return score;
    if (grades->score_count == grades->score_capacity) {
        int capacity = grades->score_capacity * 2 + 16;
        struct md__alert_score **scores =
            realloc(grades->scores, (size_t)capacity * sizeof *scores);
        if (!scores)
            return NULL;
        grades->scores = scores;
        grades->score_capacity = capacity;
    }
    score = calloc(1, sizeof *score);
    char *name = strdup(rule);
    if (!score || !name) {
        free(score);
        free(name);
        return NULL;
    }
    score->rule = name;
    return grades->scores[grades->score_count++] = score;
}

static void free_score(struct md__alert_score *score)
{
    free(score->rule);
    free(score);
}

/* Rules that were removed keep their scores, but not more of them than there may be rules. */
static void forget_old_scores(struct md__alert_grades *grades, const struct md_alert_rules *rules)
{
    int kept = 0, surplus = grades->score_count - 2 * MD_ALERT_RULES_MAX;
    if (surplus <= 0)
        return;
    for (int i = 0; i < grades->score_count; i++) {
        struct md__alert_score *score = grades->scores[i];
        if (surplus > 0 && (!rules || md_alert_rules_find(rules, score->rule) < 0)) {
            free_score(score);
            surplus--;
        } else {
            grades->scores[kept++] = score;
        }
    }
    grades->score_count = kept;
}

static int compare_times(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static double median_minutes(const struct md__alert_score *score)
{
    int64_t sorted[MD__LEADS_MAX];
    int count = score->lead_count;
    if (count == 0)
        return NAN;
    memcpy(sorted, score->leads_ms, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare_times);
    return (double)(sorted[(count - 1) / 2] + sorted[count / 2]) / 2 / 60000;
}

static double share(int64_t part, int64_t rest)
{
    return part + rest > 0 ? (double)part / (double)(part + rest) : NAN;
}

void md_alert_quality_get(const struct md_alert_engine *engine, const char *rule,
                          struct md_alert_quality *quality)
{
    *quality = (struct md_alert_quality){.precision = NAN, .recall = NAN, .lead_min_median = NAN};
    for (const struct md__alert_open *open = engine->grades.open; open; open = open->next)
        quality->open += strcmp(open->rule, rule) == 0;
    const struct md__alert_score *score = find_score(&engine->grades, rule);
    if (!score)
        return;
    memcpy(quality->outcomes, score->outcomes, sizeof quality->outcomes);
    int64_t right = score->outcomes[MD_ALERT_HIT] + score->outcomes[MD_ALERT_EARLY] +
                    score->outcomes[MD_ALERT_LATE];
    quality->caught = score->caught;
    quality->precision = share(right, score->outcomes[MD_ALERT_FALSE]);
    quality->recall = share(score->caught, score->outcomes[MD_ALERT_MISSED]);
    quality->lead_min_median = median_minutes(score);
}

/* ---- planning -------------------------------------------------------------------------------- */

/* Whether a forecast rule watches the frame's column. */
static bool is_watched(const struct md_alert_rules *rules, const char *column)
{
    for (int r = 0; rules && r < rules->count; r++) {
        const struct md_alert_rule *rule = &rules->rules[r];
        for (int c = 0; rule->watch == MD_ALERT_FORECAST && c < rule->column_count; c++)
            if (strcmp(rule->columns[c], column) == 0)
                return true;
    }
    return false;
}

static int past_column(const struct md__alert_past *past, const char *column)
{
    for (int c = 0; c < past->column_count; c++)
        if (strcmp(past->columns[c], column) == 0)
            return c;
    return -1;
}

/* The values before, in the order of this frame's keys; both lists of keys are sorted. */
static void align(const struct md__alert_past *past, int column, const struct md_alert_frame *frame,
                  float *before)
{
    const float *values = past->values + (size_t)column * (size_t)past->key_count;
    for (int k = 0, p = 0; k < frame->key_count; k++) {
        while (p < past->key_count && strcmp(past->keys[p], frame->keys[k]) < 0)
            p++;
        if (p < past->key_count && strcmp(past->keys[p], frame->keys[k]) == 0)
            before[k] = values[p];
    }
}

/* next: keys and columns of the frame; false: out of memory. */
static bool copy_names(struct md__alert_past *next, const struct md_alert_frame *frame,
                       const struct md_alert_rules *rules)
{
    next->keys = md_arena_array(&next->arena, (size_t)frame->key_count + 1, sizeof *next->keys);
    next->columns =
        md_arena_array(&next->arena, (size_t)frame->column_count + 1, sizeof *next->columns);
    if (!next->keys || !next->columns)
        return false;
    for (int c = 0; c < frame->column_count; c++)
        if (is_watched(rules, frame->columns[c])) {
            char *column = md_arena_strdup(&next->arena, frame->columns[c]);
            if (!column)
                return false;
            next->columns[next->column_count++] = column;
        }
    next->key_count = next->column_count > 0 ? frame->key_count : 0;
    for (int k = 0; k < next->key_count; k++) {
        next->keys[k] = md_arena_strdup(&next->arena, frame->keys[k]);
        if (!next->keys[k])
            return false;
    }
    next->values = md_arena_array(
        &next->arena, (size_t)next->column_count * (size_t)next->key_count + 1, sizeof(float));
    return next->values != NULL;
}

enum md_status md__alert_grading_begin(struct md__alert_grading *grading,
                                       struct md__alert_grades *grades,
                                       const struct md__alert_view *view,
                                       const struct md_alert_rules *rules, int64_t lost_ms,
                                       struct md_error *err)
{
    const struct md_alert_frame *frame = view->frame;
    size_t keys = (size_t)frame->key_count, cells = keys * (size_t)frame->column_count;
    *grading = (struct md__alert_grading){0};
    grading->crossings_end = &grading->crossings;
    grading->fired_end = &grading->fired;
    md_arena_init(&grading->next.arena, 0);
    forget_old_scores(grades, rules);
    for (int r = 0; rules && r < rules->count; r++)
        if (rules->rules[r].watch == MD_ALERT_FORECAST &&
            !md__alert_score_of(grades, rules->rules[r].name))
            return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    grading->before = md_arena_array(view->arena, cells + 1, sizeof *grading->before);
    if (!grading->before || !copy_names(&grading->next, frame, rules))
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    for (size_t i = 0; i < cells; i++)
        grading->before[i] = NAN;
    for (int c = 0; c < grading->next.column_count; c++) {
        const char *name = grading->next.columns[c];
        size_t begin = (size_t)md__alert_frame_column(frame, name) * keys;
        int old = lost_ms > frame->step_ms ? -1 : past_column(&grades->past, name);
        if (old >= 0)
            align(&grades->past, old, frame, grading->before + begin);
        for (size_t k = 0; k < keys; k++) {
            float now = view->values[begin + k];
            grading->next.values[(size_t)c * keys + k] =
                isnan(now) ? grading->before[begin + k] : now;
        }
    }
    return MD_OK;
}

static enum md_status add_crossing(struct md__alert_grading *grading,
                                   const struct md__alert_view *view, int rule, int ordinal,
                                   int key, struct md_error *err)
{
    struct md__alert_crossing *crossing = md_arena_alloc(view->arena, sizeof *crossing);
    if (!crossing)
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    *crossing = (struct md__alert_crossing){.rule = rule, .ordinal = ordinal, .key = key};
    *grading->crossings_end = crossing;
    grading->crossings_end = &crossing->next;
    return MD_OK;
}

enum md_status md__alert_grading_rule(struct md__alert_grading *grading,
                                      const struct md__alert_view *view,
                                      const struct md_alert_rules *rules, int rule,
                                      const float *limits, struct md_error *err)
{
    const struct md_alert_rule *watched = &rules->rules[rule];
    int keys = view->frame->key_count;
    enum md_status status = MD_OK;
    for (int c = 0; watched->watch == MD_ALERT_FORECAST && c < watched->column_count; c++) {
        int column = md__alert_frame_column(view->frame, watched->columns[c]);
        if (column < 0)
            continue;
        const float *now = view->values + (size_t)column * (size_t)keys;
        const float *before = grading->before + (size_t)column * (size_t)keys;
        bool is_below = watched->is_below;
        for (int k = 0; status == MD_OK && k < keys; k++)
            if (md__alert_crosses(now[k], limits[k], is_below) && !isnan(before[k]) &&
                !md__alert_crosses(before[k], limits[k], is_below))
                status = add_crossing(grading, view, rule, c, k, err);
    }
    return status;
}

struct md__alert_open *md__alert_open_new(const char *rule, const char *key, const char *column)
{
    size_t rule_size = strlen(rule) + 1, key_size = strlen(key) + 1;
    struct md__alert_open *open =
        calloc(1, sizeof *open + rule_size + key_size + strlen(column) + 1);
    if (!open)
        return NULL;
    open->rule = strcpy(open->text, rule);
    open->key = strcpy(open->text + rule_size, key);
    open->column = strcpy(open->text + rule_size + key_size, column);
    return open;
}

enum md_status md__alert_grading_fires(struct md__alert_grading *grading,
                                       const struct md__alert_instance *instance,
                                       const struct md_alert_rule *rule, int64_t time_ms,
                                       struct md_error *err)
{
    if (rule->watch != MD_ALERT_FORECAST || instance->verdict.lead_steps == 0)
        return MD_OK; /* it predicts nothing */
    struct md__alert_open *open =
        md__alert_open_new(rule->name, instance->alert.key, instance->alert.column);
    if (!open)
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    open->fired_ms = time_ms;
    open->predicted_ms = time_ms + instance->verdict.lead_steps * instance->step_ms;
    open->within_ms = rule->within_ms;
    open->step_ms = instance->step_ms;
    open->limit = instance->verdict.limit;
    open->is_below = rule->is_below;
    *grading->fired_end = open;
    grading->fired_end = &open->next;
    return MD_OK;
}

static void free_open(struct md__alert_open *open)
{
    while (open) {
        struct md__alert_open *next = open->next;
        free(open);
        open = next;
    }
}

void md__alert_grading_abandon(struct md__alert_grading *grading)
{
    free_open(grading->fired);
    md_arena_fini(&grading->next.arena);
}

void md__alert_grades_fini(struct md__alert_grades *grades)
{
    free_open(grades->open);
    for (int i = 0; i < grades->score_count; i++)
        free_score(grades->scores[i]);
    free(grades->scores);
    md_arena_fini(&grades->past.arena);
    *grades = (struct md__alert_grades){0};
}

/* ---- committing ------------------------------------------------------------------------------ */

static void tell(const struct md_alert_sink *sink, const struct md_alert_grade *grade)
{
    if (sink && sink->grade)
        sink->grade(sink->context, grade);
}

static enum md_alert_outcome outcome_of(const struct md__alert_open *open, bool is_unknown)
{
    if (open->crossed_ms == 0)
        return is_unknown || open->missing > 1 ? MD_ALERT_UNGRADED : MD_ALERT_FALSE;
    int64_t late_ms = open->crossed_ms - open->predicted_ms;
    int64_t tolerance_ms = (open->predicted_ms - open->fired_ms) / 5;
    if (tolerance_ms < open->step_ms)
        tolerance_ms = open->step_ms;
    if (late_ms > tolerance_ms)
        return MD_ALERT_EARLY;
    return late_ms < -tolerance_ms ? MD_ALERT_LATE : MD_ALERT_HIT;
}

static void watch(struct md__alert_open *open, const struct md__alert_view *view)
{
    const struct md_alert_frame *frame = view->frame;
    if (open->crossed_ms != 0 || frame->time_ms - open->fired_ms > open->within_ms)
        return;
    int key = md__alert_frame_key(frame, open->key);
    int column = md__alert_frame_column(frame, open->column);
    float value = NAN;
    if (key >= 0 && column >= 0)
        value = view->values[(size_t)column * (size_t)frame->key_count + (size_t)key];
    open->missing += isnan(value);
    if (md__alert_crosses(value, open->limit, open->is_below))
        open->crossed_ms = frame->time_ms;
}

static void count(struct md__alert_grades *grades, const struct md_alert_grade *grade)
{
    struct md__alert_score *score = find_score(grades, grade->rule);
    if (!score)
        return; /* the rule was removed so long ago that it was forgotten */
    score->outcomes[grade->outcome] += score->outcomes[grade->outcome] < MD__COUNT_MAX;
    if (grade->fired_ms == 0 || grade->crossed_ms == 0)
        return;
    score->leads_ms[score->lead_next] = grade->lead_ms;
    score->lead_next = (score->lead_next + 1) % MD__LEADS_MAX;
    score->lead_count += score->lead_count < MD__LEADS_MAX;
}

static void grade(struct md_alert_engine *engine, const struct md__alert_open *open,
                  bool is_unknown, const struct md_alert_sink *sink)
{
    struct md_alert_grade grade = {.rule = open->rule,
                                   .key = open->key,
                                   .column = open->column,
                                   .outcome = outcome_of(open, is_unknown),
                                   .graded_ms = engine->time_ms,
                                   .fired_ms = open->fired_ms,
                                   .predicted_ms = open->predicted_ms,
                                   .crossed_ms = open->crossed_ms};
    if (open->crossed_ms != 0)
        grade.lead_ms = open->crossed_ms - open->fired_ms;
    count(&engine->grades, &grade);
    tell(sink, &grade);
}

static void grade_open(struct md_alert_engine *engine, const struct md__alert_view *view,
                       int64_t lost_ms, const struct md_alert_sink *sink)
{
    bool is_outage = lost_ms > view->frame->step_ms;
    struct md__alert_open **at = &engine->grades.open;
    while (*at) {
        struct md__alert_open *open = *at;
        int64_t age_ms = engine->time_ms - open->fired_ms;
        /* It was open at the last tick, so that an outage since then is one in its horizon. */
        bool is_unknown = is_outage && age_ms > 0 && open->crossed_ms == 0;
        if (!is_unknown)
            watch(open, view);
        if (age_ms < open->within_ms && !is_unknown) {
            at = &open->next;
            continue;
        }
        *at = open->next;
        grade(engine, open, is_unknown, sink);
        free(open);
    }
}

/* An alert of this rule was firing within the horizon before, or is. */
static bool was_preceded(const struct md_alert_engine *engine, const struct md__alert_view *view,
                         const struct md__alert_crossing *crossing)
{
    const struct md_alert_rule *rule = &engine->rules->rules[crossing->rule];
    struct md__alert_identity made_of = {.name = rule->name,
                                         .key = view->frame->keys[crossing->key],
                                         .column = rule->columns[crossing->ordinal],
                                         .profile = view->frame->profiles[crossing->key],
                                         .rule = engine->rules->identities[crossing->rule]};
    uint64_t hash =
        md__alert_identity_hash(made_of.rule, made_of.column, view->key_hashes[crossing->key]);
    const struct md__alert_instance *instance =
        md__alert_table_find(&engine->table, hash, &made_of);
    return instance && instance->firing_ms != 0 &&
           engine->time_ms - instance->firing_ms <= rule->within_ms;
}

static void grade_crossings(struct md__alert_grading *grading, struct md_alert_engine *engine,
                            const struct md__alert_view *view, const struct md_alert_sink *sink)
{
    for (const struct md__alert_crossing *at = grading->crossings; at; at = at->next) {
        const struct md_alert_rule *rule = &engine->rules->rules[at->rule];
        if (was_preceded(engine, view, at)) {
            struct md__alert_score *score = find_score(&engine->grades, rule->name);
            score->caught += score->caught < MD__COUNT_MAX;
            continue;
        }
        struct md_alert_grade missed = {.rule = rule->name,
                                        .key = view->frame->keys[at->key],
                                        .column = rule->columns[at->ordinal],
                                        .outcome = MD_ALERT_MISSED,
                                        .graded_ms = engine->time_ms,
                                        .crossed_ms = engine->time_ms};
        count(&engine->grades, &missed);
        tell(sink, &missed);
    }
}

void md__alert_grading_commit(struct md__alert_grading *grading, struct md_alert_engine *engine,
                              const struct md__alert_view *view, int64_t lost_ms,
                              const struct md_alert_sink *sink)
{
    struct md__alert_open **end = &engine->grades.open;
    while (*end)
        end = &(*end)->next;
    *end = grading->fired;
    grade_open(engine, view, lost_ms, sink);
    grade_crossings(grading, engine, view, sink);
    md_arena_fini(&engine->grades.past.arena);
    engine->grades.past = grading->next;
}
