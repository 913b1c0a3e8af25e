/*
 * Log: one line per event on stderr, quiet by default (info: start, stop, model loads, at most one
 * line a forecast). Text or JSON lines. Safe from any thread; a line is written by one write(2).
 */
#ifndef MD_BASE_LOG_H
#define MD_BASE_LOG_H

#include <stdbool.h>

#include "base/status.h"

enum md_log_level { MD_LOG_DEBUG, MD_LOG_INFO, MD_LOG_WARN, MD_LOG_ERROR, MD_LOG_OFF };

struct md_clock;

/* Level and format may change at run time. clock gives the timestamps; NULL leaves them out. */
void md_log_setup(enum md_log_level level, bool json, struct md_clock *clock);
void md_log_set_level(enum md_log_level level);
enum md_log_level md_log_get_level(void);
const char *md_log_level_name(enum md_log_level level);
enum md_status md_log_level_parse(const char *name, enum md_log_level *level, struct md_error *err);

/*
 * subsystem is a short constant ("http", "series"); the text is one line. Over-long lines are cut
 * and marked.
 */
#define md_log(level, subsystem, ...)                                                              \
    ((level) < md_log_get_level() ? (void)0 : md__log(level, subsystem, __VA_ARGS__))
void md__log(enum md_log_level level, const char *subsystem, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
