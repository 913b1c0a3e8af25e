/*
 * The tick. It has two halves:
 *
 *   plan     evaluates every rule, decides about every instance, makes the new ones, and takes all
 *            the memory that the tick will need. It may fail, and then nothing has changed.
 *   commit   moves the instances on and tells the sink, in one order: by rule, key, column. It
 *            cannot fail.
 *
 * A rule's condition is scanned over whole columns; only what it holds for, or what is active
 * already, is looked at one by one.
 */
#include "alert/internal.h"
#include "base/timestamp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the engine ------------------------------------------------------------------------------ */

enum md_status md_alert_engine_new(const char *entity_label, struct md_alert_engine **engine,
                                   struct md_error *err)
{
    if (!md__alert_label_is_valid(entity_label) || md__alert_label_is_reserved(entity_label))
        return md_fail(err, MD_ERR_INVALID, "'%.60s' cannot be the label of an entity",
                       entity_label);
    struct md_alert_engine *made = calloc(1, sizeof *made);
    char *label = strdup(entity_label);
    if (!made || !label) {
        free(made);
        free(label);
        return md_fail(err, MD_ERR_MEMORY, "out of memory");
    }
    made->entity_label = label;
    *engine = made;
    return MD_OK;
}

void md_alert_engine_delete(struct md_alert_engine *engine)
{
    if (!engine)
        return;
    md__alert_table_fini(&engine->table);
    md__alert_grades_fini(&engine->grades);
    md_alert_rules_unref(engine->rules);
    free(engine->health);
    free(engine->entity_label);
    free(engine);
}

/* Which column of the rule an instance is of; -1: none. */
static int ordinal_of(const struct md_alert_rule *rule, const struct md_alert *alert)
{
    bool has_key = *alert->key != '\0';
    if (has_key == (rule->watch == MD_ALERT_GAUGE))
        return -1;
    if (rule->column_count == 0)
        return *alert->column == '\0' ? 0 : -1;
    for (int c = 0; c < rule->column_count; c++)
        if (strcmp(rule->columns[c], alert->column) == 0)
            return c;
    return -1;
}

static void match(const struct md_alert_rules *rules, struct md__alert_instance *instance)
{
    struct md_alert *alert = &instance->alert;
    instance->rule = rules ? md_alert_rules_find(rules, alert->name) : -1;
    if (instance->rule >= 0 && rules->identities[instance->rule] != instance->rule_identity)
        instance->rule = -1;
    instance->ordinal = 0;
    if (instance->rule >= 0) {
        instance->ordinal = ordinal_of(&rules->rules[instance->rule], alert);
        if (instance->ordinal < 0)
            instance->rule = -1;
    }
    alert->rule = instance->rule < 0 ? NULL : &rules->rules[instance->rule];
}

void md__alert_engine_match(struct md_alert_engine *engine)
{
    for (int i = 0; i < engine->table.count; i++)
        match(engine->rules, engine->table.ordered[i]);
    md__alert_table_sort(&engine->table);
}

void md_alert_engine_set_rules(struct md_alert_engine *engine, struct md_alert_rules *rules)
{
    if (rules)
        md_alert_rules_ref(rules);
    md_alert_rules_unref(engine->rules);
    engine->rules = rules;
    engine->health_count = 0;
    md__alert_engine_match(engine);
}

int64_t md_alert_engine_time_ms(const struct md_alert_engine *engine)
{
    return engine->time_ms;
}

void md_alert_engine_visit(const struct md_alert_engine *engine,
                           bool (*visit)(void *context, const struct md_alert *alert),
                           void *context)
{
    for (int i = 0; i < engine->table.count; i++) {
        const struct md_alert *alert = &engine->table.ordered[i]->alert;
        bool is_resolved =
            alert->resolved_ms != 0 && engine->time_ms - alert->resolved_ms <= MD_ALERT_RESOLVED_MS;
        if ((alert->state != MD_ALERT_INACTIVE || is_resolved) && !visit(context, alert))
            return;
    }
}

void md_alert_rule_health(const struct md_alert_engine *engine, int rule,
                          struct md_alert_rule_health *health)
{
    *health = (struct md_alert_rule_health){0};
    if (rule >= 0 && rule < engine->health_count)
        *health = engine->health[rule];
}

/* ---- planning -------------------------------------------------------------------------------- */

struct tick {
    struct md_alert_engine *engine;
    const struct md_alert_frame *frame;
    const struct md_alert_predicate *predicate;
    int64_t lost_ms;
    struct md_arena arena;
    struct md__alert_view view;
    int rule_count;
    struct md_alert_rule_health *health; /* [rule_count] */
    /* scratch, [key_count] */
    float *limits;
    unsigned char *codes;
    struct md_alert_verdict *verdicts;
    /* new instances, in no table yet */
    struct md__alert_instance **fresh;
    int fresh_count, fresh_capacity;
    int cursor; /* in the table's order: the first instance of the rule that is planned */
    struct md__alert_grading grading;
};

static enum md__alert_decision decide(const struct md_alert_rule *rule,
                                      const struct md_alert_verdict *verdict)
{
    if (verdict->holds == MD_ALERT_YES)
        return MD__DECISION_HOLDS;
    if (verdict->holds == MD_ALERT_NO)
        return MD__DECISION_LOST;
    enum md_alert_no_data policy =
        verdict->holds == MD_ALERT_UNKNOWN ? rule->no_data : rule->on_error;
    return policy == MD_ALERT_NO_DATA_FIRE   ? MD__DECISION_HOLDS
           : policy == MD_ALERT_NO_DATA_KEEP ? MD__DECISION_STAYS
                                             : MD__DECISION_LOST;
}

static void judge(const struct md__alert_source *source, int key,
                  struct md__alert_instance *instance)
{
    bool is_active = md__alert_life_is_active(&instance->life);
    md__alert_source_judge(source, key, instance->alert.profile, is_active, &instance->verdict);
    instance->decision = decide(source->rule, &instance->verdict);
    instance->is_judged = true;
    instance->step_ms = source->step_ms;
}

static enum md_status add_fresh(struct tick *tick, struct md__alert_instance *instance,
                                struct md_error *err)
{
    if (tick->fresh_count == tick->fresh_capacity) {
        int capacity = tick->fresh_capacity * 2 + 64;
        struct md__alert_instance **fresh = realloc(tick->fresh, (size_t)capacity * sizeof *fresh);
        if (!fresh)
            return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
        tick->fresh = fresh;
        tick->fresh_capacity = capacity;
    }
    tick->fresh[tick->fresh_count++] = instance;
    return MD_OK;
}

/* The condition holds, or may: of an entity there may be an instance of, or not yet. */
static enum md_status consider(struct tick *tick, const struct md__alert_source *source, int rule,
                               int ordinal, int key, struct md_error *err)
{
    const struct md_alert_rules *rules = tick->engine->rules;
    bool has_key = source->rule->watch != MD_ALERT_GAUGE;
    struct md__alert_identity made_of = {.name = source->rule->name,
                                         .severity = source->rule->severity,
                                         .key = has_key ? tick->frame->keys[key] : "",
                                         .column = source->column,
                                         .profile = has_key ? tick->frame->profiles[key] : "",
                                         .labels = source->rule->labels,
                                         .label_count = source->rule->label_count,
                                         .rule = rules->identities[rule]};
    uint64_t key_hash = has_key ? tick->view.key_hashes[key] : md__alert_key_hash("", "");
    uint64_t identity = md__alert_identity_hash(made_of.rule, made_of.column, key_hash);
    struct md__alert_instance *instance =
        md__alert_table_find(&tick->engine->table, identity, &made_of);
    if (instance) {
        judge(source, key, instance);
        return MD_OK;
    }
    struct md_alert_verdict verdict;
    md__alert_source_judge(source, key, made_of.profile, false, &verdict);
    if (decide(source->rule, &verdict) != MD__DECISION_HOLDS)
        return MD_OK;
    instance = md__alert_instance_new(&made_of, tick->engine->entity_label);
    if (!instance || add_fresh(tick, instance, err) != MD_OK) {
        free(instance);
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    }
    instance->rule = rule;
    instance->ordinal = ordinal;
    instance->alert.rule = source->rule;
    judge(source, key, instance);
    return MD_OK;
}

/* Those of this rule that the scan did not name. */
static void judge_the_others(struct tick *tick, const struct md__alert_source *sources, int rule)
{
    const struct md__alert_table *table = &tick->engine->table;
    for (; tick->cursor < table->count && table->ordered[tick->cursor]->rule == rule;
         tick->cursor++) {
        struct md__alert_instance *instance = table->ordered[tick->cursor];
        if (instance->is_judged)
            continue;
        const struct md__alert_source *source = &sources[instance->ordinal];
        int key = 0;
        if (source->rule->watch != MD_ALERT_GAUGE)
            key = md__alert_frame_key(tick->frame, instance->alert.key);
        if (key < 0)
            instance->decision = MD__DECISION_LOST;
        else if (*instance->alert.key &&
                 strcmp(tick->frame->profiles[key], instance->alert.profile) != 0)
            instance->decision = MD__DECISION_END;
        else
            judge(source, key, instance);
        instance->is_judged = true;
    }
}

/* Verdicts of a function; when it fails, of everyone. */
static void call_predicate(struct tick *tick, const struct md_alert_rule *rule,
                           struct md_alert_rule_health *health)
{
    int keys = tick->frame->key_count;
    struct md_error err = {.text = "nobody evaluates functions"};
    for (int k = 0; k < keys; k++)
        tick->verdicts[k] =
            (struct md_alert_verdict){.holds = MD_ALERT_NO, .value = NAN, .limit = NAN};
    const struct md_alert_predicate *predicate = tick->predicate;
    if (!predicate || predicate->evaluate(predicate->context, rule->function, tick->frame,
                                          tick->verdicts, &err) != MD_OK) {
        snprintf(health->error, sizeof health->error, "%.*s", (int)sizeof health->error - 1,
                 err.text);
        for (int k = 0; k < keys; k++)
            tick->verdicts[k].holds = MD_ALERT_FAILED;
        return;
    }
    for (int k = 0; k < keys && !health->error[0]; k++)
        if (tick->verdicts[k].holds == MD_ALERT_FAILED)
            snprintf(health->error, sizeof health->error, "failed for %.100s",
                     tick->frame->keys[k]);
}

static enum md_status plan_rule(struct tick *tick, int index, struct md_error *err)
{
    const struct md_alert_rule *rule = &tick->engine->rules->rules[index];
    struct md_alert_rule_health *health = &tick->health[index];
    int columns = md__alert_rule_columns(rule);
    struct md__alert_source *sources =
        md_arena_array(&tick->arena, (size_t)columns, sizeof *sources);
    if (!sources)
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    md__alert_limits(&tick->view, &rule->limit, tick->limits);
    if (rule->watch == MD_ALERT_FUNCTION)
        call_predicate(tick, rule, health);
    enum md_status status = MD_OK;
    for (int c = 0; status == MD_OK && c < columns; c++) {
        char problem[sizeof health->error];
        md__alert_source_bind(&tick->view, rule, c, tick->limits, &sources[c], problem,
                              sizeof problem);
        sources[c].verdicts = tick->verdicts;
        if (problem[0] && !health->error[0])
            memcpy(health->error, problem, sizeof problem);
        md__alert_source_scan(&sources[c], tick->codes);
        bool wants_unknown =
            rule->no_data == MD_ALERT_NO_DATA_FIRE || rule->on_error == MD_ALERT_NO_DATA_FIRE;
        for (int k = 0; status == MD_OK && k < sources[c].key_count; k++)
            if (tick->codes[k] == MD__CODE_YES ||
                (tick->codes[k] == MD__CODE_UNKNOWN && wants_unknown))
                status = consider(tick, &sources[c], index, c, k, err);
    }
    if (status == MD_OK)
        judge_the_others(tick, sources, index);
    if (status == MD_OK)
        status = md__alert_grading_rule(&tick->grading, &tick->view, tick->engine->rules, index,
                                        tick->limits, err);
    return status;
}

static void next_of(struct tick *tick, struct md__alert_instance *instance)
{
    const struct md_alert_rule *rule = instance->alert.rule;
    struct md__alert_moment moment = {.time_ms = tick->frame->time_ms, .lost_ms = tick->lost_ms};
    if (rule) {
        moment.for_ms = rule->for_ms;
        moment.keep_firing_ms = rule->keep_firing_ms;
    } else {
        instance->decision = MD__DECISION_GONE;
    }
    instance->next = md__alert_life_next(instance->life, instance->decision, &moment);
}

/* Those in the table, then the fresh ones. */
static struct md__alert_instance *instance_at(const struct tick *tick, int index)
{
    const struct md__alert_table *table = &tick->engine->table;
    return index < table->count ? table->ordered[index] : tick->fresh[index - table->count];
}

static void count_active(struct tick *tick, int instances)
{
    for (int i = 0; i < instances; i++) {
        const struct md__alert_instance *instance = instance_at(tick, i);
        if (instance->rule < 0)
            continue;
        tick->health[instance->rule].pending += instance->next.state == MD_ALERT_PENDING;
        tick->health[instance->rule].firing += instance->next.state == MD_ALERT_FIRING;
    }
}

static bool is_over_limit(const struct tick *tick, int rule)
{
    int max = tick->engine->rules->rules[rule].instances_max;
    return max > 0 && tick->health[rule].pending + tick->health[rule].firing > max;
}

/* A rule with more active instances than its limit has none. */
static void enforce_limits(struct tick *tick, int instances)
{
    for (int i = 0; i < instances; i++) {
        struct md__alert_instance *instance = instance_at(tick, i);
        if (instance->rule >= 0 && is_over_limit(tick, instance->rule)) {
            instance->decision = MD__DECISION_END;
            next_of(tick, instance);
        }
    }
    for (int r = 0; r < tick->rule_count; r++)
        if (is_over_limit(tick, r)) {
            struct md_alert_rule_health *health = &tick->health[r];
            snprintf(health->error, sizeof health->error, "exceeded limit of %d with %d alerts",
                     tick->engine->rules->rules[r].instances_max, health->pending + health->firing);
            health->pending = health->firing = 0;
        }
}

/* Begins to fire of itself, not because its rule came back. */
static bool fires_now(const struct md__alert_instance *instance)
{
    return instance->next.state == MD_ALERT_FIRING && instance->life.state != MD_ALERT_FIRING &&
           instance->life.away_state != MD_ALERT_FIRING;
}

static enum md_status plan_lives(struct tick *tick, struct md_error *err)
{
    if (!md__alert_table_reserve(&tick->engine->table, tick->fresh_count))
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    int instances = tick->engine->table.count + tick->fresh_count;
    for (int i = 0; i < instances; i++)
        next_of(tick, instance_at(tick, i));
    count_active(tick, instances);
    enforce_limits(tick, instances);
    enum md_status status = MD_OK;
    for (int i = 0; status == MD_OK && i < instances; i++) {
        struct md__alert_instance *instance = instance_at(tick, i);
        if (fires_now(instance))
            status = md__alert_grading_fires(&tick->grading, instance, instance->alert.rule,
                                             tick->frame->time_ms, err);
    }
    return status;
}

static enum md_status plan(struct tick *tick, struct md_error *err)
{
    size_t keys = (size_t)tick->frame->key_count + 1;
    tick->limits = md_arena_array(&tick->arena, keys, sizeof *tick->limits);
    tick->codes = md_arena_array(&tick->arena, keys, 1);
    tick->verdicts = md_arena_array(&tick->arena, keys, sizeof *tick->verdicts);
    tick->health = calloc((size_t)tick->rule_count + 1, sizeof *tick->health);
    if (!tick->limits || !tick->codes || !tick->verdicts || !tick->health)
        return md_fail(err, MD_ERR_MEMORY, "alerts: out of memory");
    for (int i = 0; i < tick->engine->table.count; i++)
        tick->engine->table.ordered[i]->is_judged = false;
    enum md_status status =
        md__alert_grading_begin(&tick->grading, &tick->engine->grades, &tick->view,
                                tick->engine->rules, tick->lost_ms, err);
    for (int r = 0; status == MD_OK && r < tick->rule_count; r++)
        status = plan_rule(tick, r, err);
    return status ? status : plan_lives(tick, err);
}

/* ---- committing ------------------------------------------------------------------------------ */

static void move_on(struct tick *tick, struct md__alert_instance *instance,
                    const struct md_alert_sink *sink)
{
    enum md_alert_state from = instance->life.state;
    struct md_alert *alert = &instance->alert;
    instance->life = instance->next;
    if (instance->decision == MD__DECISION_HOLDS) {
        alert->value = instance->verdict.value;
        alert->limit = instance->verdict.limit;
        alert->lead_steps = instance->verdict.lead_steps;
        alert->step_ms = instance->step_ms;
    }
    if (instance->life.state == MD_ALERT_FIRING)
        instance->firing_ms = tick->frame->time_ms;
    md__alert_instance_show(instance);
    if (from != instance->life.state && sink && sink->event)
        sink->event(sink->context, &(struct md_alert_event){.time_ms = tick->frame->time_ms,
                                                            .from = from,
                                                            .to = instance->life.state,
                                                            .alert = alert});
}

/* Nobody will ask for it again: it is not active, its resolution has been told, its rule will not
 * come back in time, and no crossing could still be one that it announced. */
static bool is_over(const struct md__alert_instance *instance, int64_t time_ms)
{
    const struct md__alert_life *life = &instance->life;
    const struct md_alert_rule *rule = instance->alert.rule;
    if (life->state != MD_ALERT_INACTIVE)
        return false;
    if (life->away_state != MD_ALERT_INACTIVE && time_ms - life->away_ms <= MD_ALERT_RESOLVED_MS)
        return false;
    if (life->resolved_ms != 0 && time_ms - life->resolved_ms <= MD_ALERT_RESOLVED_MS)
        return false;
    return !rule || rule->watch != MD_ALERT_FORECAST || instance->firing_ms == 0 ||
           time_ms - instance->firing_ms > rule->within_ms;
}

static void commit(struct tick *tick, const struct md_alert_sink *sink)
{
    struct md_alert_engine *engine = tick->engine;
    md__alert_table_add(&engine->table, tick->fresh, tick->fresh_count);
    for (int i = 0; i < engine->table.count; i++)
        move_on(tick, engine->table.ordered[i], sink);
    engine->time_ms = tick->frame->time_ms;
    free(engine->health);
    engine->health = tick->health;
    engine->health_count = tick->rule_count;
    md__alert_grading_commit(&tick->grading, engine, &tick->view, tick->lost_ms, sink);
    md__alert_table_sweep(&engine->table, is_over, engine->time_ms);
}

static void abandon(struct tick *tick)
{
    for (int i = 0; i < tick->fresh_count; i++)
        free(tick->fresh[i]);
    free(tick->health);
    md__alert_grading_abandon(&tick->grading);
}

static enum md_status refuse_past(int64_t last_ms, struct md_error *err)
{
    char last[MD_TIMESTAMP_BYTES];
    md_timestamp_format(last_ms, last);
    return md_fail(err, MD_ERR_CONFLICT,
                   "a step of %s was evaluated: alerts wait until the clock is there", last);
}

enum md_status md_alert_engine_tick(struct md_alert_engine *engine,
                                    const struct md_alert_frame *frame,
                                    const struct md_alert_predicate *predicate,
                                    const struct md_alert_sink *sink, struct md_error *err)
{
    if (frame->time_ms <= engine->time_ms)
        return refuse_past(engine->time_ms, err);
    struct tick tick = {.engine = engine, .frame = frame, .predicate = predicate};
    tick.rule_count = engine->rules ? engine->rules->count : 0;
    if (engine->time_ms > 0 && frame->time_ms - engine->time_ms > frame->step_ms)
        tick.lost_ms = frame->time_ms - engine->time_ms - frame->step_ms;
    md_arena_init(&tick.arena, 0);
    enum md_status status = md__alert_view_init(&tick.view, frame, &tick.arena, err);
    if (status == MD_OK)
        status = plan(&tick, err);
    if (status == MD_OK)
        commit(&tick, sink);
    else
        abandon(&tick);
    free(tick.fresh);
    md_arena_fini(&tick.arena);
    return status;
}
