/*
 * Flags of the report commands. `serve` and `show-config` take any key of config.lua as a flag
 * and leave that to script/config.h.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct md__flag *find(const struct md__flag *flags, int count, const char *argument,
                                   const char **inline_value)
{
    size_t length = strcspn(argument, "=");

    for (int i = 0; i < count; i++) {
        if (strlen(flags[i].name) == length && strncmp(flags[i].name, argument, length) == 0) {
            *inline_value = argument[length] == '=' ? argument + length + 1 : NULL;
            return &flags[i];
        }
    }
    return NULL;
}

static enum md_status set(const struct md__flag *flag, const char *text, struct md_error *err)
{
    struct md__flag_list *list = flag->value;
    char *end;
    long number;

    switch (flag->type) {
    case MD__FLAG_TEXT:
        *(const char **)flag->value = text;
        return MD_OK;
    case MD__FLAG_LIST:
        if (list->count == MD__FLAG_LIST_MAX) {
            return md_fail(err, MD_ERR_INVALID, "%s is given more than %d times", flag->name,
                           MD__FLAG_LIST_MAX);
        }
        list->items[list->count++] = text;
        return MD_OK;
    case MD__FLAG_INT:
        errno = 0;
        number = strtol(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || number < 0 || number > INT_MAX) {
            return md_fail(err, MD_ERR_INVALID, "%s takes a number, not \"%.64s\"", flag->name,
                           text);
        }
        *(int *)flag->value = (int)number;
        return MD_OK;
    case MD__FLAG_BOOL:
        break;
    }
    return md_fail(err, MD_ERR_INVALID, "%s takes no value", flag->name);
}

/* Sets one flag; *i moves past a value that stands in an argument of its own. */
static enum md_status take_flag(int argc, char **argv, int *i, const struct md__flag *flag,
                                const char *value, struct md_error *err)
{
    if (flag->type == MD__FLAG_BOOL && value == NULL) {
        *(bool *)flag->value = true;
        return MD_OK;
    }
    if (value == NULL && flag->type != MD__FLAG_BOOL) {
        if (*i + 1 == argc) {
            return md_fail(err, MD_ERR_INVALID, "%s needs a value", flag->name);
        }
        value = argv[++*i];
    }
    return set(flag, value, err);
}

static void print_flags(const struct md__flag *flags, int count)
{
    for (int i = 0; i < count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", flags[i].name, flags[i].takes ? " " : "",
                 flags[i].takes ? flags[i].takes : "");
        printf("  %-26s %s%s\n", name, flags[i].why,
               flags[i].type == MD__FLAG_LIST ? "; may be repeated" : "");
    }
}

enum md_status md__args_parse(int argc, char **argv, const struct md__flag *flags, int flag_count,
                              const char *usage, const char **subject, struct md_error *err)
{
    if (subject != NULL) {
        *subject = NULL;
    }
    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        const struct md__flag *flag = find(flags, flag_count, argv[i], &value);
        if (flag != NULL) {
            enum md_status status = take_flag(argc, argv, &i, flag, value, err);
            if (status != MD_OK) {
                return status;
            }
        } else if (strcmp(argv[i], "--help") == 0) {
            print_flags(flags, flag_count);
            exit(0);
        } else if (strncmp(argv[i], "--", 2) == 0) {
            return md_fail(err, MD_ERR_INVALID, "unknown flag %.64s (usage: moondial %s)", argv[i],
                           usage);
        } else if (subject == NULL || *subject != NULL) {
            return md_fail(err, MD_ERR_INVALID,
                           "unexpected argument \"%.64s\" (usage: moondial %s)", argv[i], usage);
        } else {
            *subject = argv[i];
        }
    }
    return subject == NULL || *subject != NULL
               ? MD_OK
               : md_fail(err, MD_ERR_INVALID, "usage: moondial %s", usage);
}

int md__args_ints(const char *text, int64_t *numbers, int max)
{
    int count = 0;

    while (count < max) {
        char *end;
        long long number = strtoll(text, &end, 10);
        if (end == text || number < 1 || number > 1000000) {
            return -1;
        }
        numbers[count++] = number;
        if (*end == '\0') {
            return count;
        }
        if (*end != ',') {
            return -1;
        }
        text = end + 1;
    }
    return -1;
}
