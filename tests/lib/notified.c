/* Alerts, receivers and moments for tests of the notifier; see notified.h. */
#include "notified.h"

#include <stdio.h>
#include <string.h>

#include "base/timestamp.h"
#include "unit.h"

static struct md_error err;

static uint64_t fleet_hash(const char *text)
{
    uint64_t value = 1469598103934665603ULL;
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * 1099511628211ULL;
    return value;
}

/* Adds an alert "name/server" or finds it. */
struct md_notify_alert *fleet_alert(struct fleet *f, const char *name, const char *server)
{
    char identity[100];
    snprintf(identity, sizeof identity, "%s/%s", name, server);
    uint64_t fingerprint = fleet_hash(identity);
    for (int i = 0; i < f->count; i++)
        if (f->alerts[i].fingerprint == fingerprint)
            return &f->alerts[i];
    int at = f->count++;
    assert_true(at < FLEET_ALERTS_MAX);
    const char *severity = name[0] == 'w' ? "warning" : "critical";
    snprintf(f->texts[at][0], sizeof f->texts[at][0], "%s", name);
    snprintf(f->texts[at][1], sizeof f->texts[at][1], "%s", server);
    f->labels[at][0] = (struct md_alert_label){"alertname", f->texts[at][0]};
    f->labels[at][1] = (struct md_alert_label){"server", f->texts[at][1]};
    f->labels[at][2] = (struct md_alert_label){"severity", severity};
    f->notes[at][0] = (struct md_alert_label){"summary", "look at \"it\""};
    f->alerts[at] = (struct md_notify_alert){.fingerprint = fingerprint,
                                             .step_ms = 5 * MINUTE,
                                             .label_count = 3,
                                             .labels = f->labels[at],
                                             .annotation_count = 1,
                                             .annotations = f->notes[at]};
    return &f->alerts[at];
}

void fleet_fires(struct fleet *f, const char *name, const char *server)
{
    struct md_notify_alert *found = fleet_alert(f, name, server);
    found->fired_ms = f->now_ms;
    found->resolved_ms = 0;
}

void fleet_resolves(struct fleet *f, const char *name, const char *server)
{
    fleet_alert(f, name, server)->resolved_ms = f->now_ms;
}

const struct md_alert_label fleet_critical[] = {{"severity", "critical"}};
static const char *const by_name[] = {"alertname"};

const struct md_notify_receiver fleet_hook = {.name = "hook",
                                              .target = "hook",
                                              .kind = MD_NOTIFY_WEBHOOK,
                                              .url = "http://127.0.0.1/",
                                              .timeout_ms = 1000,
                                              .send_resolved = true,
                                              .group_by_count = 1,
                                              .group_by = by_name,
                                              .group_wait_ms = 30000,
                                              .group_interval_ms = 5 * MINUTE,
                                              .repeat_ms = 240 * MINUTE};
const struct md_notify_receiver fleet_manager = {.name = "manager",
                                                 .target = "manager",
                                                 .kind = MD_NOTIFY_ALERTMANAGER,
                                                 .url = "http://127.0.0.1:9093",
                                                 .timeout_ms = 1000,
                                                 .send_resolved = true,
                                                 .resend_ms = MINUTE};
const struct md_notify_receiver fleet_lines = {.name = "lines",
                                               .target = "lines",
                                               .kind = MD_NOTIFY_FILE,
                                               .url = "alerts.jsonl",
                                               .timeout_ms = 1000,
                                               .send_resolved = true};

void fleet_configure(struct fleet *f, const struct md_notify_settings *settings)
{
    struct md_notify_config *config;
    assert_ok(md_notify_config_new(settings, &config, &err));
    assert_ok(md_notify_set_config(f->notify, config, &err));
    md_notify_config_unref(f->config);
    f->config = config;
}

void fleet_begin(struct fleet *f, const struct md_notify_receiver *receivers, int count)
{
    struct md_notify_settings settings = {
        .receiver_count = count, .receivers = receivers, .external_url = "http://here:8000"};
    memset(f, 0, sizeof *f);
    f->now_ms = T0;
    assert_ok(md_notify_new(&f->notify, &err));
    fleet_configure(f, &settings);
}

void fleet_end(struct fleet *f)
{
    md_notify_delete(f->notify);
    md_notify_config_unref(f->config);
    json_decref(f->body);
}

void fleet_silence(struct fleet *f, const char *label, const char *text, int64_t from_ms,
                   int64_t to_ms, char id[MD_NOTIFY_ID_BYTES])
{
    struct md_alert_label one = {label, text};
    struct md_notify_matchers *matchers;
    assert_ok(md_notify_matchers_new(&one, 1, &matchers, &err));
    struct md_notify_silence made = {.matchers = matchers,
                                     .starts_ms = from_ms,
                                     .ends_ms = to_ms,
                                     .author = "ann",
                                     .comment = "disk swap"};
    assert_ok(md_notify_silence_add(f->notify, &made, f->now_ms, &err));
    memcpy(id, made.id, MD_NOTIFY_ID_BYTES);
}

/* ---- steps ---------------------------------------------------------------------------------- */

static int pending(void *context, int receiver)
{
    (void)receiver;
    return ((struct fleet *)context)->pending;
}

const char *fleet_label(const json_t *found, const char *name)
{
    return json_string_value(json_object_get(json_object_get(found, "labels"), name));
}

/* The alerts of a body: a list, an object with a list, or an object. */
static json_t *alerts_of(json_t *body)
{
    if (json_is_array(body))
        return body;
    json_t *list = json_object_get(body, "alerts");
    return list ? list : json_pack("[O]", body);
}

static bool has_ended(const struct fleet *f, const json_t *found)
{
    int64_t at_ms;
    const char *status = json_string_value(json_object_get(found, "status"));
    if (status)
        return strcmp(status, "resolved") == 0;
    const char *ends = json_string_value(json_object_get(found, "endsAt"));
    assert_ok(md_timestamp_parse(ends, NULL, &at_ms, &err));
    return at_ms <= f->now_ms;
}

static void tell(struct fleet *f, json_t *body, bool ended)
{
    json_t *list = alerts_of(body), *found;
    size_t i;
    json_array_foreach(list, i, found)
    {
        if (has_ended(f, found) != ended)
            continue;
        size_t used = strlen(f->told);
        snprintf(f->told + used, FLEET_TOLD_BYTES - used, " %s@%s", fleet_label(found, "alertname"),
                 fleet_label(found, "server"));
    }
    if (list != body && list != json_object_get(body, "alerts"))
        json_decref(list);
}

static enum md_status take(void *context, const struct md_notify_message *message,
                           struct md_error *why)
{
    struct fleet *f = context;
    if (f->refuses)
        return md_fail(why, MD_ERR_MEMORY, "refused");
    for (int i = 0; i < f->key_count; i++)
        assert_string_not_equal(f->keys[i], message->key);
    assert_true(f->key_count < FLEET_KEYS_MAX);
    snprintf(f->keys[f->key_count++], MD_NOTIFY_KEY_BYTES, "%s", message->key);
    const char *line_end = memchr(message->body, '\n', message->body_length);
    size_t length = line_end ? (size_t)(line_end - message->body) : message->body_length;
    json_decref(f->body);
    f->body = NULL;
    assert_ok(md_json_parse(message->body, length, &f->body, &err));
    size_t used = strlen(f->told);
    snprintf(f->told + used, FLEET_TOLD_BYTES - used, "%s%s:", used ? "; " : "",
             md_notify_config_settings(f->config)->receivers[message->receiver].name);
    tell(f, f->body, false);
    strcat(f->told, " /");
    tell(f, f->body, true);
    return MD_OK;
}

void fleet_restart(struct fleet *f)
{
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    assert_ok(md_notify_save(f->notify, &bytes, &err));
    md_notify_delete(f->notify);
    assert_ok(md_notify_new(&f->notify, &err));
    assert_ok(md_notify_restore(f->notify, bytes.data, bytes.length, &err));
    assert_ok(md_notify_set_config(f->notify, f->config, &err));
    md_buffer_fini(&bytes);
}

struct md_notify_sink fleet_sink(struct fleet *f)
{
    return (struct md_notify_sink){f, pending, take};
}

const char *fleet_step(struct fleet *f, int64_t now_ms)
{
    struct md_notify_sink sink = fleet_sink(f);
    if (f->restarts)
        fleet_restart(f);
    f->now_ms = now_ms;
    f->told[0] = '\0';
    assert_ok(md_notify_step(f->notify, now_ms, f->alerts, f->count, &sink, NULL, &err));
    return f->told;
}

void fleet_run(struct fleet *f, int64_t until_ms, char all[FLEET_TOLD_BYTES])
{
    all[0] = '\0';
    for (;;) {
        int64_t next_ms = md_notify_next_ms(f->notify, f->now_ms);
        assert_true(next_ms > f->now_ms || f->pending > 0);
        if (next_ms > until_ms)
            return;
        const char *told = fleet_step(f, next_ms);
        if (*told)
            sprintf(all + strlen(all), "%s%lld s %s", *all ? " | " : "",
                    (long long)(next_ms - T0) / 1000, told);
    }
}
