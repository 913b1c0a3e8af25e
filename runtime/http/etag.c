/*
 * Entity tags (RFC 9110, sections 8.8.3 and 13.1.2), so that a client that has an answer already is
 * not sent it again. A script's blob gets one; other answers are made for one request.
 *
 * A blob never changes, and no two of a process have the same number. So its number, beside one
 * that this process drew when it started, is a strong validator, and no byte is looked at. A
 * compressed copy is a blob of its own: another representation, another tag.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "http/internal.h"

uint64_t md__etag_draw(int64_t now_ms)
{
    uint64_t drawn;

    if (getrandom(&drawn, sizeof drawn, GRND_NONBLOCK) != (ssize_t)sizeof drawn) {
        drawn = (uint64_t)now_ms; /* early in a machine's life */
    }
    return drawn;
}

/* Tags are in quotes, so none is part of another; weak ones count, too. */
static bool is_known(const struct md_request *request, const char *tag)
{
    const char *known = md__header(request, "if-none-match");

    return known != NULL && (strcmp(known, "*") == 0 || strstr(known, tag) != NULL);
}

void md__etag_answer(const struct md__exchange *exchange, struct md_response *response)
{
    char tag[64];

    if (response->status != 200 || strcmp(exchange->request.method, "GET") != 0) {
        return;
    }
    snprintf(tag, sizeof tag, "\"%016" PRIx64 "-%" PRIx64 "\"", exchange->http->drawn,
             response->blob->number);
    if (md__response_header(response, "ETag", tag) && is_known(&exchange->request, tag)) {
        response->status = 304;
    }
}
