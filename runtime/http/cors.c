/*
 * Cross-origin requests: an origin on the configured list may read answers and send the API key
 * from a browser; others get no headers, which browsers take as a no. Answers vary by Origin as
 * soon as a list is configured.
 */
#include <string.h>

#include "http/internal.h"

/* Is `origin` one of the comma list? "*" allows all, but then without credentials. */
static bool allowed(const char *list, const char *origin)
{
    size_t length = strlen(origin);

    while (*list != '\0') {
        size_t item = strcspn(list, ", ");
        if ((item == 1 && *list == '*') || (item == length && strncmp(list, origin, item) == 0)) {
            return true;
        }
        list += item;
        list += strspn(list, ", ");
    }
    return false;
}

void md__cors_headers(const struct md__exchange *exchange, struct md_response *response)
{
    const char *list = exchange->http->options.cors_origins;
    const char *origin = md__header(&exchange->request, "origin");

    if (list == NULL || list[0] == '\0') {
        return;
    }
    md__response_header(response, "Vary", "Origin");
    if (origin == NULL || !allowed(list, origin)) {
        return;
    }
    if (strcmp(list, "*") == 0) {
        md__response_header(response, "Access-Control-Allow-Origin", "*");
    } else {
        md__response_header(response, "Access-Control-Allow-Origin", origin);
        md__response_header(response, "Access-Control-Allow-Credentials", "true");
    }
}

void md__cors_preflight(const struct md__exchange *exchange, const char *allow,
                        struct md_response *response)
{
    if (md__header(&exchange->request, "access-control-request-method") == NULL) {
        return;
    }
    md__response_header(response, "Access-Control-Allow-Methods", allow);
    md__response_header(response, "Access-Control-Allow-Headers",
                        "Content-Type, X-API-Key, Authorization");
    md__response_header(response, "Access-Control-Max-Age", "600");
}
