/*
 * Matchers of labels; see notify.h. Regular expressions are the C library's, anchored at both ends.
 * Counted repetition and back-references are refused: with them a short pattern can take all
 * memory, or time without end, and patterns come over HTTP.
 */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/notify_internal.h"

enum { PATTERN_BYTES_MAX = 256, MATCHERS_MAX = 64 };

struct matcher {
    char *label, *text;
    const char *value; /* in text, behind its operator */
    bool is_not, is_regex;
    regex_t regex;
};

struct md_notify_matchers {
    int count; /* that are complete */
    struct matcher items[];
};

static bool is_label_name(const char *name)
{
    if (!(*name == '_' || (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z')))
        return false;
    for (; *name; name++)
        if (!(*name == '_' || (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
              (*name >= '0' && *name <= '9')))
            return false;
    return true;
}

/* What has no bound; outside of brackets, where these are plain letters. */
static bool is_bounded(const char *pattern)
{
    bool in_brackets = false;
    for (const char *at = pattern; *at; at++) {
        if (in_brackets) {
            in_brackets = *at != ']' || at[-1] == '[' || (at[-1] == '^' && at[-2] == '[');
        } else if (*at == '\\') {
            if (at[1] >= '1' && at[1] <= '9')
                return false;
            at += at[1] != '\0';
        } else if (*at == '{') {
            return false;
        } else {
            in_brackets = *at == '[';
        }
    }
    return true;
}

static enum md_status compile(struct matcher *matcher, struct md_error *err)
{
    char anchored[PATTERN_BYTES_MAX + 8], why[100];
    const char *pattern = matcher->value;
    if (strlen(pattern) > PATTERN_BYTES_MAX)
        return md_fail(err, MD_ERR_INVALID, "%s: a pattern has at most %d bytes", matcher->label,
                       PATTERN_BYTES_MAX);
    if (!is_bounded(pattern))
        return md_fail(err, MD_ERR_INVALID,
                       "%s: \"%.80s\": a pattern may have no {} and no back-references",
                       matcher->label, pattern);
    snprintf(anchored, sizeof anchored, "^(%s)$", pattern);
    int code = regcomp(&matcher->regex, anchored, REG_EXTENDED | REG_NOSUB);
    if (code == REG_ESPACE)
        return md_fail(err, MD_ERR_MEMORY, "no memory for a pattern");
    if (code != 0) {
        regerror(code, &matcher->regex, why, sizeof why);
        return md_fail(err, MD_ERR_INVALID, "%s: \"%.80s\" is no pattern: %s", matcher->label,
                       pattern, why);
    }
    matcher->is_regex = true;
    return MD_OK;
}

static void fini(struct matcher *matcher)
{
    if (matcher->is_regex)
        regfree(&matcher->regex);
    free(matcher->label);
    free(matcher->text);
}

static enum md_status init(struct matcher *matcher, const struct md_alert_label *given,
                           struct md_error *err)
{
    if (!is_label_name(given->name))
        return md_fail(err, MD_ERR_INVALID, "\"%.64s\" is no label name", given->name);
    *matcher = (struct matcher){.label = strdup(given->name), .text = strdup(given->value)};
    if (!matcher->label || !matcher->text) {
        fini(matcher);
        return md_fail(err, MD_ERR_MEMORY, "no memory for matchers");
    }
    const char *text = matcher->text;
    matcher->is_not = *text == '!';
    text += matcher->is_not;
    matcher->value = text + (*text == '~' || (*text == '=' && !matcher->is_not));
    enum md_status status = *text == '~' ? compile(matcher, err) : MD_OK;
    if (status != MD_OK)
        fini(matcher);
    return status;
}

enum md_status md_notify_matchers_new(const struct md_alert_label *texts, int count,
                                      struct md_notify_matchers **result, struct md_error *err)
{
    if (count < 0 || count > MATCHERS_MAX)
        return md_fail(err, MD_ERR_INVALID, "more than %d matchers", MATCHERS_MAX);
    struct md_notify_matchers *matchers =
        calloc(1, sizeof *matchers + (size_t)count * sizeof *matchers->items);
    if (!matchers)
        return md_fail(err, MD_ERR_MEMORY, "no memory for matchers");
    enum md_status status = MD_OK;
    for (int i = 0; i < count && status == MD_OK; i++) {
        status = init(&matchers->items[i], &texts[i], err);
        matchers->count += status == MD_OK;
    }
    if (status != MD_OK) {
        md_notify_matchers_delete(matchers);
        return status;
    }
    *result = matchers;
    return MD_OK;
}

void md_notify_matchers_delete(struct md_notify_matchers *matchers)
{
    for (int i = 0; matchers && i < matchers->count; i++)
        fini(&matchers->items[i]);
    free(matchers);
}

const char *md__notify_label(const struct md_alert_label *labels, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(labels[i].name, name) == 0)
            return labels[i].value;
    return "";
}

static bool holds(const struct matcher *matcher, const char *value)
{
    bool same = matcher->is_regex ? regexec(&matcher->regex, value, 0, NULL, 0) == 0
                                  : strcmp(matcher->value, value) == 0;
    return same != matcher->is_not;
}

bool md_notify_matchers_match(const struct md_notify_matchers *matchers,
                              const struct md_alert_label *labels, int count)
{
    for (int i = 0; matchers && i < matchers->count; i++) {
        const struct matcher *matcher = &matchers->items[i];
        if (!holds(matcher, md__notify_label(labels, count, matcher->label)))
            return false;
    }
    return true;
}

int md_notify_matchers_count(const struct md_notify_matchers *matchers)
{
    return matchers ? matchers->count : 0;
}

struct md_alert_label md_notify_matchers_text(const struct md_notify_matchers *matchers, int index)
{
    return (struct md_alert_label){matchers->items[index].label, matchers->items[index].text};
}
