/*
 * Shape rules and kernels together, as the planner uses them, against committed results of other
 * libraries: tables expected_<family>.inc, written by make_expected_<family>.py. Each node is
 * inferred and run with every input's contents at hand, on the reference and on the best backend.
 */
#include <math.h>
#include <string.h>

#include "unit.h"

#include "device_case.h"
#include "graph/evaluate.h"
#include "kernels/cpu/cpu.h"

struct expected {
    struct op_case op_case;
    const double *outputs[OP_OUTPUTS_MAX];
};

static const struct expected layout_cases[] = {
#include "expected_layout.inc"
};
static const struct expected window_cases[] = {
#include "expected_window.inc"
};
static const struct expected network_cases[] = {
#include "expected_network.inc"
};
static const struct expected contrib_cases[] = {
#include "expected_contrib.inc"
};

static enum md_status evaluate(const struct md_backend *backend, const struct op_run *run,
                               struct md_tensor *out, struct md_error *err)
{
    struct md_pool *pool;
    enum md_status status = md_pool_new(2, 0, &pool, err);
    assert_int_equal(status, MD_OK);
    if (!md__kernel_find(backend, &run->node, run->in))
        backend = md_cpu_reference();
    status =
        md__evaluate_node(backend, pool, &run->node, run->in, run->in, out, (size_t)1 << 24, err);
    md_pool_delete(pool);
    return status;
}

static bool output_agrees(const struct expected *expected, int o, const struct md_tensor *got)
{
    const struct op_case *op_case = &expected->op_case;
    const struct op_output *wanted = &op_case->out[o];
    if (got->dtype != wanted->dtype || !md_shape_equal(&got->shape, &wanted->shape)) {
        char text[2][64];
        print_error("%s: output %d is %s %s, wanted %s %s\n", op_case->name, o,
                    md_dtype_name(got->dtype), md_shape_text(&got->shape, text[0], 64),
                    md_dtype_name(wanted->dtype), md_shape_text(&wanted->shape, text[1], 64));
        return false;
    }
    for (size_t i = 0; i < md_tensor_count(got); i++) {
        double x = op_element(got, i), y = expected->outputs[o][i];
        if (x == y || (isnan(x) && isnan(y)) ||
            fabs(x - y) <= op_case->absolute + op_case->relative * fabs(y))
            continue;
        print_error("%s: output %d element %zu is %.9g, wanted %.9g\n", op_case->name, o, i, x, y);
        return false;
    }
    return true;
}

static bool agrees(const struct expected *expected, const struct md_backend *backend)
{
    struct md_error err = {0};
    struct op_run run;
    struct md_tensor out[OP_OUTPUTS_MAX] = {0};
    op_run_init(&run, &expected->op_case);
    bool agree = evaluate(backend, &run, out, &err) == MD_OK;
    if (!agree)
        print_error("%s on %s: %s\n", expected->op_case.name, backend->name, err.text);
    for (int o = 0; o < run.out_count; o++) {
        agree = agree && output_agrees(expected, o, &out[o]);
        md_tensor_unref(&out[o]);
    }
    op_run_fini(&run);
    return agree;
}

static void check_table(const struct expected *table, size_t count)
{
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int backend_count = op_backends(backends), wrong = 0;
    for (size_t i = 0; i < count; i++)
        for (int b = 0; b<backend_count; b += backend_count> 1 ? backend_count - 1 : 1)
            wrong += !agrees(&table[i], backends[b]);
    for (size_t i = 0; i < count; i++)
        wrong += op_device_differs(&table[i].op_case, table[i].outputs);
    op_device_report(1);
    assert_int_equal(wrong, 0);
}

#define TABLE(name)                                                                                \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        check_table(name##_cases, sizeof name##_cases / sizeof *name##_cases);                     \
    }
TABLE(layout)
TABLE(window)
TABLE(network)
TABLE(contrib)

/* What shapes and attributes get wrong is found by the rule, what contents get wrong by the kernel.
 */
struct bad {
    struct op_case op_case;
    enum md_status status;
    const char *says; /* part of the message */
};

static const struct bad bad[] = {
    {{.name = "pads for another rank",
      .op = MD_OP_PAD,
      .in = {F32(2, 3), GIVEN(MD_I64, 1, 1)},
      .out = {F32(1)}},
     MD_ERR_INVALID,
     "pads lists 2 numbers"},
    {{.name = "pads that cut too much",
      .op = MD_OP_PAD,
      .in = {F32(2), GIVEN(MD_I64, -1, -2)},
      .out = {F32(1)}},
     MD_ERR_INVALID,
     "cut more"},
    {{.name = "unknown mode",
      .op = MD_OP_PAD,
      .in = {F32(2), GIVEN(MD_I64, 1, 1)},
      .out = {F32(1)},
      .attrs = {STRING("mode", "mirror")}},
     MD_ERR_UNSUPPORTED,
     "attribute mode \"mirror\""},
    {{.name = "dropout that draws",
      .op = MD_OP_DROPOUT,
      .in = {F32(2), ABSENT, SCALAR(MD_BOOL, 1)},
      .out = {F32(2)}},
     MD_ERR_UNSUPPORTED,
     "training_mode"},
    {{.name = "k beyond the axis",
      .op = MD_OP_TOP_K,
      .in = {F32(2, 3), GIVEN(MD_I64, 4)},
      .out = {F32(2, 4)}},
     MD_ERR_INVALID,
     "K is 4"},
    {{.name = "index outside",
      .op = MD_OP_GATHER_ELEMENTS,
      .in = {F32(2), GIVEN(MD_I64, -3)},
      .out = {F32(1)}},
     MD_ERR_UNPROCESSABLE,
     "index -3"},
    {{.name = "index tuple outside",
      .op = MD_OP_GATHER_ND,
      .in = {F32(2, 2), GIVEN(MD_I64, 0, 2)},
      .out = {F32(1)}},
     MD_ERR_UNPROCESSABLE,
     "index 2"},
    {{.name = "scatter outside",
      .op = MD_OP_SCATTER_ELEMENTS,
      .in = {F32(2), GIVEN(MD_I64, 2), F32(1)},
      .out = {F32(2)}},
     MD_ERR_UNPROCESSABLE,
     "index 2"},
    {{.name = "cache too short",
      .op = MD_OP_TENSOR_SCATTER,
      .in = {F32(1, 3, 1), F32(1, 2, 1), GIVEN(MD_I64, 2)},
      .out = {F32(1, 3, 1)}},
     MD_ERR_UNPROCESSABLE,
     "do not fit"},
    {{.name = "sequence too long",
      .op = MD_OP_REVERSE_SEQUENCE,
      .in = {F32(2, 1), GIVEN(MD_I64, 3)},
      .out = {F32(2, 1)}},
     MD_ERR_UNPROCESSABLE,
     "length 3"},
    {{.name = "condition too long",
      .op = MD_OP_COMPRESS,
      .in = {F32(1), GIVEN(MD_BOOL, 0, 1)},
      .out = {F32(1)}},
     MD_ERR_UNPROCESSABLE,
     "keeps element 1"},
};

static void test_bad_nodes_say_what_is_wrong(void **state)
{
    (void)state;
    const struct md_backend *backends[OP_BACKENDS_MAX];
    op_backends(backends);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct md_error err = {0};
        struct op_run run;
        struct md_tensor out[OP_OUTPUTS_MAX] = {0};
        op_run_init(&run, &bad[i].op_case);
        enum md_status status = evaluate(backends[0], &run, out, &err);
        if (status != bad[i].status || !strstr(err.text, bad[i].says))
            fail_msg("%s: %s", bad[i].op_case.name, err.text);
        op_run_fini(&run);
    }
}

/* Few scores, of which many are the same, and both zeros. */
#define TIES                                                                                       \
    {                                                                                              \
        .dtype = MD_F32, .shape = S(1, 2, 70), .fill = OP_VALUES,                                  \
        .values = (const double[]){0.5, 0, -0.25, -0.0, 0.5}, .value_count = 5                     \
    }

/* Outputs whose size depends on data, on every backend as on the reference: to the bit. */
static const struct op_case same[] = {
    {.name = "suppression",
     .op = MD_OP_NON_MAX_SUPPRESSION,
     .in = {F32(2, 83, 4), F32(2, 3, 83), SCALAR(MD_I64, 40), SCALAR(MD_F32, 0.3),
            SCALAR(MD_F32, -1.5)},
     .out = {TENSOR(MD_I64)}},
    {.name = "suppression of boxes by their centers",
     .op = MD_OP_NON_MAX_SUPPRESSION,
     .in = {FILLED(MD_F32, OP_POSITIVE, 1, 500, 4), F32(1, 1, 500), SCALAR(MD_I64, 500),
            SCALAR(MD_F32, 0.5)},
     .out = {TENSOR(MD_I64)},
     .attrs = {INT("center_point_box", 1)}},
    {.name = "suppression of ties",
     .op = MD_OP_NON_MAX_SUPPRESSION,
     .in = {FILLED(MD_F32, OP_POSITIVE, 1, 70, 4), TIES, SCALAR(MD_I64, 70), SCALAR(MD_F32, 0.2)},
     .out = {TENSOR(MD_I64)}},
    {.name = "suppression of anything",
     .op = MD_OP_NON_MAX_SUPPRESSION,
     .in = {FILLED(MD_F32, OP_WIDE, 1, 200, 4), FILLED(MD_F32, OP_WIDE, 1, 3, 200),
            SCALAR(MD_I64, 200), SCALAR(MD_F32, 0)},
     .out = {TENSOR(MD_I64)}},
    {.name = "suppression of nothing",
     .op = MD_OP_NON_MAX_SUPPRESSION,
     .in = {F32(1, 0, 4), F32(1, 2, 0), SCALAR(MD_I64, 9)},
     .out = {TENSOR(MD_I64)}},
};

static void check_same(const struct op_case *op_case, const struct md_backend *backend)
{
    struct md_error err = {0};
    struct md_tensor out[2][OP_OUTPUTS_MAX] = {0};
    struct op_run run;
    op_run_init(&run, op_case);
    if (evaluate(backend, &run, out[0], &err) || evaluate(md_cpu_reference(), &run, out[1], &err))
        fail_msg("%s: %s", op_case->name, err.text);
    for (int o = 0; o < run.out_count; o++) {
        const struct md_tensor *got = &out[0][o], *wanted = &out[1][o];
        if (!md_shape_equal(&got->shape, &wanted->shape) ||
            (md_tensor_count(got) && memcmp(got->data, wanted->data, md_tensor_bytes(got)) != 0))
            fail_msg("%s on %s: output %d is another", op_case->name, backend->name, o);
        md_tensor_unref(&out[0][o]);
        md_tensor_unref(&out[1][o]);
    }
    op_run_fini(&run);
}

static void test_backends_agree_with_the_reference(void **state)
{
    (void)state;
    const struct md_backend *backends[OP_BACKENDS_MAX];
    int count = op_backends(backends);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        for (int b = 1; b < count; b++)
            check_same(&same[i], backends[b]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_contrib),
        cmocka_unit_test(test_backends_agree_with_the_reference),
        cmocka_unit_test(test_bad_nodes_say_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
