/*
 * A folder's rules in a scratch state: what a rehearsal evaluates. The state is of the kind in
 * which acting calls raise, and its script is a stand-in that has no series, models or store: what
 * a rule says can only depend on the frame.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "script/rehearse_internal.h"
#include "script/sources.h"

static const int64_t load_budget_ns = 10000000000, function_budget_ns = 1000000000;

static void stand_in(struct md__rehearse_set *set, const struct md_script *owner,
                     struct md_config *config, struct md__sources *sources)
{
    struct md_generation *generation = &set->generation;
    set->script.dir = owner->dir;
    set->script.lib_dir = owner->lib_dir;
    set->script.library = owner->library;
    set->script.clock = owner->clock;
    set->script.timezone = owner->timezone;
    set->script.config = md_config_ref(config);
    pthread_mutex_init(&set->script.lock, NULL);
    generation->script = &set->script;
    generation->config = set->script.config;
    generation->sources = md__sources_ref(sources);
    md_arena_init(&generation->arena, (size_t)16 << 20);
    set->is_loaded = true;
}

static enum md_status read_app(struct md__rehearse_set *set, struct md_error *err)
{
    enum md_status status =
        md__state_new(&set->script, &set->generation, MD__STATE_CHECK, &set->state, err);
    if (status != MD_OK)
        return status;
    md__budget_begin(set->state, load_budget_ns);
    status = md__protect(set->state, md__app_load, NULL, err);
    if (status == MD_OK)
        status = md__protect(set->state, md__app_read, &set->generation, err);
    md__budget_end(set->state);
    return status;
}

/* One rule of a set; its function keeps its number. */
static enum md_status choose(struct md_alert_rules *rules, const char *name,
                             struct md_alert_rules **chosen, struct md_error *err)
{
    int index = name != NULL ? md_alert_rules_find(rules, name) : -1;
    if (name == NULL) {
        *chosen = md_alert_rules_ref(rules);
        return MD_OK;
    }
    return index < 0 ? MD_OK : md_alert_rules_new(md_alert_rules_get(rules, index), 1, chosen, err);
}

enum md_status md__rehearse_set_load(struct md__rehearse_set *set, const struct md_script *owner,
                                     struct md_config *config, struct md__sources *sources,
                                     const char *rule, struct md_error *err)
{
    stand_in(set, owner, config, sources);
    enum md_status status = read_app(set, err);
    if (status != MD_OK || set->generation.alerts == NULL)
        return status;
    set->caller = (struct md__alert_caller){set->state->L, function_budget_ns};
    set->predicate = md__alert_predicate(&set->caller);
    return choose(set->generation.alerts->rules, rule, &set->rules, err);
}

void md__rehearse_set_fini(struct md__rehearse_set *set)
{
    if (!set->is_loaded)
        return;
    if (set->rules != NULL)
        md_alert_rules_unref(set->rules);
    md__state_delete(set->state);
    md__alerts_release(&set->generation);
    md_arena_fini(&set->generation.arena);
    md__sources_unref(set->generation.sources);
    md_config_unref(set->script.config);
    pthread_mutex_destroy(&set->script.lock);
    *set = (struct md__rehearse_set){.is_loaded = false};
}

const char *md__rehearse_set_entity(const struct md__rehearse_set *set)
{
    return set->generation.alerts != NULL ? set->generation.alerts->entity : NULL;
}

/* ---- equality -------------------------------------------------------------------------------- */

static bool floats_equal(float left, float right)
{
    return left == right || (isnan(left) && isnan(right));
}

static bool limits_equal(const struct md_alert_limit *left, const struct md_alert_limit *right)
{
    bool equal = floats_equal(left->fallback, right->fallback) &&
                 left->profile_count == right->profile_count;
    for (int i = 0; equal && i < left->profile_count; i++)
        equal = strcmp(left->profiles[i], right->profiles[i]) == 0 &&
                floats_equal(left->values[i], right->values[i]);
    return equal;
}

static bool labels_equal(const struct md_alert_label *left, const struct md_alert_label *right,
                         int count)
{
    bool equal = true;
    for (int i = 0; equal && i < count; i++)
        equal =
            strcmp(left[i].name, right[i].name) == 0 && strcmp(left[i].value, right[i].value) == 0;
    return equal;
}

static bool watches_equal(const struct md_alert_rule *left, const struct md_alert_rule *right)
{
    bool equal = left->watch == right->watch && left->column_count == right->column_count;
    for (int i = 0; equal && i < left->column_count; i++)
        equal = strcmp(left->columns[i], right->columns[i]) == 0;
    if (equal && left->watch == MD_ALERT_GAUGE)
        equal = strcmp(left->gauge, right->gauge) == 0;
    if (equal && left->watch == MD_ALERT_FORECAST)
        equal =
            floats_equal(left->quantile, right->quantile) && left->within_ms == right->within_ms;
    return equal;
}

/* What its alerts are; how they are worded does not matter to a rehearsal. */
static bool rules_equal(const struct md_alert_rule *left, const struct md_alert_rule *right)
{
    return strcmp(left->name, right->name) == 0 && strcmp(left->severity, right->severity) == 0 &&
           watches_equal(left, right) && left->is_below == right->is_below &&
           limits_equal(&left->limit, &right->limit) && limits_equal(&left->clear, &right->clear) &&
           left->for_ms == right->for_ms && left->keep_firing_ms == right->keep_firing_ms &&
           left->instances_max == right->instances_max && left->no_data == right->no_data &&
           left->on_error == right->on_error && left->label_count == right->label_count &&
           labels_equal(left->labels, right->labels, left->label_count);
}

bool md__rehearse_rules_equal(const struct md_alert_rules *left, const struct md_alert_rules *right)
{
    int count = left != NULL ? md_alert_rules_count(left) : 0;
    bool equal = count == (right != NULL ? md_alert_rules_count(right) : 0);
    for (int i = 0; equal && i < count; i++)
        equal = rules_equal(md_alert_rules_get(left, i), md_alert_rules_get(right, i));
    return equal;
}
