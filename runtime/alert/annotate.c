/*
 * Templates of annotations: text with {name} or {name:format} in it. One reader (next_part) serves
 * both checking and writing, so that what the check lets pass can be written.
 */
#include "alert/alert.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f64text.h"

#define FORMAT_BYTES_MAX 16

/* A piece of a template: text as it is, or a name with the format of its number. */
struct part {
    const char *text;
    size_t length;
    bool is_name;
    char format[FORMAT_BYTES_MAX]; /* printf's, with its percent sign; "" none */
};

static const char name_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

static bool is_number_name(const char *name, size_t length)
{
    static const char *const numbers[] = {"value", "limit", "lead_min", "active_min"};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strlen(numbers[i]) == length && memcmp(numbers[i], name, length) == 0)
            return true;
    return false;
}

/* [flags][width][.precision](f|e|g), width and precision below 100. `at` is after the colon;
 * returns where it ends, NULL: it is none. */
static const char *read_format(const char *at, struct part *part)
{
    const char *begin = at;
    at += strspn(at, "-+ #0");
    size_t flags = (size_t)(at - begin), digits = strspn(at, "0123456789");
    at += digits;
    if (flags > 5 || digits > 2)
        return NULL;
    if (*at == '.') {
        digits = strspn(++at, "0123456789");
        at += digits;
        if (digits > 2)
            return NULL;
    }
    if (*at == '\0' || !strchr("feg", *at))
        return NULL;
    snprintf(part->format, sizeof part->format, "%%%.*s", (int)(at + 1 - begin), begin);
    return at + 1;
}

/* Reads one part at *at, which is not the end, and moves on. */
static enum md_status next_part(const char **at, struct part *part, struct md_error *err)
{
    const char *begin = *at;
    *part = (struct part){.text = begin};
    bool is_double = (begin[0] == '{' || begin[0] == '}') && begin[1] == begin[0];
    if (*begin != '{' || is_double) {
        part->length = is_double || *begin == '}' ? 1 : strcspn(begin, "{}");
        *at = begin + (is_double ? 2 : part->length);
        return MD_OK;
    }
    part->is_name = true;
    part->text = begin + 1;
    part->length = strspn(part->text, name_characters);
    const char *end = part->text + part->length;
    if (part->length == 0)
        return md_fail(err, MD_ERR_INVALID, "'%.20s': a name must follow {; a brace is written {{",
                       begin);
    if (*end == ':') {
        if (!is_number_name(part->text, part->length))
            return md_fail(err, MD_ERR_INVALID,
                           "'%.40s': only value, limit, lead_min and active_min are numbers",
                           begin);
        end = read_format(end + 1, part);
        if (!end)
            return md_fail(err, MD_ERR_INVALID, "'%.40s': a format is like .1f, 8.2f, +.3e or g",
                           begin);
    }
    if (*end != '}')
        return md_fail(err, MD_ERR_INVALID, "'%.40s': there is no } where the name ends", begin);
    *at = end + 1;
    return MD_OK;
}

enum md_status md_alert_template_check(const char *template, struct md_error *err)
{
    struct part part;
    enum md_status status = MD_OK;
    while (*template && status == MD_OK)
        status = next_part(&template, &part, err);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool is_named(const struct part *part, const char *name)
{
    return strlen(name) == part->length && memcmp(name, part->text, part->length) == 0;
}

static bool find_number(const struct md_alert *alert, const struct part *part, int64_t now_ms,
                        double *number, bool *is_single)
{
    *is_single = false;
    if (is_named(part, "lead_min"))
        *number = (double)alert->lead_steps * (double)alert->step_ms / 60000;
    else if (is_named(part, "active_min"))
        *number = (double)(now_ms - alert->active_ms) / 60000;
    else if (is_named(part, "value") || is_named(part, "limit")) {
        *is_single = true;
        *number = (double)(is_named(part, "value") ? alert->value : alert->limit);
    } else
        return false;
    return true;
}

static void put_number(const struct part *part, double number, bool is_single,
                       struct md_buffer *text)
{
    char plain[MD_NUMBER_TEXT_MAX];
    if (part->format[0]) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* read_format let only numbers' pass */
        md_buffer_printf(text, part->format, number);
#pragma GCC diagnostic pop
    } else if (!isfinite(number)) {
        md_buffer_printf(text, "%f", number);
    } else {
        md_buffer_append(text, plain,
                         is_single ? md_f32_text((float)number, plain)
                                   : md_f64_text(number, plain));
    }
}

/* A label's value; NULL: there is none. Labels that were left out as empty are empty. */
static const char *find_label(const struct md_alert *alert, const struct part *part)
{
    for (int i = 0; i < alert->label_count; i++)
        if (is_named(part, alert->labels[i].name))
            return alert->labels[i].value;
    bool is_known =
        is_named(part, "metric") || is_named(part, "profile") || is_named(part, "severity");
    return is_known ? "" : NULL;
}

static void put_part(const struct md_alert *alert, const struct part *part, int64_t now_ms,
                     struct md_buffer *text)
{
    double number;
    bool is_single;
    if (!part->is_name) {
        md_buffer_append(text, part->text, part->length);
        return;
    }
    if (find_number(alert, part, now_ms, &number, &is_single)) {
        put_number(part, number, is_single, text);
        return;
    }
    const char *label = find_label(alert, part);
    if (label)
        md_buffer_text(text, label);
    else /* as it was written: whoever reads the alert sees the mistake */
        md_buffer_printf(text, "{%.*s}", (int)part->length, part->text);
}

void md_alert_annotate(const struct md_alert *alert, const char *template, int64_t now_ms,
                       struct md_buffer *text)
{
    struct part part;
    while (*template) {
        if (next_part(&template, &part, NULL) != MD_OK) {
            md_buffer_text(text, template);
            return;
        }
        put_part(alert, &part, now_ms, text);
    }
}
