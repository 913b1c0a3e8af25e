/*
 * A stored engine state, from a stranger: it is refused, or it is one that goes on ticking, that
 * saves what it is, and whose alerts can be shown. The bytes serve as a template, too.
 */
#include <math.h>
#include <string.h>

#include "alert/alert.h"
#include "alert/grade.h"
#include "fuzz.h"

static const char *const keys[] = {"db1", "web1"};
static const char *const profiles[] = {"database", ""};
static const char *const columns[] = {"cpu", "mem"};

static struct md_alert_rules *rules(void)
{
    static struct md_alert_rules *set;
    const struct md_alert_rule made[] = {
        {.name = "high",
         .severity = "warning",
         .watch = MD_ALERT_CURRENT,
         .column_count = 2,
         .columns = columns,
         .limit = {.fallback = 50},
         .clear = {.fallback = 40},
         .for_ms = 60000,
         .keep_firing_ms = 120000},
        {.name = "soon",
         .severity = "critical",
         .watch = MD_ALERT_FORECAST,
         .column_count = 1,
         .columns = columns,
         .quantile = 0.5f,
         .within_ms = 600000,
         .limit = {.fallback = 50},
         .clear = {.fallback = NAN}},
    };
    if (!set) {
        enum md_status status = md_alert_rules_new(made, 2, &set, NULL);
        assert(status == MD_OK);
    }
    return set;
}

static void annotate(const uint8_t *data, size_t size)
{
    const struct md_alert_label label = {"server", "db1"};
    const struct md_alert alert = {.name = "high",
                                   .severity = "",
                                   .key = "db1",
                                   .column = "",
                                   .profile = "",
                                   .value = 1.5f,
                                   .limit = NAN,
                                   .label_count = 1,
                                   .labels = &label};
    struct md_buffer text;
    char template[512];
    size_t length = size < sizeof template - 1 ? size : sizeof template - 1;
    memcpy(template, data, length);
    template[length] = '\0';
    struct md_error err = {.code = MD_OK};
    enum md_status status = md_alert_template_check(template, &err);
    assert(status == MD_OK || (status == MD_ERR_INVALID && err.text[0]));
    md_buffer_init(&text, 1 << 20);
    md_alert_annotate(&alert, template, 60000, &text); /* also what the check refuses */
    assert(text.failed == MD_OK);
    md_buffer_fini(&text);
}

static bool show(void *context, const struct md_alert *alert)
{
    assert(alert->label_count > 0 && *alert->name && alert->state <= MD_ALERT_FIRING);
    assert(alert->state != MD_ALERT_INACTIVE || alert->resolved_ms != 0);
    return ++*(int *)context < 1000;
}

static void tick(struct md_alert_engine *engine)
{
    const float values[] = {60, 30, NAN, 55}, forecast[] = {10, 60, 10, 10};
    const unsigned char known[] = {1, 1, 1, 0};
    const struct md_alert_channel channel = {"cpu", 0.5f, 60000, 2, forecast};
    const struct md_alert_frame frame = {.time_ms = md_alert_engine_time_ms(engine) + 60000,
                                         .step_ms = 60000,
                                         .key_count = 2,
                                         .keys = keys,
                                         .profiles = profiles,
                                         .column_count = 2,
                                         .columns = columns,
                                         .values = values,
                                         .known = known,
                                         .channel_count = 1,
                                         .channels = &channel};
    struct md_error err;
    enum md_status status = md_alert_engine_tick(engine, &frame, NULL, NULL, &err);
    assert(status == MD_OK || status == MD_ERR_INVALID); /* at the end of all time */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct md_alert_engine *engine;
    struct md_alert_quality quality;
    struct md_error err;
    int shown = 0;
    annotate(data, size);
    enum md_status status = md_alert_engine_new("server", &engine, &err);
    assert(status == MD_OK);
    status = md_alert_engine_restore(engine, data, size, &err);
    assert(status == MD_OK || status == MD_ERR_CORRUPT || status == MD_ERR_UNSUPPORTED);
    if (status == MD_OK) {
        md_alert_engine_set_rules(engine, rules());
        for (int i = 0; i < 3; i++)
            tick(engine);
        md_alert_engine_visit(engine, show, &shown);
        md_alert_quality_get(engine, "soon", &quality);
        struct md_buffer bytes;
        md_buffer_init(&bytes, 0);
        status = md_alert_engine_save(engine, &bytes, &err);
        assert(status == MD_OK);
        status = md_alert_engine_restore(engine, bytes.data, bytes.length, &err);
        assert(status == MD_OK);
        md_buffer_fini(&bytes);
    }
    md_alert_engine_delete(engine);
    return 0;
}
