/*
 * Log lines; see log.h. A line is built on the stack and leaves in one write(2), so that lines of
 * different threads never mix and logging works when memory has run out. What cannot be written is
 * lost: nobody could be told.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/json_out.h"

enum {
    MESSAGE_SIZE = 1024,
    LINE_SIZE =
        6 * MESSAGE_SIZE + 256, /* every byte may become \u00XX; then time, level and subsystem */
};

static const char cut_mark[] = " [cut]";

static _Atomic int log_level = MD_LOG_INFO;
static _Atomic bool log_json;
static struct md_clock *_Atomic log_clock;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};
enum { LEVEL_COUNT = sizeof level_names / sizeof *level_names };

void md_log_setup(enum md_log_level level, bool json, struct md_clock *clock)
{
    atomic_store(&log_json, json);
    atomic_store(&log_clock, clock);
    md_log_set_level(level);
}

void md_log_set_level(enum md_log_level level)
{
    atomic_store(&log_level, (int)level);
}

enum md_log_level md_log_get_level(void)
{
    return (enum md_log_level)atomic_load_explicit(&log_level, memory_order_relaxed);
}

const char *md_log_level_name(enum md_log_level level)
{
    return (unsigned)level < LEVEL_COUNT ? level_names[level] : "?";
}

enum md_status md_log_level_parse(const char *name, enum md_log_level *level, struct md_error *err)
{
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum md_log_level)i;
            return MD_OK;
        }
    }
    return md_fail(err, MD_ERR_INVALID, "log level \"%s\" is none of debug, info, warn, error, off",
                   name);
}

/* RFC 3339 in UTC, e.g. 2026-11-21T11:28:01.123Z. */
static void append_time(struct md_buffer *line, struct md_clock *clock)
{
    struct md_civil now;
    md_civil_from_ms(md_now_ms(clock), &now);
    md_buffer_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", now.year, now.month, now.day,
                     now.hour, now.minute, now.second, now.millisecond);
}

static void build_text(struct md_buffer *line, const char *level, const char *subsystem,
                       char *message)
{
    struct md_clock *clock = atomic_load(&log_clock);
    if (clock) {
        append_time(line, clock);
        md_buffer_text(line, " ");
    }
    for (char *c = message; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
    md_buffer_printf(line, "%s %s: %s\n", level, subsystem, message);
}

static void build_json(struct md_buffer *line, const char *level, const char *subsystem,
                       const char *message)
{
    struct md_clock *clock = atomic_load(&log_clock);
    md_buffer_text(line, "{");
    if (clock) {
        md_buffer_text(line, "\"time\":\"");
        append_time(line, clock);
        md_buffer_text(line, "\",");
    }
    md_buffer_printf(line, "\"level\":\"%s\",\"subsystem\":", level);
    md_json_string(line, subsystem, strlen(subsystem));
    md_buffer_text(line, ",\"message\":");
    md_json_string(line, message, strlen(message));
    md_buffer_text(line, "}\n");
}

static void write_line(const struct md_buffer *line)
{
    ssize_t written;
    do
        written = write(STDERR_FILENO, line->data, line->length);
    while (written < 0 && errno == EINTR);
}

void md__log(enum md_log_level level, const char *subsystem, const char *format, ...)
{
    int errno_before = errno;
    if (level < MD_LOG_DEBUG || level >= MD_LOG_OFF)
        level = MD_LOG_ERROR;

    char message[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0)
        snprintf(message, sizeof message, "%s", format);
    if (length >= (int)sizeof message)
        memcpy(message + sizeof message - sizeof cut_mark, cut_mark, sizeof cut_mark);

    char memory[LINE_SIZE];
    struct md_buffer line;
    md_buffer_init_fixed(&line, memory, sizeof memory);
    if (atomic_load(&log_json))
        build_json(&line, level_names[level], subsystem, message);
    else
        build_text(&line, level_names[level], subsystem, message);
    write_line(&line);
    errno = errno_before;
}
