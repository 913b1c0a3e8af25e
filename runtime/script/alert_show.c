/*
 * What is shown of alerts: instances, rules and qualities as JSON (md.alerts makes tables of it),
 * and as metrics: ALERTS as Prometheus has it, counters and gauges of how rules fare.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "alert/event_json.h"
#include "base/json_out.h"
#include "script/alerts.h"

/* ---- pieces of JSON: each member ends with a comma ------------------------------------------- */

static void add_text(struct md_buffer *json, const char *name, const char *text)
{
    md_buffer_printf(json, "\"%s\":", name);
    md_json_string(json, text, strlen(text));
    md_buffer_text(json, ",");
}

/* Nothing for what is not there, nor for an infinity, which JSON does not have: a null would be a
 * value of its own to scripts. */
static void add_number(struct md_buffer *json, const char *name, double value)
{
    if (!isfinite(value))
        return;
    md_buffer_printf(json, "\"%s\":", name);
    md_json_f64(json, value);
    md_buffer_text(json, ",");
}

static void add_float(struct md_buffer *json, const char *name, float value)
{
    if (!isfinite(value))
        return;
    md_buffer_printf(json, "\"%s\":", name);
    md_json_f32(json, value);
    md_buffer_text(json, ",");
}

static void add_ms(struct md_buffer *json, const char *name, int64_t ms)
{
    if (ms != 0)
        md_buffer_printf(json, "\"%s\":%" PRId64 ",", name, ms);
}

/* The comma after the last member becomes the end. */
static void end_object(struct md_buffer *json)
{
    if (json->failed == MD_OK && json->length > 0 && json->data[json->length - 1] == ',')
        json->data[json->length - 1] = '}';
    else
        md_buffer_text(json, "}");
}

/* ---- instances ------------------------------------------------------------------------------- */

const char *md__alert_state_name(const struct md_alert *alert)
{
    return alert->state == MD_ALERT_FIRING    ? "firing"
           : alert->state == MD_ALERT_PENDING ? "pending"
                                              : "resolved";
}

void md__alert_json(const struct md_alert *alert, int64_t now_ms, struct md_buffer *json)
{
    char fingerprint[17];
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, alert->fingerprint);
    md_buffer_text(json, "{");
    add_text(json, "rule", alert->name);
    add_text(json, "severity", alert->severity);
    add_text(json, "key", alert->key);
    add_text(json, "metric", alert->column);
    add_text(json, "profile", alert->profile);
    add_text(json, "state", md__alert_state_name(alert));
    add_text(json, "fingerprint", fingerprint);
    add_float(json, "value", alert->value);
    add_float(json, "limit", alert->limit);
    add_ms(json, "active_ms", alert->active_ms);
    add_ms(json, "fired_ms", alert->fired_ms);
    add_ms(json, "resolved_ms", alert->resolved_ms);
    add_ms(json, "keep_since_ms", alert->keep_since_ms);
    md_buffer_printf(json, "\"lead_steps\":%d,", (int)alert->lead_steps);
    add_number(json, "lead_min", (double)alert->lead_steps * (double)alert->step_ms / 60000);
    md__alert_texts_json(alert, now_ms, json);
    md_buffer_text(json, ",\"silenced_by\":[],\"inhibited_by\":[]");
    end_object(json);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static const char *watch_name(enum md_alert_watch watch)
{
    static const char *const names[] = {[MD_ALERT_CURRENT] = "current",
                                        [MD_ALERT_FORECAST] = "forecast",
                                        [MD_ALERT_ABSENT] = "absent",
                                        [MD_ALERT_GAUGE] = "gauge",
                                        [MD_ALERT_FUNCTION] = "function"};
    return names[watch];
}

static void add_texts(struct md_buffer *json, const char *name, const char *const *texts, int count)
{
    md_buffer_printf(json, "\"%s\":[", name);
    for (int i = 0; i < count; i++) {
        md_buffer_text(json, i > 0 ? "," : "");
        md_json_string(json, texts[i], strlen(texts[i]));
    }
    md_buffer_text(json, "],");
}

static void add_limit(struct md_buffer *json, const char *name, const struct md_alert_limit *limit)
{
    if (isnan(limit->fallback) && limit->profile_count == 0)
        return;
    md_buffer_printf(json, "\"%s\":{", name);
    add_float(json, "default", limit->fallback);
    for (int i = 0; i < limit->profile_count; i++)
        add_float(json, limit->profiles[i], limit->values[i]);
    end_object(json);
    md_buffer_text(json, ",");
}

static void add_rule(struct md_buffer *json, const struct md_alert_rule *rule)
{
    add_text(json, "name", rule->name);
    add_text(json, "severity", rule->severity);
    add_text(json, "watch", watch_name(rule->watch));
    add_texts(json, "columns", rule->columns, rule->column_count);
    if (rule->watch == MD_ALERT_FORECAST) {
        add_float(json, "quantile", rule->quantile);
        add_number(json, "within_min", (double)rule->within_ms / 60000);
    }
    if (rule->watch == MD_ALERT_GAUGE)
        add_text(json, "gauge", rule->gauge);
    add_limit(json, rule->is_below ? "below" : "above", &rule->limit);
    add_limit(json, rule->is_below ? "clear_above" : "clear_below", &rule->clear);
    add_number(json, "for_min", (double)rule->for_ms / 60000);
    add_number(json, "keep_firing_min", (double)rule->keep_firing_ms / 60000);
}

/* The engine may still have the rules of the generation before. */
static void add_health(struct md_buffer *json, struct md_alert_live *live, const char *name)
{
    struct md_alert_rule_health health = {0};
    struct md_alert_rules *rules = live != NULL ? md_alert_live_rules(live) : NULL;
    int index = rules != NULL ? md_alert_rules_find(rules, name) : -1;
    md_alert_rules_unref(rules);
    if (index >= 0)
        md_alert_live_health(live, index, &health);
    md_buffer_printf(json, "\"pending\":%d,\"firing\":%d,", health.pending, health.firing);
    add_text(json, "health", health.error[0] != '\0' ? "error" : index >= 0 ? "ok" : "unknown");
    if (health.error[0] != '\0')
        add_text(json, "error", health.error);
}

void md__alert_rules_json(struct md_alert_live *live, const struct md_alert_rules *rules,
                          struct md_buffer *json)
{
    md_buffer_text(json, "[");
    for (int i = 0; i < md_alert_rules_count(rules); i++) {
        const struct md_alert_rule *rule = md_alert_rules_get(rules, i);
        md_buffer_text(json, i > 0 ? ",{" : "{");
        add_rule(json, rule);
        add_health(json, live, rule->name);
        end_object(json);
    }
    md_buffer_text(json, "]");
}

/* ---- qualities ------------------------------------------------------------------------------- */

static void add_quality(struct md_buffer *json, const char *rule,
                        const struct md_alert_quality *quality)
{
    add_text(json, "rule", rule);
    for (int i = 0; i < MD_ALERT_OUTCOMES; i++)
        md_buffer_printf(json, "\"%s\":%" PRId64 ",",
                         md_alert_outcome_name((enum md_alert_outcome)i), quality->outcomes[i]);
    md_buffer_printf(json, "\"caught\":%" PRId64 ",\"open\":%" PRId64 ",", quality->caught,
                     quality->open);
    add_number(json, "precision", quality->precision);
    add_number(json, "recall", quality->recall);
    add_number(json, "lead_min_median", quality->lead_min_median);
}

void md__alert_quality_json(struct md_alert_live *live, const struct md_alert_rules *rules,
                            struct md_buffer *json)
{
    const char *separator = "";
    md_buffer_text(json, "[");
    for (int i = 0; live != NULL && i < md_alert_rules_count(rules); i++) {
        const struct md_alert_rule *rule = md_alert_rules_get(rules, i);
        struct md_alert_quality quality;
        if (rule->watch != MD_ALERT_FORECAST)
            continue;
        md_alert_live_quality(live, rule->name, &quality);
        md_buffer_printf(json, "%s{", separator);
        add_quality(json, rule->name, &quality);
        end_object(json);
        separator = ",";
    }
    md_buffer_text(json, "]");
}

/* ---- metrics --------------------------------------------------------------------------------- */

static struct md_family *family(enum md_metric_type type, const char *name, const char *help,
                                const char *const *labels)
{
    return md_family_new(md_metrics_global(), type, name, help, labels, NULL, 0);
}

static void count_grades(struct md_alert_live *live, const char *rule)
{
    static const char *const by_outcome[] = {"rule", "outcome", NULL};
    static const char *const by_rule[] = {"rule", NULL};
    struct md_alert_quality quality;
    struct md_family *grades = family(MD_COUNTER, "moondial_alert_grades_total",
                                      "Forecast alerts by how they turned out", by_outcome);
    md_alert_live_quality(live, rule, &quality);
    for (int i = 0; i < MD_ALERT_OUTCOMES; i++) {
        const char *const values[] = {rule, md_alert_outcome_name((enum md_alert_outcome)i)};
        md_metric_set(md_metric_get(grades, values), (double)quality.outcomes[i]);
    }
    if (!isnan(quality.precision))
        md_metric_set(md_metric_get(family(MD_GAUGE, "moondial_alert_precision",
                                           "Share of a rule's alerts that came true", by_rule),
                                    &rule),
                      quality.precision);
    if (!isnan(quality.recall))
        md_metric_set(md_metric_get(family(MD_GAUGE, "moondial_alert_recall",
                                           "Share of crossings that a rule foretold", by_rule),
                                    &rule),
                      quality.recall);
}

/* Names one rule that fails, and how many others do. */
static void tell_failures(struct md_script *script, const struct md_alert_rules *rules,
                          struct md_alert_live *live)
{
    static const char *const by_rule[] = {"rule", NULL};
    char reason[320] = "";
    int failing = 0;
    for (int i = 0; i < md_alert_rules_count(rules); i++) {
        const char *name = md_alert_rules_get(rules, i)->name;
        struct md_alert_rule_health health = {0};
        md_alert_live_health(live, i, &health);
        if (health.error[0] == '\0')
            continue;
        if (failing++ == 0)
            snprintf(reason, sizeof reason, "alert rule %.64s fails: %s", name, health.error);
        md_metric_add(md_metric_get(family(MD_COUNTER, "moondial_alert_rule_failures_total",
                                           "Evaluations of a rule that failed", by_rule),
                                    &name),
                      1);
    }
    if (failing > 1) {
        size_t length = strlen(reason);
        snprintf(reason + length, sizeof reason - length, " (and %d more)", failing - 1);
    }
    if (md__degraded_set(script, "alert rules", failing > 0 ? reason : NULL) && failing > 0)
        md__script_log(script, MD_LOG_ERROR, reason);
}

static void tell_trouble(struct md_script *script, struct md_alert_live *live)
{
    char trouble[256], reason[320];
    bool troubled = md_alert_live_trouble(live, trouble, sizeof trouble);
    snprintf(reason, sizeof reason, "alerts are not kept: %s", troubled ? trouble : "");
    if (md__degraded_set(script, "alert history", troubled ? reason : NULL) && troubled)
        md__script_log(script, MD_LOG_ERROR, reason);
}

void md__alerts_tell(struct md_script *script, const struct md_alert_rules *rules, double seconds)
{
    struct md_alert_live *live = atomic_load(&script->alerts);
    md_metric_observe(
        md_metric_get(family(MD_HISTOGRAM, "moondial_alert_evaluation_seconds",
                             "Time to evaluate all rules and keep what happened", NULL),
                      NULL),
        seconds);
    for (int i = 0; i < md_alert_rules_count(rules); i++) {
        const struct md_alert_rule *rule = md_alert_rules_get(rules, i);
        if (rule->watch == MD_ALERT_FORECAST)
            count_grades(live, rule->name);
    }
    tell_failures(script, rules, live);
    tell_trouble(script, live);
}

/* ---- ALERTS ---------------------------------------------------------------------------------- */

struct exposing {
    struct md_script *script;
    md_metric_emit emit;
    void *sink;
    int64_t left;
};

/* The alert's labels, but for those that it has no value of, and its state. */
static bool expose(void *context, const struct md_alert *alert)
{
    struct exposing *exposing = context;
    struct md_metric_label labels[MD_ALERT_LABELS_MAX + 8];
    int count = 0;
    if (alert->state == MD_ALERT_INACTIVE)
        return true;
    for (int i = 0; i < alert->label_count && i < MD_ALERT_LABELS_MAX + 7; i++) {
        if (alert->labels[i].value[0] != '\0')
            labels[count++] =
                (struct md_metric_label){alert->labels[i].name, alert->labels[i].value};
    }
    labels[count++] = (struct md_metric_label){"alertstate", md__alert_state_name(alert)};
    exposing->emit(exposing->sink, labels, count, 1);
    return --exposing->left > 0;
}

static void collect_alerts(void *context, md_metric_emit emit, void *sink)
{
    struct md_script *script = context;
    struct md_alert_live *live = atomic_load(&script->alerts);
    struct exposing exposing = {script, emit, sink,
                                md_config_int(script->config, "alerts_exposed_max")};
    if (live != NULL && exposing.left > 0)
        md_alert_live_visit(live, expose, &exposing);
}

void md__alerts_expose(struct md_script *script)
{
    script->alerting->collector = (struct md_collector){
        .name = "ALERTS",
        .help = "Alerts that are pending or firing, as Prometheus shows its own",
        .collect = collect_alerts,
        .context = script};
    md_collector_add(md_metrics_global(), &script->alerting->collector);
}

void md__alerts_unexpose(struct md_script *script)
{
    if (script->alerting->collector.context != NULL)
        md_collector_remove(md_metrics_global(), &script->alerting->collector);
    script->alerting->collector.context = NULL;
}
