/*
 * Routes: patterns of literal segments and {parameters}, matched against decoded segments of a
 * path. The table is sorted so that the first match is the most specific one: at the leftmost
 * difference a literal goes before a parameter. A few dozen routes need no tree.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/percent.h"
#include "script/generation.h"

/* ---- patterns -------------------------------------------------------------------------------- */

static bool parse_segment(struct md__segment *segment, char *text)
{
    size_t length = strlen(text);
    segment->is_param = text[0] == '{';
    segment->text = segment->is_param ? text + 1 : text;
    if (!segment->is_param)
        return strpbrk(text, "{}%?#") == NULL;
    if (length < 3 || text[length - 1] != '}')
        return false;
    text[length - 1] = '\0';
    return strpbrk(segment->text, "{}%?#") == NULL;
}

bool md__route_parse(struct md__route *route, char *text)
{
    int params = 0;
    if (*text++ != '/')
        return false;
    while (text != NULL) {
        char *next = strchr(text, '/');
        if (next != NULL)
            *next++ = '\0';
        if (route->segment_count == MD__ROUTE_SEGMENTS_MAX)
            return false;
        struct md__segment *segment = &route->segments[route->segment_count++];
        if (!parse_segment(segment, text))
            return false;
        params += segment->is_param;
        text = next;
    }
    return params <= MD_ROUTE_PARAMS_MAX;
}

static int compare(const void *left, const void *right)
{
    const struct md__route *a = left, *b = right;
    for (int i = 0; i < a->segment_count && i < b->segment_count; i++) {
        if (a->segments[i].is_param != b->segments[i].is_param)
            return a->segments[i].is_param - b->segments[i].is_param;
    }
    return a->info.index - b->info.index;
}

void md__routes_sort(struct md__route *routes, int count)
{
    if (count > 0)
        qsort(routes, (size_t)count, sizeof *routes, compare);
}

/* ---- paths ----------------------------------------------------------------------------------- */

struct path {
    const char *segments[MD__ROUTE_SEGMENTS_MAX];
    int count; /* more than fit: no route can match */
};

/* Decodes the segments into match->text. */
static enum md_status split(const char *path, struct md_match *match, struct path *split,
                            struct md_error *err)
{
    size_t used = 0;
    split->count = 0;
    if (*path != '/')
        return md_fail(err, MD_ERR_INVALID, "the path does not begin with a slash");
    if (strlen(path) >= MD_ROUTE_PATH_MAX)
        return md_fail(err, MD_ERR_TOO_LARGE, "the path is longer than %d bytes",
                       MD_ROUTE_PATH_MAX - 1);
    while (*path == '/') {
        size_t length = strcspn(++path, "/");
        int decoded =
            md_percent_decode(path, length, false, match->text + used, sizeof match->text - used);
        if (decoded < 0)
            return md_fail(err, MD_ERR_INVALID, "the path has a malformed %% escape");
        if (split->count < MD__ROUTE_SEGMENTS_MAX)
            split->segments[split->count] = match->text + used;
        split->count++;
        used += (size_t)decoded + 1;
        path += length;
    }
    return MD_OK;
}

static bool fits(const struct md__route *route, const struct path *path, struct md_match *match)
{
    int params = 0;
    if (route->segment_count != path->count)
        return false;
    for (int i = 0; i < path->count; i++) {
        const struct md__segment *segment = &route->segments[i];
        if (!segment->is_param && strcmp(segment->text, path->segments[i]) != 0)
            return false;
        if (segment->is_param && path->segments[i][0] == '\0')
            return false;
        if (segment->is_param) {
            match->params[params].name = segment->text;
            match->params[params++].value = path->segments[i];
        }
    }
    match->param_count = params;
    return true;
}

static void allow(struct md_match *match, const char *method)
{
    size_t used = strlen(match->allow);
    if (strstr(match->allow, method) == NULL)
        snprintf(match->allow + used, sizeof match->allow - used, "%s%s", used > 0 ? ", " : "",
                 method);
}

static bool accepts(const struct md__route *route, const char *method)
{
    if (strcmp(route->info.method, method) == 0)
        return true;
    return strcmp(method, "HEAD") == 0 && strcmp(route->info.method, "GET") == 0;
}

enum md_status md__routes_match(const struct md__route *routes, int count, const char *method,
                                const char *text, struct md_match *match, struct md_error *err)
{
    struct path path;
    match->allow[0] = '\0';
    enum md_status status = split(text, match, &path, err);
    if (status != MD_OK)
        return status;
    for (int i = 0; i < count; i++) {
        if (!fits(&routes[i], &path, match))
            continue;
        if (accepts(&routes[i], method)) {
            match->route = &routes[i].info;
            return MD_OK;
        }
        allow(match, routes[i].info.method);
    }
    if (match->allow[0] != '\0')
        return md_fail(err, MD_ERR_METHOD, "%s is not allowed here (%s)", method, match->allow);
    return md_fail(err, MD_ERR_NOT_FOUND, "no such route: %.100s", text);
}
