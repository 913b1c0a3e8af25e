/*
 * What every C unit test includes: cmocka with what it needs before it, and checks for statuses
 * that print the error's text when they fail.
 */
#ifndef MD_TESTS_UNIT_H
#define MD_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"

/* `call` uses `err`, which must be a struct md_error in scope. */
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != MD_OK)                                                                       \
            fail_msg("%s: %s", #call, err.text);                                                   \
    } while (0)

#define assert_fails(code_wanted, call)                                                            \
    do {                                                                                           \
        enum md_status status_got = (call);                                                        \
        if (status_got != (code_wanted))                                                           \
            fail_msg("%s: %s (%s), not %s", #call, md_status_name(status_got),                     \
                     status_got ? err.text : "", md_status_name(code_wanted));                     \
        assert_int_equal(err.code, code_wanted);                                                   \
        assert_true(err.text[0] != '\0');                                                          \
    } while (0)

/* The text of the last assert_fails contains `part`. */
#define assert_says(part)                                                                          \
    do {                                                                                           \
        if (!strstr(err.text, part))                                                               \
            fail_msg("\"%s\" does not say \"%s\"", err.text, part);                                \
    } while (0)

/* count floats agree: |actual - expected| <= absolute + relative * |expected|; NaN equals NaN. */
#define assert_floats_close(actual, expected, count, absolute, relative)                           \
    do {                                                                                           \
        size_t at = unit_floats_differ_at(actual, expected, count, absolute, relative);            \
        if (at < (size_t)(count))                                                                  \
            fail_msg("[%zu] is %.9g, not %.9g", at, (double)(actual)[at], (double)(expected)[at]); \
    } while (0)

/* The first index where they do not agree; count when they do. */
size_t unit_floats_differ_at(const float *actual, const float *expected, size_t count,
                             double absolute, double relative);

/* The next of a fixed series of 64 random bits (xorshift64*): the same in every run. */
uint64_t unit_random(void);

#endif
