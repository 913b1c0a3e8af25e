/* A rehearsal in one sentence, for logs and for the end of a report. */
#include <inttypes.h>
#include <string.h>

#include "alert/rehearse_internal.h"

static const char *plural(int64_t count)
{
    return count == 1 ? "" : "s";
}

static void add_counts(const struct md_alert_rehearsal *rehearsal, struct md_buffer *text)
{
    static const struct {
        enum md_alert_difference_kind kind;
        const char *words;
    } parts[] = {{MD_ALERT_ADDED, "added"},
                 {MD_ALERT_GONE, "gone"},
                 {MD_ALERT_CHANGED, "changed"},
                 {MD_ALERT_SAME, "the same"}};
    const char *separator = ": ";

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int64_t count = 0;
        for (int k = 0; k < rehearsal->row_count; k++) {
            count += rehearsal->rows[k].counts[parts[i].kind];
        }
        if (count > 0) {
            md_buffer_printf(text, "%s%" PRId64 " %s", separator, count, parts[i].words);
            separator = ", ";
        }
    }
}

static bool is_all_same(const struct md_alert_rehearsal *rehearsal)
{
    for (int i = 0; i < rehearsal->row_count; i++) {
        const int *counts = rehearsal->rows[i].counts;
        if (counts[MD_ALERT_ADDED] + counts[MD_ALERT_GONE] + counts[MD_ALERT_CHANGED] > 0) {
            return false;
        }
    }
    return true;
}

static bool has_lack(const struct md_alert_rehearsal_rule *rule)
{
    for (int i = 0; rule != NULL && i < rule->lack_count; i++) {
        if (rule->lacks[i].absent + rule->lacks[i].shorter > 0) {
            return true;
        }
    }
    return false;
}

/* Of the fresh side: rules that something was lacking for, or that failed. */
static void add_doubts(const struct md_alert_rehearsal *rehearsal, struct md_buffer *text)
{
    int lacking = 0, failing = 0;

    for (int i = 0; i < rehearsal->row_count; i++) {
        const struct md_alert_rehearsal_rule *rule = rehearsal->rows[i].fresh;
        lacking += has_lack(rule);
        failing += rule != NULL && rule->errors > 0;
    }
    if (lacking > 0) {
        md_buffer_printf(text, " %d rule%s watch%s what the history does not always have.", lacking,
                         plural(lacking), lacking == 1 ? "es" : "");
    }
    if (failing > 0) {
        md_buffer_printf(text, " %d rule%s failed.", failing, plural(failing));
    }
}

void md_alert_rehearsal_summary(const struct md_alert_rehearsal *rehearsal, struct md_buffer *text)
{
    int fresh = rehearsal->fresh.spans.count, old = rehearsal->old.spans.count;

    if (rehearsal->result.frames == 0) {
        md_buffer_text(text, "No frame of this time was kept, so nothing can be said.");
        return;
    }
    if (fresh == 0 && old == 0) {
        md_buffer_text(text, "No alert, as before.");
    } else if (is_all_same(rehearsal)) {
        md_buffer_printf(text, "%d alert%s, the same as before.", fresh, plural(fresh));
    } else if (fresh == old) {
        md_buffer_printf(text, "%d alert%s, as many as before", fresh, plural(fresh));
        add_counts(rehearsal, text);
        md_buffer_text(text, ".");
    } else {
        md_buffer_printf(text, "%d alert%s instead of %d", fresh, plural(fresh), old);
        add_counts(rehearsal, text);
        md_buffer_text(text, ".");
    }
    add_doubts(rehearsal, text);
    if (rehearsal->result.partial != NULL) {
        md_buffer_printf(text, " Not all of the time was looked at: %s.",
                         rehearsal->result.partial);
    }
}
