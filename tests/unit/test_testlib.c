/* The test helpers themselves: a comparison that never fails would hide everything behind it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "unit.h"

static void floats_agree_within_tolerance(void **state)
{
    const float expected[] = {1.0f, -200.0f, NAN, INFINITY, 0.0f};
    const float actual[] = {1.0005f, -200.1f, NAN, INFINITY, -0.0f};
    assert_floats_close(actual, expected, 5, 1e-3, 1e-3);
}

static void floats_disagree_beyond_it(void **state)
{
    const float pairs[][2] = {{1.1f, 1.0f}, {NAN, 1.0f}, {1.0f, NAN}, {INFINITY, -INFINITY},
                              {1e30f, INFINITY}, {INFINITY, 1.0f}, {-200.0f, 200.0f}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_int_equal(unit_floats_differ_at(&pairs[i][0], &pairs[i][1], 1, 1e-3, 1e-3), 0);
    const float a[] = {1, 2, 3}, b[] = {1, 2, 4};
    assert_int_equal(unit_floats_differ_at(a, b, 3, 0.5, 0), 2);
}

static void files_come_back_as_written(void **state)
{
    char *folder = scratch_new();
    char *path = scratch_path(folder, "data");
    char data[10000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)i;
    scratch_write(path, data, sizeof data);
    size_t length = 0;
    char *read = scratch_read(path, &length);
    assert_int_equal(length, sizeof data);
    assert_memory_equal(read, data, sizeof data);
    assert_int_equal(read[length], 0);
    free(read);
    char *gone = strdup(folder);
    scratch_delete(folder);
    assert_int_equal(access(gone, F_OK), -1);
    free(gone);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_agree_within_tolerance),
        cmocka_unit_test(floats_disagree_beyond_it),
        cmocka_unit_test(files_come_back_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
