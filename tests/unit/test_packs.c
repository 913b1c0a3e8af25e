/*
 * Packed weights on disk: found again, damaged in every way, someone else's, more than fits; and
 * executables that use them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/backend.h"
#include "graph/executable.h"
#include "graph/packs.h"
#include "graphs.h"
#include "kernels/cpu/cpu.h"
#include "scratch.h"
#include "tensor/mapping.h"
#include "unit.h"

#define NO_LIMIT ((size_t)1 << 30)

static struct md_error err;
static struct md_pool *pool;
static char *folder;

static int new_folder(void **state)
{
    folder = scratch_new();
    return 0;
}

static int delete_folder(void **state)
{
    scratch_delete(folder);
    return 0;
}

static struct md_digest key_of(uint64_t number)
{
    return (struct md_digest){{number, number}};
}

static void write_packs(const char *where, uint64_t key, size_t bytes_max)
{
    static unsigned char small[100], large[70000];
    memset(small, 1, sizeof small);
    memset(large, 2, sizeof large);
    const struct md__pack packs[] = {{key_of(7), small, sizeof small},
                                     {key_of(8), large, sizeof large}};
    assert_ok(md__packs_write(where, key_of(key), packs, 2, bytes_max, &err));
}

static char *file_of(const char *where, uint64_t key)
{
    char name[MD_HASH_TEXT + 8], text[MD_HASH_TEXT];
    md_digest_text(key_of(key), text);
    snprintf(name, sizeof name, "%s.packs", text);
    return scratch_path(where, name);
}

static bool is_there(const char *where, uint64_t key)
{
    char *path = file_of(where, key);
    bool found = access(path, R_OK) == 0;
    free(path);
    return found;
}

static void what_was_written_is_found(void **state)
{
    size_t bytes;
    char *deep = scratch_path(folder, "a/b");
    assert_null(md__packs_open(deep, key_of(1)));
    write_packs(deep, 1, NO_LIMIT);
    assert_null(md__packs_open(deep, key_of(2)));
    struct md__packs *packs = md__packs_open(deep, key_of(1));
    assert_non_null(packs);
    const unsigned char *small = md__packs_find(packs, key_of(7), &bytes);
    assert_int_equal(bytes, 100);
    assert_true((uintptr_t)small % 64 == 0 && small[0] == 1 && small[99] == 1);
    const unsigned char *large = md__packs_find(packs, key_of(8), &bytes);
    assert_int_equal(bytes, 70000);
    assert_true((uintptr_t)large % 4096 == 0 && large[69999] == 2);
    assert_null(md__packs_find(packs, key_of(9), &bytes));
    md__packs_close(packs);
    free(deep);
}

/* Looks both blocks up: nothing that is found may be wrong. */
static void check_what_is_found(void)
{
    size_t bytes;
    struct md__packs *packs = md__packs_open(folder, key_of(1));
    const unsigned char *small = md__packs_find(packs, key_of(7), &bytes);
    assert_true(!small || (bytes == 100 && small[0] == 1 && small[99] == 1));
    const unsigned char *large = md__packs_find(packs, key_of(8), &bytes);
    assert_true(!large || (bytes == 70000 && large[0] == 2 && large[69999] == 2));
    assert_false(small && large); /* the damage shows */
    md__packs_close(packs);
}

static void damage_is_noticed(void **state)
{
    size_t length;
    write_packs(folder, 1, NO_LIMIT);
    char *path = file_of(folder, 1), *content = scratch_read(path, &length);
    for (size_t cut = 0; cut < length; cut += cut < 400 ? 1 : 997) {
        scratch_write(path, content, cut);
        check_what_is_found();
    }
    for (size_t at = 0; at < length; at += at < 400 ? 1 : 997) {
        size_t end = 56 + 2 * 48; /* of the entries; what pads blocks means nothing */
        if (at >= end && (at < 192 || at >= 292) && at < length - 70000)
            continue;
        content[at] ^= 0x10;
        scratch_write(path, content, length);
        check_what_is_found();
        content[at] ^= 0x10;
    }
    free(content);
    free(path);
}

static void only_ones_own_are_used(void **state)
{
    char *path = file_of(folder, 1);
    write_packs(folder, 1, NO_LIMIT);
    assert_int_equal(chmod(path, 0620), 0);
    assert_null(md__packs_open(folder, key_of(1)));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(chmod(folder, 0777), 0);
    assert_null(md__packs_open(folder, key_of(1)));
    assert_fails(MD_ERR_IO, md__packs_write(folder, key_of(1), NULL, 0, NO_LIMIT, &err));
    assert_int_equal(chmod(folder, 0700), 0);
    char *other = file_of(folder, 2);
    assert_int_equal(symlink(path, other), 0);
    assert_null(md__packs_open(folder, key_of(2)));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(md__packs_open(folder, key_of(1)));
    free(path);
    free(other);
}

static void age(uint64_t key, time_t seconds)
{
    char *path = file_of(folder, key);
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    free(path);
}

static void what_was_used_least_recently_goes(void **state)
{
    char *left_over = scratch_path(folder, "x.packs.1.2~");
    scratch_write(left_over, "x", 1);
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    assert_int_equal(utimensat(AT_FDCWD, left_over, long_ago, 0), 0);
    for (uint64_t key = 1; key <= 3; key++) {
        write_packs(folder, key, NO_LIMIT);
        age(key, (time_t)(1000 + key));
    }
    md__packs_close(md__packs_open(folder, key_of(1))); /* used: now the newest */
    write_packs(folder, 4, 250000);                     /* three of them fit */
    assert_true(is_there(folder, 1) && is_there(folder, 3) && is_there(folder, 4));
    assert_false(is_there(folder, 2));
    assert_int_not_equal(access(left_over, R_OK), 0);
    const struct md__pack pack = {key_of(7), left_over, 1};
    assert_fails(MD_ERR_TOO_LARGE, md__packs_write(folder, key_of(5), &pack, 1, 100, &err));
    free(left_over);
}

/* ---- executables ---- */

/* y = x W, W [600, 600] of one number. */
static struct md_executable *product_in(float weight, const char *packs_folder, bool low_memory)
{
    struct md_graph *graph;
    struct md_executable *executable;
    struct md_tensor w;
    const struct md_shape shape = md_shape_of(2, (int64_t[]){600, 600});
    int in[2], y;
    assert_ok(md_graph_new("product", &graph, &err));
    assert_ok(md_tensor_new(MD_F32, &shape, &w, &err));
    for (size_t i = 0; i < md_tensor_count(&w); i++)
        ((float *)w.data)[i] = weight;
    in[0] = graphs_input(graph, "x", MD_F32, 2, (int64_t[]){1, 600});
    assert_ok(md_graph_constant(graph, "w", &w, &in[1], &err));
    md_tensor_unref(&w);
    assert_ok(md_graph_node(graph, "MatMul", "", in, 2, NULL, 0, &y, 1, &err));
    graphs_output(graph, "y", y);
    const struct md_executable_options options = {.backend = md_cpu_backend(MD_ISA_BEST),
                                                  .reference = md_cpu_reference(),
                                                  .pool = pool,
                                                  .packs_folder = packs_folder,
                                                  .low_memory = low_memory};
    assert_ok(md_executable_new(graph, &options, &executable, &err));
    return executable;
}

static struct md_executable *product(float weight, const char *packs_folder)
{
    return product_in(weight, packs_folder, false);
}

/* Runs it once, keeps its packs; returns how many bytes came from a file. */
static size_t answer(struct md_executable *executable, float expected)
{
    struct md_plan_report report;
    const struct md_shape shape = md_shape_of(2, (int64_t[]){1, 600});
    struct md_tensor x, y;
    assert_ok(md_tensor_new(MD_F32, &shape, &x, &err));
    for (int i = 0; i < 600; i++)
        ((float *)x.data)[i] = 1;
    assert_ok(md_executable_run(executable, &x, 1, &y, 1, &err));
    assert_true(((float *)y.data)[0] == expected && ((float *)y.data)[599] == expected);
    md_tensor_unref(&x);
    md_tensor_unref(&y);
    assert_ok(md_executable_keep_packs(executable, &err));
    assert_ok(md_executable_report(executable, &report, &err));
    md_executable_delete(executable);
    return report.kept_bytes;
}

static size_t files_in(const char *where)
{
    size_t count = 0;
    DIR *items = opendir(where);
    while (items && readdir(items))
        count++;
    closedir(items);
    return count - 2;
}

static void a_second_load_maps_what_the_first_packed(void **state)
{
    assert_int_equal(answer(product(2, NULL), 1200), 0);
    assert_int_equal(files_in(folder), 0);
    assert_int_equal(answer(product(2, folder), 1200), 0);
    assert_int_equal(files_in(folder), 1);
    assert_in_range(answer(product(2, folder), 1200), 600 * 600 * 4, 700 * 600 * 4);
    assert_int_equal(answer(product_in(2, folder, true), 1200), 0); /* packed another way */
    assert_true(answer(product_in(2, folder, true), 1200) > 0);
    assert_int_equal(answer(product(3, folder), 1800), 0); /* other weights, another key */
    assert_int_equal(files_in(folder), 3);
}

static void weights_come_back_from_the_file_they_went_to(void **state)
{
    /* Twice: what was packed is no longer read, but another shape may ask for it. */
    struct md_executable *executable = product_in(2, NULL, true);
    const struct md_value *w = &md_executable_graph(executable)->values[1];
    assert_true(((const float *)w->constant.data)[359999] == 2);
    md_tensor_forget(&w->constant);
    assert_true(((const float *)w->constant.data)[0] == 2);
    assert_int_equal(answer(executable, 1200), 0);
    struct md_tensor heap, small;
    assert_ok(md_tensor_new(MD_U8, &(struct md_shape){1, {100000}}, &heap, &err));
    assert_ok(md_tensor_new(MD_U8, &(struct md_shape){1, {100}}, &small, &err));
    void *before = small.data;
    ((char *)heap.data)[99999] = 7;
    assert_fails(MD_ERR_IO, md_tensor_spill(&heap, "/nonexistent", &err));
    assert_int_equal(((char *)heap.data)[99999], 7);
    assert_ok(md_tensor_spill(&heap, folder, &err));
    md_tensor_forget(&heap);
    assert_int_equal(((char *)heap.data)[99999], 7);
    assert_ok(md_tensor_spill(&small, folder, &err));
    assert_ptr_equal(small.data, before);
    md_tensor_unref(&heap);
    md_tensor_unref(&small);
}

static void a_damaged_file_is_made_anew(void **state)
{
    assert_int_equal(answer(product(2, folder), 1200), 0);
    DIR *items = opendir(folder);
    const struct dirent *item;
    while ((item = readdir(items))) {
        char *path = item->d_name[0] == '.' ? NULL : scratch_path(folder, item->d_name);
        if (path)
            assert_int_equal(truncate(path, 600000), 0);
        free(path);
    }
    closedir(items);
    assert_int_equal(answer(product(2, folder), 1200), 0);
    assert_true(answer(product(2, folder), 1200) > 0);
}

/* Small, middling and large ones, freed in another order than made. */
static void blocks_are_zeroed_and_apart(void **state)
{
    enum { BLOCKS = 40 };
    unsigned char *blocks[BLOCKS];
    size_t bytes[BLOCKS];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            bytes[i] = i % 13 == 12 ? 9000001 : (i % 3 ? i * 70001 : i + 1) + 1;
            blocks[i] = md_prepared_new(bytes[i]);
            assert_non_null(blocks[i]);
            assert_true((uintptr_t)blocks[i] % 64 == 0);
            for (size_t at = 0; at < bytes[i]; at += 61)
                assert_int_equal(blocks[i][at], 0);
            memset(blocks[i], (int)i + 1, bytes[i]);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            size_t k = i * 7 % BLOCKS;
            assert_true(blocks[k][0] == k + 1 && blocks[k][bytes[k] - 1] == k + 1);
            md_prepared_delete(blocks[k], bytes[k]);
        }
    }
    md_prepared_delete(NULL, 1 << 20);
    assert_null(md_prepared_new(SIZE_MAX));
}

static int start(void **state)
{
    return md_pool_new(1, 0, &pool, &err);
}

static int stop(void **state)
{
    md_pool_delete(pool);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, new_folder, delete_folder)
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_found),
        TEST(damage_is_noticed),
        TEST(only_ones_own_are_used),
        TEST(what_was_used_least_recently_goes),
        TEST(a_second_load_maps_what_the_first_packed),
        TEST(a_damaged_file_is_made_anew),
        TEST(blocks_are_zeroed_and_apart),
        TEST(weights_come_back_from_the_file_they_went_to),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
