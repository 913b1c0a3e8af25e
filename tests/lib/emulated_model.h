/*
 * One model on the emulated device (kernels/cuda/emulate.h), for tests of what only kernels meet
 * while work runs. Its input is a line of floats x[n]; fails the test where it cannot be built.
 */
#ifndef MD_TESTS_EMULATED_MODEL_H
#define MD_TESTS_EMULATED_MODEL_H

#include "graph/accelerator.h"
#include "graph/executable.h"

/* Of the model that was built last; `err` says what its last run could not do. */
struct emulated_model {
    struct md_pool *pool;
    struct md_accelerator *accelerator;
    struct md_executable *executable;
    struct md_error err;
};
extern struct emulated_model emulated;

/* Group set-up and tear-down of cmocka: the device. */
int emulated_open(void **state);
int emulated_close(void **state);

/* program: the notation of programs.h. The caller ends it by emulated_drop. */
void emulated_build(const char *program, enum md_precision asked);
void emulated_drop(void);

/* The caller unrefs `out` after MD_OK. */
enum md_status emulated_run(const float *x, int64_t count, struct md_tensor *out);

/* How many runs the CPU did again so far; none may have failed. */
int64_t emulated_repeated(void);

#endif
