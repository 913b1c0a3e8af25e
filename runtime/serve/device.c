/*
 * What an accelerator does for the models, for /health, /metrics and scripts.
 */
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "serve/internal.h"

void md_serve_device(struct md_serve *serve, struct md_serve_device *device)
{
    struct md_accelerator *accelerator = serve->options.accelerator;
    const char *reason = serve->options.cpu_reason;

    *device = (struct md_serve_device){.runs = "cpu", .precision = serve->options.precision};
    if (accelerator == NULL) {
        snprintf(device->why, sizeof device->why, "%s", reason != NULL ? reason : "");
        return;
    }
    device->accelerated = true;
    md_accelerator_report(accelerator, &device->report);
    md_accelerator_usage(accelerator, &device->usage);
    if (device->report.usable) {
        device->runs = device->report.driver;
    } else {
        snprintf(device->why, sizeof device->why, "%.90s cannot be used any more: %.130s",
                 device->report.info.name, device->report.failure);
    }
}

const struct md_device_info *md_serve_accelerator(const struct md_serve *serve)
{
    return serve->options.accelerator != NULL ? md__accelerator_info(serve->options.accelerator)
                                              : NULL;
}

void md_serve_device_json(struct md_serve *serve, struct md_buffer *json)
{
    struct md_serve_device device;

    md_serve_device(serve, &device);
    md_buffer_printf(json, "{\"runs\":\"%s\"", device.runs);
    if (device.accelerated) {
        md_buffer_text(json, ",\"name\":");
        md_json_string(json, device.report.info.name, strlen(device.report.info.name));
        md_buffer_printf(json, ",\"index\":%d,\"precision\":\"%s\"", device.report.info.index,
                         md_precision_name(device.precision));
    }
    if (device.why[0] != '\0') {
        md_buffer_text(json, ",\"why\":");
        md_json_string(json, device.why, strlen(device.why));
    }
    md_buffer_text(json, "}");
}

bool md_serve_device_trouble(struct md_serve *serve, char *text, size_t size)
{
    struct md_serve_device device;

    if (serve->options.accelerator == NULL || md_accelerator_usable(serve->options.accelerator)) {
        return false;
    }
    md_serve_device(serve, &device);
    snprintf(text, size, "device: %s", device.why);
    return true;
}

/* ---- metrics ---- */

static void set(enum md_metric_type type, const char *name, const char *help, double value)
{
    struct md_family *family = md_family_new(md_metrics_global(), type, name, help, NULL, NULL, 0);

    if (family != NULL) {
        md_metric_set(md_metric_get(family, NULL), value);
    }
}

/* Where NVML does not tell, there is no series. */
static void set_known(const char *name, const char *help, double value)
{
    if (value >= 0) {
        set(MD_GAUGE, name, help, value);
    }
}

static void set_runs(const struct md_accelerator_report *report)
{
    static const char *const by_result[] = {"result", NULL};
    struct md_family *family = md_family_new(
        md_metrics_global(), MD_COUNTER, "moondial_device_runs_total",
        "Runs begun on the device, by result: done, or left to the CPU because a call failed, "
        "memory was full, or a number was out of range or not finite",
        by_result, NULL, 0);
    const struct {
        const char *result;
        int64_t count;
    } rows[] = {{"done", report->runs},
                {"failed", report->failed_runs},
                {"memory", report->memory_runs},
                {"repeated", report->repeated_runs}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && family != NULL; i++) {
        md_metric_set(md_metric_get(family, &rows[i].result), (double)rows[i].count);
    }
}

static void set_handovers(const struct md_accelerator_report *report)
{
    static const char *const by_way[] = {"way", NULL};
    static const char *const stayed = "stayed", *const travelled = "travelled";
    struct md_family *family = md_family_new(
        md_metrics_global(), MD_COUNTER, "moondial_device_handovers_total",
        "What runs of a session handed on, by way: stayed in device memory, or travelled through "
        "the host's because memory for sessions was full or the CPU did the run",
        by_way, NULL, 0);

    if (family != NULL) {
        md_metric_set(md_metric_get(family, &stayed), (double)report->stayed);
        md_metric_set(md_metric_get(family, &travelled), (double)report->travelled);
    }
}

void md_serve_device_metrics(struct md_serve *serve)
{
    struct md_serve_device device;
    const struct md_accelerator_report *report = &device.report;
    const struct md_device_usage *usage = &device.usage;

    if (serve->options.accelerator == NULL) {
        return;
    }
    md_serve_device(serve, &device);
    set_runs(report);
    set(MD_GAUGE, "moondial_device_usable", "1: models run on it; 0: it failed for good",
        report->usable);
    set(MD_COUNTER, "moondial_device_captures_total", "Runs of steps recorded on the device",
        (double)report->captures);
    set(MD_COUNTER, "moondial_device_launches_total", "Launches of what was recorded",
        (double)report->launches);
    set(MD_COUNTER, "moondial_device_ahead_runs_total",
        "Runs of the device that were handed over while it computed the one before",
        (double)report->ahead_runs);
    set(MD_GAUGE, "moondial_device_weight_bytes", "Weights in device memory",
        (double)report->weight_bytes);
    set(MD_GAUGE, "moondial_device_arena_bytes", "Values and scratch in device memory",
        (double)report->arena_bytes);
    set(MD_GAUGE, "moondial_device_session_bytes", "What sessions keep in device memory",
        (double)report->session_bytes);
    set_handovers(report);
    set(MD_GAUGE, "moondial_device_pinned_bytes", "Host memory that copies go through",
        (double)report->pinned_bytes);
    set(MD_GAUGE, "moondial_device_free_bytes", "Device memory that nobody uses",
        (double)report->free_bytes);
    set_known("moondial_device_busy_percent", "Time in which the device computed", usage->busy_pct);
    set_known("moondial_device_memory_busy_percent", "Time in which its memory was busy",
              usage->memory_busy_pct);
    set_known("moondial_device_memory_used_bytes", "Device memory in use, by anyone",
              usage->memory_used_bytes);
    set_known("moondial_device_clock_megahertz", "Clock of its processors", usage->clock_mhz);
    set_known("moondial_device_memory_clock_megahertz", "Clock of its memory",
              usage->memory_clock_mhz);
    set_known("moondial_device_power_watts", "Power it draws", usage->power_w);
    set_known("moondial_device_temperature_celsius", "Its temperature", usage->temperature_c);
}
