/* What is counted of notifications; the names are in notifier.h. */
#include "alert/notifier_internal.h"

static struct md_family *notifications, *lengths, *seconds_of;

static void declare(void)
{
    static const char *const by_outcome[] = {"receiver", "outcome", NULL};
    static const char *const by_receiver[] = {"receiver", NULL};
    struct md_metrics *metrics = md_metrics_global();
    notifications = md_family_new(metrics, MD_COUNTER, "moondial_notifications_total",
                                  "Messages to receivers: sent, failed attempts, and those dropped",
                                  by_outcome, NULL, 0);
    lengths = md_family_new(metrics, MD_GAUGE, "moondial_notification_queue_length",
                            "Messages that wait for their receiver", by_receiver, NULL, 0);
    seconds_of = md_family_new(metrics, MD_HISTOGRAM, "moondial_notification_attempt_seconds",
                               "Time of an attempt to deliver", by_receiver, NULL, 0);
}

static void ready(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, declare);
}

void md__notifier_count(const char *receiver, const char *outcome, double amount)
{
    const char *const values[] = {receiver, outcome};
    ready();
    md_metric_add(md_metric_get(notifications, values), amount);
}

void md__notifier_length(const char *receiver, int length)
{
    ready();
    md_metric_set(md_metric_get(lengths, &receiver), length);
}

void md__notifier_took(const char *receiver, double seconds)
{
    ready();
    md_metric_observe(md_metric_get(seconds_of, &receiver), seconds);
}
