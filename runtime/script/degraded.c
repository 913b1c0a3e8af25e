/* Why service is impaired: one reason per subject, for /health. */
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "script/internal.h"

bool md__degraded_set(struct md_script *script, const char *subject, const char *reason)
{
    bool is_news = false;
    struct md__degraded *free_slot = NULL, *slot = NULL;
    pthread_mutex_lock(&script->lock);
    for (int i = 0; i < MD__DEGRADED_MAX; i++) {
        struct md__degraded *candidate = &script->degraded[i];
        if (candidate->subject[0] == '\0')
            free_slot = free_slot != NULL ? free_slot : candidate;
        else if (strcmp(candidate->subject, subject) == 0)
            slot = candidate;
    }
    if (slot != NULL && reason == NULL) {
        slot->subject[0] = '\0';
        is_news = true;
    }
    slot = slot != NULL ? slot : free_slot;
    if (slot != NULL && reason != NULL) {
        is_news = slot->subject[0] == '\0' ||
                  strncmp(slot->reason, reason, sizeof slot->reason - 1) != 0;
        snprintf(slot->subject, sizeof slot->subject, "%s", subject);
        snprintf(slot->reason, sizeof slot->reason, "%s", reason);
    }
    pthread_mutex_unlock(&script->lock);
    return is_news;
}

void md_script_degraded(struct md_script *script, struct md_buffer *json)
{
    bool first = true;
    pthread_mutex_lock(&script->lock);
    for (int i = 0; i < MD__DEGRADED_MAX; i++) {
        const struct md__degraded *slot = &script->degraded[i];
        if (slot->subject[0] == '\0')
            continue;
        if (!first)
            md_buffer_text(json, ",");
        md_json_string(json, slot->reason, strlen(slot->reason));
        first = false;
    }
    pthread_mutex_unlock(&script->lock);
}
