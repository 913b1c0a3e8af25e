/* Data types, shape arithmetic, owners, views, and tensors over files. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tensor/mapping.h"
#include "tensor/tensor.h"
#include "unit.h"

static struct md_error err;

static struct md_shape shape_of(int rank, int64_t a, int64_t b, int64_t c)
{
    return md_shape_of(rank, (int64_t[]){a, b, c});
}

static void dtypes_know_their_names(void **state)
{
    enum md_dtype dtype;
    assert_int_equal(md_dtype_bytes(MD_F32), 4);
    assert_int_equal(md_dtype_bytes(MD_BF16), 2);
    assert_int_equal(md_dtype_bytes((enum md_dtype)0), 0);
    assert_int_equal(md_dtype_bytes((enum md_dtype)8), 0);
    assert_int_equal(md_dtype_bytes((enum md_dtype)1000), 0);
    assert_int_equal(md_dtype_bytes((enum md_dtype) - 1), 0);
    assert_string_equal(md_dtype_name(MD_I64), "int64");
    assert_string_equal(md_dtype_name((enum md_dtype)8), "?");
    assert_true(md_dtype_from_npy("<f8", 3, &dtype) && dtype == MD_F64);
    assert_false(md_dtype_from_npy("", 0, &dtype));
    assert_false(md_dtype_from_npy("<f", 2, &dtype));
    assert_false(md_dtype_from_npy(">f8", 3, &dtype));
    assert_true(md_dtype_from_safetensors("BF16", &dtype) && dtype == MD_BF16);
    assert_false(md_dtype_from_safetensors("F8_E4M3", &dtype));
}

static void counts_multiply(void **state)
{
    size_t count;
    struct md_shape shape = shape_of(3, 2, 3, 4);
    assert_ok(md_shape_count(&shape, 4, &count, &err));
    assert_int_equal(count, 24);
    shape = shape_of(0, 0, 0, 0);
    assert_ok(md_shape_count(&shape, 8, &count, &err));
    assert_int_equal(count, 1);
    shape = shape_of(3, INT64_MAX, 0, INT64_MAX);
    assert_ok(md_shape_count(&shape, 8, &count, &err));
    assert_int_equal(count, 0);
}

static void counts_do_not_overflow(void **state)
{
    size_t count;
    struct md_shape shape = shape_of(2, INT64_C(1) << 31, INT64_C(1) << 31, 0);
    assert_ok(md_shape_count(&shape, 1, &count, &err));
    assert_fails(MD_ERR_TOO_LARGE, md_shape_count(&shape, 4, &count, &err));
    shape = shape_of(2, INT64_C(1) << 32, INT64_C(1) << 32, 0);
    assert_fails(MD_ERR_TOO_LARGE, md_shape_count(&shape, 1, &count, &err));
    shape = shape_of(1, INT64_MAX, 0, 0);
    assert_ok(md_shape_count(&shape, 1, &count, &err));
    assert_fails(MD_ERR_TOO_LARGE, md_shape_count(&shape, 2, &count, &err));
    shape = shape_of(2, 3, -1, 0);
    assert_fails(MD_ERR_INVALID, md_shape_count(&shape, 4, &count, &err));
    shape = shape_of(2, 0, -1, 0);
    assert_fails(MD_ERR_INVALID, md_shape_count(&shape, 4, &count, &err));
    shape.rank = MD_RANK_MAX + 1;
    assert_fails(MD_ERR_INVALID, md_shape_count(&shape, 4, &count, &err));
    shape.rank = -1;
    assert_fails(MD_ERR_INVALID, md_shape_count(&shape, 4, &count, &err));
}

static void shapes_print_and_compare(void **state)
{
    char text[64];
    struct md_shape a = shape_of(3, 2, -1, 4), b = shape_of(3, 2, -1, 5), c = shape_of(2, 2, -1, 0);
    assert_string_equal(md_shape_text(&a, text, sizeof text), "[2, ?, 4]");
    assert_true(md_shape_equal(&a, &a));
    assert_false(md_shape_equal(&a, &b));
    assert_false(md_shape_equal(&a, &c));
    a = shape_of(0, 0, 0, 0);
    assert_string_equal(md_shape_text(&a, text, sizeof text), "[]");
    for (size_t size = 1; size < 10; size++) {
        memset(text, 'x', sizeof text);
        md_shape_text(&b, text, size);
        assert_in_range(strlen(text), size - 1, size - 1);
        assert_memory_equal(text, "[2, ?, 5]", size - 1);
    }
}

static void a_new_tensor_is_zeroed_and_aligned(void **state)
{
    for (int64_t rows = 0; rows < 50; rows++) {
        struct md_shape shape = shape_of(2, rows, 3, 0);
        struct md_tensor tensor;
        assert_ok(md_tensor_new(MD_F64, &shape, &tensor, &err));
        assert_int_equal((uintptr_t)tensor.data % 64, 0);
        assert_int_equal(md_tensor_count(&tensor), rows * 3);
        assert_int_equal(md_tensor_bytes(&tensor), rows * 24);
        for (size_t i = 0; i < md_tensor_bytes(&tensor); i++)
            assert_int_equal(((char *)tensor.data)[i], 0);
        memset(tensor.data, 1, md_tensor_bytes(&tensor));
        md_tensor_unref(&tensor);
        assert_null(tensor.data);
        assert_int_equal(md_tensor_count(&tensor), 0);
        md_tensor_unref(&tensor);
    }
}

static void a_tensor_that_cannot_be_is_refused(void **state)
{
    struct md_tensor tensor;
    struct md_shape shape = shape_of(1, INT64_MAX, 0, 0);
    assert_fails(MD_ERR_TOO_LARGE, md_tensor_new(MD_F32, &shape, &tensor, &err));
    assert_fails(MD_ERR_MEMORY, md_tensor_new(MD_U8, &shape, &tensor, &err));
    shape = shape_of(1, 1, 0, 0);
    assert_fails(MD_ERR_INVALID, md_tensor_new((enum md_dtype)99, &shape, &tensor, &err));
    assert_null(tensor.data);
}

static void rows_share_the_owner(void **state)
{
    struct md_shape shape = shape_of(2, 4, 3, 0);
    struct md_tensor tensor, rows, none;
    assert_ok(md_tensor_new(MD_I32, &shape, &tensor, &err));
    for (int i = 0; i < 12; i++)
        ((int32_t *)tensor.data)[i] = i;
    assert_ok(md_tensor_rows(&tensor, 1, 2, &rows, &err));
    assert_ok(md_tensor_rows(&tensor, 4, 0, &none, &err));
    assert_int_equal(tensor.owner->refs, 3);
    md_tensor_unref(&tensor);
    assert_int_equal(md_tensor_count(&rows), 6);
    assert_int_equal(((int32_t *)rows.data)[0], 3);
    assert_int_equal(md_tensor_count(&none), 0);
    md_tensor_unref(&none);
    assert_ok(md_tensor_rows(&rows, 1, 1, &rows, &err)); /* in place; drops no reference itself */
    assert_int_equal(((int32_t *)rows.data)[2], 8);
    assert_int_equal(rows.owner->refs, 2);
    md_owner_unref(rows.owner);
    md_tensor_unref(&rows);
}

static void rows_out_of_range_are_refused(void **state)
{
    struct md_shape shape = shape_of(2, 4, 3, 0), scalar = shape_of(0, 0, 0, 0);
    struct md_tensor tensor, view;
    assert_ok(md_tensor_new(MD_I32, &shape, &tensor, &err));
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, 3, 2, &view, &err));
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, -1, 1, &view, &err));
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, 0, -1, &view, &err));
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, 5, 0, &view, &err));
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, INT64_MAX, INT64_MAX, &view, &err));
    assert_ok(md_tensor_reshape(&tensor, &shape, &view, &err));
    md_tensor_unref(&view);
    assert_fails(MD_ERR_INVALID, md_tensor_reshape(&tensor, &scalar, &view, &err));
    assert_says("[4, 3] to []");
    assert_int_equal(tensor.owner->refs, 1);
    md_tensor_unref(&tensor);
    assert_ok(md_tensor_new(MD_I32, &scalar, &tensor, &err));
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, 0, 1, &view, &err));
    md_tensor_unref(&tensor);
}

static void rows_of_an_empty_tensor_are_empty(void **state)
{
    struct md_shape shape = shape_of(3, 0, INT64_MAX, INT64_MAX);
    struct md_tensor tensor, view;
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    assert_ok(md_tensor_rows(&tensor, 0, 0, &view, &err));
    assert_int_equal(md_tensor_bytes(&view), 0);
    assert_fails(MD_ERR_INVALID, md_tensor_rows(&tensor, 0, 1, &view, &err));
    md_tensor_unref(&view);
    md_tensor_unref(&tensor);
}

static void reshape_keeps_the_memory(void **state)
{
    struct md_shape flat = shape_of(1, 12, 0, 0), square = shape_of(3, 2, 3, 2);
    struct md_tensor tensor, view;
    assert_ok(md_tensor_new(MD_F32, &flat, &tensor, &err));
    assert_ok(md_tensor_reshape(&tensor, &square, &view, &err));
    assert_ptr_equal(view.data, tensor.data);
    assert_true(md_shape_equal(&view.shape, &square));
    md_tensor_unref(&tensor);
    md_tensor_unref(&view);
}

static void conversions_share_or_copy(void **state)
{
    struct md_shape shape = shape_of(1, 3, 0, 0);
    struct md_tensor wide, half, back;
    assert_ok(md_tensor_new(MD_F32, &shape, &wide, &err));
    memcpy(wide.data, (float[]){1.5f, -2, 1e6f}, 12);
    static const enum md_dtype halves[] = {MD_F16, MD_BF16};
    for (int i = 0; i < 2; i++) {
        assert_ok(md_tensor_convert(&wide, halves[i], &half, &err));
        assert_int_equal(md_tensor_bytes(&half), 6);
        assert_ok(md_tensor_convert(&half, MD_F32, &back, &err));
        assert_memory_equal(back.data, wide.data, 8);
        assert_true(((float *)back.data)[2] > 9e5f); /* infinite in float16, 999424 in bfloat16 */
        md_tensor_unref(&half);
        md_tensor_unref(&back);
    }
    assert_ok(md_tensor_convert(&wide, MD_F32, &back, &err));
    assert_ptr_equal(back.data, wide.data);
    md_tensor_unref(&back);
    assert_fails(MD_ERR_INVALID, md_tensor_convert(&wide, MD_I64, &back, &err));
    md_tensor_unref(&wide);
}

static void map_a_file_of(size_t bytes)
{
    char path[] = "/tmp/md_test_mapping_XXXXXX";
    close(mkstemp(path));
    char *data = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)(i * 31 + 7);
    struct md_file_part part = {data, bytes};
    assert_ok(md_file_replace(path, &part, 1, &err));
    struct md_owner *owner;
    assert_ok(md_mapping_open(path, &owner, &err));
    unlink(path); /* the memory outlives the name */
    assert_int_equal(owner->bytes, bytes);
    assert_int_equal((uintptr_t)owner->memory % 64, 0);
    assert_memory_equal(owner->memory, data, bytes);
    md_owner_unref(owner);
    free(data);
}

static void files_become_memory(void **state)
{
    map_a_file_of(0);
    map_a_file_of(100);
    map_a_file_of((1 << 20) - 1);
    map_a_file_of(1 << 20);
    map_a_file_of((3 << 20) + 5);
    struct md_owner *owner;
    assert_fails(MD_ERR_NOT_FOUND, md_mapping_open("/tmp/md_none", &owner, &err));
    assert_null(owner);
    assert_fails(MD_ERR_INVALID, md_mapping_open("/tmp", &owner, &err));
}

/* Two numbers that are, and one of `bits` behind them. */
static bool is_finite_with(enum md_dtype dtype, uint64_t bits)
{
    uint64_t data[3] = {0};
    size_t bytes = md_dtype_bytes(dtype);
    memcpy((char *)data + 2 * bytes, &bits, bytes);
    return md_tensor_is_finite(
        &(struct md_tensor){.dtype = dtype, .shape = shape_of(1, 3, 0, 0), .data = data});
}

static void a_number_that_is_not_finite_is_found(void **state)
{
    assert_true(is_finite_with(MD_F32, 0x7f7fffff));
    assert_false(is_finite_with(MD_F32, 0xff800000));
    assert_false(is_finite_with(MD_F32, 0x7fc00000));
    assert_true(is_finite_with(MD_F16, 0xfbff));
    assert_false(is_finite_with(MD_F16, 0xfc00));
    assert_false(is_finite_with(MD_F16, 0x7c01));
    assert_true(is_finite_with(MD_BF16, 0x7f7f));
    assert_false(is_finite_with(MD_BF16, 0x7f80));
    assert_false(is_finite_with(MD_BF16, 0xffc0));
    assert_true(is_finite_with(MD_I64, UINT64_MAX));
    assert_true(md_tensor_is_finite(&(struct md_tensor){.dtype = MD_F32}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_know_their_names),
        cmocka_unit_test(counts_multiply),
        cmocka_unit_test(counts_do_not_overflow),
        cmocka_unit_test(shapes_print_and_compare),
        cmocka_unit_test(a_new_tensor_is_zeroed_and_aligned),
        cmocka_unit_test(a_tensor_that_cannot_be_is_refused),
        cmocka_unit_test(rows_share_the_owner),
        cmocka_unit_test(rows_out_of_range_are_refused),
        cmocka_unit_test(rows_of_an_empty_tensor_are_empty),
        cmocka_unit_test(reshape_keeps_the_memory),
        cmocka_unit_test(conversions_share_or_copy),
        cmocka_unit_test(files_become_memory),
        cmocka_unit_test(a_number_that_is_not_finite_is_found),
    };
    return cmocka_run_group_tests_name("tensor", tests, NULL, NULL);
}
