/* safetensors: lookups, and every way a file can be wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "unit.h"

static struct md_error err;
static _Alignas(64) unsigned char image[1 << 16];

/* Builds a file image from a header and `bytes` bytes of data counting 0, 1, 2, ... */
static size_t build(const char *header, size_t bytes)
{
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        image[i] = (unsigned char)((uint64_t)length >> (8 * i));
    memcpy(image + 8, header, length);
    for (size_t i = 0; i < bytes; i++)
        image[8 + length + i] = (unsigned char)i;
    return 8 + length + bytes;
}

static enum md_status parse(const char *header, size_t bytes, struct md_safetensors **file)
{
    return md_safetensors_parse(image, build(header, bytes), file, &err);
}

/* A multiple of 8 bytes, so data are aligned as the library aligns them. */
static const char sample[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                             "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
                             "\"n\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}    ";

static void tensors_are_found_by_name(void **state)
{
    struct md_safetensors *file;
    struct md_tensor tensor;
    assert_int_equal((sizeof sample - 1) % 8, 0);
    assert_ok(parse(sample, 32, &file));
    assert_int_equal(md_safetensors_count(file), 2);
    assert_string_equal(md_safetensors_name(file, 0), "n");
    assert_string_equal(md_safetensors_name(file, 1), "w");
    assert_null(md_safetensors_name(file, 2));

    assert_ok(md_safetensors_get(file, "w", &tensor, &err));
    assert_int_equal(tensor.dtype, MD_F32);
    assert_int_equal(tensor.shape.rank, 2);
    assert_int_equal(tensor.shape.dim[1], 3);
    assert_ptr_equal(tensor.data, image + 8 + sizeof sample - 1 + 8);
    md_tensor_unref(&tensor);
    assert_ok(md_safetensors_get(file, "n", &tensor, &err));
    assert_int_equal(tensor.dtype, MD_I64);
    assert_int_equal(md_tensor_count(&tensor), 1);
    md_tensor_unref(&tensor);
    assert_fails(MD_ERR_NOT_FOUND, md_safetensors_get(file, "x", &tensor, &err));
    assert_says("x");
    assert_null(tensor.data);
    md_safetensors_close(file);
    md_safetensors_close(NULL);
}

static void good_headers_are_taken(void **state)
{
    static const struct {
        const char *header;
        size_t bytes, count;
    } cases[] = {
        {"{}", 0, 0},
        {"{}                  ", 0, 0},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, 1},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
         "\"b\":{\"dtype\":\"F64\",\"shape\":[4,0,9223372036854775807],\"data_offsets\":[3,3]},"
         "\"c\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[3,4]}}",
         4, 3},
        {"{\"\":{\"dtype\":\"BF16\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,2]}}", 2, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct md_safetensors *file;
        assert_ok(parse(cases[i].header, cases[i].bytes, &file));
        assert_int_equal(md_safetensors_count(file), cases[i].count);
        for (size_t t = 0; t < cases[i].count; t++) {
            struct md_tensor tensor;
            assert_ok(md_safetensors_get(file, md_safetensors_name(file, t), &tensor, &err));
            assert_non_null(tensor.data);
            md_tensor_unref(&tensor);
        }
        md_safetensors_close(file);
    }
}

static void misaligned_data_are_copied(void **state)
{
    struct md_safetensors *file;
    for (int spaces = 0; spaces < 8; spaces++) {
        char header[128];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                 "\"b\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[1,17]}}%*s",
                 spaces, "");
        assert_ok(parse(header, 17, &file));
        struct md_tensor tensor;
        assert_ok(md_safetensors_get(file, "b", &tensor, &err));
        assert_int_equal((uintptr_t)tensor.data % 8, 0);
        for (int i = 0; i < 16; i++)
            assert_int_equal(((unsigned char *)tensor.data)[i], i + 1);
        md_tensor_unref(&tensor);
        md_safetensors_close(file);
    }
}

#define F32_2(name, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" begin "," end "]}"

static const struct {
    enum md_status status;
    const char *header;
    size_t bytes;
    const char *says;
} bad[] = {
    {MD_ERR_CORRUPT, "", 0, "no header"},
    {MD_ERR_CORRUPT, " {}", 0, "no header"},
    {MD_ERR_CORRUPT, "[]", 0, "no header"},
    {MD_ERR_CORRUPT, "{", 0, "JSON"},
    {MD_ERR_CORRUPT, "{}x", 0, "JSON"},
    {MD_ERR_CORRUPT, "{\"a\":\xFF}", 0, "JSON"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "8") "," F32_2("a", "8", "16") "}", 16, "duplicate"},
    {MD_ERR_CORRUPT, "{\"a\":1}", 0, "tensor a is not described"},
    {MD_ERR_CORRUPT, "{\"a\":{}}", 0, "tensor a is not described"},
    {MD_ERR_CORRUPT, "{\"__metadata__\":[]}", 0, "__metadata__"},
    {MD_ERR_CORRUPT, "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ a"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
     "tensor a"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {MD_ERR_CORRUPT, "{\"a\":{\"type\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "dtype"},
    {MD_ERR_UNSUPPORTED, "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2,
     "F8_E4M3"},
    {MD_ERR_UNSUPPORTED, "{\"a\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     "f32"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "shape"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8,
     "dimension 0"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8,
     "dimension 0"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8,
     "dimension 0"},
    {MD_ERR_CORRUPT,
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[18446744073709551615],\"data_offsets\":[0,8]}}", 8,
     "JSON"},
    {MD_ERR_UNSUPPORTED,
     "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     "9 dimensions"},
    {MD_ERR_CORRUPT,
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     "has 0 bytes"},
    {MD_ERR_CORRUPT,
     "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     "has 0 bytes"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":0}}", 8, "pair"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "pair"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8,
     "pair"},
    {MD_ERR_CORRUPT, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8.0]}}", 8,
     "pair"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "-8", "0") "}", 8, "not within"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "8", "0") "}", 8, "not within"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "8") "}", 7, "not within"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "9223372036854775807") "}", 8, "not within"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "7") "}", 7, "tensor a is float32 [2] but has 7"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "8") "}", 9, "1 bytes after the last"},
    {MD_ERR_CORRUPT, "{}", 1, "1 bytes after the last"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "4", "12") "}", 12, "4 bytes before tensor a"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "8") "," F32_2("b", "9", "17") "}", 17,
     "1 bytes before tensor b"},
    {MD_ERR_CORRUPT, "{" F32_2("b", "7", "15") "," F32_2("a", "0", "8") "}", 15,
     "tensor b overlap data of tensor a"},
    {MD_ERR_CORRUPT, "{" F32_2("a", "0", "8") "," F32_2("b", "0", "8") "}", 8, "overlap"},
};

static void bad_headers_are_refused(void **state)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct md_safetensors *file = (void *)1;
        assert_fails(bad[i].status, parse(bad[i].header, bad[i].bytes, &file));
        assert_says(bad[i].says);
        assert_null(file);
    }
}

static void deep_headers_are_refused(void **state)
{
    char header[4000] = "{\"a\":";
    memset(header + 5, '[', 3900);
    struct md_safetensors *file;
    assert_fails(MD_ERR_CORRUPT, parse(header, 0, &file));
    assert_says("deeper");
}

static void huge_header_lengths_are_refused(void **state)
{
    static const uint64_t lengths[] = {UINT64_MAX, (uint64_t)1 << 63, (16 << 20) + 1, 1000, 3};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct md_safetensors *file;
        size_t length = build("{}", 0);
        for (int b = 0; b < 8; b++)
            image[b] = (unsigned char)(lengths[i] >> (8 * b));
        assert_fails(MD_ERR_CORRUPT, md_safetensors_parse(image, length, &file, &err));
    }
}

/* Each prefix lives in a block of exactly its size, so that a sanitizer sees any read past it. */
static void every_truncation_is_refused(void **state)
{
    size_t length = build(sample, 32);
    for (size_t kept = 0; kept < length; kept++) {
        unsigned char *prefix = malloc(kept ? kept : 1);
        memcpy(prefix, image, kept);
        struct md_safetensors *file;
        assert_fails(MD_ERR_CORRUPT, md_safetensors_parse(prefix, kept, &file, &err));
        free(prefix);
    }
}

/* Small files are read, large ones mapped; a tensor outlives the file it came from either way. */
static void tensors_outlive_their_file(void **state)
{
    static const int64_t rows[] = {4, 600000};
    for (int i = 0; i < 2; i++) {
        char path[] = "/tmp/md_test_safetensors_XXXXXX", header[200];
        close(mkstemp(path));
        size_t bytes = (size_t)rows[i] * 4;
        snprintf(header, sizeof header,
                 "........{\"a\":{\"dtype\":\"F32\",\"shape\":[%lld],\"data_offsets\":[0,%zu]}}",
                 (long long)rows[i], bytes);
        memset(header, 0, 8);
        header[0] = (char)strlen(header + 8);
        float *data = calloc((size_t)rows[i], 4);
        data[rows[i] - 1] = 2.5f;
        struct md_file_part parts[] = {{header, 8 + strlen(header + 8)}, {data, bytes}};
        assert_ok(md_file_replace(path, parts, 2, &err));

        struct md_safetensors *file;
        struct md_tensor tensor;
        assert_ok(md_safetensors_open(path, &file, &err));
        unlink(path);
        assert_ok(md_safetensors_get(file, "a", &tensor, &err));
        md_safetensors_close(file);
        assert_memory_equal(tensor.data, data, bytes);
        md_tensor_unref(&tensor);
        free(data);
    }
}

static void errors_of_files_name_the_file(void **state)
{
    struct md_safetensors *file;
    assert_fails(MD_ERR_NOT_FOUND, md_safetensors_open("/tmp/md_none", &file, &err));
    assert_says("/tmp/md_none");
    assert_fails(MD_ERR_INVALID, md_safetensors_open("/tmp", &file, &err));
    char path[] = "/tmp/md_test_safetensors_XXXXXX";
    close(mkstemp(path));
    assert_fails(MD_ERR_CORRUPT, md_safetensors_open(path, &file, &err));
    assert_says(path);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_found_by_name),
        cmocka_unit_test(good_headers_are_taken),
        cmocka_unit_test(misaligned_data_are_copied),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(deep_headers_are_refused),
        cmocka_unit_test(huge_header_lengths_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(tensors_outlive_their_file),
        cmocka_unit_test(errors_of_files_name_the_file),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
