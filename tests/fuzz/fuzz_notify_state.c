/*
 * A stored memory of notifications, from a stranger: it is refused, or it is one that goes on, that
 * saves what it is, and whose silences can be shown. The bytes serve as a matcher, too.
 */
#include <string.h>

#include "alert/notify.h"
#include "fuzz.h"

#define NOW_MS 1767225600000LL

static struct md_notify_config *config(void)
{
    static struct md_notify_config *made;
    static const char *const by_name[] = {"alertname"};
    static const struct md_alert_label critical[] = {{"severity", "critical"}};
    const struct md_notify_receiver receivers[] = {
        {.name = "hook",
         .target = "hook",
         .kind = MD_NOTIFY_WEBHOOK,
         .url = "http://h/",
         .timeout_ms = 1,
         .send_resolved = true,
         .group_by_count = 1,
         .group_by = by_name,
         .group_interval_ms = 300000,
         .repeat_ms = 3600000},
        {.name = "manager",
         .target = "manager",
         .kind = MD_NOTIFY_ALERTMANAGER,
         .url = "http://m/",
         .timeout_ms = 1,
         .send_resolved = true,
         .resend_ms = 60000},
    };
    const struct md_notify_inhibition rule = {.source = {1, critical}, .target = {1, critical}};
    const struct md_notify_settings settings = {
        .receiver_count = 2, .receivers = receivers, .inhibition_count = 1, .inhibitions = &rule};
    if (!made) {
        enum md_status status = md_notify_config_new(&settings, &made, NULL);
        assert(status == MD_OK);
    }
    return made;
}

static int pending(void *context, int receiver)
{
    (void)context;
    return receiver;
}

static enum md_status take(void *context, const struct md_notify_message *message,
                           struct md_error *err)
{
    (void)context, (void)err;
    assert(message->body_length > 0 && strlen(message->key) < MD_NOTIFY_KEY_BYTES);
    return MD_OK;
}

static bool visit(void *context, const struct md_notify_silence *silence)
{
    (void)context;
    assert(md_notify_matchers_count(silence->matchers) >= 0);
    return true;
}

static void go_on(struct md_notify *notify)
{
    const struct md_alert_label labels[] = {{"alertname", "cpu"}, {"severity", "critical"}};
    const struct md_notify_alert alerts[] = {
        {.fingerprint = 7, .fired_ms = NOW_MS, .label_count = 2, .labels = labels}};
    const struct md_notify_sink sink = {NULL, pending, take};
    md_notify_set_config(notify, config(), NULL);
    for (int i = 0; i < 4; i++) {
        enum md_status status =
            md_notify_step(notify, NOW_MS + i * 600000, alerts, i < 2, &sink, NULL, NULL);
        assert(status == MD_OK);
        assert(md_notify_next_ms(notify, NOW_MS) <= NOW_MS + 60000);
    }
    md_notify_silence_visit(notify, visit, NULL);
}

static void match(const uint8_t *data, size_t size)
{
    char text[300];
    size_t length = size < sizeof text - 1 ? size : sizeof text - 1;
    const struct md_alert_label matcher = {"server", text};
    const struct md_alert_label label = {"server", "ppdb001.example.com"};
    struct md_notify_matchers *matchers;
    memcpy(text, data, length);
    text[length] = '\0';
    if (md_notify_matchers_new(&matcher, 1, &matchers, NULL) != MD_OK)
        return;
    md_notify_matchers_match(matchers, &label, 1);
    md_notify_matchers_delete(matchers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_notify *notify;
    struct md_buffer saved;
    enum md_status status = md_notify_new(&notify, NULL);
    assert(status == MD_OK);
    if (md_notify_restore(notify, data, size, NULL) == MD_OK) {
        md_buffer_init(&saved, 0);
        status = md_notify_save(notify, &saved, NULL);
        assert(status == MD_OK && saved.length == size && memcmp(saved.data, data, size) == 0);
        md_buffer_fini(&saved);
        go_on(notify);
    }
    md_notify_delete(notify);
    match(data, size);
    return 0;
}
