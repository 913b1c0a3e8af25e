/* The device is opened once for all tests of a program; each test builds its own model on it. */
#include "emulated_model.h"

#include <string.h>

#include "graph/device_host.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/kernels.h"
#include "programs.h"
#include "unit.h"

struct emulated_model emulated;

int emulated_open(void **state)
{
    static struct md_device_driver driver;
    (void)state;
    md_device_host_driver(&driver, "emulated", md__cuda_kernels);
    return md_pool_new(1, 0, &emulated.pool, &emulated.err) ||
           md_accelerator_new(&driver, 0, &emulated.accelerator, &emulated.err);
}

int emulated_close(void **state)
{
    (void)state;
    md_accelerator_delete(emulated.accelerator);
    md_pool_delete(emulated.pool);
    return 0;
}

void emulated_build(const char *program, enum md_precision asked)
{
    const struct md_executable_options options = {.backend = md_cpu_reference(),
                                                  .reference = md_cpu_reference(),
                                                  .pool = emulated.pool,
                                                  .accelerator = emulated.accelerator,
                                                  .precision = asked};
    assert_int_equal(
        md_executable_new(program_graph(program), &options, &emulated.executable, &emulated.err),
        MD_OK);
}

void emulated_drop(void)
{
    md_executable_delete(emulated.executable);
    emulated.executable = NULL;
}

enum md_status emulated_run(const float *x, int64_t count, struct md_tensor *out)
{
    struct md_tensor in;
    const struct md_shape shape = {1, {count}};
    assert_int_equal(md_tensor_new(MD_F32, &shape, &in, &emulated.err), MD_OK);
    memcpy(in.data, x, (size_t)count * sizeof *x);
    enum md_status status = md_executable_run(emulated.executable, &in, 1, out, 1, &emulated.err);
    md_tensor_unref(&in);
    return status;
}

int64_t emulated_repeated(void)
{
    struct md_accelerator_report report;
    md_accelerator_report(emulated.accelerator, &report);
    assert_int_equal(report.failed_runs, 0);
    return (int64_t)report.repeated_runs;
}
