/* See device_models.h. */
#include "device_models.h"

#include <string.h>

#include "base/log.h"
#include "failing_driver.h"
#include "kernels/cpu/cpu.h"
#include "programs.h"
#include "reference_device.h"
#include "unit.h"

struct device_models models;
static struct md_error err;

int models_open(void **state)
{
    (void)state;
    return md_pool_new(1, 0, &models.pool, &err);
}

int models_close(void **state)
{
    (void)state;
    md_pool_delete(models.pool);
    return 0;
}

int models_drop(void **state)
{
    (void)state;
    md_executable_delete(models.placed);
    md_executable_delete(models.plain);
    md_accelerator_delete(models.accelerator);
    models = (struct device_models){.pool = models.pool};
    md_log_set_level(MD_LOG_WARN);
    return failing_driver_alive();
}

struct md_executable_options models_options(enum md_precision precision)
{
    return (struct md_executable_options){
        .backend = md_cpu_reference(), .reference = md_cpu_reference(), .precision = precision};
}

struct md_executable *models_make(const char *program, struct md_executable_options options)
{
    struct md_executable *executable;
    options.pool = models.pool;
    options.accelerator = models.accelerator;
    assert_ok(md_executable_new(program_graph(program), &options, &executable, &err));
    return executable;
}

void models_open_device(const struct md_device_driver *driver)
{
    assert_ok(md_accelerator_new(driver, 0, &models.accelerator, &err));
}

void models_build(const char *program, const char *lacks, struct md_executable_options options)
{
    models.plain = models_make(program, options);
    models_open_device(reference_device(NULL, lacks));
    models.placed = models_make(program, options);
}

struct md_accelerator_report models_report(void)
{
    struct md_accelerator_report report;
    md_accelerator_report(models.accelerator, &report);
    return report;
}

/* ---- devices that fail ---- */

static void walk(void **state, enum md_status status, bool sticky)
{
    const struct models_walk *tested = *state;
    failing_driver_walk(tested->once, tested->drop, status, sticky);
}

void models_any_call_may_fail(void **state)
{
    walk(state, MD_ERR_DEVICE, false);
}

void models_any_call_may_find_no_memory(void **state)
{
    walk(state, MD_ERR_MEMORY, false);
}

void models_any_call_may_be_the_last(void **state)
{
    walk(state, MD_ERR_DEVICE, true);
}

bool models_open_failing(const struct md_device_driver *driver, int n, enum md_status status,
                         bool sticky)
{
    failing_driver_at(n, status, sticky);
    md_log_set_level(MD_LOG_OFF);
    if (!md_accelerator_new(driver, 0, &models.accelerator, &err))
        return true;
    assert_non_null(strstr(err.text, "told to fail"));
    return false;
}

bool models_build_failing(const char *program, struct md_executable_options options,
                          const struct md_device_driver *driver, int n, enum md_status status,
                          bool sticky)
{
    models.plain = models_make(program, options);
    if (!models_open_failing(driver, n, status, sticky))
        return false;
    models.placed = models_make(program, options);
    return true;
}

bool models_met_failure(int n, bool sticky)
{
    bool reached = failing_driver_calls() > n;
    const struct md_accelerator_report report = models_report();
    assert_int_equal(report.failure[0] != '\0', reached);
    assert_int_equal(report.usable, !(reached && sticky));
    return reached;
}
