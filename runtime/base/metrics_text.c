/*
 * Metrics as text. Prometheus text format 0.0.4 (prometheus.io, "Exposition formats"): the lines of
 * a family together, HELP and TYPE once and first, histogram buckets cumulative and ending in +Inf.
 * The JSON has the same content under the same names.
 */
#include <inttypes.h>
#include <math.h>

#include "base/f64text.h"
#include "base/json_out.h"
#include "base/metrics_internal.h"

static const char *const type_names[] = {
    [MD_COUNTER] = "counter",
    [MD_GAUGE] = "gauge",
    [MD_HISTOGRAM] = "histogram",
};

static struct md_family *next_family(const struct md_family *family)
{
    return atomic_load(&family->next);
}

/* The first series at or after `metric` that is to be shown. */
static struct md_metric *shown(struct md_metric *metric)
{
    while (metric && !atomic_load(&metric->is_used))
        metric = atomic_load(&metric->next);
    return metric;
}

static struct md_metric *next_shown(const struct md_metric *metric)
{
    return shown(atomic_load(&metric->next));
}

/* ---- Prometheus ---- */

/* Backslash and line break are escaped everywhere, quotes in label values only. */
static void escape(struct md_buffer *out, const char *text, bool in_quotes)
{
    for (; *text; text++) {
        if (*text == '\\')
            md_buffer_text(out, "\\\\");
        else if (*text == '\n')
            md_buffer_text(out, "\\n");
        else if (*text == '"' && in_quotes)
            md_buffer_text(out, "\\\"");
        else
            md_buffer_append(out, text, 1);
    }
}

static void append_number(struct md_buffer *out, double value)
{
    if (isinf(value))
        md_buffer_text(out, value > 0 ? "+Inf" : "-Inf");
    else
        md_json_f64(out, value);
}

/* NAME_suffix{labels,le="bound"}, or less of it where there is none. */
static void append_sample_name(struct md_buffer *out, const struct md_metric *metric,
                               const char *suffix, const double *bound)
{
    const struct md_family *family = metric->family;
    md_buffer_printf(out, "%s%s", family->name, suffix);
    const char *separator = "{";
    for (int i = 0; i < family->label_count; i++) {
        md_buffer_printf(out, "%s%s=\"", separator, family->labels[i]);
        escape(out, metric->values[i], true);
        md_buffer_text(out, "\"");
        separator = ",";
    }
    if (bound) {
        md_buffer_printf(out, "%sle=\"", separator);
        append_number(out, *bound);
        md_buffer_text(out, "\"");
    }
    md_buffer_text(out, family->label_count > 0 || bound ? "} " : " ");
}

static void append_histogram(struct md_buffer *out, const struct md_metric *metric)
{
    uint64_t count = 0;
    for (int i = 0; i <= metric->family->bound_count; i++) {
        double bound = i < metric->family->bound_count ? metric->family->bounds[i] : INFINITY;
        count += md__bucket_count(metric, i);
        append_sample_name(out, metric, "_bucket", &bound);
        md_buffer_printf(out, "%" PRIu64 "\n", count);
    }
    append_sample_name(out, metric, "_sum", NULL);
    append_number(out, md__number(metric));
    md_buffer_text(out, "\n");
    append_sample_name(out, metric, "_count", NULL);
    md_buffer_printf(out, "%" PRIu64 "\n", count);
}

static void append_head(struct md_buffer *out, const char *name, const char *help, const char *type)
{
    if (help[0]) {
        md_buffer_printf(out, "# HELP %s ", name);
        escape(out, help, false);
        md_buffer_text(out, "\n");
    }
    md_buffer_printf(out, "# TYPE %s %s\n", name, type);
}

static void append_family(struct md_buffer *out, const struct md_family *family)
{
    struct md_metric *metric = shown(family->first);
    if (!metric)
        return;
    append_head(out, family->name, family->help, type_names[family->type]);
    for (; metric; metric = next_shown(metric)) {
        if (family->type == MD_HISTOGRAM) {
            append_histogram(out, metric);
            continue;
        }
        append_sample_name(out, metric, "", NULL);
        append_number(out, md__number(metric));
        md_buffer_text(out, "\n");
    }
}

/* Where a collector's series go. */
struct collected {
    struct md_buffer *out;
    const struct md_collector *collector;
    int count;
};

static void emit_sample(void *sink, const struct md_metric_label *labels, int label_count,
                        double value)
{
    struct collected *collected = sink;
    struct md_buffer *out = collected->out;
    if (collected->count++ == 0)
        append_head(out, collected->collector->name, collected->collector->help, "gauge");
    md_buffer_text(out, collected->collector->name);
    for (int i = 0; i < label_count; i++) {
        md_buffer_printf(out, "%s%s=\"", i > 0 ? "," : "{", labels[i].name);
        escape(out, labels[i].value, true);
        md_buffer_text(out, "\"");
    }
    md_buffer_text(out, label_count > 0 ? "} " : " ");
    append_number(out, value);
    md_buffer_text(out, "\n");
}

static void collect(struct md_metrics *metrics, struct md_buffer *out, md_metric_emit emit,
                    void (*begin)(struct collected *), void (*end)(struct collected *))
{
    pthread_mutex_lock(&metrics->collecting);
    for (struct md_collector *collector = metrics->collectors; collector;
         collector = collector->next) {
        struct collected collected = {out, collector, 0};
        if (begin)
            begin(&collected);
        collector->collect(collector->context, emit, &collected);
        if (end)
            end(&collected);
    }
    pthread_mutex_unlock(&metrics->collecting);
}

void md_metrics_render_prometheus(struct md_metrics *metrics, struct md_buffer *out)
{
    for (struct md_family *family = atomic_load(&metrics->first); family;
         family = next_family(family))
        append_family(out, family);
    collect(metrics, out, emit_sample, NULL, NULL);
}

/* ---- JSON ---- */

static void append_string(struct md_buffer *out, const char *text)
{
    md_json_string(out, text, strlen(text));
}

static void append_labels_json(struct md_buffer *out, const struct md_metric *metric)
{
    md_buffer_text(out, "{\"labels\":{");
    for (int i = 0; i < metric->family->label_count; i++) {
        md_buffer_printf(out, "%s\"%s\":", i > 0 ? "," : "", metric->family->labels[i]);
        append_string(out, metric->values[i]);
    }
    md_buffer_text(out, "},");
}

static void append_histogram_json(struct md_buffer *out, const struct md_metric *metric)
{
    uint64_t count = 0;
    md_buffer_text(out, "\"buckets\":[");
    for (int i = 0; i <= metric->family->bound_count; i++) {
        count += md__bucket_count(metric, i);
        md_buffer_text(out, i > 0 ? ",{\"le\":" : "{\"le\":");
        if (i < metric->family->bound_count)
            md_json_f64(out, metric->family->bounds[i]);
        else
            md_buffer_text(out, "\"+Inf\"");
        md_buffer_printf(out, ",\"count\":%" PRIu64 "}", count);
    }
    md_buffer_printf(out, "],\"count\":%" PRIu64 ",\"sum\":", count);
    md_json_f64(out, md__number(metric));
}

static void append_head_json(struct md_buffer *out, const char *name, const char *help,
                             const char *type)
{
    md_buffer_printf(out, "\"%s\":{\"type\":\"%s\",\"help\":", name, type);
    append_string(out, help);
    md_buffer_text(out, ",\"series\":[");
}

static void append_family_json(struct md_buffer *out, const struct md_family *family)
{
    append_head_json(out, family->name, family->help, type_names[family->type]);
    const char *separator = "";
    for (struct md_metric *metric = shown(family->first); metric; metric = next_shown(metric)) {
        md_buffer_text(out, separator);
        append_labels_json(out, metric);
        if (family->type == MD_HISTOGRAM) {
            append_histogram_json(out, metric);
        } else {
            md_buffer_text(out, "\"value\":");
            md_json_f64(out, md__number(metric));
        }
        md_buffer_text(out, "}");
        separator = ",";
    }
    md_buffer_text(out, "]}");
}

static void begin_json(struct collected *collected)
{
    struct md_buffer *out = collected->out;
    if (out->length > 0 && out->data[out->length - 1] != '{')
        md_buffer_text(out, ",");
    append_head_json(out, collected->collector->name, collected->collector->help, "gauge");
}

static void emit_json(void *sink, const struct md_metric_label *labels, int label_count,
                      double value)
{
    struct collected *collected = sink;
    md_buffer_text(collected->out, collected->count++ > 0 ? ",{\"labels\":{" : "{\"labels\":{");
    for (int i = 0; i < label_count; i++) {
        md_buffer_printf(collected->out, "%s\"%s\":", i > 0 ? "," : "", labels[i].name);
        append_string(collected->out, labels[i].value);
    }
    md_buffer_text(collected->out, "},\"value\":");
    md_json_f64(collected->out, value);
    md_buffer_text(collected->out, "}");
}

static void end_json(struct collected *collected)
{
    md_buffer_text(collected->out, "]}");
}

void md_metrics_render_json(struct md_metrics *metrics, struct md_buffer *out)
{
    const char *separator = "{";
    for (struct md_family *family = atomic_load(&metrics->first); family;
         family = next_family(family)) {
        md_buffer_text(out, separator);
        append_family_json(out, family);
        separator = ",";
    }
    md_buffer_text(out, *separator == '{' ? "{" : "");
    collect(metrics, out, emit_json, begin_json, end_json);
    md_buffer_text(out, "}");
}
