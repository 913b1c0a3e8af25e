/* Any path is matched or refused, and parameters are text without NUL inside the match. */
#include <string.h>

#include "fuzz.h"
#include "script/generation.h"

static const char *const patterns[] = {"/", "/a", "/a/{x}", "/a/{x}/b", "/{x}/{y}/{z}", "/a/b/c"};

enum { COUNT = sizeof patterns / sizeof *patterns };

static struct md__route *table(void)
{
    static struct md__route routes[COUNT];
    static char texts[COUNT][32];
    if (routes[0].info.method != NULL)
        return routes;
    for (int i = 0; i < COUNT; i++) {
        strcpy(texts[i], patterns[i]);
        routes[i].info.method = i % 2 ? "POST" : "GET";
        routes[i].info.index = i;
        assert(md__route_parse(&routes[i], texts[i]));
    }
    md__routes_sort(routes, COUNT);
    return routes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[4096];
    struct md_match match;
    struct md_error err;
    size = size < sizeof path ? size : sizeof path - 1;
    if (size > 0)
        memcpy(path, data, size);
    path[size] = '\0';
    match.param_count = 0;
    if (md__routes_match(table(), COUNT, "GET", path, &match, &err) != MD_OK) {
        assert(err.text[0] != '\0');
        return 0;
    }
    assert(strcmp(match.route->method, "GET") == 0);
    for (int i = 0; i < match.param_count; i++) {
        const char *value = match.params[i].value;
        assert(value >= match.text && value < match.text + sizeof match.text);
        assert(*value != '\0' && strlen(value) < sizeof match.text);
    }
    return 0;
}
