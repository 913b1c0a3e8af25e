/* Mapped files that somebody writes to while they are in use: told, and never the process's end. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/executable.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "tensor/mapping.h"
#include "unit.h"

enum { COUNT = 1 << 20, PAGE_FLOATS = 1024 };

static struct md_error err;
static char folder[] = "/tmp/moondial-mapping-XXXXXX";
static char path[64];
static struct md_pool *pool;

static void write_floats(const char *name, float value, int count)
{
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    for (int i = 0; i < count; i++)
        assert_int_equal(fwrite(&value, sizeof value, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* The file is as old as if it had been there for long: its next change shows in its time. */
static void make_file(void)
{
    const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    write_floats(path, 2, COUNT);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
}

static struct md_owner *open_file(void)
{
    struct md_owner *owner;
    make_file();
    assert_ok(md_mapping_open(path, &owner, &err));
    assert_int_equal(owner->bytes, COUNT * sizeof(float));
    assert_true(md_mapping_is_file(owner));
    assert_ok(md_mapping_check(owner, &err));
    return owner;
}

static void what_is_cut_off_reads_as_zeros_and_is_told(void **state)
{
    struct md_owner *owner = open_file(), *other;
    char second[80];
    snprintf(second, sizeof second, "%s.second", path);
    write_floats(second, 3, COUNT);
    assert_ok(md_mapping_open(second, &other, &err));
    const float *data = owner->memory;
    assert_int_equal(truncate(path, PAGE_FLOATS * sizeof(float)), 0);
    assert_true(data[0] == 2);
    assert_true(data[COUNT - 1] == 0 && data[PAGE_FLOATS] == 0 && data[COUNT / 2] == 0);
    assert_true(data[PAGE_FLOATS - 1] == 2);
    assert_fails(MD_ERR_IO, md_mapping_check(owner, &err));
    assert_says("renamed");
    unlink(path); /* what was lost stays lost */
    assert_fails(MD_ERR_IO, md_mapping_check(owner, &err));
    assert_ok(md_mapping_check(other, &err));
    md_owner_unref(owner);
    assert_true(((const float *)other->memory)[COUNT - 1] == 3);
    md_owner_unref(other);
    unlink(second);
}

static void what_is_written_over_in_place_is_told(void **state)
{
    struct md_owner *owner = open_file();
    write_floats(path, 7, COUNT); /* of the same size */
    assert_fails(MD_ERR_IO, md_mapping_check(owner, &err));
    md_owner_unref(owner);
}

static void what_is_renamed_over_it_or_removed_does_no_harm(void **state)
{
    struct md_owner *owner = open_file();
    char fresh[80];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    write_floats(fresh, 7, COUNT);
    assert_int_equal(rename(fresh, path), 0);
    assert_ok(md_mapping_check(owner, &err));
    assert_true(((const float *)owner->memory)[COUNT - 1] == 2);
    unlink(path);
    assert_ok(md_mapping_check(owner, &err));
    md_owner_unref(owner);
}

static void memory_of_other_kinds_is_always_well(void **state)
{
    struct md_owner *owner;
    write_floats(path, 1, 10);
    assert_ok(md_mapping_open(path, &owner, &err)); /* too small to be mapped */
    write_floats(path, 2, 5);
    assert_false(md_mapping_is_file(owner));
    assert_ok(md_mapping_check(owner, &err));
    assert_ok(md_mapping_check(NULL, &err));
    md_owner_unref(owner);
}

static void *read_last(void *context)
{
    const struct md_owner *owner = context;
    return ((const float *)owner->memory)[COUNT - 1] == 0 ? NULL : context;
}

static void many_threads_may_meet_it(void **state)
{
    enum { THREADS = 8, ROUNDS = 20 };
    for (int round = 0; round < ROUNDS; round++) {
        struct md_owner *owner = open_file();
        pthread_t threads[THREADS];
        assert_int_equal(truncate(path, 0), 0);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, read_last, owner), 0);
        for (int i = 0; i < THREADS; i++) {
            void *wrong = owner;
            assert_int_equal(pthread_join(threads[i], &wrong), 0);
            assert_null(wrong);
        }
        assert_fails(MD_ERR_IO, md_mapping_check(owner, &err));
        md_owner_unref(owner);
    }
}

/* x + weights */
static struct md_executable *make_executable(struct md_owner *owner)
{
    struct md_graph *graph = graphs_new("mapped");
    struct md_tensor weights = {MD_F32, {1, {COUNT}}, owner->memory, owner};
    int in = graphs_input(graph, "x", MD_F32, 1, (const int64_t[]){COUNT}), constant;
    assert_ok(md_graph_constant(graph, "weights", &weights, &constant, &err));
    graphs_output(graph, "y", graphs_node(graph, "Add", in, constant));
    const struct md_executable_options options = {
        .backend = md_cpu_reference(), .reference = md_cpu_reference(), .pool = pool};
    struct md_executable *executable;
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    return executable;
}

static void a_run_over_a_file_that_changed_fails(void **state)
{
    for (int cut = 0; cut < 2; cut++) {
        struct md_owner *owner = open_file();
        struct md_executable *executable = make_executable(owner);
        struct md_tensor x, y = {0};
        assert_ok(md_tensor_new(MD_F32, &(struct md_shape){1, {COUNT}}, &x, &err));
        assert_ok(md_executable_run(executable, &x, 1, &y, 1, &err));
        assert_true(((const float *)y.data)[COUNT - 1] == 2);
        md_tensor_unref(&y);
        if (cut)
            assert_int_equal(truncate(path, 4096), 0);
        else
            write_floats(path, 5, COUNT);
        assert_fails(MD_ERR_IO, md_executable_run(executable, &x, 1, &y, 1, &err));
        assert_null(y.data);
        md_tensor_unref(&x);
        md_executable_delete(executable);
        md_owner_unref(owner);
    }
}

static int set_up(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/weights", folder);
    return md_pool_new(2, 0, &pool, &err);
}

static int tear_down(void **state)
{
    md_pool_delete(pool);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_cut_off_reads_as_zeros_and_is_told),
        cmocka_unit_test(what_is_written_over_in_place_is_told),
        cmocka_unit_test(what_is_renamed_over_it_or_removed_does_no_harm),
        cmocka_unit_test(memory_of_other_kinds_is_always_well),
        cmocka_unit_test(many_threads_may_meet_it),
        cmocka_unit_test(a_run_over_a_file_that_changed_fails),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
