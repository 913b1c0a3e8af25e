/* Scratch folders and files: see scratch.h. */
#include "scratch.h"

#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

char *scratch_new(void)
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

void scratch_delete(char *folder)
{
    if (folder) {
        nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    free(folder);
}

char *scratch_path(const char *folder, const char *name)
{
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

void scratch_write(const char *path, const void *data, size_t length)
{
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(data, 1, length, file) == length;
    if (!file || fclose(file) != 0 || !written) {
        print_error("%s: %s\n", path, strerror(errno));
        fail();
    }
}

char *scratch_read(const char *path, size_t *length)
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
