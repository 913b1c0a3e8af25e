/*
 * Policy tests: the cases in a scripts folder's tests/, which lua/moondial/test.lua describes, run
 * one by one. A case with `alerts` is evaluated on frames of its own; one with `run` has a service
 * of its own, loaded anew for it, whose clock only it moves: no case sees what another has done.
 */
#ifndef MD_SCRIPT_TEST_H
#define MD_SCRIPT_TEST_H

#include "script/script.h"

/* For all fast cases together, before a changed folder serves. */
#define MD_TEST_FAST_MS_MAX 50

struct md_test_result {
    const char *file; /* "tests/rules.lua" */
    int line;         /* where the case is written; 0: not known */
    const char *name;
    bool fast, passed;
    double ms;
    /* Of a failure; "" where there is nothing to say: */
    const char *failed_file; /* of the assertion */
    int failed_line;
    const char *text;
    const char *expected, *actual;
};

/*
 * Runs the cases whose file or name contains `only` (NULL: all) and reports each as it ends; the
 * result is borrowed. options->clock is for durations, options->store is not used. MD_ERR_SCRIPT
 * and others: the folder or a file of tests does not load; MD_ERR_NOT_FOUND: there is no such case.
 * Failures of cases are reported, not returned.
 */
enum md_status md_script_test(const struct md_script_options *options, const char *only,
                              void (*report)(void *context, const struct md_test_result *result),
                              void *context, struct md_error *err);

#endif
