/*
 * What every C test starts from: cmocka in the order it wants its includes, assertions that show a
 * struct md_error's text, and scratch folders.
 *
 *     #include "testing.h"
 *
 *     static void refuses_a_short_header(void **state)
 *     {
 *         struct md_error err;
 *         assert_fails(md_npy_read(path, &tensor, &err), MD_ERR_CORRUPT, &err, "header");
 *     }
 *
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {cmocka_unit_test(refuses_a_short_header)};
 *         return cmocka_run_group_tests(tests, NULL, NULL);
 *     }
 *
 * Tests run in the repository root; the environment variable MOONDIAL names the binary.
 */
#ifndef MD_TESTS_TESTING_H
#define MD_TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"

/* The call succeeded; else the test fails and shows err's text. */
#define assert_ok(call, err) test__status(call, MD_OK, err, NULL, #call, __FILE__, __LINE__)

/* The call failed with `code`, and err's text contains `part` (NULL: any text). */
#define assert_fails(call, code, err, part)                                                        \
    test__status(call, code, err, part, #call, __FILE__, __LINE__)

/* count floats agree: |actual - expected| <= absolute + relative * |expected|; NaN equals NaN. */
#define assert_floats_close(actual, expected, count, absolute, relative)                           \
    test__floats(actual, expected, count, absolute, relative, __FILE__, __LINE__)

/* A new empty folder under $TMPDIR or /tmp. test_folder_delete removes it with all it holds. */
char *test_folder_new(void);
void test_folder_delete(char *folder);

/* folder/name, in memory that the caller frees. */
char *test_path(const char *folder, const char *name);

/* Writes a file whole, or fails the test. */
void test_file_write(const char *path, const void *data, size_t length);

/* A file's content with a NUL behind it, to be freed; length may be NULL. Fails the test. */
char *test_file_read(const char *path, size_t *length);

void test__status(enum md_status actual, enum md_status expected, const struct md_error *err,
                  const char *part, const char *call, const char *file, int line);
void test__floats(const float *actual, const float *expected, size_t count, double absolute,
                  double relative, const char *file, int line);

#endif
