/* The watcher: what names mean, what a fingerprint sees, and files changing under a live engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "scratch.h"
#include "script/generation.h"
#include "script/watch.h"
#include "scripted.h"
#include "unit.h"

static struct scripted s;

/* ---- decisions ------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    static const struct {
        const char *name;
        bool is_folder;
        enum md__watch_kind kind;
    } cases[] = {
        {"app.lua", false, MD__WATCH_SCRIPT},
        {"a b.lua", false, MD__WATCH_SCRIPT},
        {"42.lua", false, MD__WATCH_SCRIPT},
        {"app.lua~", false, MD__WATCH_NOTHING},
        {".app.lua.swp", false, MD__WATCH_NOTHING},
        {".#app.lua", false, MD__WATCH_NOTHING},
        {"#app.lua#", false, MD__WATCH_NOTHING},
        {"4913", false, MD__WATCH_NOTHING},
        {"app.lua.tmp", false, MD__WATCH_NOTHING},
        {"app.lua___jb_tmp___", false, MD__WATCH_NOTHING},
        {".git", true, MD__WATCH_NOTHING},
        {"", false, MD__WATCH_NOTHING},
        {"..data", false, MD__WATCH_OTHER},
        {"..data_tmp", false, MD__WATCH_NOTHING},
        {"..2026_11_21", true, MD__WATCH_NOTHING},
        {"lib", true, MD__WATCH_OTHER},
        {"lib.lua", true, MD__WATCH_OTHER},
        {"1", true, MD__WATCH_OTHER},
        {"model.safetensors", false, MD__WATCH_OTHER},
        {"model.onnx", false, MD__WATCH_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (md__watch_kind(cases[i].name, cases[i].is_folder) != cases[i].kind)
            fail_msg("%s is taken for something else", cases[i].name);
    }
}

static void put(const char *folder, const char *name, const char *text)
{
    char *path = scratch_path(folder, name);
    scratch_write(path, text, strlen(text));
    free(path);
}

static void test_fingerprints(void **state)
{
    char *folder = scratch_new(), *inner = scratch_path(folder, "inner");
    put(folder, "a", "1");
    uint64_t first = md__watch_scan(folder, NULL, NULL);
    assert_true(first != 0);
    assert_true(md__watch_scan(folder, NULL, NULL) == first);
    put(folder, "b.swp", "1");
    assert_true(md__watch_scan(folder, NULL, NULL) == first);
    mkdir(inner, 0700);
    uint64_t second = md__watch_scan(folder, NULL, NULL);
    assert_true(second != first);
    put(inner, "c", "1");
    uint64_t third = md__watch_scan(folder, NULL, NULL);
    assert_true(third != second);
    put(inner, "c", "22");
    assert_true(md__watch_scan(folder, NULL, NULL) != third);
    free(inner);
    scratch_delete(folder);
    assert_true(md__watch_scan("/nowhere/at/all", NULL, NULL) == 0);
}

/* ---- a live folder --------------------------------------------------------------------------- */

static int begin(void **state)
{
    md_log_set_level(MD_LOG_OFF);
    scripted_begin(&s);
    return 0;
}

static int end(void **state)
{
    scripted_end(&s);
    return 0;
}

static void expect_soon(const char *body)
{
    for (int i = 0; i < 1000; i++) {
        if (scripted_call(&s, "GET", "/x", NULL) == 200 && strcmp(s.body, body) == 0)
            return;
        usleep(10000);
    }
    fail_msg("/x answers %s, not %s", s.body, body);
}

static void open_watched(void)
{
    struct md_error err;
    scripted_open(&s, NULL);
    assert_ok(md_script_watch(s.script, &err));
    assert_ok(md_script_start(s.script, &err));
}

static void move(const char *from, const char *to)
{
    char *a = scratch_path(s.dir, from), *b = scratch_path(s.dir, to);
    assert_int_equal(rename(a, b), 0);
    free(a);
    free(b);
}

static void link_to(const char *target, const char *name)
{
    char *path = scratch_path(s.dir, name);
    assert_int_equal(symlink(target, path), 0);
    free(path);
}

static void make_folder(const char *name)
{
    char *path = scratch_path(s.dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
    free(path);
}

static void write_app(void)
{
    scripted_write(&s, "app.lua",
                   "local md = require 'moondial'\nlocal value = require 'value'\n"
                   "return md.app { name = 't', routes = { md.get('/x', function()\n"
                   "  return { value } end) } }\n");
}

static void test_writing_and_renaming(void **state)
{
    write_app();
    scripted_write(&s, "value.lua", "return 1");
    open_watched();
    expect_soon("[1]");
    scripted_write(&s, "value.lua", "return 2"); /* in place */
    expect_soon("[2]");
    scripted_write(&s, "value.lua.tmp", "return 3"); /* atomically */
    move("value.lua.tmp", "value.lua");
    expect_soon("[3]");
    move("value.lua", "value.lua~"); /* as editors do that keep a backup */
    scripted_write(&s, "value.lua", "return 4");
    expect_soon("[4]");
}

static void test_folders_come_and_go(void **state)
{
    write_app();
    scripted_write(&s, "value.lua", "return 1");
    open_watched();
    make_folder("value");
    scripted_write(&s, "value/init.lua", "return 2");
    move("value.lua", "gone.lua~");
    expect_soon("[2]");
    scripted_write(&s, "value/init.lua", "return 3"); /* the new folder is watched */
    expect_soon("[3]");
    move("value", "old");
    scripted_write(&s, "value.lua", "return 4");
    expect_soon("[4]");
}

static void test_config_map(void **state)
{
    write_app();
    make_folder("..1");
    make_folder("..2");
    scripted_write(&s, "..1/value.lua", "return 1");
    scripted_write(&s, "..2/value.lua", "return 2");
    link_to("..1", "..data");
    link_to("..data/value.lua", "value.lua");
    open_watched();
    expect_soon("[1]");
    link_to("..2", "..data_tmp");
    move("..data_tmp", "..data");
    expect_soon("[2]");
}

static void test_a_linked_folder_is_replaced(void **state)
{
    scripted_write(&s, "app.lua",
                   "local md = require 'moondial'\nlocal value = require 'lib.value'\n"
                   "return md.app { name = 't', routes = { md.get('/x', function()\n"
                   "  return { value } end) } }\n");
    make_folder("v1");
    make_folder("v2");
    scripted_write(&s, "v1/value.lua", "return 1");
    scripted_write(&s, "v2/value.lua", "return 2");
    link_to("v1", "lib");
    open_watched();
    expect_soon("[1]");
    link_to("v2", "lib.next");
    move("lib.next", "lib");
    expect_soon("[2]");
    scripted_write(&s, "v2/value.lua", "return 3");
    expect_soon("[3]");
}

static void test_noise_is_left_alone(void **state)
{
    write_app();
    scripted_write(&s, "value.lua", "return 1");
    open_watched();
    scripted_write(&s, ".value.lua.swp", "x");
    scripted_write(&s, "4913", "x");
    scripted_write(&s, "value.lua~", "x");
    scripted_write(&s, "value.lua", "return 1"); /* saved without a change */
    usleep(200000);
    assert_int_equal(s.script->numbers, 1);
    assert_int_equal(s.script->last.attempts, 0);
}

/* inotify takes a descriptor: without one left the watcher only looks, twice a second. */
static void test_without_inotify(void **state)
{
    struct rlimit before, tight;
    struct md_error err;
    write_app();
    scripted_write(&s, "value.lua", "return 1");
    scripted_open(&s, NULL);
    int next = dup(0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = (rlim_t)next + 1; /* one for the event that ends the thread */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    enum md_status status = md_script_watch(s.script, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, MD_OK);
    assert_ok(md_script_start(s.script, &err));
    expect_soon("[1]");
    scripted_write(&s, "value.lua", "return 22");
    expect_soon("[22]");
    make_folder("value");
    scripted_write(&s, "value/init.lua", "return 3");
    move("value.lua", "value.bak");
    expect_soon("[3]");
}

#define LIVE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_fingerprints),
        LIVE(test_writing_and_renaming), LIVE(test_folders_come_and_go),
        LIVE(test_config_map),           LIVE(test_a_linked_folder_is_replaced),
        LIVE(test_noise_is_left_alone),
        LIVE(test_without_inotify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
