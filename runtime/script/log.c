/*
 * Scripts' lines of the log. They share a rate, so that a handler that logs in a loop, or fails a
 * thousand times a second, buries nobody else's lines and fills no disk: what is over it in one
 * second is counted, and the next line that passes tells how many there were.
 */
#include "script/internal.h"

enum { LINES_PER_S_MAX = 200 };

static bool is_new_second(struct md_script *script)
{
    int64_t second = md_monotonic_ns(script->clock) / 1000000000;
    return atomic_exchange(&script->log_second, second) != second;
}

void md__script_log(struct md_script *script, enum md_log_level level, const char *text)
{
    if (level < md_log_get_level())
        return;
    if (is_new_second(script)) {
        int dropped = atomic_exchange(&script->log_dropped, 0);
        atomic_store(&script->log_lines, 0);
        if (dropped > 0)
            md_log(MD_LOG_WARN, "script", "%d lines of scripts left out (more than %d a second)",
                   dropped, LINES_PER_S_MAX);
    }
    if (atomic_fetch_add(&script->log_lines, 1) < LINES_PER_S_MAX)
        md_log(level, "script", "%s", text);
    else
        atomic_fetch_add(&script->log_dropped, 1);
}
