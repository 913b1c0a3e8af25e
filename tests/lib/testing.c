/* The helpers of testing.h. Failures go through cmocka's _fail, so that they carry the test's own
 * file and line. */
#include "testing.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void test__status(enum md_status actual, enum md_status expected, const struct md_error *err,
                  const char *part, const char *call, const char *file, int line)
{
    const char *text = actual != MD_OK && err ? err->text : "";
    if (actual != expected) {
        print_error("%s\n    is %s (%s), expected %s\n", call, md_status_name(actual), text,
                    md_status_name(expected));
        _fail(file, line);
    } else if (part && !strstr(text, part)) {
        print_error("%s\n    says \"%s\", expected \"%s\" in it\n", call, text, part);
        _fail(file, line);
    } else if (actual != MD_OK && err && err->code != actual) {
        print_error("%s\n    returns %s but err holds %s\n", call, md_status_name(actual),
                    md_status_name(err->code));
        _fail(file, line);
    }
}

void test__floats(const float *actual, const float *expected, size_t count, double absolute,
                  double relative, const char *file, int line)
{
    for (size_t i = 0; i < count; i++) {
        double a = actual[i], e = expected[i];
        bool same = (isnan(a) && isnan(e)) || a == e;
        if (!same && !(fabs(a - e) <= absolute + relative * fabs(e))) {
            print_error("[%zu] is %.9g, expected %.9g\n", i, a, e);
            _fail(file, line);
        }
    }
}

char *test_folder_new(void)
{
    const char *base = getenv("TMPDIR");
    char *folder = NULL;
    if (asprintf(&folder, "%s/moondial-test-XXXXXX", base && *base ? base : "/tmp") < 0 ||
        !mkdtemp(folder)) {
        print_error("no scratch folder: %s\n", strerror(errno));
        fail();
    }
    return folder;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info, (void)kind, (void)place;
    return remove(path);
}

void test_folder_delete(char *folder)
{
    if (folder) {
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(folder);
}

char *test_path(const char *folder, const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

void test_file_write(const char *path, const void *data, size_t length)
{
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(data, 1, length, file) == length;
    if (!file || fclose(file) != 0 || !written) {
        print_error("%s: %s\n", path, strerror(errno));
        fail();
    }
}

char *test_file_read(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        print_error("%s: %s\n", path, strerror(errno));
        fail();
    }
    size_t used = 0, room = 4096;
    char *data = malloc(room);
    assert_non_null(data);
    for (size_t got; (got = fread(data + used, 1, room - used - 1, file)) > 0;) {
        used += got;
        if (used == room - 1) {
            room *= 2;
            data = realloc(data, room);
            assert_non_null(data);
        }
    }
    fclose(file);
    data[used] = '\0';
    if (length) {
        *length = used;
    }
    return data;
}
