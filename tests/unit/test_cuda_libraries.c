/*
 * NVIDIA's libraries as kernels see them, a table of functions, played by functions of this test on
 * the emulated device: what they are given, that a refusal lets our own kernel run, that an error
 * becomes a status.
 */
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "device_case.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/libraries.h"

void md__emulated_libraries(void *libraries);

static int products, convolutions, kept;
static enum md_dtype wanted;
static bool weights_are_turned;

static int refuse_product(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                          const struct md__cuda_product *product)
{
    products++;
    return MD__CUDA_REFUSED;
}

static int fail_product(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                        const struct md__cuda_product *product)
{
    return 719; /* cudaErrorLaunchFailure */
}

static bool is_same(const void *stored, int64_t i, float value)
{
    return wanted == MD_F32 ? ((const float *)stored)[i] == value
                            : ((const uint16_t *)stored)[i] == md_f32_to_f16(value);
}

/* w_last [outputs, taps, channels] holds what the case's weights [outputs, channels, taps] are. */
static const struct op_run *shown;
static int refuse_convolution(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                              const struct md__cuda_convolution *p)
{
    const void *last = p->w_last;
    const float *first = shown->in[1].data;
    int64_t channels = p->channels / p->groups;
    convolutions++;
    weights_are_turned = last != NULL;
    for (int64_t m = 0; last && m < p->outputs; m++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t tap = 0; tap < p->taps; tap++)
                weights_are_turned &= is_same(last, (m * p->taps + tap) * channels + c,
                                              first[(m * channels + c) * p->taps + tap]);
    return MD__CUDA_REFUSED;
}

/* The sums alone, then what is left. */
static int sum_convolution(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                           const struct md__cuda_convolution *p)
{
    struct md__cuda_convolution sums = *p;
    sums.bias = sums.z = NULL;
    sums.function = MD__CUDA_IDENTITY;
    int error = md__cuda_convolve(stream, &sums);
    return error ? error : md__cuda_convolve_end(stream, p);
}

static int sum_product(struct md__cuda_libraries *libraries, md__cuda_stream stream,
                       const struct md__cuda_product *p)
{
    struct md__cuda_product sums = *p, rest = *p;
    sums.bias = sums.z = NULL;
    sums.function = MD__CUDA_IDENTITY;
    rest.alpha = 1;
    int error = md__cuda_product(stream, &sums);
    return error ? error : md__cuda_product_end(stream, &rest);
}

static int keep(struct md__cuda_libraries *libraries, const void *bytes, size_t count,
                void **memory)
{
    *memory = malloc(count);
    assert_non_null(*memory);
    memcpy(*memory, bytes, count);
    kept++;
    return 0;
}

static void drop(struct md__cuda_libraries *libraries, void *memory)
{
    free(memory);
    kept--;
}

static const struct op_case product = {.name = "product",
                                       .op = MD_OP_MATMUL,
                                       .in = {F32(5, 7), WEIGHT(7, 9)},
                                       .out = {F32(5, 9)},
                                       .absolute = 1e-5};
static const struct op_case convolution = {.name = "convolution",
                                           .op = MD_OP_CONV_LAST,
                                           .in = {F32(2, 7, 6, 8), WEIGHT(16, 4, 3, 3), WEIGHT(16)},
                                           .out = {F32(2, 5, 4, 16)},
                                           .attrs = {INT("group", 2)},
                                           .absolute = 1e-5};

static const struct op_case linear = {.name = "linear",
                                      .op = MD_OP_LINEAR,
                                      .in = {F32(5, 7), WEIGHT(9, 7), WEIGHT(9), F32(5, 9)},
                                      .out = {F32(5, 9)},
                                      .attrs = {STRING("activation", "Tanh")},
                                      .absolute = 1e-5};

static void test_refusals_run_our_kernels(void **state)
{
    struct md__cuda_libraries libraries = {
        .product = refuse_product, .convolve = refuse_convolution, .keep = keep, .drop = drop};
    struct op_run run, expected;
    struct md_error err;
    md__emulated_libraries(&libraries);
    op_run_init(&run, &product);
    op_run_init(&expected, &product);
    assert_int_equal(
        op_run_kernel(&expected, md_cpu_reference()->kernels[MD_OP_MATMUL], NULL, &err), OP_DONE);
    assert_int_equal(op_run_device(&run, MD_F32, &err), OP_DONE);
    assert_true(op_outputs_agree(&run, &expected, "the device"));
    assert_int_equal(products, 2); /* before the capture, and for it */
    op_run_fini(&run);
    op_run_fini(&expected);
    md__emulated_libraries(NULL);
}

static void test_constant_weights_are_turned_once(void **state)
{
    struct md__cuda_libraries libraries = {
        .convolve = refuse_convolution, .keep = keep, .drop = drop};
    struct op_run run;
    struct md_error err;
    md__emulated_libraries(&libraries);
    op_run_init(&run, &convolution);
    shown = &run;
    convolutions = 0;
    for (int i = 0; i < 2; i++) {
        wanted = i == 0 ? MD_F16 : MD_F32;
        assert_int_equal(op_run_device(&run, wanted, &err), OP_DONE);
        assert_int_equal(convolutions, 2 * (i + 1));
        assert_true(weights_are_turned);
        assert_int_equal(kept, 0);
    }
    op_run_fini(&run);
    md__emulated_libraries(NULL);
}

static void test_a_library_may_leave_the_end_to_us(void **state)
{
    const struct op_case *const cases[] = {&convolution, &linear};
    struct md__cuda_libraries libraries = {
        .product = sum_product, .convolve = sum_convolution, .keep = keep, .drop = drop};
    for (int i = 0; i < 2; i++) {
        struct op_run run, expected;
        struct md_error err;
        md__emulated_libraries(NULL);
        op_run_init(&run, cases[i]);
        op_run_init(&expected, cases[i]);
        assert_int_equal(op_run_device(&expected, MD_F32, &err), OP_DONE);
        md__emulated_libraries(&libraries);
        assert_int_equal(op_run_device(&run, MD_F32, &err), OP_DONE);
        assert_true(op_outputs_agree(&run, &expected, "sums, then the rest"));
        op_run_fini(&run);
        op_run_fini(&expected);
    }
    md__emulated_libraries(NULL);
}

static void test_an_error_is_a_status(void **state)
{
    struct md__cuda_libraries libraries = {.product = fail_product};
    struct op_run run;
    struct md_error err;
    md__emulated_libraries(&libraries);
    op_run_init(&run, &product);
    assert_int_equal(op_run_device(&run, MD_F32, &err), OP_FAILED);
    assert_int_equal(err.code, MD_ERR_DEVICE);
    assert_string_equal(err.text, "unspecified launch failure");
    op_run_fini(&run);
    md__emulated_libraries(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_run_our_kernels),
        cmocka_unit_test(test_constant_weights_are_turned_once),
        cmocka_unit_test(test_a_library_may_leave_the_end_to_us),
        cmocka_unit_test(test_an_error_is_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
