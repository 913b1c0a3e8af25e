/*
 * Out of memory, at every place it can happen: each operation is run with its first allocation
 * failing, then its second, and so on until it succeeds. A failing run gives an error and keeps
 * nothing; what was there before is untouched.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/json_in.h"
#include "base/metrics.h"
#include "base/pool.h"
#include "failing.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "tensor/npy.h"
#include "unit.h"

static struct md_error err;

#if FAILING_AVAILABLE

/*
 * Operations free all they make. Returns how many failures it took until one succeeded. jansson
 * takes some failures of its lexer for a fault of the text, hence by_jansson.
 */
static int fail_each_allocation(enum md_status (*operation)(void), bool by_jansson)
{
    for (int allowed = 0;; allowed++) {
        enum md_status status;
        long kept;
        bool has_failed = failing_run(operation, allowed, &status, &kept);
        assert_int_equal(kept, 0);
        if (!has_failed) {
            assert_ok(status);
            return allowed;
        }
        if (status != MD_ERR_MEMORY && !(by_jansson && status))
            fail_msg("with allocation %d failing: %s (%s)", allowed, md_status_name(status),
                     err.text);
    }
}

/* ---- operations ---- */

static char folder[] = "/tmp/md_test_memory_XXXXXX";
static char npy_path[80], weights_path[80], config_path[80];

static enum md_status new_tensor(void)
{
    struct md_tensor tensor, copy;
    struct md_shape shape = md_shape_of(2, (int64_t[]){3, 4});
    enum md_status status = md_tensor_new(MD_F32, &shape, &tensor, &err);
    if (status)
        return status;
    status = md_tensor_convert(&tensor, MD_F16, &copy, &err);
    md_tensor_unref(&tensor);
    if (!status)
        md_tensor_unref(&copy);
    return status;
}

static enum md_status write_npy(void)
{
    static uint16_t data[] = {1, 2, 3};
    struct md_tensor tensor = {
        .dtype = MD_BF16, .shape = md_shape_of(1, (int64_t[]){3}), .data = data};
    return md_npy_write(npy_path, &tensor, &err);
}

static enum md_status read_npy(void)
{
    struct md_tensor tensor;
    enum md_status status = md_npy_read(npy_path, &tensor, &err);
    md_tensor_unref(&tensor);
    return status;
}

/* The second tensor is not aligned, so taking it copies. */
static const char weights[] =
    "\x84\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
    "\"bb\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]},\"__metadata__\":{\"k\":\"v\"}"
    "}"
    "12345";

static enum md_status read_weights(void)
{
    struct md_safetensors *file;
    enum md_status status = md_safetensors_open(weights_path, &file, &err);
    if (status)
        return status;
    struct md_tensor tensor;
    status = md_safetensors_get(file, "bb", &tensor, &err);
    md_tensor_unref(&tensor);
    md_safetensors_close(file);
    return status;
}

static enum md_status read_config(void)
{
    struct md_model_config config;
    enum md_status status = md_model_config_read(folder, &config, &err);
    if (!status)
        md_model_config_fini(&config);
    return status;
}

static enum md_status parse_json(void)
{
    static const char text[] = "{\"a\": [1, 2.5, \"text\", {\"b\": null}], \"c\": true}";
    json_t *root;
    enum md_status status = md_json_parse(text, sizeof text - 1, &root, &err);
    json_decref(root);
    return status;
}

static enum md_status build_text(void)
{
    struct md_buffer buffer;
    md_buffer_init(&buffer, 0);
    for (int i = 0; i < 100; i++)
        md_buffer_printf(&buffer, "%d ", i);
    enum md_status status = md_buffer_check(&buffer, &err);
    struct md_blob *blob = status ? NULL : md_blob_from_buffer(&buffer);
    if (!status && !blob)
        status = MD_ERR_MEMORY;
    md_blob_unref(blob);
    md_buffer_fini(&buffer);
    return status;
}

static enum md_status fill_arena(void)
{
    struct md_arena arena;
    md_arena_init(&arena, 0);
    bool is_full = false;
    for (int i = 0; i < 100 && !is_full; i++)
        is_full = !md_arena_array(&arena, 100, 10);
    md_arena_fini(&arena);
    return is_full ? MD_ERR_MEMORY : MD_OK;
}

static enum md_status declare_metrics(void)
{
    static const char *const labels[] = {"name", NULL};
    struct md_metrics *metrics = md_metrics_new();
    if (!metrics)
        return MD_ERR_MEMORY;
    enum md_status status = MD_OK;
    struct md_family *family =
        md_family_new(metrics, MD_HISTOGRAM, "seconds", "Help.", labels, NULL, 0);
    if (!family)
        status = MD_ERR_MEMORY;
    for (int i = 0; i < 200 && family; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        struct md_metric *metric = md_metric_get(family, (const char *[]){value});
        assert_non_null(metric); /* out of memory counts in the overflow series */
        md_metric_observe(metric, 1);
    }
    if (family && md_metric_value(md_metric_get(family, (const char *[]){"other"})) > 0)
        status = MD_ERR_MEMORY;
    md_metrics_delete(metrics);
    return status;
}

static enum md_status new_pool(void)
{
    struct md_pool *pool;
    enum md_status status = md_pool_new(1, 0, &pool, &err);
    md_pool_delete(pool);
    return status;
}

/* ---- tests ---- */

static int write_files(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(npy_path, sizeof npy_path, "%s/a.npy", folder);
    snprintf(weights_path, sizeof weights_path, "%s/model.safetensors", folder);
    snprintf(config_path, sizeof config_path, "%s/config.json", folder);
    struct md_file_part image = {weights, sizeof weights - 1};
    struct md_file_part config = {"{\"model_type\":\"tft\"}", 20};
    return md_file_replace(weights_path, &image, 1, &err) ||
           md_file_replace(config_path, &config, 1, &err) || write_npy();
}

static int remove_files(void **state)
{
    unlink(npy_path);
    unlink(weights_path);
    unlink(config_path);
    return rmdir(folder);
}

static void every_failure_is_clean(void **state)
{
    static const struct {
        enum md_status (*operation)(void);
        int allocations_min;
        bool by_jansson;
    } operations[] = {
        {new_tensor, 2, false},   {write_npy, 1, false},  {read_npy, 2, false},
        {read_weights, 10, true}, {read_config, 5, true}, {parse_json, 5, true},
        {build_text, 3, false},   {fill_arena, 2, false}, {declare_metrics, 3, false},
        {new_pool, 1, false},
    };
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        int needed = fail_each_allocation(operations[i].operation, operations[i].by_jansson);
        assert_true(needed >= operations[i].allocations_min);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failure_is_clean)};
    return cmocka_run_group_tests_name("allocation_failure", tests, write_files, remove_files);
}

#else

static void sanitizers_bring_their_own_allocator(void **state)
{
    (void)err;
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sanitizers_bring_their_own_allocator)};
    return cmocka_run_group_tests_name("allocation_failure", tests, NULL, NULL);
}

#endif
