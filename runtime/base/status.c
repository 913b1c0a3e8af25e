/*
 * Status table and error text. Texts are made safe where they are made: they may quote file names,
 * JSON keys or client input, so control characters become '?' (a log line stays a line) and a cut
 * never splits a UTF-8 sequence (a JSON answer stays valid).
 */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int http;
    int exit;
} statuses[MD_STATUS_COUNT] = {
#define X(code, name, http, exit) [code] = {name, http, exit},
    MD_STATUSES(X)
#undef X
};

static enum md_status known(enum md_status code)
{
    return (unsigned)code < MD_STATUS_COUNT ? code : MD_ERR_INTERNAL;
}

const char *md_status_name(enum md_status code)
{
    return statuses[known(code)].name;
}

enum md_status md_status_of_name(const char *name)
{
    for (int i = 0; i < MD_STATUS_COUNT; i++) {
        if (strcmp(statuses[i].name, name) == 0)
            return (enum md_status)i;
    }
    return MD_ERR_INTERNAL;
}

int md_status_http(enum md_status code)
{
    return statuses[known(code)].http;
}

int md_status_exit(enum md_status code)
{
    return statuses[known(code)].exit;
}

/* Length of text without a UTF-8 sequence that its end cuts short. */
static size_t whole_length(const char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return length;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return length - (start - 1) < need ? start - 1 : length;
}

static void make_safe(char *text, size_t size, int written)
{
    if (written < 0)
        text[0] = '\0';
    if (written >= 0 && (size_t)written >= size)
        text[whole_length(text, size - 1)] = '\0';
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

enum md_status md__fail(struct md_error *err, enum md_status code, const char *file, int line,
                        const char *format, ...)
{
    if (!err)
        return code;
    /* Formatted aside first: an argument may point into err->text. */
    char text[sizeof err->text];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    make_safe(text, sizeof text, written);
    err->code = code;
    err->file = file;
    err->line = line;
    memcpy(err->text, text, sizeof text);
    return code;
}

enum md_status md_error_context(struct md_error *err, const char *format, ...)
{
    if (!err)
        return MD_ERR_INTERNAL;
    char prefix[sizeof err->text];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    make_safe(prefix, sizeof prefix, written);

    char text[2 * sizeof err->text + 2];
    written = snprintf(text, sizeof text, "%s: %s", prefix, err->text);
    memcpy(err->text, text, sizeof err->text);
    err->text[sizeof err->text - 1] = '\0';
    make_safe(err->text, sizeof err->text, written);
    return err->code;
}
