/*
 * Running operator cases on a device: see device_case.h.
 */
#include "device_case.h"

#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/device_host.h"
#include "kernels/cpu/common.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/kernels.h"

/*
 * AddressSanitizer sees what guards would, and slows the emulated device down tenfold. It has seen
 * all addresses after one launch, and both types of 16 bits are one template: other builds look at
 * what changes from launch to launch, and at the rounding of bfloat16.
 */
#ifdef __SANITIZE_ADDRESS__
#define GUARD_BYTES  0
#define LAUNCHES     1
#define HAS_BFLOAT16 false
#else
#define GUARD_BYTES  256
#define LAUNCHES     2
#define HAS_BFLOAT16 true
#endif
#define GUARD 0xA5

/* One case on the device. */
struct bench {
    const struct md_device_driver *driver;
    struct md_device_context *context;
    struct md_device_stream *stream;
    const struct md_device_kernel *kernel;
    struct md_device_value in[OP_INPUTS_MAX], out[OP_OUTPUTS_MAX];
    struct md_device_call call;
    char *memory[OP_INPUTS_MAX + OP_OUTPUTS_MAX + 1]; /* the last: scratch */
    size_t bytes[OP_INPUTS_MAX + OP_OUTPUTS_MAX + 1];
    size_t scratch_bytes, prepared_bytes;
};

static int ran, refused[MD_OP_COUNT];

static enum md_dtype storage_of(enum md_dtype dtype, enum md_dtype precision)
{
    return dtype == MD_F32 ? precision : dtype;
}

const struct md_device_driver *device_case_driver(void)
{
    static struct md_device_driver emulated;
    static const struct md_device_driver *found;
    const char *library = getenv("MOONDIAL_DEVICE_LIBRARY");
    if (found)
        return found;
    md_device_host_driver(&emulated, "emulated", md__cuda_kernels);
    found = &emulated;
    if (library && *library) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        md_device_entry entry = NULL;
        if (handle)
            *(void **)&entry = dlsym(handle, MD_DEVICE_ENTRY);
        if (!entry)
            fail_msg("%s: %s", library, dlerror());
        found = entry();
    }
    assert_int_equal(found->abi, MD_DEVICE_ABI);
    assert_int_equal(found->op_count, MD_OP_COUNT);
    return found;
}

static bool is_emulated(const struct bench *bench)
{
    return bench->driver->kernels == md__cuda_kernels;
}

static void finished(const struct bench *bench)
{
    assert_int_equal(bench->driver->stream_wait(bench->stream, NULL), MD_OK);
}

static void *device_new(struct bench *bench, int slot, size_t bytes)
{
    size_t whole = bytes + 2 * (size_t)GUARD_BYTES;
    assert_int_equal(
        bench->driver->allocate(bench->context, whole, (void **)&bench->memory[slot], NULL), MD_OK);
    bench->bytes[slot] = bytes;
    assert_int_equal(bench->driver->fill(bench->stream, bench->memory[slot], GUARD, whole, NULL),
                     MD_OK);
    finished(bench);
    return bench->memory[slot] + GUARD_BYTES;
}

/* What a slot holds, with its guards; the caller frees it. */
static unsigned char *downloaded(const struct bench *bench, int slot)
{
    size_t whole = bench->bytes[slot] + 2 * (size_t)GUARD_BYTES;
    unsigned char *copy = malloc(whole ? whole : 1);
    assert_non_null(copy);
    assert_int_equal(bench->driver->download(bench->stream, copy, bench->memory[slot], whole, NULL),
                     MD_OK);
    finished(bench);
    return copy;
}

static void check_device_guards(const struct bench *bench, const char *name)
{
    for (int slot = 0; slot <= OP_INPUTS_MAX + OP_OUTPUTS_MAX; slot++) {
        unsigned char *copy = bench->memory[slot] ? downloaded(bench, slot) : NULL;
        for (int i = 0; copy && i < GUARD_BYTES; i++)
            if (copy[i] != GUARD || copy[GUARD_BYTES + bench->bytes[slot] + (size_t)i] != GUARD)
                fail_msg("%s: a device kernel wrote outside its buffer", name);
        free(copy);
    }
}

static struct md_device_value value_of(const struct md_tensor *tensor, enum md_dtype precision)
{
    return (struct md_device_value){.dtype = tensor->dtype,
                                    .storage = storage_of(tensor->dtype, precision),
                                    .shape = tensor->shape};
}

static size_t stored_bytes(const struct md_device_value *value)
{
    return md__span(&value->shape, 0, value->shape.rank) * md_dtype_bytes(value->storage);
}

/* Both ways between what a case holds and what the device stores, in host memory. */
static void convert(const struct md_tensor *tensor, void *stored, enum md_dtype storage, bool there)
{
    struct md_tensor narrow = {.dtype = storage, .shape = tensor->shape, .data = stored};
    if (storage == tensor->dtype) {
        memcpy(there ? stored : tensor->data, there ? tensor->data : stored,
               md__count(tensor) * md_dtype_bytes(storage));
        return;
    }
    for (size_t i = 0; i < md__count(tensor); i++)
        md__set_float(there ? &narrow : tensor, i, md__get_float(there ? tensor : &narrow, i));
}

/* The host reads input i, the device does not. */
static bool is_for_host(const struct bench *bench, int i)
{
    return i < 32 && (bench->kernel->host_inputs >> i & 1) != 0;
}

static bool knows(const struct bench *bench, const struct op_case *op_case, int i)
{
    return op_case->in[i].constant || is_for_host(bench, i);
}

static bool bench_init(struct bench *bench, struct op_run *run, enum md_dtype precision)
{
    *bench = (struct bench){.driver = device_case_driver()};
    bench->kernel = bench->driver->kernels[run->node.op];
    if (!bench->kernel)
        return false;
    for (int i = 0; i < run->in_count; i++)
        if (run->in[i].dtype) {
            bench->in[i] = value_of(&run->in[i], precision);
            bench->in[i].known = knows(bench, run->op_case, i) ? run->in[i].data : NULL;
        }
    for (int i = 0; i < run->out_count; i++)
        bench->out[i] = value_of(&run->out[i], precision);
    if (bench->kernel->supports &&
        !bench->kernel->supports(&run->node, bench->in, run->in_count, bench->out, run->out_count))
        return false;
    assert_int_equal(bench->driver->open(0, &bench->context, NULL), MD_OK);
    assert_int_equal(bench->driver->stream_new(bench->context, &bench->stream, NULL), MD_OK);
    for (int i = 0; i < run->in_count; i++)
        if (run->in[i].dtype && !is_for_host(bench, i))
            bench->in[i].data = device_new(bench, i, stored_bytes(&bench->in[i]));
    for (int i = 0; i < run->out_count; i++)
        bench->out[i].data = device_new(bench, OP_INPUTS_MAX + i, stored_bytes(&bench->out[i]));
    return true;
}

static void bench_fini(struct bench *bench)
{
    if (!bench->context)
        return;
    if (bench->kernel->unprepare && bench->call.prepared)
        bench->kernel->unprepare(bench->context, bench->call.prepared);
    for (int slot = 0; slot <= OP_INPUTS_MAX + OP_OUTPUTS_MAX; slot++)
        bench->driver->release(bench->context, bench->memory[slot]);
    bench->driver->stream_delete(bench->stream);
    if (is_emulated(bench))
        assert_int_equal(md_device_host_alive(bench->context), 0);
    bench->driver->close(bench->context);
}

static enum md_status ready(struct bench *bench, struct op_run *run, struct md_error *err)
{
    const struct md_device_kernel *kernel = bench->kernel;
    if (kernel->scratch_bytes)
        bench->scratch_bytes =
            kernel->scratch_bytes(&run->node, bench->in, run->in_count, bench->out, run->out_count);
    bench->call = (struct md_device_call){
        .node = &run->node,
        .in = bench->in,
        .out = bench->out,
        .in_count = run->in_count,
        .out_count = run->out_count,
        .scratch = device_new(bench, OP_INPUTS_MAX + OP_OUTPUTS_MAX, bench->scratch_bytes),
        .context = bench->context,
        .stream = bench->stream};
    if (!kernel->prepare)
        return MD_OK;
    return kernel->prepare(bench->context, &run->node, bench->in, run->in_count,
                           &bench->call.prepared, &bench->prepared_bytes, err);
}

static void upload_input(struct bench *bench, const struct md_tensor *tensor, int i)
{
    size_t bytes = stored_bytes(&bench->in[i]);
    void *stored = malloc(bytes ? bytes : 1);
    assert_non_null(stored);
    convert(tensor, stored, bench->in[i].storage, true);
    assert_int_equal(bench->driver->upload(bench->stream, bench->in[i].data, stored, bytes, NULL),
                     MD_OK);
    finished(bench);
    free(stored);
}

/* Once before the capture, as libraries need it, on whatever the inputs hold: no contents may lead
 * a kernel outside its buffers. */
static enum md_status capture_and_launch(struct bench *bench, struct op_run *run,
                                         struct md_error *err)
{
    const struct md_device_driver *driver = bench->driver;
    struct md_device_capture *capture = NULL;
    enum md_status status = bench->kernel->enqueue(&bench->call, err);
    if (status == MD_OK)
        status = driver->stream_wait(bench->stream, err);
    if (status != MD_OK)
        return status;
    assert_int_equal(driver->capture_begin(bench->stream, err), MD_OK);
    status = bench->kernel->enqueue(&bench->call, err);
    assert_int_equal(driver->capture_end(bench->stream, &capture, NULL), MD_OK);
    for (int i = 0; i < run->in_count; i++)
        if (bench->in[i].data)
            upload_input(bench, &run->in[i], i);
    for (int times = 0; times < LAUNCHES && status == MD_OK; times++)
        status = driver->capture_launch(capture, bench->stream, err);
    if (status == MD_OK)
        status = driver->stream_wait(bench->stream, err);
    driver->capture_delete(capture);
    return status;
}

static void check_inputs(const struct bench *bench, const struct op_run *run)
{
    for (int i = 0; i < run->in_count; i++) {
        if (!bench->in[i].data)
            continue;
        size_t bytes = stored_bytes(&bench->in[i]);
        unsigned char *now = downloaded(bench, i), *fresh = malloc(bytes ? bytes : 1);
        assert_non_null(fresh);
        convert(&run->in[i], fresh, bench->in[i].storage, true);
        if (memcmp(fresh, now + GUARD_BYTES, bytes))
            fail_msg("%s: a device kernel changed input %d", run->op_case->name, i);
        free(fresh);
        free(now);
    }
}

static void take_outputs(const struct bench *bench, struct op_run *run)
{
    for (int i = 0; i < run->out_count; i++) {
        unsigned char *now = downloaded(bench, OP_INPUTS_MAX + i);
        convert(&run->out[i], now + GUARD_BYTES, bench->out[i].storage, false);
        free(now);
    }
}

enum op_result op_run_device(struct op_run *run, enum md_dtype precision, struct md_error *err)
{
    struct bench bench;
    if (!bench_init(&bench, run, precision))
        return OP_REFUSED;
    enum md_status status = ready(&bench, run, err);
    if (status == MD_OK)
        status = capture_and_launch(&bench, run, err);
    if (status == MD_OK) {
        check_device_guards(&bench, run->op_case->name);
        check_inputs(&bench, run);
        take_outputs(&bench, run);
    }
    bench_fini(&bench);
    return status == MD_OK ? OP_DONE : OP_FAILED;
}

/* ---- the comparison -------------------------------------------------------------------------- */

/* What float16 has no number for becomes infinite. */
static bool outgrew(double x, double y)
{
    return isinf(x) && fabs(y) > 65504 && (x < 0) == (y < 0);
}

/* |x - y| / |y| over a whole output; integers, bools and NaNs must be equal. */
static bool near_by_norm(const struct op_run *run, const struct op_run *expected, double bound,
                         const char *who)
{
    for (int o = 0; o < run->out_count; o++) {
        double difference = 0, norm = 0;
        bool is_float = md__dtype_is_float(run->out[o].dtype);
        for (size_t i = 0; i < md__count(&run->out[o]); i++) {
            double x = md__get_float(&run->out[o], i), y = md__get_float(&expected->out[o], i);
            bool equal = x == y || (isnan(x) && isnan(y)) || outgrew(x, y);
            difference += equal ? 0 : (x - y) * (x - y);
            norm += isfinite(y) ? y * y : 0;
            if (!equal && (!is_float || isnan(x) || isnan(y) || isinf(x) != isinf(y))) {
                print_error("%s on %s: output %d element %zu is %.9g, expected %.9g\n",
                            run->op_case->name, who, o, i, x, y);
                return false;
            }
        }
        if (difference > bound * bound * norm + 1e-12) {
            print_error("%s on %s: output %d is off by %.3g of its norm\n", run->op_case->name, who,
                        o, sqrt(difference / norm));
            return false;
        }
    }
    return true;
}

/* The same inputs as the device will see, so that comparing them gives the same answers. */
static void round_inputs(struct op_run *run, enum md_dtype precision)
{
    for (int i = 0; i < run->in_count; i++) {
        const struct md_tensor *in = &run->in[i];
        for (size_t k = 0; in->dtype == MD_F32 && k < md__count(in); k++) {
            float x = (float)md__get_float(in, k);
            md__set_float(in, k,
                          precision == MD_F16 ? (double)md_f16_to_f32(md_f32_to_f16(x))
                                              : (double)md_bf16_to_f32(md_f32_to_bf16(x)));
        }
    }
    op_run_refresh(run);
}

/* By the reference on rounded inputs where it has the operator; else what was given. */
static bool narrow_agrees(const struct op_case *op_case, const struct op_run *given,
                          enum md_dtype precision, double bound)
{
    struct md_error err = {.text = "refused"};
    struct op_run run, expected;
    const struct md_kernel *reference = md_cpu_reference()->kernels[op_case->op];
    op_run_init(&run, op_case);
    op_run_init(&expected, op_case);
    round_inputs(&run, precision);
    round_inputs(&expected, precision);
    enum op_result result = op_run_device(&run, precision, &err);
    bool agrees = result == OP_REFUSED;
    if (result == OP_FAILED)
        print_error("%s on the device: %s\n", op_case->name, err.text);
    if (result == OP_DONE && reference &&
        op_run_kernel(&expected, reference, NULL, &err) == OP_DONE)
        given = &expected;
    if (result == OP_DONE)
        agrees = near_by_norm(&run, given, bound, precision == MD_F16 ? "float16" : "bfloat16");
    op_run_fini(&run);
    op_run_fini(&expected);
    return agrees;
}

/* Numbers of every magnitude lie outside of 16 bits. */
static bool is_wide(const struct op_case *op_case)
{
    bool wide = false;
    for (int i = 0; i < OP_INPUTS_MAX; i++)
        wide = wide || op_case->in[i].fill == OP_WIDE;
    return wide;
}

/* Cases that only the reference has kernels for ask for its double precision. */
static struct op_case loosened(const struct op_case *op_case)
{
    struct op_case loose = *op_case;
    loose.relative = loose.relative < 1e-6 ? 1e-6 : loose.relative;
    return loose;
}

int op_device_disagreements(const struct op_case *op_case, const struct op_run *expected)
{
    struct md_error err = {.text = "refused"};
    struct op_case loose = loosened(op_case);
    struct op_run run;
    op_run_init(&run, &loose);
    enum op_result result = op_run_device(&run, MD_F32, &err);
    int wrong = result == OP_FAILED;
    if (result == OP_FAILED)
        print_error("%s on the device: %s\n", op_case->name, err.text);
    if (result == OP_DONE)
        wrong += !op_outputs_agree(&run, expected, device_case_driver()->name);
    op_run_fini(&run);
    *(result == OP_REFUSED ? &refused[op_case->op] : &ran) += 1;
    if (!is_wide(op_case)) {
        wrong += !narrow_agrees(op_case, expected, MD_F16, 5e-3);
        wrong += HAS_BFLOAT16 && !narrow_agrees(op_case, expected, MD_BF16, 4e-2);
    }
    return wrong;
}

int op_device_differs(const struct op_case *op_case, const double *const *outputs)
{
    struct op_run wanted;
    op_run_init(&wanted, op_case);
    for (int o = 0; o < wanted.out_count; o++)
        for (size_t i = 0; i < md__count(&wanted.out[o]); i++)
            md__set_float(&wanted.out[o], i, outputs[o][i]);
    int wrong = op_device_disagreements(op_case, &wanted);
    op_run_fini(&wanted);
    return wrong;
}

void op_device_report(int least)
{
    int left = 0;
    for (int op = 0; op < MD_OP_COUNT; op++)
        left += refused[op];
    print_message("%s device: %d cases ran, %d were left to the CPU\n", device_case_driver()->name,
                  ran, left);
    for (int op = 0; op < MD_OP_COUNT; op++)
        if (refused[op] > 0)
            print_message("  left to the CPU: %d of %s\n", refused[op],
                          md_op_info((enum md_op)op)->name);
    assert_true(ran >= least);
}
