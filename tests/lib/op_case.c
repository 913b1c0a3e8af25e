/*
 * Running operator cases: see op_case.h.
 */
#include "op_case.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device_case.h"
#include "kernels/cpu/common.h"
#include "kernels/cpu/cpu.h"
#include "pitch_case.h"

#define GUARD_BYTES 64
#define GUARD       0xA5

/* ---- memory between guards ------------------------------------------------------------------- */

static void *guarded_new(size_t bytes)
{
    size_t whole = (bytes + 2 * GUARD_BYTES + 63) / 64 * 64;
    void *memory = aligned_alloc(64, whole);
    assert_non_null(memory);
    memset(memory, GUARD, whole);
    return memory;
}

static void guarded_check(const void *memory, size_t bytes, const char *what)
{
    const unsigned char *at = memory;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (at[i] != GUARD || at[GUARD_BYTES + bytes + i] != GUARD)
            fail_msg("%s: a kernel wrote outside its buffer", what);
}

/* ---- contents -------------------------------------------------------------------------------- */

/* Numerical Recipes' 64-bit multiplier is enough: tests need variety, not statistics. */
static uint64_t next_bits(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static double uniform(uint64_t *state, double low, double high)
{
    return low + (high - low) * (double)next_bits(state) / 2147483648.0;
}

static double wide_value(uint64_t *state)
{
    uint64_t pick = next_bits(state) % 16;
    if (pick == 0)
        return INFINITY;
    if (pick == 1)
        return -INFINITY;
    if (pick == 2)
        return NAN;
    return ldexp(uniform(state, -1, 1), (int)(next_bits(state) % 250) - 125);
}

static double element(const struct op_input *in, size_t i, uint64_t *state)
{
    if (in->fill == OP_VALUES)
        return in->values[i % (size_t)in->value_count];
    if (in->dtype == MD_BOOL)
        return (double)(next_bits(state) % 2);
    bool is_float = md__dtype_is_float(in->dtype);
    if (in->fill == OP_WIDE)
        return wide_value(state);
    if (in->fill == OP_SMALL)
        return uniform(state, -0.15, 0.15);
    if (in->fill == OP_POSITIVE)
        return is_float ? uniform(state, 0.1, 3) : (double)(next_bits(state) % 9 + 1);
    return is_float ? uniform(state, -2, 2) : (double)(next_bits(state) % 19) - 9;
}

static uint64_t checksum(const struct op_run *run)
{
    uint64_t sum = 0;
    for (int i = 0; i < run->in_count; i++) {
        size_t bytes = md__count(&run->in[i]) * md_dtype_bytes(run->in[i].dtype);
        for (size_t k = 0; run->in[i].data && k < bytes; k++)
            sum = sum * 31 + ((const unsigned char *)run->in[i].data)[k];
    }
    return sum;
}

static size_t bytes_of(const struct md_tensor *tensor)
{
    return md__count(tensor) * md_dtype_bytes(tensor->dtype);
}

static void make_tensor(struct md_tensor *tensor, void **memory, enum md_dtype dtype,
                        const struct md_shape *shape)
{
    *tensor = (struct md_tensor){.dtype = dtype, .shape = *shape};
    if (dtype == 0)
        return;
    *memory = guarded_new(bytes_of(tensor));
    tensor->data = (char *)*memory + GUARD_BYTES;
}

void op_run_init(struct op_run *run, const struct op_case *op_case)
{
    memset(run, 0, sizeof *run);
    run->op_case = op_case;
    for (int i = 0; i < OP_INPUTS_MAX; i++)
        if (op_case->in[i].dtype)
            run->in_count = i + 1;
    while (run->out_count < OP_OUTPUTS_MAX && op_case->out[run->out_count].dtype)
        run->out_count++;
    run->node = (struct md_node){.op = op_case->op,
                                 .name = op_case->name,
                                 .in_count = run->in_count,
                                 .out_count = run->out_count,
                                 .attrs = op_case->attrs,
                                 .region = MD_NONE};
    while (run->node.attr_count < OP_ATTRS_MAX && op_case->attrs[run->node.attr_count].name)
        run->node.attr_count++;
    uint64_t state = 12345;
    for (int i = 0; i < run->in_count; i++) {
        const struct op_input *in = &op_case->in[i];
        make_tensor(&run->in[i], &run->memory[i], in->dtype, &in->shape);
        size_t count = run->in[i].data ? md__count(&run->in[i]) : 0;
        for (size_t k = 0; k < count; k++)
            md__set_float(&run->in[i], k, element(in, k, &state));
    }
    for (int i = 0; i < run->out_count; i++)
        make_tensor(&run->out[i], &run->memory[OP_INPUTS_MAX + i], op_case->out[i].dtype,
                    &op_case->out[i].shape);
    run->input_sum = checksum(run);
}

void op_run_refresh(struct op_run *run)
{
    run->input_sum = checksum(run);
}

void op_run_fini(struct op_run *run)
{
    for (int i = 0; i < OP_INPUTS_MAX + OP_OUTPUTS_MAX; i++)
        free(run->memory[i]);
    memset(run, 0, sizeof *run);
}

/* ---- running --------------------------------------------------------------------------------- */

static void check_guards(const struct op_run *run)
{
    for (int i = 0; i < run->in_count; i++)
        if (run->memory[i])
            guarded_check(run->memory[i], bytes_of(&run->in[i]), run->op_case->name);
    for (int i = 0; i < run->out_count; i++)
        guarded_check(run->memory[OP_INPUTS_MAX + i], bytes_of(&run->out[i]), run->op_case->name);
    if (checksum(run) != run->input_sum)
        fail_msg("%s: a kernel changed its input", run->op_case->name);
}

/*
 * What is flat has to work wherever it lies: the kernel gets a copy, and the original is gone.
 */
static void *moved(const struct md_kernel *kernel, void *prepared, size_t bytes)
{
    if (!prepared || kernel->prepared_free)
        return prepared;
    void *copy = md_prepared_new(bytes);
    assert_non_null(copy);
    memcpy(copy, prepared, bytes);
    memset(prepared, 0xff, bytes);
    md_prepared_delete(prepared, bytes);
    return copy;
}

enum op_result op_ready_init(struct op_ready *ready, struct op_run *run,
                             const struct md_kernel *kernel, struct md_pool *pool,
                             struct md_error *err)
{
    struct md_tensor planned[OP_INPUTS_MAX]; /* as seen while planning: only weights have data */
    memcpy(planned, run->in, sizeof planned);
    for (int i = 0; i < run->in_count; i++)
        if (!run->op_case->in[i].constant)
            planned[i].data = NULL;
    *ready = (struct op_ready){.kernel = kernel};
    if (kernel->supports && !kernel->supports(&run->node, planned, run->in_count))
        return OP_REFUSED;

    void *prepared = NULL;
    enum md_status status = MD_OK;
    if (kernel->prepare)
        status = kernel->prepare(&run->node, planned, run->in_count, &prepared,
                                 &ready->prepared_bytes, err);
    prepared = moved(kernel, prepared, ready->prepared_bytes);
    /* The contents that shape rules ask for are integers, scalars and vectors. */
    for (int i = 0; i < run->in_count; i++)
        if (planned[i].dtype != MD_F32 || planned[i].shape.rank <= 1)
            planned[i].data = run->in[i].data;
    if (kernel->scratch_bytes)
        ready->scratch_bytes = kernel->scratch_bytes(&run->node, planned, run->in_count,
                                                     pool ? md_pool_threads(pool) : 1);
    ready->scratch = guarded_new(ready->scratch_bytes);
    ready->call = (struct md_kernel_call){.node = &run->node,
                                          .in = run->in,
                                          .out = run->out,
                                          .in_count = run->in_count,
                                          .out_count = run->out_count,
                                          .scratch = (char *)ready->scratch + GUARD_BYTES,
                                          .prepared = prepared,
                                          .pool = pool};
    return status == MD_OK ? OP_DONE : OP_FAILED;
}

void op_ready_fini(struct op_ready *ready)
{
    md_kernel_unprepare(ready->kernel, (void *)ready->call.prepared, ready->prepared_bytes);
    free(ready->scratch);
}

enum op_result op_run_kernel(struct op_run *run, const struct md_kernel *kernel,
                             struct md_pool *pool, struct md_error *err)
{
    struct op_ready ready;
    enum op_result result = op_ready_init(&ready, run, kernel, pool, err);
    if (result == OP_DONE && kernel->run(&ready.call, err) != MD_OK)
        result = OP_FAILED;
    if (result != OP_REFUSED)
        guarded_check(ready.scratch, ready.scratch_bytes, run->op_case->name);
    op_ready_fini(&ready);
    check_guards(run);
    return result;
}

static bool close_enough(double x, double y, const struct op_case *op_case)
{
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y);
    return x == y || fabs(x - y) <= op_case->absolute + op_case->relative * fabs(y);
}

bool op_outputs_agree(const struct op_run *run, const struct op_run *expected, const char *who)
{
    for (int o = 0; o < run->out_count; o++) {
        size_t count = md__count(&run->out[o]);
        for (size_t i = 0; i < count; i++) {
            double x = md__get_float(&run->out[o], i), y = md__get_float(&expected->out[o], i);
            if (close_enough(x, y, run->op_case))
                continue;
            print_error("%s on %s: output %d element %zu is %.9g, expected %.9g\n",
                        run->op_case->name, who, o, i, x, y);
            return false;
        }
    }
    return true;
}

int op_backends(const struct md_backend **backends)
{
    int count = 0;
    backends[count++] = md_cpu_reference();
    for (int isa = MD_ISA_PORTABLE; isa < MD_ISA_BEST; isa++)
        if (md_cpu_backend((enum md_cpu_isa)isa))
            backends[count++] = md_cpu_backend((enum md_cpu_isa)isa);
    return count;
}

static bool case_agrees(const struct op_case *op_case, const struct op_run *expected,
                        const struct md_backend *backend, struct md_pool *pool, bool may_refuse)
{
    struct md_error err = {.text = "refused"};
    struct op_run run;
    op_run_init(&run, op_case);
    enum op_result result = op_run_kernel(&run, backend->kernels[op_case->op], pool, &err);
    bool agrees = may_refuse && result == OP_REFUSED;
    if (result == OP_DONE)
        agrees = op_outputs_agree(&run, expected, backend->name);
    else if (!agrees)
        print_error("%s on %s: %s\n", op_case->name, backend->name, err.text);
    op_run_fini(&run);
    return agrees;
}

int op_case_disagreements(const struct op_case *op_case, const struct op_run *expected,
                          bool may_refuse)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends), wrong = 0;
    for (int threads = 1; threads <= 3; threads += 2) {
        struct md_pool *pool = NULL;
        assert_int_equal(md_pool_new(threads, 0, &pool, NULL), MD_OK);
        for (int b = 1; b < count; b++)
            wrong += !case_agrees(op_case, expected, backends[b], pool, may_refuse);
        wrong += op_pitch_disagreements(op_case, expected, pool);
        md_pool_delete(pool);
    }
    return wrong + op_device_disagreements(op_case, expected);
}

double op_element(const struct md_tensor *tensor, size_t i)
{
    return md__get_float(tensor, i);
}

int op_case_against_reference(const struct op_case *op_case)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    op_backends(backends);
    struct md_error err = {.text = "refused"};
    struct op_run expected;
    op_run_init(&expected, op_case);
    const struct md_kernel *reference = backends[0]->kernels[op_case->op];
    if (op_run_kernel(&expected, reference, NULL, &err) != OP_DONE)
        fail_msg("%s on the reference: %s", op_case->name, err.text);
    int wrong = op_case_disagreements(op_case, &expected, true);
    op_run_fini(&expected);
    return wrong;
}
