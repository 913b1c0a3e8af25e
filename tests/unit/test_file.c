/* Whole files: reading under a cap, atomic replacement, things that are not files. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "unit.h"

static char folder[] = "/tmp/md_test_file_XXXXXX";
static char path[64];
static struct md_error err;

static int make_folder(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int remove_folder(void **state)
{
    unlink(path);
    return rmdir(folder);
}

static int folder_entries(void)
{
    int count = 0;
    DIR *entries = opendir(folder);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries))
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

static void what_is_written_is_read(void **state)
{
    struct md_file_part parts[] = {{"one ", 4}, {NULL, 0}, {"two", 3}};
    assert_ok(md_file_replace(path, parts, 3, &err));
    struct md_buffer text;
    md_buffer_init(&text, 0);
    assert_ok(md_file_read(path, 7, &text, &err));
    assert_string_equal(text.data, "one two");
    assert_ok(md_file_replace(path, parts, 1, &err));
    assert_ok(md_file_read(path, 7, &text, &err));
    assert_string_equal(text.data, "one twoone ");
    assert_int_equal(folder_entries(), 1);
    md_buffer_fini(&text);
}

static void an_empty_file_is_read(void **state)
{
    assert_ok(md_file_replace(path, NULL, 0, &err));
    struct md_buffer text;
    md_buffer_init(&text, 0);
    assert_ok(md_file_read(path, 0, &text, &err));
    assert_string_equal(text.data, "");
    md_buffer_fini(&text);
}

static void caps_hold(void **state)
{
    struct md_file_part part = {"12345", 5};
    assert_ok(md_file_replace(path, &part, 1, &err));
    struct md_buffer text;
    md_buffer_init(&text, 4);
    assert_fails(MD_ERR_TOO_LARGE, md_file_read(path, 4, &text, &err));
    assert_fails(MD_ERR_TOO_LARGE, md_file_read(path, 100, &text, &err));
    assert_says(path);
    md_buffer_fini(&text);
}

static void what_is_not_a_file_is_refused(void **state)
{
    struct md_buffer text;
    md_buffer_init(&text, 0);
    assert_fails(MD_ERR_INVALID, md_file_read(folder, 100, &text, &err));
    assert_says("not a regular file");
    assert_fails(MD_ERR_NOT_FOUND, md_file_read("/tmp/md_none/none", 100, &text, &err));
    assert_says("/tmp/md_none/none");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_fails(MD_ERR_INVALID, md_file_read(path, 100, &text, &err)); /* and does not hang */
    md_buffer_fini(&text);
}

static void a_failed_replacement_leaves_nothing(void **state)
{
    struct md_file_part part = {"x", 1};
    assert_fails(MD_ERR_NOT_FOUND, md_file_replace("/tmp/md_none/none", &part, 1, &err));
    char below[80];
    snprintf(below, sizeof below, "%s/folder", folder);
    assert_int_equal(mkdir(below, 0700), 0);
    int before = folder_entries();
    assert_fails(MD_ERR_IO, md_file_replace(below, &part, 1, &err)); /* a folder is in the way */
    assert_int_equal(folder_entries(), before);
    rmdir(below);
    char endless[8192];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_fails(MD_ERR_INVALID, md_file_replace(endless, &part, 1, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(an_empty_file_is_read),
        cmocka_unit_test(caps_hold),
        cmocka_unit_test(what_is_not_a_file_is_refused),
        cmocka_unit_test(a_failed_replacement_leaves_nothing),
    };
    return cmocka_run_group_tests_name("file", tests, make_folder, remove_folder);
}
