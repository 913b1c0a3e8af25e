/* Out of memory in the notifier's pure part, at every place: an error, nothing kept, and the next
 * step tells what this one could not. */
#include <string.h>

#include "failing.h"
#include "notified.h"
#include "unit.h"

#if FAILING_AVAILABLE

static struct md_error err;
static int told;

static int none(void *context, int receiver)
{
    (void)context, (void)receiver;
    return 0;
}

static enum md_status count(void *context, const struct md_notify_message *message,
                            struct md_error *why)
{
    (void)context, (void)message, (void)why;
    told++;
    return MD_OK;
}

static enum md_status silence(struct md_notify *notify)
{
    static const struct md_alert_label server = {"server", "x"}; /* regcomp does without some */
    struct md_notify_matchers *matchers;
    enum md_status status = md_notify_matchers_new(&server, 1, &matchers, &err);
    if (status != MD_OK)
        return status;
    struct md_notify_silence made = {.matchers = matchers,
                                     .starts_ms = T0,
                                     .ends_ms = T0 + MINUTE,
                                     .author = "ann",
                                     .comment = ""};
    status = md_notify_silence_add(notify, &made, T0, &err);
    if (status != MD_OK)
        md_notify_matchers_delete(matchers);
    return status;
}

static enum md_status step(struct md_notify *notify)
{
    static const struct md_alert_label labels[] = {{"alertname", "cpu"}, {"server", "a"}};
    static const struct md_alert_label notes[] = {{"summary", "hot"}};
    const struct md_notify_alert alerts[] = {{.fingerprint = 7,
                                              .fired_ms = T0,
                                              .label_count = 2,
                                              .labels = labels,
                                              .annotation_count = 1,
                                              .annotations = notes}};
    const struct md_notify_sink sink = {NULL, none, count};
    return md_notify_step(notify, T0 + MINUTE, alerts, 1, &sink, NULL, &err);
}

static enum md_status restore(const struct md_notify *notify)
{
    struct md_notify *other = NULL;
    struct md_buffer bytes;
    md_buffer_init(&bytes, 0);
    enum md_status status = md_notify_save(notify, &bytes, &err);
    if (status == MD_OK)
        status = md_notify_new(&other, &err);
    if (status == MD_OK)
        status = md_notify_restore(other, bytes.data, bytes.length, &err);
    md_notify_delete(other);
    md_buffer_fini(&bytes);
    return status;
}

static enum md_status everything(void)
{
    const struct md_notify_receiver all[] = {fleet_hook, fleet_manager, fleet_lines};
    const struct md_notify_settings settings = {
        .receiver_count = 3, .receivers = all, .external_url = "http://here"};
    struct md_notify_config *config = NULL;
    struct md_notify *notify = NULL;
    told = 0;
    enum md_status status = md_notify_config_new(&settings, &config, &err);
    if (status == MD_OK)
        status = md_notify_new(&notify, &err);
    if (status == MD_OK)
        status = md_notify_set_config(notify, config, &err);
    if (status == MD_OK)
        status = silence(notify);
    if (status == MD_OK)
        status = step(notify);
    if (status == MD_OK)
        status = restore(notify);
    md_notify_delete(notify);
    md_notify_config_unref(config);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    for (int allowed = 0;; allowed++) {
        enum md_status status;
        long kept;
        bool has_failed = failing_run(everything, allowed, &status, &kept);
        assert_int_equal(kept, 0);
        if (!has_failed) {
            assert_ok(status);
            assert_int_equal(told, 3);
            assert_in_range(allowed, 30, 1000);
            return;
        }
        if (status != MD_ERR_MEMORY)
            fail_msg("allocation %d: %s", allowed, md_status_name(status));
    }
}

#else

static void every_allocation_may_fail(void **state)
{
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
