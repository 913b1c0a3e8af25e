/*
 * A script engine on a scratch folder, for tests that are about what Lua code does.
 *
 *     struct scripted s;
 *     scripted_begin(&s);
 *     scripted_write(&s, "app.lua", "return require('moondial').app { ... }");
 *     scripted_open(&s, NULL);                       // fails the test with the error's text
 *     assert_int_equal(scripted_call(&s, "GET", "/x?y=1", NULL), 200);
 *     assert_string_equal(s.body, "...");
 *     scripted_end(&s);
 */
#ifndef MD_TESTS_SCRIPTED_H
#define MD_TESTS_SCRIPTED_H

#include "base/clock.h"
#include "script/script.h"

struct scripted {
    char *dir;
    struct md_clock_manual manual;
    struct md_clock *clock; /* the system's, unless the test sets &manual.base before opening */
    struct md_serve *serve;
    struct md_store *store;
    const char *lib_dir; /* NULL: the tree's */
    struct md_config *config;
    struct md_script *script;
    struct md_response response; /* of the last call */
    const char *body;            /* its text, "" when empty */
    struct md_error err;
};

void scripted_begin(struct scripted *scripted);
void scripted_write(struct scripted *scripted, const char *name, const char *text);
/* flags: a NULL-terminated list ("--states", "1"), or NULL. */
enum md_status scripted_try(struct scripted *scripted, const char *const *flags);
void scripted_open(struct scripted *scripted, const char *const *flags);
/* begin, write app.lua around `routes` (Lua code that returns the list; md is in scope), open. */
void scripted_routes(struct scripted *scripted, const char *routes, const char *const *flags);
/* The response's status; target is path and query. */
int scripted_call(struct scripted *scripted, const char *method, const char *target,
                  const char *body);
/* The same into another response, for threads; finish it with md_response_fini. */
int scripted_call_into(struct scripted *scripted, const char *method, const char *target,
                       const char *body, struct md_response *response);
void scripted_end(struct scripted *scripted);

#endif
