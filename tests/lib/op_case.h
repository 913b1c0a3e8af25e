/*
 * Operator cases: one node with random inputs, run on a backend's kernel without any graph.
 *
 * Every buffer that a kernel writes has guard bytes on both sides, inputs are checked to be left
 * alone, and outputs start out as garbage. A case runs on the same inputs whatever the backend, so
 * that two runs can be compared.
 */
#ifndef MD_TESTS_OP_CASE_H
#define MD_TESTS_OP_CASE_H

#include "graph/backend.h"

#define OP_INPUTS_MAX   64
#define OP_OUTPUTS_MAX  4
#define OP_ATTRS_MAX    12
#define OP_BACKENDS_MAX 8

enum op_fill {
    OP_RANDOM,   /* floats in [-2, 2], integers in [-9, 9], random bools */
    OP_SMALL,    /* floats in [-0.15, 0.15]: weights that no recurrence blows up */
    OP_POSITIVE, /* floats in [0.1, 3], integers in [1, 9] */
    OP_WIDE,     /* floats of every magnitude, both signs, some infinite and NaN */
    OP_VALUES    /* the numbers in `values`, repeated */
};

struct op_input {
    enum md_dtype dtype; /* 0: absent */
    struct md_shape shape;
    enum op_fill fill;
    bool constant; /* known while preparing, as a weight is */
    const double *values;
    int value_count;
};

struct op_output {
    enum md_dtype dtype;
    struct md_shape shape;
};

struct op_case {
    const char *name;
    enum md_op op;
    struct op_input in[OP_INPUTS_MAX];
    struct op_output out[OP_OUTPUTS_MAX];
    struct md_attr attrs[OP_ATTRS_MAX];
    double absolute, relative; /* tolerance: |x - y| <= absolute + relative * |y| */
};

/* Shapes and tensors: F32(2, 3), WEIGHT(4, 3), I64_OF(1, {0, -1}). S() is a scalar. */
#define S(...)                                                                                     \
    {                                                                                              \
        sizeof((int64_t[]){0, ##__VA_ARGS__}) / sizeof(int64_t) - 1,                               \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define TENSOR(type, ...)                                                                          \
    {                                                                                              \
        .dtype = type, .shape = S(__VA_ARGS__)                                                     \
    }
#define F32(...) TENSOR(MD_F32, __VA_ARGS__)
#define FILLED(type, how, ...)                                                                     \
    {                                                                                              \
        .dtype = type, .shape = S(__VA_ARGS__), .fill = how                                        \
    }
#define WEIGHT(...)                                                                                \
    {                                                                                              \
        .dtype = MD_F32, .shape = S(__VA_ARGS__), .constant = true                                 \
    }
/* A vector of the given numbers. */
#define GIVEN(type, ...)                                                                           \
    {                                                                                              \
        .dtype = type, .fill = OP_VALUES, .values = (const double[]){__VA_ARGS__},                 \
        .value_count = sizeof((double[]){__VA_ARGS__}) / sizeof(double), .shape = {                \
            1,                                                                                     \
            {sizeof((double[]){__VA_ARGS__}) / sizeof(double)}                                     \
        }                                                                                          \
    }
#define SCALAR(type, value)                                                                        \
    {                                                                                              \
        .dtype = type, .fill = OP_VALUES, .values = (const double[]){value}, .value_count = 1      \
    }
#define ABSENT                                                                                     \
    {                                                                                              \
        .dtype = 0                                                                                 \
    }

#define INT(key, value)                                                                            \
    {                                                                                              \
        .name = key, .type = MD_ATTR_INT, .i = value                                               \
    }
#define FLOAT(key, value)                                                                          \
    {                                                                                              \
        .name = key, .type = MD_ATTR_FLOAT, .f = value                                             \
    }
#define STRING(key, value)                                                                         \
    {                                                                                              \
        .name = key, .type = MD_ATTR_STRING, .s = value                                            \
    }
#define INTS(key, ...)                                                                             \
    {                                                                                              \
        .name = key, .type = MD_ATTR_INTS, .ints = (const int64_t[]){__VA_ARGS__},                 \
        .count = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)                                \
    }
#define FLOATS(key, ...)                                                                           \
    {                                                                                              \
        .name = key, .type = MD_ATTR_FLOATS, .floats = (const double[]){__VA_ARGS__},              \
        .count = sizeof((double[]){__VA_ARGS__}) / sizeof(double)                                  \
    }

#define STRINGS(key, ...)                                                                          \
    {                                                                                              \
        .name = key, .type = MD_ATTR_STRINGS, .strings = (const char *const[]){__VA_ARGS__},       \
        .count = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)                            \
    }

/* A case made ready: tensors with contents, and its node. */
struct op_run {
    const struct op_case *op_case;
    struct md_node node;
    struct md_tensor in[OP_INPUTS_MAX], out[OP_OUTPUTS_MAX];
    int in_count, out_count;
    void *memory[OP_INPUTS_MAX + OP_OUTPUTS_MAX]; /* what in[].data and out[].data lie in */
    uint64_t input_sum;                           /* checksum of the inputs as they were filled */
};

void op_run_init(struct op_run *run, const struct op_case *op_case);
void op_run_fini(struct op_run *run);
/* After a test wrote inputs of its own. */
void op_run_refresh(struct op_run *run);

enum op_result { OP_REFUSED, OP_FAILED, OP_DONE };

/* A kernel made ready for a case: weights packed, scratch allocated; kernel->run(&call) may follow.
 */
struct op_ready {
    const struct md_kernel *kernel;
    struct md_kernel_call call;
    void *scratch; /* with guards */
    size_t scratch_bytes, prepared_bytes;
};
enum op_result op_ready_init(struct op_ready *ready, struct op_run *run,
                             const struct md_kernel *kernel, struct md_pool *pool,
                             struct md_error *err);
void op_ready_fini(struct op_ready *ready);

/*
 * Prepares and runs `kernel`, then checks every guard and the inputs. OP_REFUSED: supports() said
 * no; OP_FAILED: err says why. Broken guards fail the running test.
 */
enum op_result op_run_kernel(struct op_run *run, const struct md_kernel *kernel,
                             struct md_pool *pool, struct md_error *err);

/* Compares all outputs; prints the first difference. NaN equals NaN. */
bool op_outputs_agree(const struct op_run *run, const struct op_run *expected, const char *who);

/*
 * Runs the case on every instruction set of this machine, with one thread and with three (which
 * split most shapes unevenly), dense and with pitches (pitch_case.h), and on the emulated device
 * (device_case.h), and returns how many runs disagree with `expected`; each is printed. may_refuse:
 * a backend that refuses the node agrees.
 */
int op_case_disagreements(const struct op_case *op_case, const struct op_run *expected,
                          bool may_refuse);

/* The same after running the reference kernel on it: what every backend is compared with. */
int op_case_against_reference(const struct op_case *op_case);

/* Element i as a number. */
double op_element(const struct md_tensor *tensor, size_t i);

/* The backends to test: reference, then every instruction set that this machine has. */
int op_backends(const struct md_backend **backends);

#endif
