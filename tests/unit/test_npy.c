/* .npy: round trips, what NumPy itself writes, and every way to be wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "tensor/npy.h"
#include "unit.h"

static struct md_error err;
static char path[] = "/tmp/md_test_npy_XXXXXX";

static int make_path(void **state)
{
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    return unlink(path);
}

/* Builds version `major` with this header text (no padding) and data. Returns the length. */
static size_t build(unsigned char *file, int major, const char *header, const void *data,
                    size_t bytes)
{
    size_t length = strlen(header), start = major == 1 ? 10 : 12;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (unsigned char)major;
    file[7] = 0;
    for (size_t i = 8; i < start; i++)
        file[i] = (unsigned char)(length >> (8 * (i - 8)));
    memcpy(file + start, header, length);
    if (bytes)
        memcpy(file + start + length, data, bytes);
    return start + length + bytes;
}

static enum md_status parse_text(const char *header, size_t bytes, struct md_tensor *tensor)
{
    static _Alignas(64) unsigned char file[70000];
    static const unsigned char zeros[4096];
    return md_npy_parse(file, build(file, 1, header, zeros, bytes), tensor, &err);
}

static void every_dtype_and_rank_comes_back(void **state)
{
    static const enum md_dtype dtypes[] = {
#define X(code, onnx, bytes, name, npy, safetensors) code,
        MD_DTYPES(X)
#undef X
    };
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        for (int rank = 0; rank <= MD_RANK_MAX; rank++) {
            struct md_shape shape = md_shape_of(rank, (int64_t[]){2, 3, 1, 2, 1, 1, 2, 1});
            struct md_tensor tensor, read;
            assert_ok(md_tensor_new(dtypes[d], &shape, &tensor, &err));
            for (size_t i = 0; i < md_tensor_bytes(&tensor); i++)
                ((unsigned char *)tensor.data)[i] = (unsigned char)(i * 7 + 1);
            assert_ok(md_npy_write(path, &tensor, &err));
            assert_ok(md_npy_read(path, &read, &err));
            assert_true(md_shape_equal(&read.shape, &shape));
            assert_int_equal((uintptr_t)read.data % 64, 0);
            if (dtypes[d] == MD_BF16) {
                assert_int_equal(read.dtype, MD_F32);
                for (size_t i = 0; i < md_tensor_count(&read); i++)
                    assert_true(((float *)read.data)[i] ==
                                md_bf16_to_f32(((uint16_t *)tensor.data)[i]));
            } else {
                assert_int_equal(read.dtype, dtypes[d]);
                assert_memory_equal(read.data, tensor.data, md_tensor_bytes(&tensor));
            }
            md_tensor_unref(&read);
            md_tensor_unref(&tensor);
        }
    }
}

static void zero_size_and_large_tensors_come_back(void **state)
{
    static const int64_t rows[] = {0, 300000};
    for (int i = 0; i < 2; i++) {
        struct md_shape shape = md_shape_of(2, (int64_t[]){rows[i], 3});
        struct md_tensor tensor, read;
        assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
        if (rows[i])
            ((float *)tensor.data)[rows[i] * 3 - 1] = 1.25f;
        assert_ok(md_npy_write(path, &tensor, &err));
        assert_ok(md_npy_read(path, &read, &err));
        assert_memory_equal(read.data, tensor.data, md_tensor_bytes(&tensor));
        assert_int_equal(md_tensor_bytes(&read), rows[i] * 12);
        md_tensor_unref(&read);
        md_tensor_unref(&tensor);
    }
}

/* The first bytes NumPy 1.24 writes for np.arange(3, dtype='<i2').reshape(3, 1). */
static void a_file_of_numpy_is_read_and_matched(void **state)
{
    char header[119];
    memset(header, ' ', sizeof header);
    memcpy(header, "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 1), }", 59);
    header[117] = '\n';
    header[118] = '\0';
    static _Alignas(64) unsigned char file[256];
    int16_t data[] = {0, 1, 2};
    size_t length = build(file, 1, header, data, sizeof data);
    struct md_tensor tensor;
    assert_ok(md_npy_parse(file, length, &tensor, &err));
    assert_int_equal(tensor.dtype, MD_I16);
    assert_ptr_equal(tensor.data, file + 128);
    assert_null(tensor.owner);

    assert_ok(md_npy_write(path, &tensor, &err));
    struct md_buffer written;
    md_buffer_init(&written, 0);
    assert_ok(md_file_read(path, 1000, &written, &err));
    assert_int_equal(written.length % 64, sizeof data);
    assert_memory_equal(written.data + 10, header, 59);
    md_buffer_fini(&written);
}

static void headers_may_vary_within_the_format(void **state)
{
    static const char *const headers[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1)}",
        "{\"shape\":(2,1,),\"descr\":\"<f4\",\"fortran_order\":False}  \n",
        " { 'fortran_order' : True , 'shape' : ( 2 , ) , 'descr' : '<f4' , } ",
        "{'descr':'<f4','fortran_order':True,'shape':(2,),}",
    };
    struct md_tensor tensor;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        assert_ok(parse_text(headers[i], 8, &tensor));
        assert_int_equal(md_tensor_count(&tensor), 2);
        md_tensor_unref(&tensor);
    }
    assert_ok(parse_text("{'descr':'|b1','fortran_order':False,'shape':()}", 1, &tensor));
    assert_int_equal(tensor.shape.rank, 0);
    md_tensor_unref(&tensor);
    assert_ok(
        parse_text("{'descr':'<f8','fortran_order':False,'shape':(0,99999999999)}", 0, &tensor));
    assert_int_equal(md_tensor_count(&tensor), 0);
    md_tensor_unref(&tensor);
}

static void versions_two_and_three_are_read(void **state)
{
    static _Alignas(64) unsigned char file[256];
    struct md_tensor tensor;
    int64_t data[] = {7, 8};
    for (int major = 2; major <= 3; major++) {
        size_t length =
            build(file, major, "{'descr':'<i8','fortran_order':False,'shape':(2,)}", data, 16);
        assert_ok(md_npy_parse(file, length, &tensor, &err));
        assert_memory_equal(tensor.data, data, 16);
        md_tensor_unref(&tensor);
    }
}

/*
 * A header of any length is legal, so data may start anywhere; elements are still aligned for the
 * reader.
 */
static void misaligned_data_are_copied(void **state)
{
    static _Alignas(64) unsigned char file[256];
    double data[] = {1.5, -2.5};
    int borrowed = 0;
    for (int spaces = 0; spaces < 16; spaces++) {
        char header[128];
        snprintf(header, sizeof header, "{'descr':'<f8','fortran_order':False,'shape':(2,)}%*s",
                 spaces, "");
        size_t length = build(file, 1, header, data, sizeof data);
        struct md_tensor tensor;
        assert_ok(md_npy_parse(file, length, &tensor, &err));
        assert_int_equal((uintptr_t)tensor.data % sizeof(double), 0);
        assert_memory_equal(tensor.data, data, sizeof data);
        borrowed += tensor.owner == NULL;
        md_tensor_unref(&tensor);
    }
    assert_int_equal(borrowed, 2);
}

static const struct {
    enum md_status status;
    const char *header;
    size_t bytes;
} bad_headers[] = {
    {MD_ERR_CORRUPT, "", 8},
    {MD_ERR_CORRUPT, "   ", 8},
    {MD_ERR_CORRUPT, "{}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,)", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,)}x", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,)},{}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4' 'fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','descr':'<f4','fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,),'extra':1}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':'<f4,'fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f\\4','fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':7,'fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':0,'shape':(2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':2}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,,1)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2 1)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(-2,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2.0,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(9223372036854775808,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(4294967296,4294967296)}", 0},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(9223372036854775807,)}", 8},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,)}", 7},
    {MD_ERR_CORRUPT, "{'descr':'<f4','fortran_order':False,'shape':(2,)}", 9},
    {MD_ERR_UNPROCESSABLE, "{'descr':'>f4','fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':'<c8','fortran_order':False,'shape':(1,)}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':'|O','fortran_order':False,'shape':(1,)}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':'','fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':[('a','<f4')],'fortran_order':False,'shape':(2,)}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':'<f4','fortran_order':True,'shape':(2,1)}", 8},
    {MD_ERR_UNPROCESSABLE, "{'descr':'<f4','fortran_order':False,'shape':(1,1,1,1,1,1,1,1,2)}", 8},
};

static void bad_headers_are_refused(void **state)
{
    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        struct md_tensor tensor;
        assert_fails(bad_headers[i].status,
                     parse_text(bad_headers[i].header, bad_headers[i].bytes, &tensor));
        assert_null(tensor.data);
    }
}

static void bad_starts_are_refused(void **state)
{
    unsigned char file[128];
    struct md_tensor tensor;
    const char *header = "{'descr':'|u1','fortran_order':False,'shape':(1,)}";
    size_t length = build(file, 1, header, "x", 1);
    assert_ok(md_npy_parse(file, length, &tensor, &err));
    for (size_t i = 0; i < 10; i++) {
        unsigned char kept = file[i];
        file[i] ^= 0x85;
        assert_int_not_equal(md_npy_parse(file, length, &tensor, &err), MD_OK);
        file[i] = kept;
    }
    file[6] = 9;
    assert_fails(MD_ERR_UNPROCESSABLE, md_npy_parse(file, length, &tensor, &err));
    assert_says("9.0");
    length = build(file, 2, header, "x", 1);
    memset(file + 8, 0xFF, 4);
    assert_fails(MD_ERR_CORRUPT, md_npy_parse(file, length, &tensor, &err));
}

/* Each prefix lives in a block of exactly its size, so that a sanitizer sees any read past it. */
static void every_truncation_is_refused(void **state)
{
    unsigned char file[256];
    float data[] = {1, 2, 3};
    for (int major = 1; major <= 3; major++) {
        size_t length =
            build(file, major, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n", data,
                  sizeof data);
        for (size_t kept = 0; kept < length; kept++) {
            unsigned char *prefix = malloc(kept ? kept : 1);
            memcpy(prefix, file, kept);
            struct md_tensor tensor;
            assert_fails(MD_ERR_CORRUPT, md_npy_parse(prefix, kept, &tensor, &err));
            free(prefix);
        }
    }
}

static void errors_of_files_name_the_file(void **state)
{
    struct md_tensor tensor;
    struct md_file_part part = {"not numpy at all", 16};
    assert_ok(md_file_replace(path, &part, 1, &err));
    assert_fails(MD_ERR_CORRUPT, md_npy_read(path, &tensor, &err));
    assert_says(path);
    assert_ok(md_file_replace(path, NULL, 0, &err));
    assert_fails(MD_ERR_CORRUPT, md_npy_read(path, &tensor, &err));
    assert_fails(MD_ERR_NOT_FOUND, md_npy_read("/tmp/md_none.npy", &tensor, &err));
    assert_fails(MD_ERR_INVALID, md_npy_read("/tmp", &tensor, &err));
    struct md_shape shape = md_shape_of(0, NULL);
    assert_ok(md_tensor_new(MD_F32, &shape, &tensor, &err));
    assert_fails(MD_ERR_NOT_FOUND, md_npy_write("/tmp/md_none/x.npy", &tensor, &err));
    md_tensor_unref(&tensor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype_and_rank_comes_back),
        cmocka_unit_test(zero_size_and_large_tensors_come_back),
        cmocka_unit_test(a_file_of_numpy_is_read_and_matched),
        cmocka_unit_test(headers_may_vary_within_the_format),
        cmocka_unit_test(versions_two_and_three_are_read),
        cmocka_unit_test(misaligned_data_are_copied),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(bad_starts_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(errors_of_files_name_the_file),
    };
    return cmocka_run_group_tests_name("npy", tests, make_path, remove_path);
}
