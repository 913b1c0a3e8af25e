/*
 * Set-up of tests that run models on a device: for all tests of a program one pool; for each test a
 * device, a model on it, and the same model on the CPU alone, which says what is right. The models
 * are programs (programs.h) on the reference's kernels.
 */
#ifndef MD_TESTS_DEVICE_MODELS_H
#define MD_TESTS_DEVICE_MODELS_H

#include "graph/accelerator.h"
#include "graph/executable.h"

/* Of the test that runs; what it leaves NULL was not made. */
struct device_models {
    struct md_pool *pool;
    struct md_accelerator *accelerator;
    struct md_executable *plain, *placed;
};
extern struct device_models models;

/* Group set-up and tear-down of cmocka: the pool. */
int models_open(void **state);
int models_close(void **state);
/* A test's tear-down: all but the pool; not 0 where the device's driver, a failing_driver, was not
 * given back what it made. */
int models_drop(void **state);

/* To be filled further; models_make knows the pool and the device. */
struct md_executable_options models_options(enum md_precision precision);
/* On the device that is open by then. */
struct md_executable *models_make(const char *program, struct md_executable_options options);
void models_open_device(const struct md_device_driver *driver);
/* plain, then a reference_device that lacks some operators, then placed. */
void models_build(const char *program, const char *lacks, struct md_executable_options options);
struct md_accelerator_report models_report(void);

/* ---- devices that fail ---- */

/*
 * A test that calls once(0), once(1), ... as failing_driver_walk does, with `drop` behind each. f:
 * models_any_call_may_fail, .._find_no_memory or .._be_the_last.
 */
struct models_walk {
    bool (*once)(int n, enum md_status status, bool sticky);
    int (*drop)(void **state);
};
#define models_walk_test(f, walk)                                                                  \
    cmocka_unit_test_prestate_setup_teardown(f, NULL, (walk)->drop, walk)
void models_any_call_may_fail(void **state);
void models_any_call_may_find_no_memory(void **state);
void models_any_call_may_be_the_last(void **state);

/* For `once`: opens a failing_driver, whose call n fails as failing_driver_at has it; false: that
 * was the one that opens, and it said so. */
bool models_open_failing(const struct md_device_driver *driver, int n, enum md_status status,
                         bool sticky);
/* The same between making plain and placed, which a device that did not open is spared. */
bool models_build_failing(const char *program, struct md_executable_options options,
                          const struct md_device_driver *driver, int n, enum md_status status,
                          bool sticky);
/* What `once` gives, after the runs: whether there was a call n, which is told then. */
bool models_met_failure(int n, bool sticky);

#endif
