/*
 * API keys. A request carries one in X-API-Key or as Authorization: Bearer; blanks around it do
 * not count. Every configured key is compared over its whole length whatever came before, so
 * that timing tells neither which key nor how much of one matched.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/internal.h"

enum md_status md__auth_init(struct md__auth *auth, const struct md_http_key *keys, int count,
                             struct md_error *err)
{
    auth->count = 0;
    for (int i = 0; i < count; i++) {
        if (keys[i].secret == NULL || strlen(keys[i].secret) < 8) {
            md__auth_fini(auth);
            return md_fail(err, MD_ERR_INVALID, "API key \"%s\" is shorter than 8 characters",
                           keys[i].name);
        }
        auth->keys[i].name = strdup(keys[i].name);
        auth->keys[i].secret = strdup(keys[i].secret);
        auth->count = i + 1;
        if (auth->keys[i].name == NULL || auth->keys[i].secret == NULL) {
            md__auth_fini(auth);
            return md_fail(err, MD_ERR_MEMORY, "out of memory for API keys");
        }
    }
    return MD_OK;
}

void md__auth_fini(struct md__auth *auth)
{
    for (int i = 0; i < auth->count; i++) {
        free(auth->keys[i].name);
        free(auth->keys[i].secret);
    }
    auth->count = 0;
}

/* Time depends on the lengths only. */
static bool same(const char *secret, const char *given, size_t given_length)
{
    size_t length = strlen(secret);
    unsigned char difference = length != given_length;

    for (size_t i = 0; i < length; i++) {
        unsigned char c = given_length > 0 ? (unsigned char)given[i % given_length] : 0;
        difference |= (unsigned char)((unsigned char)secret[i] ^ c);
    }
    return difference == 0;
}

static const char *given_key(const struct md_request *request)
{
    const char *bearer = md__header(request, "authorization");

    if (bearer != NULL && strncasecmp(bearer, "bearer ", 7) == 0) {
        return bearer + 7;
    }
    return md__header(request, "x-api-key");
}

const char *md__auth_check(const struct md__auth *auth, const struct md_request *request)
{
    const char *given = given_key(request), *name = NULL;
    size_t length;

    if (given == NULL) {
        return NULL;
    }
    given += strspn(given, " \t");
    length = strlen(given);
    while (length > 0 && (given[length - 1] == ' ' || given[length - 1] == '\t')) {
        length--;
    }
    for (int i = 0; i < auth->count; i++) {
        if (same(auth->keys[i].secret, given, length)) {
            name = auth->keys[i].name;
        }
    }
    return name;
}
